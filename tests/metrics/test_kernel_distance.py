"""MMD² against sums over all pairs, closed forms, unbiasedness, and the jackknife against leaving rows out and simulation."""

import math

import numpy as np
import pytest

from infoser.errors import InfoserError
from infoser.metrics import samples
from infoser.metrics.kernel_distance import gaussian_kernel, median_bandwidth, polynomial_kernel, squared_discrepancy


def by_pairs(x, y, kernel):
    """The estimator's definition, a pair at a time."""
    within = [
        np.mean([kernel(rows[i], rows[j]) for i in range(len(rows)) for j in range(len(rows)) if i != j]) for rows in (x, y)
    ]
    return within[0] + within[1] - 2 * np.mean([kernel(a, b) for a in x for b in y])


def cubic(a, b):
    return (a @ b / len(a) + 1) ** 3


def gaussian(a, b, bandwidth=1.7):
    return math.exp(-((a - b) ** 2).sum() / (2 * bandwidth**2))


KERNELS = [(polynomial_kernel, cubic), (gaussian_kernel(1.7), gaussian)]


@pytest.mark.parametrize("block", [2**22, 10])
@pytest.mark.parametrize(("kernel", "plain"), KERNELS)
def test_against_all_pairs_and_leaving_each_row_out(kernel, plain, block, monkeypatch):
    monkeypatch.setattr(samples, "BLOCK_SIZE", block)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((9, 3)), 0.5 + 1.5 * rng.standard_normal((7, 3))
    found = squared_discrepancy(x, y, kernel)
    assert found.value == pytest.approx(by_pairs(x, y, plain))
    without_x = [by_pairs(np.delete(x, i, axis=0), y, plain) for i in range(9)]
    without_y = [by_pairs(x, np.delete(y, i, axis=0), plain) for i in range(7)]
    variance = 8 * np.var(without_x) + 6 * np.var(without_y)
    assert found.standard_error == pytest.approx(math.sqrt(variance))


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_unbiased_and_the_standard_error_is_about_right(shift):
    # E exp(-|x-y|²/2s²) for x - y ~ N(m, 2 I) in one dimension is s/√(s²+2) exp(-m²/(2(s²+2))).
    rng = np.random.default_rng(1)
    found = [
        squared_discrepancy(rng.standard_normal((30, 1)), shift + rng.standard_normal((40, 1)), gaussian_kernel(1.0))
        for _ in range(100)
    ]
    values = np.array([one.value for one in found])
    truth = 2 / math.sqrt(3) * (1 - math.exp(-(shift**2) / 6))
    assert abs(values.mean() - truth) < 4 * values.std() / math.sqrt(len(values))
    ratio = math.sqrt(np.mean([one.standard_error**2 for one in found])) / values.std()
    assert 0.8 < ratio < 1.2 if shift else 0.95 < ratio < 1.8


def test_cubic_kernel_of_shifted_gaussians():
    # In one dimension the kernel compares 3 E x, 3 E x² and E x³: MMD² = 3 (dm1)² + 3 (dm2)² + (dm3)².
    rng = np.random.default_rng(2)
    found = [squared_discrepancy(rng.standard_normal((100, 1)), 0.5 + rng.standard_normal((100, 1))).value for _ in range(40)]
    truth = 3 * 0.5**2 + 3 * 0.25**2 + (0.5**3 + 3 * 0.5) ** 2
    assert abs(np.mean(found) - truth) < 4 * np.std(found) / math.sqrt(len(found))


def test_median_bandwidth():
    rows = np.random.default_rng(3).standard_normal((41, 3))
    distances = [np.linalg.norm(a - b) for i, a in enumerate(rows) for b in rows[:i]]
    assert median_bandwidth(rows) ** 2 == pytest.approx(np.median(np.square(distances)))
    assert median_bandwidth(np.ones((5, 2))) == 1.0


@pytest.mark.parametrize("bad", [np.zeros((2, 3)), np.full((5, 3), np.inf)])
def test_refusals(bad):
    with pytest.raises(InfoserError, match="kernel distance"):
        squared_discrepancy(np.zeros((5, 3)), bad)
