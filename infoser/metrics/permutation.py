"""Shuffled nulls: what an estimate would be if labels had nothing to do with what was said of the rows."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

#: Permutations behind a null; with so many the least p-value is 0.001.
PERMUTATIONS = 999


def permuted_labels(
    label: Int[np.ndarray, " rows"], generator: np.random.Generator, permutations: int = PERMUTATIONS
) -> Int[np.ndarray, "permutations rows"]:
    """Labels dealt anew to the rows, many times; how often each occurs stays."""
    return generator.permuted(np.tile(label, (permutations, 1)), axis=1)


def permuted_information(
    log_probability: Float[np.ndarray, "rows classes"], permuted: Int[np.ndarray, "permutations rows"]
) -> Float[np.ndarray, " permutations"]:
    """`class_information_lower_bound` for every permutation of the labels, in nats."""
    weight, occurring = _class_weights(permuted[0], log_probability.shape[1])
    own = np.take_along_axis(np.asarray(log_probability, np.float64), permuted.T, axis=1)  # (rows, permutations)
    return (own * weight[permuted.T]).sum(axis=0) / occurring + math.log(occurring)


def permuted_recall(
    predicted: Int[np.ndarray, " rows"], permuted: Int[np.ndarray, "permutations rows"], n_classes: int
) -> Float[np.ndarray, " permutations"]:
    """Unweighted average recall for every permutation of the labels, over the classes that occur."""
    weight, occurring = _class_weights(permuted[0], n_classes)
    return ((permuted == predicted) * weight[permuted]).sum(axis=1) / occurring


def p_value(observed: float, null: Float[np.ndarray, " permutations"]) -> float:
    """The share of the null that is at least as large, the observation itself counted in (doi 10.2202/1544-6115.1585)."""
    return (1 + int((null >= observed).sum())) / (1 + len(null))


def mean_over_folds(by_fold: Sequence[Sequence[Float[np.ndarray, " permutations"]]]) -> Float[np.ndarray, " permutations"]:
    """Nulls of runs combined as their estimates are: seeds averaged within a fold, then folds."""
    return np.mean([np.mean(seeds, axis=0) for seeds in by_fold], axis=0)


def _class_weights(label: Int[np.ndarray, " rows"], n_classes: int) -> tuple[Float[np.ndarray, " classes"], int]:
    """1 / count of each class, and how many occur."""
    count = np.bincount(label, minlength=n_classes)
    return 1.0 / np.maximum(count, 1), int((count > 0).sum())
