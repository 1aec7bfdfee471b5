"""Score rows of several models on the same utterances: of each, of their mean, and of what their mean posterior says.

A model is a fold's heads with one seed. `score_rows` is for folds that test different utterances; here each tests all of them,
so that a pool over folds would count an utterance once for each model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from infoser.metrics.scores import Predictions, Scores, score_rows

#: Aggregates over models: the mean of their scores; the score of their mean posterior.
MEAN, ENSEMBLE = "mean", "ensemble"
_INTERVALS = ("ua_low", "ua_high", "ua_minus_none_low", "ua_minus_none_high")


@dataclass(frozen=True)
class Posterior:
    """What one model says of the utterances.

    Attributes:
      variant, cell, modality, seed, fold: of the model.
      probability: (utterances, classes).
    """

    variant: str
    cell: str
    modality: str
    seed: int
    fold: str
    probability: Float[np.ndarray, "utterances classes"]


def restricted(
    log_probability: Float[np.ndarray, "rows classes"], chosen: Int[np.ndarray, " some"]
) -> Float[np.ndarray, "rows some"]:
    """Posteriors over some of the classes: p(c | x) / Σ p(c' | x), the sum over these."""
    logits = log_probability[:, chosen].astype(np.float64)
    likelihood = np.exp(logits - logits.max(axis=1, keepdims=True))
    return likelihood / likelihood.sum(axis=1, keepdims=True)


def score_models(
    posteriors: Sequence[Posterior],
    *,
    label: Int[np.ndarray, " utterances"],
    speaker: Shaped[np.ndarray, " utterances"],
    classes: Sequence[str],
    masks: Mapping[str, Bool[np.ndarray, " utterances"]],
    protocol: str,
    label_fraction: float,
    base_cell: str = "",
) -> Scores:
    """Rows with the keys of `score_rows`, of each fold, of `mean`, and of `ensemble` where there are two folds or more.

    mean: the folds' values (seeds averaged within each), averaged; ua_std is over folds. Its intervals are over the speakers of
      the utterances, the models taken as given: every model meets all utterances, so the UA of their pooled counts is the mean
      of theirs.
    ensemble: posteriors are averaged over folds, seed by seed, and the metrics of the likeliest class over seeds.

    In all of them n counts an utterance once.

    Args:
      posteriors: of every model; each variant, cell and modality needs every one of its seeds on every one of its folds.
      label: class index of every utterance.
      speaker: what intervals resample.
      classes: the class names in label order.
      masks: the subsets.
      protocol, label_fraction: copied into every row; the cell may name another label fraction.
      base_cell: whose `none` is the reference of cells without one.

    Raises:
      ValueError: as `score_rows` does.
    """
    rows = np.arange(len(label))
    common: dict[str, Any] = {"label": label, "speaker": speaker, "classes": classes}
    common |= {"protocol": protocol, "label_fraction": label_fraction, "base_cell": base_cell}
    folds = list(dict.fromkeys(each.fold for each in posteriors))
    single = [_predicted(each, each.fold, each.probability, rows) for each in posteriors]
    scores = score_rows(single, subset_masks=dict.fromkeys(folds, masks), **common)
    found = _of_models(scores.rows, folds)
    if len(folds) > 1:
        by_seed: dict[tuple[str, str, str, int], list[Posterior]] = {}
        for each in posteriors:
            by_seed.setdefault((each.variant, each.cell, each.modality, each.seed), []).append(each)
        together = [
            _predicted(some[0], ENSEMBLE, np.mean([each.probability for each in some], axis=0), rows)
            for some in by_seed.values()
        ]
        pooled = score_rows(together, subset_masks={ENSEMBLE: masks}, **common).rows
        found += [row | {"aggregate": ENSEMBLE, "folds": len(folds)} for row in pooled if row["aggregate"] == "pooled"]
    return Scores(found, [note for note in scores.notes if note.startswith("no intervals")])


def _predicted(model: Posterior, fold: str, probability: np.ndarray, rows: np.ndarray) -> Predictions:
    predicted = probability.argmax(axis=1)
    return Predictions(model.variant, model.cell, model.modality, model.seed, fold, rows, predicted)


def _of_models(rows: Sequence[dict[str, Any]], folds: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of each fold and of their mean, with the intervals of the pool."""
    key = ("variant", "cell", "modality", "subset")
    pooled = {tuple(row[one] for one in key): row for row in rows if row["aggregate"] == "pooled"}
    found = []
    for row in rows:
        if row["aggregate"] == "pooled":
            continue
        if row["aggregate"] == MEAN:
            own = pooled[tuple(row[one] for one in key)]
            row = row | {name: own[name] for name in _INTERVALS} | {"n": row["n"] // row["folds"]}
        found.append(row)
    return found
