"""Neighbour measures against brute force and expectations known in closed form; copies flagged, fresh rows not."""

import numpy as np
import pytest
from scipy import spatial, stats

from infoser.errors import InfoserError
from infoser.metrics import samples
from infoser.metrics.neighbours import (
    Memorisation,
    memorisation,
    nearer_to_train_share,
    nearest_distances,
    precision_recall_density_coverage,
)


def plain(real, generated, k):
    """As the authors' prdc writes it."""
    radius = [np.sort(spatial.distance.cdist(rows, rows), axis=1)[:, k] for rows in (real, generated)]
    between = spatial.distance.cdist(real, generated)
    precision = (between < radius[0][:, None]).any(axis=0).mean()
    recall = (between < radius[1]).any(axis=1).mean()
    density = (between < radius[0][:, None]).sum(axis=0).mean() / k
    coverage = (between.min(axis=1) < radius[0]).mean()
    return precision, recall, density, coverage


@pytest.mark.parametrize("block", [2**22, 100])
@pytest.mark.parametrize(("n", "m", "dim", "k"), [(60, 60, 3, 5), (40, 90, 8, 1), (30, 12, 2, 11)])
def test_against_brute_force(n, m, dim, k, block, monkeypatch):
    monkeypatch.setattr(samples, "BLOCK_SIZE", block)
    rng = np.random.default_rng(n)
    real, generated = 100 + rng.standard_normal((n, dim)), 100.3 + 0.7 * rng.standard_normal((m, dim))
    found = precision_recall_density_coverage(real, generated, neighbours=k)
    np.testing.assert_allclose(found, plain(real, generated, k))
    np.testing.assert_allclose(nearest_distances(real, generated), spatial.distance.cdist(real, generated).min(axis=1))


def test_one_distribution_has_the_expected_density_and_coverage():
    rng, n, k = np.random.default_rng(0), 40, 3
    found = np.array([precision_recall_density_coverage(*rng.standard_normal((2, n, 4)), neighbours=k) for _ in range(60)])
    # A real row is not covered when its k nearest of the other 2n - 1 rows are all real.
    uncovered = np.prod([(n - 1 - j) / (2 * n - 1 - j) for j in range(k)])
    errors = found.std(axis=0) / np.sqrt(len(found))
    assert abs(found[:, 2].mean() - 1) < 4 * errors[2]
    assert abs(found[:, 3].mean() - (1 - uncovered)) < 4 * errors[3]
    assert abs(found[:, 0].mean() - found[:, 1].mean()) < 4 * (errors[0] + errors[1])


def test_far_apart_lost_modes_and_outliers():
    rng = np.random.default_rng(1)
    left, right = rng.standard_normal((60, 3)), 50 + rng.standard_normal((60, 3))
    assert precision_recall_density_coverage(left, right) == (0, 0, 0, 0)
    one_mode = precision_recall_density_coverage(np.concatenate([left, right]), rng.standard_normal((60, 3)))
    assert one_mode.precision > 0.8 and one_mode.recall <= 0.5 and one_mode.coverage <= 0.5
    half_wrong = precision_recall_density_coverage(left, np.concatenate([rng.standard_normal((60, 3)), right]))
    assert half_wrong.precision <= 0.5 and half_wrong.coverage > 0.8


def test_copies_are_strictly_inside_only_where_the_radius_is():
    # A copy lies on its k-th neighbour's sphere, which rounding must not let in: exactly k rows lie inside each.
    rows = 1000 + np.random.default_rng(2).standard_normal((50, 6))
    assert precision_recall_density_coverage(rows, rows, neighbours=4) == (1, 1, 1, 1)
    same = np.ones((9, 2))
    assert precision_recall_density_coverage(same, same, neighbours=4) == (0, 0, 0, 0)


def distances(generated, fresh, train):
    return nearest_distances(generated, train), nearest_distances(fresh, train)


def test_memorisation_by_hand():
    found = memorisation(np.array([0.0, 1.0, 3.0]), np.array([1.0, 2.0, 4.0, 5.0]), quantile=1 / 3)
    # Nearer in 4 + 3 + 2 of the 12 pairs, and one tie.
    assert found.auc == pytest.approx((4 + 3 + 2 + 0.5) / 12)
    assert found.closer_share == pytest.approx(2 / 3)
    assert found.copies_share == pytest.approx(1 / 3)
    expected = stats.mannwhitneyu([0, 1, 3], [1, 2, 4, 5], alternative="less", method="asymptotic").pvalue
    assert found.p_value == pytest.approx(expected)
    assert memorisation(np.zeros(4), np.zeros(3)) == Memorisation(0.0, 0.5, 1.0, 1.0)


def test_copies_are_flagged():
    rng = np.random.default_rng(3)
    train, fresh, held_out = 30 + rng.standard_normal((3, 200, 6))
    some = np.concatenate([train[:40], 30 + rng.standard_normal((160, 6))])
    found = memorisation(*distances(some, fresh, train))
    assert found.copies_share == 0.2 and found.closer_share >= 0.2 and found.p_value < 1e-3
    near = memorisation(*distances(train + 0.05 * rng.standard_normal(train.shape), fresh, train))
    assert near.copies_share == 0 and near.closer_share > 0.99 and near.auc > 0.99
    assert nearer_to_train_share(train, train, held_out) == 1
    assert nearer_to_train_share(train, held_out, held_out) == 0.5


def test_fresh_real_rows_are_not_flagged():
    rng = np.random.default_rng(4)
    found = []
    for _ in range(80):
        train, one, other = rng.standard_normal((3, 60, 3))
        p_value = memorisation(*distances(one, other, train)).p_value
        found.append((p_value, nearer_to_train_share(one, train, other)))
    p_values, nearer = np.array(found).T
    assert stats.kstest(p_values, "uniform").pvalue > 0.001
    assert abs(nearer.mean() - 0.5) < 4 * nearer.std() / np.sqrt(len(nearer))


def test_too_little_spread_is_near_but_no_copy():
    rng = np.random.default_rng(5)
    train, fresh, held_out = rng.standard_normal((3, 400, 8))
    narrow = 0.7 * rng.standard_normal((400, 8))
    assert memorisation(*distances(narrow, fresh, train)).auc > 0.7
    assert nearer_to_train_share(narrow, train, held_out) == pytest.approx(0.5, abs=0.1)


def test_refusals():
    with pytest.raises(InfoserError, match="generated rows: 5 rows"):
        precision_recall_density_coverage(np.zeros((6, 2)), np.zeros((5, 2)))
    with pytest.raises(InfoserError, match="2 of 4 rows hold NaN or infinity .the first is row 1"):
        nearest_distances(np.array([[0.0], [np.nan], [1.0], [np.inf]]), np.zeros((1, 1)))
    with pytest.raises(InfoserError, match="memorisation"):
        memorisation(np.zeros(0), np.zeros(3))
