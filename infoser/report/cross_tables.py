"""Cross-corpus scores as tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from infoser.report import cells
from infoser.run_folder import FINAL

Row = Mapping[str, Any]

#: The choices of a row, as tables say them.
NORMALISED = {
    "training": "standardised by the training part of each model",
    "corpus": "standardised by the whole target corpus, labels unseen (transductive)",
    "speaker": "standardised by each target speaker, labels unseen (transductive)",
}
AMONG = {
    "shared": "heads choose among the shared classes (posteriors renormalised over them)",
    "all": "heads choose among all classes of the run: one that the target lacks counts as an error",
}


def print_cross(results: Mapping[str, Any], out: Console, *, details: bool = False) -> None:
    """Prints what was scored and how, the scores by modality and model, the recalls, and the notes.

    Args:
      results: from `cross_scoring.score_corpus`.
      details: also every model and the confusion matrices.
    """
    rows, said = results["rows"], results["provenance"]
    run, target, classes = said["run"], said["target"], said["classes"]
    cells.say(
        out,
        f"{run['corpus']['name']} → {target['name']}: {target['scored']:,} of {target['utterances']:,} utterances of "
        f"{target['name']} are scored, {len(classes['shared'])} shared classes, {target['speakers']} speakers.",
    )
    out.print(_classes(classes, run["corpus"]["name"], target["name"]))
    cells.say(out, f"Features are {NORMALISED[said['normalise']]}; {AMONG[said['among']]}.")
    folds, seeds = said["models"].get("folds", []), len(said["seeds"])
    if len(folds) == 1:
        cells.say(
            out,
            f"In %. mean: the models that fold {folds[0]} tested (protocol {run['protocol']}, {cells.count(seeds, 'seed')}), "
            f"trained on the rest of {run['corpus']['name']}; averaged over seeds.",
        )
    elif folds:
        cells.say(
            out,
            f"In %. mean: each fold's models (protocol {run['protocol']}: {cells.count(len(folds), 'fold')} × "
            f"{cells.count(seeds, 'seed')}), trained on their part of {run['corpus']['name']}, are scored on every one of "
            "these utterances; seeds averaged within a fold, then over folds, ± standard deviation over folds. ensemble: their "
            "posteriors averaged over folds, seed by seed.",
        )
    if FINAL in said["models"]:
        cells.say(out, f"final: the model that was refitted on all of {run['corpus']['name']}.")
    cells.say(out, f"[ ]: 95 % interval over the speakers of {target['name']}, the models taken as given.")
    for modality in dict.fromkeys(row["modality"] for row in rows):
        own = [row for row in rows if row["modality"] == modality and row["subset"] == "all"]
        out.print(_scores(own, f"{modality}, {own[0]['n']:,} utterances of {target['name']}"))
    for subset in dict.fromkeys(row["subset"] for row in rows if row["subset"] != "all"):
        out.print(_subset([row for row in rows if row["subset"] == subset and _is_headline(row)], subset))
    headline = [row for row in rows if row["subset"] == "all" and _is_headline(row)]
    out.print(_recalls(headline))
    if details:
        each = [row for row in rows if row["subset"] == "all" and not _is_summary(row)]
        if each:
            out.print(_models(each))
        for row in headline:
            out.print(_confusion(row))
    for note in results["notes"]:
        cells.say(out, f"note: {note}")


def _is_summary(row: Row) -> bool:
    return row["aggregate"] in ("mean", "ensemble")


def _is_headline(row: Row) -> bool:
    return row["aggregate"] == "mean"


def _classes(classes: Mapping[str, Any], own: str, other: str) -> Table:
    table = cells.table("Shared classes", [f"class of {own}", f"is, in {other},", "utterances"])
    for name, members in classes["shared"].items():
        table.add_row(Text(name), Text(", ".join(members)), f"{classes['counts'][name]:,}")
    return table


def _model(row: Row) -> Text:
    return Text("final" if row["model"] == FINAL else row["aggregate"])


def _scores(rows: Sequence[Row], title: str) -> Table:
    table = cells.table(title, ["variant", "models", "UA", "WA", "F1", "UA − none"])
    for row in rows:
        if _is_summary(row):
            spread = "" if row["ua_std"] is None or row["aggregate"] != "mean" else f" ± {100 * row['ua_std']:.1f}"
            ua = cells.percent(row["ua"]) + spread + cells.interval(row, "ua")
            table.add_row(
                cells.name(row),
                _model(row),
                ua,
                cells.percent(row["wa"]),
                cells.percent(row["macro_f1"]),
                cells.difference(row),
            )
    return table


def _subset(rows: Sequence[Row], subset: str) -> Table:
    n = " or ".join(f"{count:,}" for count in sorted({row["n"] for row in rows}, reverse=True))
    table = cells.table(
        f"{subset.replace('_', '-')} ({n} utterances)", ["variant", "modality", "models", "UA", "WA", "F1", "UA − none"]
    )
    for row in rows:
        ua = cells.percent(row["ua"]) + cells.interval(row, "ua")
        values = (ua, cells.percent(row["wa"]), cells.percent(row["macro_f1"]), cells.difference(row))
        table.add_row(cells.name(row), row["modality"], _model(row), *values)
    return table


def _recalls(rows: Sequence[Row]) -> Table:
    classes = list(rows[0]["recalls"])
    table = cells.table("Recall of each emotion, mean over models", ["variant", "modality", "models", *classes])
    for row in rows:
        recalls = (cells.percent(row["recalls"][one]) for one in classes)
        table.add_row(cells.name(row), row["modality"], _model(row), *recalls)
    return table


def _models(rows: Sequence[Row]) -> Table:
    table = cells.table("UA / WA / F1 of each fold's models", ["variant", "modality", "model", "UA", "WA", "F1"])
    for row in rows:
        values = (cells.percent(row[key]) for key in ("ua", "wa", "macro_f1"))
        table.add_row(cells.name(row), row["modality"], Text(row["aggregate"]), *values)
    return table


def _confusion(row: Row) -> Table:
    cell = f", {row['cell']}" if row["cell"] else ""
    model = "final model" if row["model"] == FINAL else "all folds' models"
    classes = list(row["recalls"])
    table = cells.table(
        f"{row['variant']}{cell}, {row['modality']}, {model}: true (rows) against predicted, summed over models and seeds",
        ["", *classes],
    )
    for name, counts in zip(classes, row["confusion"], strict=True):
        table.add_row(Text(name), *(f"{count:,}" for count in counts))
    return table
