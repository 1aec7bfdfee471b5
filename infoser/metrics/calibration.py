"""How far a classifier's confidence can be believed: reliability bins and what sums them up."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

#: Bins of equal width, as in Guo et al. (arXiv 1706.04599).
BINS = 15


class Reliability(NamedTuple):
    """Confidence against accuracy.

    Attributes:
      low, high: (bins,) the bins' edges; a confidence belongs to the bin with low < confidence ≤ high.
      count: (bins,) predictions in a bin.
      confidence, accuracy: (bins,) their means in a bin; NaN in an empty one.
      ece: expected calibration error, Σ count/N · |accuracy − confidence|.
      nll: mean −ln of the true class' probability, in nats.
      brier: mean squared distance between the probabilities and the one-hot truth, summed over the classes (0 to 2).
    """

    low: Float[np.ndarray, " bins"]
    high: Float[np.ndarray, " bins"]
    count: Int[np.ndarray, " bins"]
    confidence: Float[np.ndarray, " bins"]
    accuracy: Float[np.ndarray, " bins"]
    ece: float
    nll: float
    brier: float


def reliability(probability: Float[np.ndarray, "n classes"], label: Int[np.ndarray, " n"], bins: int = BINS) -> Reliability:
    """Reliability of the likeliest class.

    Args:
      probability: of each class; each row sums to 1.
      label: true class indices.
      bins: of equal width between 0 and 1.

    Raises:
      ValueError: without predictions.
    """
    if len(label) == 0:
        raise ValueError("there are no predictions")
    probability = np.asarray(probability, np.float64)
    confidence, correct = probability.max(axis=1), probability.argmax(axis=1) == label
    edges = np.linspace(0, 1, bins + 1)
    which = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    count = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_confidence, accuracy = (np.bincount(which, of, minlength=bins) / count for of in (confidence, correct))
    filled = count > 0
    ece = float(np.sum(count[filled] * np.abs(accuracy - mean_confidence)[filled]) / len(label))
    true = np.take_along_axis(probability, np.asarray(label)[:, None], axis=1)[:, 0]
    one_hot = np.eye(probability.shape[1])[label]
    # A probability that was rounded to nothing counts as the smallest number.
    nll = float(-np.log(np.maximum(true, np.finfo(np.float32).tiny)).mean())
    brier = float(np.square(probability - one_hot).sum(axis=1).mean())
    return Reliability(edges[:-1], edges[1:], count, mean_confidence, accuracy, ece, nll, brier)
