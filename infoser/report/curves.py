"""Curves: scores by a setting under study (dose and response, label fraction), and loss terms while training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from infoser.config import Config
from infoser.report import style
from infoser.report.captions import fold_rule, n_of_rows
from infoser.report.labels import file_name, in_figure, legend_in_figure
from infoser.report.sources import Curve, Row, Sources
from infoser.report.style import Picture
from infoser.report.table import Table, percent, significant, text

_TITLES = {
    "generate.ratio": "Dose and response: generated rows for each real one",
    "label-fraction": "Share of the training labels that is used",
}
#: Most lines of a panel, and panels of a figure; what is beyond is in the tables.
_MOST_LINES, MOST_PANELS = 10, 12


def overrides(cell: str) -> dict[str, str]:
    """The settings that a cell names: `key=value`, joined by one space."""
    pairs = (part.partition("=") for part in cell.split(" ") if part)
    return {key: value for key, _, value in pairs}


def studied(sources: Sources) -> dict[str, dict[str, dict[float, str]]]:
    """The numeric settings that cells differ in.

    Returns:
      By setting, then by the other settings of the cells (''; or those that they share): the cell of each value, with the
      cell that has the configuration's own value among them.
    """
    cells = {row["cell"]: overrides(row["cell"]) for row in sources.rows}
    found: dict[str, dict[str, dict[float, str]]] = {}
    for key in dict.fromkeys(key for own in cells.values() for key in own):
        by_rest: dict[str, dict[float, str]] = {}
        for cell, own in cells.items():
            value = _number(own[key]) if key in own else _own_value(sources.config, key)
            if value is not None:
                rest = " ".join(f"{k}={v}" for k, v in own.items() if k != key)
                by_rest.setdefault(rest, {})[value] = cell
        kept = {rest: dict(sorted(values.items())) for rest, values in by_rest.items() if len(values) > 1}
        if kept:
            found[key] = kept
    return found


def _number(value: str) -> float | None:
    try:
        found = float(value)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _own_value(config: Config, key: str) -> float | None:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part.replace("-", "_"), None)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def response(sources: Sources, key: str, rest: str, cell_of: Mapping[float, str]) -> tuple[Picture, Table]:
    """UA of every variant by the value of one setting, with the band of its interval."""
    rows = [
        dict(row) | {"setting": key, "value": value, "others": rest}
        for value, cell in cell_of.items()
        for row in sources.pick(cell=cell, subset="all", aggregate="pooled")
    ]
    modalities = list(dict.fromkeys(row["modality"] for row in rows))
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    figure, axes = style.grid(len(modalities), 3, 2.9, 2.9, [*map(legend_in_figure, variants[:_MOST_LINES]), "none"])
    level = False
    places = {one: place for place, one in enumerate(dict.fromkeys(["none", *variants]))}  # none is black, as a curve or not
    for axis, modality in zip(axes, modalities, strict=True):
        lines = {one: [row for row in rows if (row["modality"], row["variant"]) == (modality, one)] for one in variants}
        if len(lines.get("none", ())) < 2:
            # It has no curve: what the others are compared with is one value.
            own = lines.pop("none", []) or sources.pick(
                cell=sources.base, variant="none", modality=modality, subset="all", aggregate="pooled"
            )
            level |= bool(own)
            for row in own:
                _level(axis, row)
        for variant in variants[:_MOST_LINES]:
            _line(axis, lines.get(variant, ()), variant, places[variant])
        values = list(cell_of)
        _scale(axis, values)
        axis.set_xticks(values, [f"{value:g}" for value in values])
        axis.minorticks_off()
        axis.set_title(modality, loc="left")
        axis.set_xlabel(in_figure(key, 30))
    axes[0].set_ylabel("UA pooled, %")
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    style.legend(figure, list(handles.values()), list(handles))
    title = _TITLES.get(key, f"UA by {key}")
    left = f" {len(variants) - _MOST_LINES} further variants are in the table." if len(variants) > _MOST_LINES else ""
    where = f" All with {rest}." if rest else ""
    said_n = f"{fold_rule(sources)}; {n_of_rows(rows)}.{where}"
    dotted = " Dotted: none, which the setting leaves as it is." if level else ""
    slug = file_name(f"{key} {rest}".strip())
    caption = f"{title}: UA pooled over folds, in %, bands: 95 % intervals over speakers. {said_n}{dotted}{left}"
    table = Table(
        f"by-{slug}",
        f"{title}: UA pooled over folds, in % [95 % interval over speakers], paired difference to none, WA and macro-F1. "
        f"{said_n}",
        (
            text("variant", "variant"),
            text("modality", "modality"),
            significant(key, "value", 6),
            percent("UA pooled [95 %]", "ua", "ua_low", "ua_high", rest=" [{}, {}]"),
            percent(
                "UA − none [95 %]", "ua_minus_none", "ua_minus_none_low", "ua_minus_none_high", rest=" [{}, {}]", signed=True
            ),
            percent("WA", "wa"),
            percent("macro-F1", "macro_f1"),
        ),
        [{k: v for k, v in row.items() if k not in ("confusion", "recalls")} for row in rows],
    )
    said = "; ".join(_trend(rows, variant, modality) for modality in modalities for variant in variants[:_MOST_LINES])
    return Picture(f"by-{slug}", caption, f"Line plots of the pooled UA by {key}. {said}.", figure), table


def _scale(axis: Any, values: Sequence[float]) -> None:
    """A logarithmic axis for values that span much, with a linear stretch up to the smallest where 0 is one of them."""
    positive = [value for value in values if value > 0]
    if min(values) < 0 or len(positive) < 2 or max(positive) / min(positive) <= 8:
        return
    if len(positive) == len(values):
        axis.set_xscale("log")
    else:
        axis.set_xscale("symlog", linthresh=min(positive), linscale=0.6)
        axis.set_xlim(-0.2 * min(positive), 1.2 * max(positive))


def _line(axis: Any, own: Sequence[Row], variant: str, position: int) -> None:
    if not own:
        return
    look = style.look(position)
    x = [row["value"] for row in own]
    axis.plot(x, [100 * row["ua"] for row in own], label=legend_in_figure(variant), **look)
    if all(row["ua_low"] is not None for row in own):
        low, high = ([100 * row[end] for row in own] for end in ("ua_low", "ua_high"))
        axis.fill_between(x, low, high, color=look["color"], alpha=0.10, linewidth=0)


def _level(axis: Any, row: Row) -> None:
    """One value for all of an axis, with its band."""
    axis.axhline(100 * row["ua"], color="black", linestyle=":", label="none")
    if row["ua_low"] is not None:
        axis.axhspan(100 * row["ua_low"], 100 * row["ua_high"], color="black", alpha=0.10, linewidth=0)


def _trend(rows: Sequence[Row], variant: str, modality: str) -> str:
    own = [row for row in rows if (row["variant"], row["modality"]) == (variant, modality)]
    return f"{modality}, {variant}: " + ", ".join(f"{row['value']:g}: {100 * row['ua']:.1f}" for row in own)


def training(curve: Curve, number: int) -> Picture | None:
    """Every loss term of a group by step: the mean over the runs of each variant, with a band of a standard deviation.

    A term that is 0 throughout, as that of generated rows is where there are none, is left out; of many variants the first
    are drawn, those of the run's own settings.
    """
    there = {term: values for term, values in curve.terms.items() if (values != 0).any()}
    terms = dict(list(there.items())[:MOST_PANELS])
    if not terms or not len(curve.steps):
        return None
    everyone = list(dict.fromkeys(variant for _, _, variant in curve.runs))
    variants = everyone[:_MOST_LINES]
    labels = [legend_in_figure(variant or "all runs") for variant in variants]
    figure, axes = style.grid(len(terms), 3, 2.6, 2.1, labels if len(labels) > 1 else (), sharex=True)
    for axis, (term, values) in zip(axes, terms.items(), strict=True):
        for position, variant in enumerate(variants):
            own = values[[which == variant for _, _, which in curve.runs]]
            mean, spread = _mean(own)
            # A training of a single chunk is a point, which a line alone would not show.
            look = style.look(position) | ({"marker": None} if len(curve.steps) > 1 else {})
            axis.plot(curve.steps, mean, label=labels[position], **look)
            axis.fill_between(curve.steps, mean - spread, mean + spread, color=look["color"], alpha=0.15, linewidth=0)
        axis.set_title(in_figure(term), loc="left")
    for axis in axes[-min(3, len(axes)) :]:
        axis.set_xlabel("step")
        axis.tick_params(labelbottom=True)
    if len(variants) > 1:
        style.legend(figure, *axes[0].get_legend_handles_labels())
    folds, seeds = (len({run[i] for run in curve.runs}) for i in (0, 1))
    more = {"terms": len(there) - len(terms), "variants": len(everyone) - len(variants)}
    further = " and ".join(f"{count} further {what}" for what, count in more.items() if count)
    left = f" {further} are in the metrics.jsonl of {curve.group}." if further else ""
    last = "; ".join(f"{term} ends at {_mean(values)[0][-1]:.3g}" for term, values in terms.items())
    return Picture(
        f"training-{number:02d}-" + "".join(one if one.isascii() and one.isalnum() else "-" for one in curve.group)[:60],
        f"{curve.group}: loss terms by step, means over chunks of steps; the mean over {folds} folds × {seeds} seeds, "
        f"bands: ± one standard deviation over them.{left}",
        f"Training curves of {curve.group}. {last}.",
        figure,
    )


def _mean(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over the runs that have a value at a step; NaN where none has."""
    there = np.isfinite(values)
    n = there.sum(axis=0)
    filled = np.where(there, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(n > 0, filled.sum(axis=0) / n, np.nan)
        square = np.where(there, (values - mean) ** 2, 0.0).sum(axis=0)
        return mean, np.where(n > 1, np.sqrt(square / np.maximum(n - 1, 1)), 0.0)
