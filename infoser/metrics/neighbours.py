"""Measures by nearest neighbours: precision, recall, density, coverage; and whether training rows were memorised."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from infoser.metrics.samples import block_reductions, checked, squared_distances

#: Of the largest squared norm: distances nearer than this are ties, since they are only computed to about 1e-15 of it.
_TIE = 1e-12


class Manifold(NamedTuple):
    """How two samples' neighbourhoods overlap; see `precision_recall_density_coverage`."""

    precision: float
    recall: float
    density: float
    coverage: float


class Memorisation(NamedTuple):
    """How near generated rows lie to training rows, against fresh real ones; see `memorisation`."""

    closer_share: float
    auc: float
    p_value: float
    copies_share: float


def precision_recall_density_coverage(
    real: Num[np.ndarray, "n dim"], generated: Num[np.ndarray, "m dim"], *, neighbours: int = 5
) -> Manifold:
    """Precision and recall (arXiv 1904.06991, eq. 2), density and coverage (arXiv 2002.09797, eq. 3 and 4).

    With r(x) the distance from x to its k-th nearest other row of its own sample (the (k + 1)-th sorted distance, its own
    included) and inside meaning nearer than r, strictly, as in the authors' `prdc`:

      precision  share of generated rows inside r of any real row
      recall     share of real rows inside r of any generated row
      density    mean over generated rows of (real rows in whose r it is) / k; may exceed 1
      coverage   share of real rows with any generated row inside their r

    For two samples of n rows of one distribution, density is 1 on average and coverage 1 - prod_j (n - 1 - j) / (2n - 1 - j)
    over j < k. Distances that differ by rounding alone count as equal, so never as inside.

    Raises:
      InfoserError: for k or fewer rows, or values that are not finite.
    """
    x = checked(real, "precision and recall, real rows", neighbours + 1)
    y = checked(generated, "precision and recall, generated rows", neighbours + 1)
    x, y, tie = _centred(x, y)
    radius_x, radius_y = _radius(x, neighbours) - tie, _radius(y, neighbours) - tie
    containing, recalled, covered = np.zeros(len(y)), np.empty(len(x), bool), np.empty(len(x), bool)

    def compare(rows: slice, squared: np.ndarray) -> None:
        inside = squared < radius_x[rows, None]
        np.add(containing, inside.sum(axis=0), out=containing)
        covered[rows] = inside.any(axis=1)
        recalled[rows] = (squared < radius_y).any(axis=1)

    block_reductions(x, y, squared_distances, compare)
    return Manifold(
        precision=float((containing > 0).mean()),
        recall=float(recalled.mean()),
        density=float(containing.mean() / neighbours),
        coverage=float(covered.mean()),
    )


def nearest_distances(rows: Num[np.ndarray, "n dim"], among: Num[np.ndarray, "m dim"]) -> Float[np.ndarray, " n"]:
    """The distance from each row to the nearest of `among`; what rounding alone keeps from 0 is 0.

    Raises:
      InfoserError: for no rows, or values that are not finite.
    """
    x, y, tie = _centred(checked(rows, "nearest distances", 1), checked(among, "nearest distances", 1))
    nearest = np.empty(len(x))

    def take(block: slice, squared: np.ndarray) -> None:
        nearest[block] = squared.min(axis=1)

    block_reductions(x, y, squared_distances, take)
    return np.sqrt(np.where(nearest < tie, 0.0, nearest))


def memorisation(generated: Float[np.ndarray, " n"], fresh: Float[np.ndarray, " m"], *, quantile: float = 0.05) -> Memorisation:
    """Whether generated rows lie nearer to the training rows than fresh real rows do (arXiv 2004.05675, section 3).

    A generator may be near to its training rows for lack of spread, without copying any: see `nearer_to_train_share`.

    Args:
      generated: `nearest_distances` of generated rows among the training rows.
      fresh: the same of real rows that nothing was trained on. The two numbers of rows may differ.
      quantile: of the fresh rows' distances.

    Returns:
      closer_share: share of generated rows closer than the `quantile` of the fresh rows; about `quantile` where neither
        is nearer.
      auc: P(a generated row is nearer than a fresh one), ties counted half; 0.5 where neither is.
      p_value: of the one-sided Mann-Whitney test (doi 10.1214/aoms/1177730491) that generated rows are nearer. It takes
        rows as independent.
      copies_share: share of generated rows that are training rows, to the bit or nearly.

    Raises:
      InfoserError: for no distances.
    """
    from scipy.stats import mannwhitneyu  # SciPy takes 0.3 s to import, which the first step need not wait for

    generated, fresh = (checked(values[:, None], "memorisation", 1)[:, 0] for values in (generated, fresh))
    test = mannwhitneyu(generated, fresh, alternative="less", method="asymptotic")
    pairs = len(generated) * len(fresh)
    return Memorisation(
        closer_share=float((generated < np.quantile(fresh, quantile)).mean()),
        auc=1.0 - float(test.statistic) / pairs,
        p_value=1.0 if math.isnan(test.pvalue) else float(test.pvalue),  # NaN where all distances are equal
        copies_share=float((generated == 0).mean()),
    )


def nearer_to_train_share(
    rows: Num[np.ndarray, "n dim"], train: Num[np.ndarray, "m dim"], held_out: Num[np.ndarray, "m dim"]
) -> float:
    """Share of rows whose nearest training row is nearer than their nearest held-out real row, ties counted half.

    0.5 for rows that owe nothing to these very training rows, where both are equally many draws of one distribution:
    then also for a generator of too little spread, which `memorisation` would flag. 1 for copies of rows in `train`.
    Training rows that are left out to have as many on both sides hide their copies.

    Raises:
      InfoserError: for values that are not finite.
    """
    to_train, to_held_out = nearest_distances(rows, train), nearest_distances(rows, held_out)
    return float(((to_train < to_held_out) + 0.5 * (to_train == to_held_out)).mean())


def _centred(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The rows about their common mean, which costs distances the least precision; and what counts as a tie."""
    mean = (x.sum(axis=0) + y.sum(axis=0)) / (len(x) + len(y))
    x, y = x - mean, y - mean
    return x, y, _TIE * max(float((part**2).sum(axis=1).max()) for part in (x, y))


def _radius(rows: Float[np.ndarray, "n dim"], neighbours: int) -> Float[np.ndarray, " n"]:
    """The squared distance from each row to its k-th nearest other one."""
    radius = np.empty(len(rows))

    def take(block: slice, squared: np.ndarray) -> None:
        radius[block] = np.partition(squared, neighbours, axis=1)[:, neighbours]

    block_reductions(rows, rows, squared_distances, take)
    return radius
