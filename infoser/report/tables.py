"""The results as tables on a terminal, or as plain text in a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from infoser.report.cells import count as _count
from infoser.report.cells import difference as _difference
from infoser.report.cells import interval as _interval
from infoser.report.cells import multiplier as _multiplier
from infoser.report.cells import name as _name
from infoser.report.cells import percent as _percent
from infoser.report.cells import say as _say
from infoser.report.cells import table as _table

Row = Mapping[str, Any]


def console() -> Console:
    """A console on stdout; in a pipe, wide enough for every table."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=140)


def print_results(results: Mapping[str, Any], out: Console, *, details: bool = False) -> None:
    """Prints the scores by modality, the subsets, the recalls, the quality of generated features, and the notes.

    Args:
      details: also every fold and the pooled confusion matrices.
    """
    rows, provenance = results["rows"], results["provenance"]
    corpus = provenance["corpus"]
    _say(
        out,
        f"{corpus['name']}: {corpus['labelled']:,} labelled of {corpus['utterances']:,} utterances, "
        f"{len(corpus['classes'])} classes, {corpus['speakers']} speakers; protocol {provenance['protocol']}, "
        f"{_count(len(provenance['folds']), 'fold')}, {_count(rows[0]['seeds'], 'seed')}.",
    )
    _say(
        out,
        "In %. mean: seeds averaged within a fold, then over folds, ± standard deviation over folds. pooled: predictions "
        "of all folds together. [ ]: 95 % interval over speakers.",
    )
    multiples = {
        (row["variant"], row["cell"], row["modality"]): _multiplier(row)
        for row in _pick(results.get("table", ()), subset="all", aggregate="pooled")
        if "label_multiplier" in row
    }
    if multiples:
        _say(
            out,
            "labels ×: how many times the labels none needs, by its own learning curve, to come to the same pooled UA; [ ]: at "
            "the ends of the difference's interval; > and <: beyond the curve.",
        )
    for modality in dict.fromkeys(row["modality"] for row in rows):
        own = _pick(rows, modality=modality, subset="all")
        out.print(_scores(own, f"{modality}, all utterances{_with_transcripts(rows, own)}", multiples))
    subsets = [subset for subset in dict.fromkeys(row["subset"] for row in rows) if subset != "all"]
    for subset in subsets:
        out.print(_subset(_pick(rows, subset=subset, aggregate="pooled"), subset))
    out.print(_recalls(_pick(rows, subset="all", aggregate="pooled"), corpus["classes"]))
    if details:
        for modality in dict.fromkeys(row["modality"] for row in rows):
            out.print(_folds(_pick(rows, modality=modality, subset="all"), list(provenance["folds"]), modality))
        for row in _pick(rows, subset="all", aggregate="pooled"):
            out.print(_confusion(row, corpus["classes"]))
    if results["quality"]:
        out.print(_quality(results["quality"]))
    for note in results["notes"]:
        _say(out, f"note: {note}")


def print_demo_truth(results: Mapping[str, Any], truth: Any, out: Console) -> None:
    """Prints what the demo's runs estimate beside what is true of its distribution.

    Args:
      truth: an `infoser.demo.DemoTruth`.
    """
    table = Table(title="Estimates beside the truth (unseen speakers, uniform emotions)", title_justify="left")
    for heading in ("quantity", "estimate", "truth", "what the estimate is"):
        table.add_column(heading, justify="left" if heading[0] in "qw" else "right")
    real = next((row for row in results["quality"] if row["variant"] == "real" and not row["cell"]), None)
    if real is not None:
        error = real["class_information_standard_error"]
        table.add_row(
            "I(emotion; audio), nats",
            f"{real['class_information_nats']:.3f}" + ("" if error is None else f" ± {error:.3f}"),
            f"{truth.class_audio_information_nats:.3f}",
            "lower bound by the head of none",
        )
        shared = real["audio_text_information_given_class_nats"]
        if shared is not None:
            error = real["audio_text_information_standard_error"]
            table.add_row(
                "I(audio; text | emotion), nats",
                f"{shared:.3f}" + ("" if error is None else f" ± {error:.3f}"),
                f"{truth.audio_text_information_given_class_nats:.3f}",
                "InfoNCE by the aligner's critic, negatives of the same emotion",
            )
    for modality in ("audio", "text", "both"):
        ua = next(
            (
                row["ua"]
                for row in _pick(
                    results["rows"],
                    variant="none",
                    cell=results["rows"][0]["cell"],
                    modality=modality,
                    subset="all",
                    aggregate="pooled",
                )
            ),
            None,
        )
        if ua is not None:
            bayes = getattr(truth, f"bayes_ua_{modality}")
            table.add_row(f"UA of none, {modality}, %", f"{100 * ua:.1f}", f"{100 * bayes:.1f}", "against the Bayes rate")
    out.print(table)


def print_predictions(answer: Any, out: Console) -> None:
    """Prints the emotion of each recording and the probabilities of all, in %; errors are left to the caller.

    Args:
      answer: an `infoser.prediction.Answer`.
    """
    usable = [each for each in answer.predictions if each.probability is not None]
    if not usable:
        return
    model = f"model of fold {answer.fold}" if answer.fold else "final model"
    table = Table(title=f"{model}, {answer.variant}, {answer.modality}; mean over seeds, in %", title_justify="left")
    table.add_column("recording", overflow="fold")
    table.add_column("emotion")
    for name in usable[0].probability:
        table.add_column(Text(name), justify="right")
    for each in usable:
        percent = [f"{100 * value:.1f}" for value in each.probability.values()]
        table.add_row(Text(str(each.file)), Text(each.emotion), *percent)
    out.print(table)


def _with_transcripts(rows: Iterable[Row], own: Iterable[Row]) -> str:
    """Says of a modality's rows that they are about fewer utterances than those of audio; '' where they are not."""
    every, read = (max((row["n"] for row in some if row["subset"] == "all"), default=0) for some in (rows, own))
    return f" with a transcript: {read:,} of {every:,}" if read < every else ""


def _pick(rows: Iterable[Row], **wanted: str) -> list[Row]:
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def _scores(rows: Sequence[Row], title: str, multiples: Mapping[tuple[str, str, str], str]) -> Table:
    headings = ["variant", "UA mean", "WA mean", "F1 mean", "UA pooled", "WA pooled", "F1 pooled", "UA − none, pooled"]
    table = _table(title, headings + (["labels ×"] if multiples else []))
    pooled = {(row["variant"], row["cell"]): row for row in rows if row["aggregate"] == "pooled"}
    for row in rows:
        if row["aggregate"] != "mean":
            continue
        whole = pooled[row["variant"], row["cell"]]
        spread = "" if row["ua_std"] is None else f" ± {100 * row['ua_std']:.1f}"
        means = (_percent(row["ua"]) + spread, _percent(row["wa"]), _percent(row["macro_f1"]))
        pools = (_percent(whole["ua"]) + _interval(whole, "ua"), _percent(whole["wa"]), _percent(whole["macro_f1"]))
        key = (row["variant"], row["cell"], row["modality"])
        table.add_row(_name(row), *means, *pools, _difference(whole), *([multiples[key]] if multiples else []))
    return table


def _subset(rows: Sequence[Row], subset: str) -> Table:
    n = " or ".join(f"{count:,}" for count in sorted({row["n"] for row in rows}, reverse=True)) or "0"
    table = _table(
        f"{subset.replace('_', '-')} ({n} utterances), pooled", ["variant", "modality", "UA", "WA", "F1", "UA − none"]
    )
    for row in rows:
        scores = (_percent(row["ua"]) + _interval(row, "ua"), _percent(row["wa"]), _percent(row["macro_f1"]))
        table.add_row(_name(row), row["modality"], *scores, _difference(row))
    return table


def _recalls(rows: Sequence[Row], classes: Sequence[str]) -> Table:
    table = _table("Recall of each emotion, pooled", ["variant", "modality", *classes])
    for row in rows:
        table.add_row(_name(row), row["modality"], *(_percent(row["recalls"][one]) for one in classes))
    return table


def _folds(rows: Sequence[Row], folds: Sequence[str], modality: str) -> Table:
    table = _table(f"{modality}, UA / WA / F1 of each fold", ["variant", *folds])
    for variant, cell in dict.fromkeys((row["variant"], row["cell"]) for row in rows):
        own = {row["aggregate"]: row for row in _pick(rows, variant=variant, cell=cell)}
        scores = [
            " / ".join(_percent(own[fold][key]) for key in ("ua", "wa", "macro_f1")) if fold in own else "–" for fold in folds
        ]
        table.add_row(_name(next(iter(own.values()))), *scores)
    return table


def _confusion(row: Row, classes: Sequence[str]) -> Table:
    cell = f", {row['cell']}" if row["cell"] else ""
    table = _table(
        f"{row['variant']}{cell}, {row['modality']}: true (rows) against predicted, summed over seeds and folds", ["", *classes]
    )
    for name, counts in zip(classes, row["confusion"], strict=True):
        table.add_row(Text(name), *(f"{count:,}" for count in counts))
    return table


def _quality(rows: Sequence[Row]) -> Table:
    table = _table(
        f"Features: information about the emotion ({rows[0]['estimator']}; null: labels permuted), and what they teach",
        [
            "features",
            "modality",
            "I(emotion; feature) ≥, nats",
            "null 95 %",
            "p",
            "bound",
            "recovered",
            "TSTR UA",
            "TRTS UA",
            "TRTR UA",
            "runs",
        ],
    )
    for row in rows:
        error = row["class_information_standard_error"]
        table.add_row(
            _name(row),
            row["modality"],
            f"{row['class_information_nats']:.3f}" + ("" if error is None else f" ± {error:.3f}"),
            f"{row['class_information_null_95_nats']:.3f}",
            f"{row['class_information_p']:.3f}",
            f"{row['class_information_ceiling_nats']:.3f}",
            *(_percent(row.get(key)) for key in ("recovered_ua", "tstr_ua", "trts_ua", "trtr_ua")),
            str(row["runs"]),
        )
    return table
