"""Measures of generated features."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int


def class_information_lower_bound(log_probability: Float[np.ndarray, "rows classes"], label: Int[np.ndarray, " rows"]) -> float:
    """E[ln q(c|h)] + H(c) in nats, for uniform c: a lower bound on I(c;h) for any q not fitted to these rows.

    The expectation is the mean over classes of the mean within each, so that the bound is about a uniform prior whatever
    the rows' own frequencies; it never exceeds ln(number of classes that occur) (arXiv 1606.03657, eq. 4).
    """
    occurring = np.unique(label)
    own = np.take_along_axis(np.asarray(log_probability, np.float64), label[:, None], axis=1)[:, 0]
    return float(np.mean([own[label == one].mean() for one in occurring]) + math.log(len(occurring)))


def mean_and_error(by_fold: Mapping[str, Sequence[float]]) -> tuple[float, float | None]:
    """Seeds averaged within a fold, then over folds; and the standard error over folds (None for a single one).

    Seeds of one fold share their rows, so they are not independent estimates.
    """
    values = [float(np.mean(seeds)) for seeds in by_fold.values()]
    error = float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
    return float(np.mean(values)), error


def audio_text_information_given_class(scores: Float[np.ndarray, "rows rows"], label: Int[np.ndarray, " rows"]) -> float:
    """InfoNCE in nats with the rows of the same class as negatives: a lower bound on I(h;t|c) for any critic f(h, t).

    Mean over classes of the mean over their rows, each at most ln(rows of the class) (arXiv 1807.03748).

    Args:
      scores: f of the audio of row i and the text of row j; the diagonal holds the joint pairs.
      label: class of each row; a class of one row has nothing to be told from and is left out.
    """
    from scipy.special import logsumexp  # SciPy takes 0.3 s to import, which the first step need not wait for

    bounds = []
    for one in np.unique(label):
        own = np.asarray(scores, np.float64)[np.ix_(label == one, label == one)]
        if len(own) > 1:
            among = np.asarray(logsumexp(own, axis=1))
            bounds.append(np.mean(np.diagonal(own) - among + math.log(len(own))))
    return float(np.mean(bounds)) if bounds else 0.0
