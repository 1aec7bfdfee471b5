"""The Fréchet distance against closed forms, with singular covariances, and its bias in high dimension."""

import math

import numpy as np
import pytest
from scipy import linalg

from infoser.errors import InfoserError
from infoser.metrics.frechet import (
    frechet_distance,
    frechet_distance_along,
    frechet_distance_of_gaussians,
    principal_axes,
)


def covariance(rng, dim, rank=None):
    factor = rng.standard_normal((rank or dim, dim))
    return factor.T @ factor / dim


def rotation(rng, dim):
    return np.linalg.qr(rng.standard_normal((dim, dim)))[0]


def test_gaussians_that_share_axes():
    # Covariances that commute: |m - m'|^2 + sum_i (s_i - s'_i)^2.
    rng = np.random.default_rng(0)
    axes, first, second = rotation(rng, 5), rng.uniform(0, 2, 5), rng.uniform(0, 2, 5)
    means = rng.standard_normal((2, 5))
    found = frechet_distance_of_gaussians(means[0], axes * first**2 @ axes.T, means[1], axes * second**2 @ axes.T)
    assert found == pytest.approx(((means[0] - means[1]) ** 2).sum() + ((first - second) ** 2).sum())


def test_gaussians_in_general_against_the_matrix_square_root():
    rng = np.random.default_rng(1)
    one, two = covariance(rng, 6), covariance(rng, 6)
    mean = rng.standard_normal(6)
    root = linalg.sqrtm(one)
    expected = mean @ mean + np.trace(one + two - 2 * linalg.sqrtm(root @ two @ root)).real
    assert frechet_distance_of_gaussians(mean, one, np.zeros(6), two) == pytest.approx(expected, rel=1e-8)


def test_singular_covariances():
    # On orthogonal lines nothing is shared: tr S + tr S'. On the same line: the one-dimensional form.
    one, two = np.diag([4.0, 0, 0]), np.diag([0, 9.0, 0])
    assert frechet_distance_of_gaussians(np.zeros(3), one, np.zeros(3), two) == pytest.approx(13)
    assert frechet_distance_of_gaussians(np.zeros(3), one, np.zeros(3), np.diag([9.0, 0, 0])) == pytest.approx(1)


@pytest.mark.parametrize(("n", "m", "dim"), [(50, 30, 4), (5, 40, 8), (4, 3, 12), (2, 2, 1)])
def test_samples_of_any_rank_are_their_fitted_gaussians(n, m, dim):
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((n, dim)), 1 + 2 * rng.standard_normal((m, dim))
    fits = [(rows.mean(axis=0), np.atleast_2d(np.cov(rows, rowvar=False))) for rows in (x, y)]
    expected = frechet_distance_of_gaussians(*fits[0], *fits[1])
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(y, x) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(x.astype(np.float32), y) == pytest.approx(expected, rel=1e-4)


def test_shift_scale_and_nothing():
    rows = np.random.default_rng(3).standard_normal((40, 6))
    assert frechet_distance(rows, rows[::-1]) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(rows, rows + 0.5) == pytest.approx(6 * 0.25)
    spread = np.trace(np.cov(rows, rowvar=False))
    mean = rows.mean(axis=0)
    assert frechet_distance(rows, mean + 3 * (rows - mean)) == pytest.approx(4 * spread)


def test_bias_of_few_rows_in_high_dimension():
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((2, 860, 768))
    assert frechet_distance(x, y) == pytest.approx(345, abs=3)
    low = [frechet_distance(x[:, at : at + 64], y[:, at : at + 64]) for at in range(0, 768, 64)]
    assert np.mean(low) == pytest.approx(2.6, abs=0.15)


def test_principal_axes_are_those_of_the_reference():
    rng = np.random.default_rng(5)
    deviation = np.array([3.0, 2.0, 0.1, 0.1])
    turned = rotation(rng, 4)
    reference = rng.standard_normal((4000, 4)) * deviation @ turned.T + 7
    mean, axes = principal_axes(reference, 2)
    np.testing.assert_allclose(mean, reference.mean(axis=0))
    np.testing.assert_allclose(axes.T @ axes, np.eye(2), atol=1e-12)
    assert np.abs(axes.T @ turned[:, :2]).max(axis=0) == pytest.approx(1, abs=0.01)
    values = np.linalg.eigvalsh(np.cov(reference, rowvar=False))[::-1]
    np.testing.assert_allclose(np.var((reference - mean) @ axes, axis=0, ddof=1), values[:2])


def test_distance_along_axes_sees_only_them():
    rng = np.random.default_rng(6)
    reference = rng.standard_normal((300, 5)) * [5, 4, 0.1, 0.1, 0.1]
    axes = principal_axes(reference, 2)
    outside = np.linalg.svd(axes[1].T)[2][2:].sum(axis=0)
    assert frechet_distance_along(axes, reference + 9 * outside, reference) == pytest.approx(0, abs=1e-8)
    assert frechet_distance_along(axes, reference + 2 * axes[1][:, 0], reference) == pytest.approx(4)


def test_axes_stop_at_the_rank():
    rng = np.random.default_rng(7)
    flat = rng.standard_normal((30, 3)) @ rng.standard_normal((3, 8))
    assert principal_axes(flat, 6)[1].shape == (8, 3)
    assert principal_axes(rng.standard_normal((4, 8)), 6)[1].shape == (8, 3)


@pytest.mark.parametrize("bad", [np.zeros((1, 3)), np.zeros((5, 0)), np.full((5, 3), math.nan)])
def test_refusals(bad):
    with pytest.raises(InfoserError, match="Fréchet distance"):
        frechet_distance(np.zeros((5, bad.shape[1])), bad)
