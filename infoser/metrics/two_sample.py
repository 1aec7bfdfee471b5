"""Classifier two-sample test: can a fresh classifier tell two samples apart on rows it has not seen?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Num

from infoser.errors import InfoserError
from infoser.metrics.samples import checked, drawn

#: Rows of each sample that a test needs: half to learn from, cut in three to choose the classifier.
LEAST_ROWS = 12

_PARTS = 3
_SHRINKAGE = 0.1
_PENALTY = 10.0


class TwoSampleTest(NamedTuple):
    """Held-out accuracy, 0.5 where two samples can't be told apart, and its p-value.

    Attributes:
      accuracy: share of held-out rows put to the right sample, averaged over splits; of the chosen classifiers.
      p_value: that a test this sure is luck, from all the splits.
      accuracies: of each split.
      p_values: of each split, by itself.
      chosen: of each split, the name of the classifier (`CLASSIFIERS`).
    """

    accuracy: float
    p_value: float
    accuracies: tuple[float, ...]
    p_values: tuple[float, ...]
    chosen: tuple[str, ...]


class _Discriminant:
    """Two Gaussians with covariances (1 - s) S + s I: the best rule where means or covariances are what differs.

    Regularised discriminant analysis (doi 10.1080/01621459.1989.10478752) for as many rows as dimensions or fewer.
    """

    def fit(self, rows: np.ndarray, second: np.ndarray) -> None:
        self._gaussians = []
        for own in (rows[~second], rows[second]):
            covariance = (1 - _SHRINKAGE) * np.atleast_2d(np.cov(own, rowvar=False)) + _SHRINKAGE * np.eye(own.shape[1])
            scale, axes = np.linalg.eigh(covariance)
            self._gaussians.append((own.mean(axis=0), axes / np.sqrt(scale), np.log(scale).sum()))

    def predict(self, rows: np.ndarray) -> np.ndarray:
        first, second = ((((rows - mean) @ root) ** 2).sum(axis=1) + volume for mean, root, volume in self._gaussians)
        return second < first


def _machine() -> Any:
    """A support vector machine with a Gaussian kernel: the best all-round rule, and the one that sees modes and curves."""
    from sklearn.svm import SVC  # takes a second to import, which training need not wait for

    return SVC(C=_PENALTY, gamma="scale")


# Of seven rules tried against six kinds of difference (tests/benchmarks/two_sample_power.py: a shifted mean, lost spread,
# lost correlations, too little spread off the leading axes, heavy tails, one Gaussian for clusters; 400 and 1,600 rows, 16 to
# 256 dimensions), these two together were best, or within 0.03 of it, against each. Logistic regression, with or without
# squares, is blind to correlations and to clusters, and a perceptron needs several times the rows.
CLASSIFIERS = {"support vectors": _machine, "discriminant": _Discriminant}


def classifier_two_sample_test(
    sample: Num[np.ndarray, "n dim"], other: Num[np.ndarray, "m dim"], *, seeds: Sequence[int] = (0, 1, 2, 3, 4)
) -> TwoSampleTest:
    """The classifier two-sample test (arXiv 1610.06545, section 3), over several splits.

    For each seed the larger sample is thinned to the size of the smaller, and half of either is learned from: features are
    standardised, cross-validation in three parts chooses one of `CLASSIFIERS`, and it is fitted to the whole half. The
    other half is classified, and p = P(Binomial(rows, 1/2) >= right). All that is chosen is chosen before, so that p is
    valid and uniform (but for its steps) where both samples are draws of one distribution. Tests of one pair of samples
    depend on each other: their common p-value is min(1, 2 median of p), which holds whatever the dependence, and is
    conservative (arXiv 0811.2177, section 2.2).

    Rows are taken as independent: where speakers differ, rows of other speakers are another distribution.

    Args:
      sample, other: the rows to tell apart.
      seeds: of the splits.

    Raises:
      InfoserError: for fewer than `LEAST_ROWS` rows, no seeds, or values that are not finite.
    """
    x = checked(sample, "two-sample test", LEAST_ROWS)
    y = checked(other, "two-sample test", LEAST_ROWS)
    if not seeds:
        raise InfoserError("two-sample test: no seeds; name at least one")
    results = [_test(x, y, np.random.default_rng(seed)) for seed in seeds]
    accuracies, p_values, chosen = zip(*results, strict=True)
    return TwoSampleTest(float(np.mean(accuracies)), common_p_value(p_values), accuracies, p_values, chosen)


def common_p_value(p_values: Sequence[float]) -> float:
    """min(1, 2 median) of p-values that may depend on each other in any way (arXiv 0811.2177); one by itself is kept."""
    return p_values[0] if len(p_values) == 1 else min(1.0, 2.0 * float(np.median(p_values)))


def _test(
    x: Float[np.ndarray, "n dim"], y: Float[np.ndarray, "m dim"], generator: np.random.Generator
) -> tuple[float, float, str]:
    """Accuracy, p-value and classifier of one split."""
    from scipy.stats import binom  # SciPy takes 0.3 s to import, which the first step need not wait for

    size = min(len(x), len(y))
    rows = np.concatenate([x[drawn(len(x), size, generator)], y[drawn(len(y), size, generator)]])
    second = np.repeat([False, True], size)
    position = np.tile(np.arange(size), 2)  # random within a sample, since the rows were drawn in random order
    learned = position < size // 2
    scores = dict.fromkeys(CLASSIFIERS, 0)
    for part in range(_PARTS):
        validated = learned & (position % _PARTS == part)
        for name in CLASSIFIERS:
            said = _said(name, rows, second, learned & ~validated, validated)
            scores[name] += int((said == second[validated]).sum())
    chosen = max(scores, key=scores.__getitem__)  # the first of equals
    right = int((_said(chosen, rows, second, learned, ~learned) == second[~learned]).sum())
    tested = int((~learned).sum())
    return right / tested, float(binom.sf(right - 1, tested, 0.5)), chosen


def _said(
    name: str,
    rows: Float[np.ndarray, "both dim"],
    second: Bool[np.ndarray, " both"],
    fitted: Bool[np.ndarray, " both"],
    asked: Bool[np.ndarray, " both"],
) -> Bool[np.ndarray, " asked"]:
    """Which of the asked rows a classifier puts to the second sample."""
    mean, deviation = rows[fitted].mean(axis=0), rows[fitted].std(axis=0)
    rows = (rows - mean) / np.where(deviation > 0, deviation, 1.0)
    classifier = CLASSIFIERS[name]()
    classifier.fit(rows[fitted], second[fitted])
    return np.asarray(classifier.predict(rows[asked]), bool)
