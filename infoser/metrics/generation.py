"""Measures of generated features."""

import math

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


def mean_and_error(values: list[float]) -> tuple[float, float | None]:
    """Mean over runs, and its standard error (None for a single run)."""
    error = float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
    return float(np.mean(values)), error
