"""DV, MINE, SMILE and CLUB against closed forms, NumPy and analytic gradients; the other three have a file of their own."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from infoser.losses import likelihoods
from infoser.losses import mutual_information as mi

pytestmark = pytest.mark.usefixtures("strict_arrays")

SCORES = np.random.default_rng(5).standard_normal((6, 6)).astype(np.float32)
OWN = np.eye(6, dtype=bool)
CLIP = 0.7


def smile(scores):
    return mi.smile(scores, CLIP)


def mine(scores):
    return mi.mine(scores, mi.MINE_START)[0]


ESTIMATORS = {"dv": mi.dv, "mine": mine, "smile": smile, "club": mi.club}


def reference(name, scores):
    """In float64, with the negatives picked out one by one."""
    scores = np.asarray(scores, np.float64)
    own, others = np.diagonal(scores), scores[~OWN]
    if name == "club":
        return own - scores.mean(axis=1)
    if name == "smile":
        others = np.clip(others, -CLIP, CLIP)
    return own - np.log(np.exp(others).mean())


def gradient(name):
    """Of the mean over the batch with respect to every score."""
    if name == "club":
        return np.where(OWN, 1 - 1 / 6, -1 / 6) / 6
    scores = SCORES.astype(np.float64)
    inside = np.abs(scores) < CLIP if name == "smile" else np.full_like(OWN, True)
    clipped = np.clip(scores, -CLIP, CLIP) if name == "smile" else scores
    share = np.where(OWN, 0, special.softmax(np.where(OWN, -np.inf, clipped)))
    return np.where(OWN, 1 / 6, -share * inside)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_agree_with_numpy(name):
    estimator = ESTIMATORS[name]
    np.testing.assert_allclose(estimator(jnp.asarray(SCORES)), reference(name, SCORES), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.jit(estimator)(SCORES), estimator(jnp.asarray(SCORES)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(jax.grad(lambda s: estimator(s).mean())(SCORES), gradient(name), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["dv", "mine", "smile"])
@pytest.mark.parametrize("own", [20.0, 100.0])
def test_a_confident_critic_neither_overflows_nor_swallows_the_others(name, own):
    scores = jnp.where(OWN, own, SCORES)
    np.testing.assert_allclose(ESTIMATORS[name](scores), reference(name, scores), rtol=1e-5)
    assert np.isfinite(jax.grad(lambda s: ESTIMATORS[name](s).mean())(scores)).all()


def test_dv_knows_no_constant_and_smile_does():
    shifted = jnp.asarray(SCORES + 3.0)
    np.testing.assert_allclose(mi.dv(shifted), mi.dv(jnp.asarray(SCORES)), rtol=1e-5, atol=1e-5)
    assert abs(float(smile(shifted).mean() - smile(jnp.asarray(SCORES)).mean())) > 1.0
    # Beyond all scores nothing is clipped.
    np.testing.assert_allclose(mi.smile(jnp.asarray(SCORES), 50.0), mi.dv(jnp.asarray(SCORES)), rtol=1e-6)


def test_mine_divides_the_gradient_by_the_moving_average():
    decay, average = 0.9, mi.MINE_START
    rng = np.random.default_rng(1)
    expected = None
    for _ in range(4):
        scores = (2 * rng.standard_normal((6, 6))).astype(np.float32)
        mean = np.exp(scores[~OWN].astype(np.float64)).mean()
        expected = mean if expected is None else decay * expected + (1 - decay) * mean
        (value, new), of_scores = jax.value_and_grad(
            lambda s, a: (lambda said, after: (said.mean(), after))(*mi.mine(s, a, decay)), has_aux=True
        )(scores, jnp.float32(average))
        assert float(value) == pytest.approx(reference("dv", scores).mean(), abs=1e-5)
        assert float(new) == pytest.approx(math.log(expected), abs=1e-5)
        of_others = -np.exp(scores.astype(np.float64)) / 30 / expected
        np.testing.assert_allclose(of_scores, np.where(OWN, 1 / 6, of_others), rtol=1e-4, atol=1e-7)
        average = float(new)


def test_no_gradient_flows_into_the_moving_average():
    through = jax.grad(lambda s: mi.mine(s, 0.3)[1])(SCORES)
    np.testing.assert_array_equal(through, 0)
    of_average = jax.grad(lambda a: mi.mine(jnp.asarray(SCORES), a)[0].mean())(jnp.float32(0.3))
    assert float(of_average) == 0


def test_without_memory_mine_is_dv_in_gradient_too():
    actual = jax.grad(lambda s: mi.mine(s, 5.0, 0.0)[0].mean())(SCORES)
    np.testing.assert_allclose(actual, gradient("dv"), rtol=1e-5, atol=1e-7)


def test_mine_takes_averages_that_overflow():
    value, average = mi.mine(jnp.asarray(SCORES + 200.0), jnp.float32(150.0))
    assert np.isfinite(value).all() and np.isfinite(float(average))


def correlated(rng, n, dim, rho):
    x = rng.standard_normal((n, dim))
    return (a.astype(np.float32) for a in (x, rho * x + math.sqrt(1 - rho**2) * rng.standard_normal((n, dim))))


@pytest.mark.parametrize(("dim", "rho"), [(1, 0.8), (20, 0.4)])
def test_with_the_truth_club_and_dv_reach_their_closed_forms(dim, rho):
    @jax.jit
    def read(x, y):
        conditional = jnp.full(x.shape, math.log(1 - rho**2))
        density = likelihoods.gaussian_log_likelihood_of_pairs(rho * x, conditional, y)
        marginal = likelihoods.gaussian_log_likelihood(jnp.zeros(y.shape), jnp.zeros(y.shape), y)
        ratio = density - marginal[None, :]
        return mi.club(density).mean(), mi.dv(ratio).mean(), mi.smile(ratio, 20.0).mean()

    rng, n = np.random.default_rng(dim), 256
    values = np.array([read(*correlated(rng, n, dim, rho)) for _ in range(60)], np.float64)
    errors = values.std(axis=0, ddof=1) / math.sqrt(len(values))
    truth = -0.5 * dim * math.log(1 - rho**2)
    # The all-pairs mean of CLUB has the own pair in it.
    expected = np.array([dim * rho**2 / (1 - rho**2) * (n - 1) / n, truth, truth])
    assert (errors < 0.03 * expected).all()
    assert (np.abs(values.mean(axis=0) - expected) < 4 * errors).all()


def test_sampled_club_has_the_expectation_of_club():
    rng = np.random.default_rng(3)
    density = rng.standard_normal((6, 6)).astype(np.float32)
    own = jnp.asarray(np.diagonal(density))
    # The mean over every k for every i is the mean over all pairs.
    every = [mi.sampled_club(own, jnp.asarray(np.roll(density, -k, axis=1).diagonal())).mean() for k in range(6)]
    assert float(np.mean(every)) == pytest.approx(float(mi.club(jnp.asarray(density)).mean()), abs=1e-6)


def test_shuffled_pairs_give_nothing():
    flat = jnp.full((8, 8), 2.0)
    for estimator in (mi.dv, mine, mi.club, lambda scores: mi.smile(scores, 5.0)):
        np.testing.assert_allclose(estimator(flat), 0, atol=1e-6)
    x, y = correlated(np.random.default_rng(4), 512, 4, 0.0)
    density = likelihoods.gaussian_log_likelihood_of_pairs(jnp.asarray(0.1 * x), jnp.zeros(x.shape), jnp.asarray(y))
    club = np.asarray(mi.club(density), np.float64)
    assert abs(club.mean()) < 4 * club.std() / math.sqrt(512)


def test_a_conditional_that_knows_less_gives_less_club():
    # CLUB is E[ln q] under the joint minus under the product: linear in the slope of a Gaussian q's mean at one variance.
    x, y = correlated(np.random.default_rng(6), 512, 1, 0.8)
    variance = jnp.full(x.shape, math.log(1 - 0.64))
    slopes = (0.2, 0.4, 0.8)
    values = [
        float(mi.club(likelihoods.gaussian_log_likelihood_of_pairs(jnp.asarray(s * x), variance, jnp.asarray(y))).mean())
        for s in slopes
    ]
    covariance = np.cov(x[:, 0].astype(np.float64), y[:, 0], ddof=0)[0, 1]
    np.testing.assert_allclose(values, np.array(slopes) * covariance / 0.36, rtol=1e-3)


@pytest.mark.parametrize("log_variance", [-11.0, 0.0, 5.0])
def test_the_mean_density_over_a_batch_needs_no_pairs(log_variance):
    """Also of a narrow q far from most rows, where an expanded square would be lost in rounding; gradients too."""
    rng = np.random.default_rng(5)
    mean, value = 3.0 + rng.standard_normal((9, 5)), 100.0 + rng.standard_normal((16, 5))
    spread = log_variance + 0.1 * rng.standard_normal((9, 5))
    squares = (value[None] - mean[:, None]) ** 2 / np.exp(spread)[:, None]
    expected = -0.5 * (np.log(2 * np.pi) + spread[:, None] + squares).sum(axis=-1).mean(axis=1)
    given = [jnp.asarray(one, jnp.float32) for one in (mean, spread, value)]
    np.testing.assert_allclose(likelihoods.gaussian_log_likelihood_of_all(*given), expected, rtol=1e-5)

    def of_pairs(*parameters):
        return likelihoods.gaussian_log_likelihood_of_pairs(*parameters).mean(axis=1).sum()

    def of_all(*parameters):
        return likelihoods.gaussian_log_likelihood_of_all(*parameters).sum()

    for own, other in zip(jax.grad(of_all, (0, 1, 2))(*given), jax.grad(of_pairs, (0, 1, 2))(*given), strict=True):
        np.testing.assert_allclose(own, other, rtol=2e-4)


def test_the_density_of_pairs_has_the_rows_own_on_the_diagonal():
    mean, log_variance, value = np.random.default_rng(7).standard_normal((3, 5, 4)).astype(np.float32)
    actual = likelihoods.gaussian_log_likelihood_of_pairs(*map(jnp.asarray, (mean, log_variance, value)))
    expected = stats.norm.logpdf(value[None], mean[:, None], np.exp(0.5 * log_variance[:, None])).sum(axis=-1)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    own = likelihoods.gaussian_log_likelihood(*map(jnp.asarray, (mean, log_variance, value)))
    np.testing.assert_allclose(np.diagonal(actual), own, rtol=1e-6)
