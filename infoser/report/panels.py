"""The quality panel as tables: generated rows beside real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from infoser.report import cells

Row = Mapping[str, Any]

#: The measures that are printed, their headings and how many decimals they are read to; the others are in the files.
MEASURES = {
    "frechet": ("Fréchet", 2),
    "kid": ("KID", 4),
    "two_sample_accuracy": ("C2ST", 3),
    "precision": ("precision", 2),
    "recall": ("recall", 2),
    "density": ("density", 2),
    "coverage": ("coverage", 2),
    "memorised_nearer_to_train_share": ("nearer", 3),
    "memorised_auc": ("AUC", 3),
    "memorised_copies_share": ("copies", 3),
}
INFORMATION = {
    "class_information_nats": "I(emotion; feature), fresh q",
    "class_information_by_true_posterior_nats": "I(emotion; feature), true posterior",
    "text_information_nats": "I(text; feature), InfoNCE",
    "pair_information_nats": "I(audio; text), InfoNCE",
}


def print_panel(found: Mapping[str, Any], out: Console, *, details: bool = False) -> None:
    """Prints a table for each reference, one of information, and what was left out.

    Args:
      found: what `inspection.inspect` returned.
      details: also each class.
    """
    rows: Sequence[Row] = found["rows"]
    out.print(
        "Added rows against the reference, above as many real and training rows. Means over folds; "
        "±: standard error over folds. C2ST: accuracy of a classifier that tells them from the reference, 0.5 where it can't. "
        "nearer: share of rows nearer to the training rows than to as many reference rows; AUC: of being nearer to the "
        "training rows than fresh real rows are; copies: share of training rows among them.",
        markup=False,
        highlight=False,
    )
    panels = [row for row in rows if row["reference"]]
    for reference in dict.fromkeys(row["reference"] for row in panels):
        own = [row for row in panels if row["reference"] == reference]
        for one in dict.fromkeys(row["class"] for row in own) if details else ("all",):
            chosen = [row for row in own if row["class"] == one]
            out.print(_panel(chosen, f"Reference: {reference}; class: {one}"))
    information = [row for row in rows if not row["reference"]]
    if information:
        out.print(_information(information))
    for name, why in found["left_out"].items():
        out.print(f"note: no panel of {name}: {why}", markup=False, highlight=False)


def _panel(rows: Sequence[Row], title: str) -> Table:
    table = cells.table(title, ["variant", "modality", *(heading for heading, _ in MEASURES.values()), "rows"], texts=2)
    for key in dict.fromkeys((row["variant"], row["cell"], row["modality"]) for row in rows):
        own = {row["measure"]: row for row in rows if (row["variant"], row["cell"], row["modality"]) == key}
        table.add_row(cells.name(own["frechet"]), key[2], *_cells(own, "value"), f"{own['frechet']['rows']:.0f}")
    for modality in dict.fromkeys((row["modality"], row["cell"]) for row in rows):
        # What real rows get differs from variant to variant by the draws alone.
        own = {row["measure"]: row for row in rows if (row["modality"], row["cell"]) == modality}
        for entry, what in (("real", "real rows"), ("train", "training rows")):
            table.add_row(
                cells.name({"variant": what, "cell": modality[1]}),
                modality[0],
                *_cells(own, entry),
                f"{own['frechet']['rows']:.0f}",
            )
    return table


def _cells(own: Mapping[str, Row], entry: str) -> list[str]:
    values = [(own[measure][entry], decimals) for measure, (_, decimals) in MEASURES.items()]
    return ["" if value is None else f"{value:.{decimals}f}" for value, decimals in values]


def _information(rows: Sequence[Row]) -> Table:
    table = cells.table(
        "Information in nats, by fresh models on held-out rows",
        ["variant", "modality", "of", "generated", "training rows", "null", "ceiling", "rows"],
        texts=3,
    )
    for row in rows:
        null = "" if row["null"] is None else f"{row['null']:+.3f} ± {row['null_standard_error']:.3f}"
        table.add_row(
            cells.name(row),
            row["modality"],
            Text(INFORMATION[row["measure"]]),
            _with_error(row["value"], row["standard_error"]),
            _with_error(row["real"], row["real_standard_error"]),
            null,
            "" if row["ceiling"] is None else f"{row['ceiling']:.3f}",
            f"{row['rows']:.0f}",
        )
    return table


def _with_error(value: float, error: float | None) -> str:
    return f"{value:.3f}" + ("" if error is None else f" ± {error:.3f}")
