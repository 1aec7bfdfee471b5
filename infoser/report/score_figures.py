"""Figures of scores: intervals, confusion matrices, reliability, information."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from infoser.metrics.calibration import Reliability
from infoser.report import style
from infoser.report.captions import fold_rule, n_of, n_of_rows, n_pooled
from infoser.report.labels import in_figure, row_in_figure
from infoser.report.sources import Row, Sources
from infoser.report.style import Picture

#: Most lines of an interval figure, and panels of one with a panel for each variant; what is beyond is in the tables.
MOST_LINES, MOST_PANELS = 40, 24
#: Letters of a name beside which a figure of the usual width leaves its axes no room.
_LONG_NAME = 30
#: Predictions below which a bin's accuracy is shown as uncertain.
FEW = 20


def intervals(sources: Sources) -> Picture:
    """Pooled UA with its interval, and its difference to `none`, of every variant and cell in every modality."""
    modalities = list(dict.fromkeys(row["modality"] for row in sources.rows))
    rows = {one: sources.pick(modality=one, subset="all", aggregate="pooled") for one in modalities}
    shown = {one: own[:MOST_LINES] for one, own in rows.items()}
    left = sum(len(rows[one]) - len(shown[one]) for one in modalities)
    names = {one: [row_in_figure(name(row)) for row in own] for one, own in shown.items()}
    lines = max(len(own) for own in shown.values())
    width, height = _room([one for own in names.values() for one in own])
    figure = style.new_figure(width, len(modalities) * (0.75 + (0.24 + height) * lines))
    axes = figure.subplots(len(modalities), 2, squeeze=False, sharex="col")
    for line, (modality, own) in enumerate(shown.items()):
        place = np.arange(len(own))
        for axis, key in zip(axes[line], ("ua", "ua_minus_none"), strict=True):
            _interval(axis, place, own, key)
            axis.set_ylim(len(own) - 0.5, -0.5)
        axes[line][0].set_yticks(place, names[modality])
        axes[line][0].set_title(f"{modality}: UA pooled, %", loc="left")
        axes[line][1].set_yticks(place, [])
        axes[line][1].set_title("UA − none, points", loc="left")
        axes[line][1].axvline(0, color="black", linewidth=0.9)
        if not any(row["ua_minus_none"] is not None for row in own):
            axes[line][1].text(0.5, 0.5, "nothing to compare with", transform=axes[line][1].transAxes, ha="center")
    n = n_of_rows(row for own in shown.values() for row in own)
    best = {one: max(own, key=lambda row: row["ua"]) for one, own in shown.items()}
    said = "; ".join(f"{one}: highest {name(row)} with {100 * row['ua']:.1f}" for one, row in best.items())
    more = f" {left} further rows are in the tables." if left else ""
    return Picture(
        "ua",
        f"UA pooled over folds, with 95 % intervals over speakers where there are enough, and paired differences to none. "
        f"{fold_rule(sources)}; {n}.{more}",
        f"Dot plots of the pooled UA in % of every variant and of its difference to none. {said}.",
        figure,
    )


def _room(names: Sequence[str]) -> tuple[float, float]:
    """Inches: the width of a figure with these names of rows, and by how much a row is higher than one line."""
    several = any("\n" in name for name in names)
    return 9.0 if several or max(map(len, names), default=0) > _LONG_NAME else 7.2, 0.1 if several else 0.0


def _interval(axis: Any, place: np.ndarray, rows: Sequence[Row], key: str) -> None:
    for at, row in zip(place, rows, strict=True):
        value, low, high = (row[each] for each in (key, f"{key}_low", f"{key}_high"))
        if value is None:
            continue
        if low is not None:
            axis.plot([100 * low, 100 * high], [at, at], color="black", linewidth=1.2)
            axis.plot([100 * low, 100 * high], [at, at], color="black", marker="|", linestyle="none", markersize=6)
        hollow = row["variant"] == "none"
        axis.plot(100 * value, at, marker="o", color="black", markerfacecolor="white" if hollow else "black", linestyle="none")


def confusions(sources: Sources, modality: str) -> Picture:
    """Confusion matrices of every variant of the base cell: rate and count."""
    rows = sources.pick(modality=modality, subset="all", aggregate="pooled", cell=sources.base)
    shown, size = rows[:MOST_PANELS], len(sources.classes)
    side = max(2.4, 0.5 * size + 0.6)
    columns = max(1, int(8.6 // side))
    # Squares of that side, and room for the title and the slanted names below.
    figure, axes = style.grid(len(shown), columns, side, side + 0.5)
    labels = [in_figure(one, 12) for one in sources.classes]
    for number, (axis, row) in enumerate(zip(axes, shown, strict=True)):
        counts = np.array(row["confusion"], float)
        whole = counts.sum(axis=1, keepdims=True)
        rate = np.divide(counts, whole, out=np.zeros_like(counts), where=whole > 0)
        axis.imshow(rate, cmap="Greys", vmin=0, vmax=1)
        axis.grid(False)
        for i, j in np.ndindex(size, size):
            axis.text(
                j,
                i,
                f"{100 * rate[i, j]:.0f} %\n{counts[i, j]:,.0f}" if whole[i] else "–",
                ha="center",
                va="center",
                fontsize=7 if size <= 6 else 5.5,
                color="white" if rate[i, j] > 0.62 else "black",
            )
        axis.set_title(in_figure(row["variant"]), loc="left")
        axis.set_xticks(range(size), labels, rotation=45, ha="right")
        first = number % columns == 0
        axis.set_yticks(range(size), labels if first else [""] * size)
        if first:
            axis.set_ylabel("true")
        axis.set_xlabel("predicted")
    left = f" {len(rows) - len(shown)} further variants are in the table." if len(rows) > len(shown) else ""
    alt = "; ".join(f"{row['variant']}: {_confused(row, sources.classes)}" for row in shown)
    return Picture(
        f"confusion-{modality}",
        f"{modality}: confusion matrices, pooled over folds and seeds: % of the true class, and utterances (each once "
        f"per seed). {fold_rule(sources)}; {n_of_rows(rows)}{_cell(sources)}.{left}",
        f"Confusion matrices. {alt}.",
        figure,
    )


def _confused(row: Row, classes: Sequence[str]) -> str:
    """The most frequent mistake, in words."""
    counts = np.array(row["confusion"], float)
    whole = counts.sum(axis=1, keepdims=True)
    rate = np.divide(counts, whole, out=np.zeros_like(counts), where=whole > 0)
    np.fill_diagonal(rate, -1)
    i, j = np.unravel_index(int(rate.argmax()), rate.shape)
    return f"{classes[int(i)]} is most often taken for {classes[int(j)]} ({100 * max(rate[i, j], 0):.0f} %)"


def reliabilities(found: Mapping[tuple[str, str], Reliability], sources: Sources, modality: str) -> Picture:
    """Reliability diagrams: accuracy by confidence, with the share of the predictions in each bin."""
    own = {variant: each for (variant, of), each in found.items() if of == modality}
    shown = dict(list(own.items())[:MOST_PANELS])
    figure, axes = style.grid(len(shown), 4, 2.1, 2.3, sharex=True, sharey=True)
    for axis, (variant, each) in zip(axes, shown.items(), strict=True):
        filled, sure = each.count > 0, each.count >= FEW
        share = each.count / each.count.sum()
        axis.bar(each.low, share, width=each.high - each.low, align="edge", color="#cccccc", edgecolor="white")
        axis.plot([0, 1], [0, 1], color="#666666", linestyle="--", linewidth=0.9)
        axis.plot(each.confidence[sure], each.accuracy[sure], color="black", marker="o", markersize=3.5)
        few = filled & ~sure
        if few.any():  # the layout makes no room for a line without points
            axis.plot(each.confidence[few], each.accuracy[few], "o", color="#666666", markersize=3.5, fillstyle="none")
        axis.set_title(f"{in_figure(variant)}\nECE {100 * each.ece:.1f} %", loc="left")
        axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence")
        axis.set_xticks([0, 0.5, 1])
    axes[0].set_ylabel("accuracy; share (bars)")
    left = f" {len(own) - len(shown)} further variants are in the table." if len(own) > len(shown) else ""
    said = "; ".join(f"{variant}: ECE {100 * each.ece:.1f} %" for variant, each in shown.items())
    return Picture(
        f"reliability-{modality}",
        f"{modality}: reliability: accuracy (line) by confidence in 15 bins (hollow: fewer than {FEW} predictions), "
        "beside what a calibrated classifier would have (dashed), and the share of the predictions in each bin (bars); all "
        f"folds and seeds together. {fold_rule(sources)}; "
        f"{n_of((each.count.sum() for each in own.values()), 'predictions')}{_cell(sources)}.{left}",
        f"Reliability diagrams of {modality}. {said}.",
        figure,
    )


def information(sources: Sources) -> Picture | None:
    """The bound on I(c; feature) of real and added rows with error bar, null and ceiling."""
    rows = sources.results["quality"]
    if not rows:
        return None
    shown = rows[:MOST_LINES]
    names = [row_in_figure(f"{name(row)}, {row['modality']}") for row in shown]
    width, height = _room(names)
    figure = style.new_figure(width, 1.1 + (0.26 + height) * len(shown))
    axis = figure.subplots()
    for at, row in enumerate(shown):
        value, error = row["class_information_nats"], row["class_information_standard_error"]
        axis.errorbar(value, at, xerr=error, color="black", marker="o", capsize=3, linestyle="none")
        axis.plot(row["class_information_null_95_nats"], at, color=style.GENERATED, marker="|", markersize=11, mew=2)
    ceiling = shown[0]["class_information_ceiling_nats"]
    axis.axvline(ceiling, color=style.REAL, linestyle="--", label=f"ceiling {ceiling:.2f}")
    axis.axvline(0, color="black", linewidth=0.8)
    axis.plot([], [], color=style.GENERATED, marker="|", markersize=11, mew=2, linestyle="none", label="null, 95th percentile")
    axis.plot([], [], color="black", marker="o", linestyle="none", label="estimate ± standard error")
    axis.set_yticks(range(len(shown)), names)
    axis.set_ylim(len(shown) - 0.5, -0.5)
    axis.set_xlabel("E[ln q(c | feature)] + H(c), nats")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    left = f" {len(rows) - len(shown)} further rows are in the table." if len(rows) > len(shown) else ""
    said = "; ".join(
        f"{name(row)}, {row['modality']}: {row['class_information_nats']:.2f} (null "
        f"{row['class_information_null_95_nats']:.2f})"
        for row in shown
    )
    return Picture(
        "information",
        "A lower bound on the information about the emotion in real features of the test part and in added rows, by a "
        "fresh q on rows held out from it, beside its ceiling and its null (labels permuted). "
        f"{fold_rule(sources)}; {n_pooled(sources)} (real features).{left}",
        f"Dot plot in nats, ceiling {ceiling:.2f}. {said}.",
        figure,
    )


def name(row: Row) -> str:
    """A variant with its cell."""
    return row["variant"] + (f" ({row['cell']})" if row["cell"] else "")


def _cell(sources: Sources) -> str:
    cells = {row["cell"] for row in sources.rows}
    if len(cells) == 1:
        return ""
    return f"; of the cell {sources.base!r}, the others are in the table" if sources.base else "; of the run's own settings"
