"""Tables of what features hold, and of how like real rows the added ones are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from infoser.report.panels import INFORMATION, MEASURES
from infoser.report.score_tables import WHO, fold_rule, shown
from infoser.report.sources import Row, Sources
from infoser.report.table import Column, Table, count, number, percent, text


def information(sources: Sources) -> Table:
    """What features hold about their class, with ceiling and null, and what they teach."""
    rows = sources.results["quality"]
    estimator = rows[0]["estimator"] if rows else ""
    return Table(
        "information",
        f"Information about the emotion in features, in nats ({estimator}; mean over seeds within a fold, then folds, ± "
        "standard "
        "error over folds), beside its ceiling (ln of the number of classes) and the 95th percentile of its null "
        "(labels permuted "
        "within each fold); UA in % of a fresh classifier trained on generated and tested on real rows (TSTR), the other way "
        f"round (TRTS), and on real rows both times (TRTR). {fold_rule(sources)}.",
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


def panel(rows: Sequence[Row]) -> Table:
    """The quality panel over all classes: a row for what is added, for real and for training rows, a column for each "
    "measure."""
    by_key: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        if not row["reference"] or row["class"] != "all" or row["measure"] not in MEASURES:
            continue
        key = (row["variant"], row["cell"], row["modality"], row["reference"])
        for entry, kind in (("value", "added"), ("real", "real"), ("train", "training")):
            names = dict(zip(("variant", "cell", "modality", "reference"), key, strict=True)) | {"kind": kind}
            own = by_key.setdefault((*key, kind), names | {"n": row["rows"]})
            own[row["measure"]] = row[entry]
    own = list(by_key.values())
    return Table(
        "panel",
        "The rows that a variant adds, and as many real rows of the reference itself and training rows, held against a "
        "reference: "
        f"all classes, means over seeds within a fold, then folds; N: rows of a sample. {_PANEL}",
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
    "C2ST: accuracy of a classifier that tells the rows from the reference, 0.5 where it can't. nearer: share of rows "
    "nearer to the "
    "training rows than to as many reference rows; AUC: of being nearer to the training rows than fresh real rows are; "
    "copies: share "
    "of training rows among them."
)


def panel_by_class(rows: Sequence[Row]) -> Table:
    """Every measure of every class, with standard errors and p-values."""
    own = [
        dict(row) | {"name": MEASURES[row["measure"]][0], "p_value": row.get("p")}
        for row in rows
        if row["reference"] and row["measure"] in MEASURES
    ]
    return Table(
        "panel-by-class",
        f"The same for each class, ± standard error over folds. {_PANEL}",
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


def panel_information(rows: Sequence[Row]) -> Table:
    """Information in added rows, by fresh models, beside that in training rows."""
    own = [dict(row) | {"name": INFORMATION.get(row["measure"], row["measure"])} for row in rows if not row["reference"]]
    return Table(
        "panel-information",
        "Information in nats by fresh models on held-out rows, in added and in as many training rows. Means over seeds "
        "within a "
        "fold, then folds, ± standard error.",
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
    for row in sources.pick(variant="none", cell="", subset="all", aggregate="pooled"):
        true = getattr(known, f"bayes_ua_{row['modality']}")
        rows.append({"quantity": f"UA of none, {row['modality']}, as a fraction", "estimate": row["ua"], "truth": true})
    return Table(
        "truth",
        "The demo corpus: estimates beside the truth for unseen speakers and uniform emotions (information: lower "
        "bounds by the head "
        f"of none; UA: pooled, against the Bayes rate). {fold_rule(sources)}.",
        (text("quantity", "quantity"), number("estimate", "estimate"), number("truth", "truth")),
        rows,
    )
