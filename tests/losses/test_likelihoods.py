"""Heads of Barber–Agakov bounds against SciPy, finite differences and closed forms."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from infoser.losses import likelihoods

pytestmark = pytest.mark.usefixtures("strict_arrays")

RNG = np.random.default_rng(0)
ROWS, COMPONENTS, DIM = 5, 3, 4
LOGITS = RNG.standard_normal((ROWS, COMPONENTS)).astype(np.float32)
MEAN, LOG_VARIANCE = RNG.standard_normal((2, ROWS, COMPONENTS, DIM)).astype(np.float32)
VALUE = RNG.standard_normal((ROWS, DIM)).astype(np.float32)
MIXTURE = (LOGITS, MEAN, LOG_VARIANCE, VALUE)


def mixture_reference(logits, mean, log_variance, value):
    """Σ_k π_k Π_d N, in float64 and without logarithms."""
    logits, mean, log_variance = (np.asarray(a, np.float64) for a in (logits, mean, log_variance))
    weight = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    density = stats.norm.pdf(value[:, None], mean, np.exp(0.5 * log_variance)).prod(axis=-1)
    return np.log((weight * density).sum(axis=1))


def test_mixture_is_the_density():
    expected = mixture_reference(*MIXTURE)
    actual = likelihoods.gaussian_mixture_log_likelihood(*map(jnp.asarray, MIXTURE))
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(likelihoods.gaussian_mixture_log_likelihood)(*MIXTURE), actual, rtol=1e-6)
    shifted = likelihoods.gaussian_mixture_log_likelihood(jnp.asarray(LOGITS + 7.0), *map(jnp.asarray, MIXTURE[1:]))
    np.testing.assert_allclose(shifted, actual, rtol=1e-5)
    per_dimension = likelihoods.gaussian_mixture_log_likelihood_per_dimension(*map(jnp.asarray, MIXTURE))
    np.testing.assert_allclose(per_dimension, expected / DIM, rtol=1e-5)


def test_one_component_is_the_gaussian():
    own = (MEAN[:, 0], LOG_VARIANCE[:, 0], VALUE)
    gaussian = likelihoods.gaussian_log_likelihood(*map(jnp.asarray, own))
    np.testing.assert_allclose(gaussian, stats.norm.logpdf(VALUE, own[0], np.exp(0.5 * own[1])).sum(axis=1), rtol=1e-5)
    one = likelihoods.gaussian_mixture_log_likelihood(
        *(jnp.asarray(a) for a in (LOGITS[:, :1], MEAN[:, :1], LOG_VARIANCE[:, :1], VALUE))
    )
    np.testing.assert_allclose(one, gaussian, rtol=1e-6)
    per_dimension = likelihoods.gaussian_log_likelihood_per_dimension(*map(jnp.asarray, own))
    np.testing.assert_allclose(per_dimension, gaussian / DIM, rtol=1e-6)


@pytest.mark.parametrize("argument", range(4))
def test_mixture_gradient_is_the_finite_difference(argument):
    actual = jax.grad(lambda *a: likelihoods.gaussian_mixture_log_likelihood(*a).sum(), argnums=argument)(
        *map(jnp.asarray, MIXTURE)
    )
    step = 1e-5
    for index in list(np.ndindex(MIXTURE[argument].shape))[::7]:
        ends = []
        for sign in (1, -1):
            moved = [a.astype(np.float64) for a in MIXTURE]
            moved[argument][index] += sign * step
            ends.append(mixture_reference(*moved).sum())
        assert float(actual[index]) == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=2e-4)


def test_far_values_keep_their_density_and_gradient():
    far = VALUE + 100.0
    actual, slope = jax.value_and_grad(
        lambda v: likelihoods.gaussian_mixture_log_likelihood(*map(jnp.asarray, MIXTURE[:3]), v).sum()
    )(far)
    assert np.isfinite(actual) and np.isfinite(slope).all() and np.abs(slope).max() > 1


def test_a_mixture_is_tight_where_a_gaussian_is_not():
    # y = ±2 + ε by a fair coin and x is the coin's sign but for a chance of being silent (0): with x silent, y has two modes.
    rng, rows = np.random.default_rng(1), 40_000
    coin, spoken = rng.choice([-2.0, 2.0], rows), rng.random(rows) < 0.5
    y = (coin + rng.standard_normal(rows))[:, None]
    x = np.where(spoken, coin, 0.0)
    entropy = 0.5 * math.log(2 * math.pi * math.e)
    both = np.logaddexp(stats.norm.logpdf(y[:, 0] - 2), stats.norm.logpdf(y[:, 0] + 2)) - math.log(2)
    truth = -both.mean() - (0.5 * entropy + 0.5 * -both[~spoken].mean())
    mean = np.stack([np.where(spoken, x, -2.0), np.where(spoken, x, 2.0)], axis=1)[..., None]
    arrays = (jnp.asarray(a, jnp.float32) for a in (np.zeros((rows, 2)), mean, np.zeros(mean.shape), y))
    mixture = likelihoods.barber_agakov(likelihoods.gaussian_mixture_log_likelihood(*arrays), -both.mean())
    log_variance = np.where(spoken, 0.0, math.log(5.0))[:, None]  # of the two modes together
    arrays = (jnp.asarray(a, jnp.float32) for a in (x[:, None], log_variance, y))
    gaussian = likelihoods.barber_agakov(likelihoods.gaussian_log_likelihood(*arrays), -both.mean())
    error = float(np.std(np.asarray(mixture))) / math.sqrt(rows)
    assert abs(float(mixture.mean()) - truth) < 4 * error
    assert float(gaussian.mean()) < truth - 10 * error
