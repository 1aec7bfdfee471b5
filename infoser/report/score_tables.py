"""The tables of a report, from score rows, qualities, panels and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from infoser.metrics.calibration import Reliability
from infoser.report.captions import fold_rule, n_of, n_of_rows
from infoser.report.sources import SIGNIFICANCE, Row, Said, Sources
from infoser.report.table import SETTINGS, Column, Table, count, number, percent, significant, text

#: Least probable utterances that are listed of each variant and modality.
WORST = 10
_SCORES = ("wa", "ua", "macro_f1")
WHO = (text("variant", "variant"), text("cell", "cell", "settings that differ from the run's own", most=SETTINGS))
INTERVAL = " [{}, {}]"


def headline(sources: Sources, modality: str, subset: str = "all") -> Table:
    """WA, UA and macro-F1 of every variant and cell: mean over folds, pooled, and the difference to `none`."""
    rows = []
    own = sources.pick(modality=modality, subset=subset)
    by_key = {(row["variant"], row["cell"], row["aggregate"]): row for row in own}
    for variant, cell in dict.fromkeys((row["variant"], row["cell"]) for row in own):
        mean, pooled = (by_key[variant, cell, aggregate] for aggregate in ("mean", "pooled"))
        row = {"variant": variant, "cell": cell, "modality": modality, "subset": subset}
        row |= {f"{key}_mean": mean[key] for key in _SCORES} | {"ua_std": mean["ua_std"]}
        row |= {f"{key}_pooled": pooled[key] for key in _SCORES}
        row |= {key: pooled[key] for key in ("ua_low", "ua_high")}
        row |= {key: pooled[key] for key in ("ua_minus_none", "ua_minus_none_low", "ua_minus_none_high")}
        significance = sources.significance.get((variant, cell, modality, subset), {})
        row |= {name: significance.get(name) for name in SIGNIFICANCE}
        row |= {"label_multiplier": sources.multiples.get((variant, cell, modality, subset), "")}
        rows.append(row | {key: pooled[key] for key in ("folds", "seeds", "n", "protocol", "label_fraction")})
    where = f"{modality}" + ("" if subset == "all" else f", {subset.replace('_', '-')} utterances")
    return Table(
        f"headline-{modality}" + ("" if subset == "all" else f"-{subset}"),
        f"{where}: WA, UA and macro-F1 in %. {fold_rule(sources)}; {n_of_rows(rows)}. Mean: seeds averaged within a fold, "
        "then over folds, ± standard deviation over folds. Pooled: predictions of all folds together, [95 % interval over "
        "speakers].",
        shown(
            rows,
            *WHO,
            percent("UA mean ± std", "ua_mean", "ua_std", rest=" ± {}"),
            percent("WA mean", "wa_mean"),
            percent("macro-F1 mean", "macro_f1_mean"),
            percent("UA pooled [95 %]", "ua_pooled", "ua_low", "ua_high", rest=INTERVAL),
            percent("WA pooled", "wa_pooled"),
            percent("macro-F1 pooled", "macro_f1_pooled"),
            percent(
                "UA − none, pooled [95 %]",
                "ua_minus_none",
                "ua_minus_none_low",
                "ua_minus_none_high",
                rest=INTERVAL,
                signed=True,
                about="paired by fold and seed",
            ),
            number("p", "ua_minus_none_p", about="of the pooled difference"),
            number("p, Holm", "ua_minus_none_p_holm", about="after Holm's method over the primary family"),
            text(
                "labels ×", "label_multiplier", "labels that none needs for the same, by its own learning curve; > <: beyond it"
            ),
            count("N", "n", "test utterances, each counted once"),
            count("folds", "folds"),
            count("seeds", "seeds"),
        ),
        rows,
    )


def folds(sources: Sources, modality: str) -> Table:
    """WA, UA and macro-F1 of every fold."""
    rows = [row for row in sources.pick(modality=modality, subset="all") if row["aggregate"] not in ("mean", "pooled")]
    return Table(
        f"folds-{modality}",
        f"{modality}, each fold: WA, UA and macro-F1 in %, averaged over seeds. {fold_rule(sources)}; {n_of_rows(rows)}.",
        shown(
            rows,
            *WHO,
            text("fold", "aggregate"),
            percent("UA ± std over seeds", "ua", "ua_std", rest=" ± {}"),
            percent("WA", "wa"),
            percent("macro-F1", "macro_f1"),
            percent("UA − none", "ua_minus_none", signed=True),
            count("N", "n"),
            count("seeds", "seeds"),
        ),
        [_without(row, "recalls", "confusion", "folds") for row in rows],
    )


def recalls(sources: Sources, modality: str) -> Table:
    """Recall of every class, pooled over folds."""
    rows = []
    for row in sources.pick(modality=modality, subset="all", aggregate="pooled"):
        own = {"variant": row["variant"], "cell": row["cell"], "modality": modality, "ua": row["ua"], "n": row["n"]}
        rows.append(own | {f"recall {name}": row["recalls"][name] for name in sources.classes})
    return Table(
        f"recalls-{modality}",
        f"{modality}, each class: recall in %, pooled over folds, averaged over seeds; UA is their mean over the "
        f"classes present. {fold_rule(sources)}; {n_of_rows(rows)}.",
        shown(
            rows,
            *WHO,
            *(percent(name, f"recall {name}") for name in sources.classes),
            percent("UA", "ua"),
            count("N", "n"),
        ),
        rows,
    )


def confusions(sources: Sources, modality: str) -> Table:
    """Counts and rates of true and predicted classes."""
    rows, pooled = [], sources.pick(modality=modality, subset="all", aggregate="pooled")
    for row in pooled:
        for name, counts in zip(sources.classes, row["confusion"], strict=True):
            own = {"variant": row["variant"], "cell": row["cell"], "modality": modality, "true": name}
            whole = sum(counts)
            own |= {f"count {other}": each for other, each in zip(sources.classes, counts, strict=True)}
            own |= {f"rate {o}": each / whole if whole else None for o, each in zip(sources.classes, counts, strict=True)}
            rows.append(own)
    return Table(
        f"confusion-{modality}",
        f"{modality}: confusion counts, utterances of each true class (rows) by predicted class (columns), summed over folds "
        "and seeds, and the same as % of the true class, which is the recall where both are the same. "
        f"{fold_rule(sources)}; {n_of_rows(pooled)}, each once per seed.",
        shown(
            rows,
            *WHO,
            text("true class", "true"),
            *(count(f"{name}, count", f"count {name}") for name in sources.classes),
            *(percent(f"{name}, %", f"rate {name}") for name in sources.classes),
        ),
        rows,
    )


def chosen(sources: Sources) -> list[Table]:
    """What was chosen for every fold, and what every candidate came to."""
    rows = sources.results["selection"]
    what = (
        "by pooled UA on dev rows of the training part, all inner folds together, averaged over seeds: first a head of "
        "those that none has too, the first or one that gains more over it than the gain's standard error; then that head or "
        "another candidate that gains more over it than that gain's error; with fewer labels, for every seed by itself"
    )
    columns = (
        text("chosen among candidates of", "variant"),
        text("cell", "cell", most=SETTINGS),
        text("modality", "modality"),
        text("fold", "fold"),
        text("candidate", "candidate", most=SETTINGS),
        percent("dev UA", "dev_ua"),
        percent("gain ± its error", "dev_gain", "dev_gain_se", rest=" ± {}", about="over dev parts"),
        text("over", "compared_with", most=SETTINGS),
        count("dev utterances", "dev_utterances", "of all seeds together"),
        count("seed", "seed"),
    )
    every = [row | {"taken": "chosen" if row["chosen"] else ""} for row in rows]
    said = f"{fold_rule(sources)}; {n_of((row['dev_utterances'] for row in rows), 'dev utterances')} of all seeds together."
    return [
        Table(
            "selection",
            f"What was chosen, {what}. {said}",
            shown(rows, *columns),
            [row for row in rows if row["chosen"]],
        ),
        Table(
            "candidates",
            f"What every candidate came to, {what}. {said}",
            shown(every, *columns, text("chosen", "taken")),
            every,
        ),
    ]


def calibration(found: Mapping[tuple[str, str], Reliability], sources: Sources) -> Table:
    """ECE, NLL and the Brier score of every variant and modality."""
    rows = []
    for (variant, modality), own in found.items():
        filled = own.count > 0
        weight = own.count[filled] / own.count.sum()
        rows.append(
            {
                "variant": variant,
                "cell": sources.base,
                "modality": modality,
                "ece": own.ece,
                "confidence": float((weight * own.confidence[filled]).sum()),
                "accuracy": float((weight * own.accuracy[filled]).sum()),
                "nll_nats": own.nll,
                "brier": own.brier,
                "n": int(own.count.sum()),
            }
        )
    return Table(
        "calibration",
        "Calibration over the predictions of all folds and seeds together. ECE: expected calibration error in % (15 "
        "bins of equal width); confidence: mean probability of the predicted class; WA: how often it is right; NLL: mean −ln "
        f"of the true class' probability; Brier: 0 (best) to 2. {fold_rule(sources)}; "
        f"{n_of((row['n'] for row in rows), 'predictions')}, of each utterance one per seed.",
        shown(
            rows,
            text("variant", "variant"),
            WHO[1],
            text("modality", "modality"),
            percent("ECE", "ece"),
            percent("confidence", "confidence"),
            percent("WA", "accuracy"),
            number("NLL, nats", "nll_nats"),
            number("Brier", "brier"),
            count("N", "n"),
        ),
        rows,
    )


def worst(said: Mapping[tuple[str, str], Said], sources: Sources, name: str = "worst") -> Table:
    """The labelled test utterances whose true class got the least probability, averaged over seeds."""
    rows: list[dict[str, Any]] = []
    sizes = []
    for (variant, modality), own in said.items():
        ids, first, which = np.unique(own.utterance_id.astype(str), return_index=True, return_inverse=True)
        seeds = np.bincount(which)
        sizes.append(len(ids))
        mean = np.stack([np.bincount(which, each) / seeds for each in own.probability.T.astype(np.float64)], axis=1)
        label = own.label[first]
        true = np.take_along_axis(mean, label[:, None], axis=1)[:, 0]
        for place, i in enumerate(np.argsort(true, kind="stable")[:WORST], start=1):
            predicted = int(mean[i].argmax())
            rows.append(
                {
                    "variant": variant,
                    "modality": modality,
                    "rank": place,
                    "utterance_id": str(ids[i]),
                    "fold": str(own.fold[first[i]]),
                    "true": sources.classes[int(label[i])],
                    "predicted": sources.classes[int(predicted)],
                    "probability_of_true": float(true[i]),
                    "probability_of_predicted": float(mean[i, predicted]),
                    "seeds": int(seeds[i]),
                }
            )
    return Table(
        name,
        f"The {WORST} labelled test utterances of each variant and modality whose true class got the least probability, "
        f"p(true), averaged over seeds. {fold_rule(sources)}; {n_of(sizes)} to choose from.",
        (
            text("utterance", "utterance_id"),
            text("variant", "variant"),
            text("modality", "modality"),
            count("rank", "rank"),
            text("true", "true"),
            text("predicted", "predicted"),
            significant("p(true)", "probability_of_true", 2),
            significant("p(predicted)", "probability_of_predicted", 3),
            text("fold", "fold"),
            count("seeds", "seeds"),
        ),
        rows,
    )


def shown(rows: Sequence[Row], *columns: Column) -> tuple[Column, ...]:
    """The columns without those that say nothing: a cell that is the same '' everywhere, numbers that are nowhere."""
    return tuple(
        column
        for column in columns
        if (column.fields not in (("cell",), ("label_multiplier",)) and column.places is None)
        or any(row.get(column.fields[0]) not in (None, "") for row in rows)
    )


def _without(row: Row, *names: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in names}
