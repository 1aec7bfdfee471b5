"""Classification metrics as functions of confusion counts, over any leading axes.

A class that is absent from the truth has no recall and takes no part in an average over classes.
"""

import numpy as np
from jaxtyping import Float, Int, Num
from numpy.typing import ArrayLike


def confusion_matrix(
    label: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n_predicted"], n_classes: int
) -> Int[np.ndarray, "classes classes"]:
    """Counts of (true class, predicted class): (C, C) int64, a row for each true class.

    Raises:
      ValueError: for arrays of different lengths, or a class outside 0..C-1.
    """
    label, predicted = np.asarray(label), np.asarray(predicted)
    if label.shape != predicted.shape:
        raise ValueError(f"{len(label)} labels but {len(predicted)} predictions")
    for name, values in (("label", label), ("prediction", predicted)):
        if values.size and not 0 <= values.min() <= values.max() < n_classes:
            raise ValueError(f"a {name} is outside 0..{n_classes - 1}")
    flat = np.bincount(label.astype(np.int64) * n_classes + predicted, minlength=n_classes**2)
    return flat.reshape(n_classes, n_classes)


def class_recalls(confusion: Num[np.ndarray, "*stack classes classes"]) -> Float[np.ndarray, "*stack classes"]:
    """Recall of each class, correct / true; NaN for a class absent from the truth."""
    return _ratio(_correct(confusion), confusion.sum(axis=-1))


def weighted_accuracy(confusion: Num[np.ndarray, "*stack classes classes"]) -> Float[np.ndarray, "*stack"]:
    """WA: the share of utterances classified correctly (plain accuracy); NaN where there are none."""
    return _ratio(_correct(confusion).sum(axis=-1), confusion.sum(axis=(-2, -1)))


def unweighted_average_recall(confusion: Num[np.ndarray, "*stack classes classes"]) -> Float[np.ndarray, "*stack"]:
    """UA: the mean recall over the classes present in the truth; NaN where there are none."""
    return _mean_over_present(class_recalls(confusion), confusion)


def macro_f1(confusion: Num[np.ndarray, "*stack classes classes"]) -> Float[np.ndarray, "*stack"]:
    """Mean over the classes present in the truth of F1 = 2 correct / (true + predicted); NaN where there are none."""
    f1 = _ratio(2 * _correct(confusion), confusion.sum(axis=-1) + confusion.sum(axis=-2))
    return _mean_over_present(f1, confusion)


def _correct(confusion: np.ndarray) -> np.ndarray:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def _ratio(numerator: ArrayLike, denominator: ArrayLike) -> np.ndarray:
    """numerator / denominator in float64, NaN where the denominator is zero."""
    empty = np.full(np.shape(denominator), np.nan)
    return np.divide(numerator, denominator, out=empty, where=np.asarray(denominator) > 0)


def _mean_over_present(per_class: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    present = confusion.sum(axis=-1) > 0
    return _ratio(np.where(present, per_class, 0.0).sum(axis=-1), present.sum(axis=-1))
