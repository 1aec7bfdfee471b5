"""Tables of what features hold, and of how like real rows the added ones are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from infoser.report.captions import fold_rule, n_of, n_of_rows, n_pooled
from infoser.report.panels import INFORMATION, MEASURES
from infoser.report.score_tables import WHO, shown
from infoser.report.sources import Row, Sources
from infoser.report.table import Column, Table, count, number, percent, text


def information(sources: Sources) -> Table:
    """What features hold about their class, with ceiling and null, and what they teach."""
    rows = sources.results["quality"]
    estimator = rows[0]["estimator"] if rows else ""
    return Table(
        "information",
        f"Information about the emotion in features, in nats ({estimator}; mean over seeds within a fold, then folds, ± "
        "standard error over folds), beside its ceiling (ln of the number of classes) and the 95th percentile of its null "
        "(labels permuted within each fold); UA in % of a fresh classifier trained on generated and tested on real rows "
        f"(TSTR), the other way round (TRTS), and on real rows both times (TRTR). {fold_rule(sources)}; {n_pooled(sources)} "
        "where real rows are asked about; else the added rows of each run that are held out from q.",
        shown(
            rows,
            Column("features", ("variant",)),
            WHO[1],
            text("modality", "modality"),
            number("I(emotion; feature) ≥", "class_information_nats", "class_information_standard_error", rest=" ± {}"),
            number("null, 95th percentile", "class_information_null_95_nats"),
            number("ceiling", "class_information_ceiling_nats"),
            number("p", "class_information_p", about="share of the null that reaches the estimate"),
            percent("recovered", "recovered_ua", about="how often a fresh q names the class that a row was made from"),
            percent("TSTR UA", "tstr_ua"),
            percent("TRTS UA", "trts_ua"),
            percent("TRTR UA", "trtr_ua"),
            count("runs", "runs"),
        ),
        rows,
    )


def panel(sources: Sources, rows: Sequence[Row]) -> Table:
    """The quality panel over all classes: what is added, real and training rows by measure."""
    by_key: dict[tuple[str, ...], dict[str, Any]] = {}
    rows = [row for row in rows if row["reference"] and row["class"] == "all" and row["measure"] in MEASURES]
    for row in rows:
        key = (row["variant"], row["cell"], row["modality"], row["reference"])
        for entry, kind in (("value", "added"), ("real", "real"), ("train", "training")):
            names = dict(zip(("variant", "cell", "modality", "reference"), key, strict=True)) | {"kind": kind}
            own = by_key.setdefault((*key, kind), names | {"n": row["rows"]})
            own[row["measure"]] = row[entry]
    own = list(by_key.values())
    return Table(
        "panel",
        "Fréchet distance, KID, C2ST, precision, recall, density, coverage and memorisation of the rows that a variant adds, "
        "and of as many real rows of the reference itself and training rows, held against a reference: all classes, means "
        f"over seeds within a fold, then folds. {_PANEL} {_sample(sources, rows)}",
        shown(
            own,
            *WHO,
            text("modality", "modality"),
            text("reference", "reference"),
            text("rows", "kind"),
            *(number(heading, measure, places=places) for measure, (heading, places) in MEASURES.items()),
            number("N", "n", places=0),
        ),
        own,
    )


_PANEL = (
    "C2ST: accuracy of a classifier that tells the rows from the reference, 0.5 where it can't. nearer: share of rows nearer "
    "to the training rows than to as many reference rows; AUC: of being nearer to the training rows than fresh real rows "
    "are; copies: share of training rows among them."
)


def _sample(sources: Sources, rows: Sequence[Row]) -> str:
    """The folds' rule, and of how many rows and runs the panel's numbers are: it may be of some folds and seeds only."""
    runs = sorted({row["runs"] for row in rows}) or [0]
    said = f"{runs[0]}" if runs[0] == runs[-1] else f"{runs[0]} to {runs[-1]}"
    protocol = sources.results["provenance"]["protocol"]
    return f"Folds: {protocol}; {n_of((row['rows'] for row in rows), 'rows of a sample')}, {said} runs (folds × seeds)."


def panel_by_class(sources: Sources, rows: Sequence[Row]) -> Table:
    """Every measure of every class, with standard errors and p-values."""
    own = [
        dict(row) | {"name": MEASURES[row["measure"]][0], "p_value": row.get("p")}
        for row in rows
        if row["reference"] and row["measure"] in MEASURES
    ]
    return Table(
        "panel-by-class",
        "Fréchet distance, KID, C2ST, precision, recall, density, coverage and memorisation for each class, ± standard error "
        f"over folds. {_PANEL} {_sample(sources, own)}",
        shown(
            own,
            *WHO,
            text("modality", "modality"),
            text("reference", "reference"),
            text("class", "class"),
            text("measure", "name"),
            number("added rows", "value", "standard_error", rest=" ± {}", places=4),
            number("real rows", "real", "real_standard_error", rest=" ± {}", places=4),
            number("training rows", "train", places=4),
            number("p", "p_value"),
            number("N", "rows", places=0),
            count("runs", "runs"),
        ),
        own,
    )


def panel_information(sources: Sources, rows: Sequence[Row]) -> Table:
    """Information in added rows, by fresh models, beside that in training rows."""
    own = [dict(row) | {"name": INFORMATION.get(row["measure"], row["measure"])} for row in rows if not row["reference"]]
    return Table(
        "panel-information",
        "Information in nats by fresh models on held-out rows, in added and in as many training rows. Means over seeds "
        f"within a fold, then folds, ± standard error. {_sample(sources, own)}",
        shown(
            own,
            *WHO,
            text("modality", "modality"),
            text("information", "name"),
            number("added rows", "value", "standard_error", rest=" ± {}"),
            number("training rows", "real", "real_standard_error", rest=" ± {}"),
            number("null", "null", "null_standard_error", rest=" ± {}"),
            number("ceiling", "ceiling"),
            number("N", "rows", places=0),
        ),
        own,
    )


def truth(sources: Sources, known: Any) -> Table:
    """What the runs on the demo corpus estimate beside what is true of its distribution.

    Args:
      known: an `infoser.demo.DemoTruth`.
    """
    rows: list[dict[str, Any]] = []
    for row in sources.results["quality"]:
        if row["variant"] == "real" and not row["cell"]:
            modality = row["modality"]
            true = getattr(known, f"class_{modality}_information_nats")
            rows.append({"quantity": f"I(emotion; {modality}), nats", "estimate": row["class_information_nats"], "truth": true})
    pooled = sources.pick(variant="none", cell=sources.base, subset="all", aggregate="pooled")
    for row in pooled:
        true = getattr(known, f"bayes_ua_{row['modality']}")
        rows.append({"quantity": f"UA of none, {row['modality']}, as a fraction", "estimate": row["ua"], "truth": true})
    return Table(
        "truth",
        "The demo corpus: estimates beside the truth for unseen speakers and uniform emotions (information: lower "
        "bounds by the head of none; UA: pooled, against the Bayes rate). "
        f"{fold_rule(sources)}; {n_of_rows(pooled)}.",
        (text("quantity", "quantity"), number("estimate", "estimate"), number("truth", "truth")),
        rows,
    )
