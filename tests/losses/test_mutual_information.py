"""Estimates of mutual information against closed forms, NumPy and analytic gradients."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from infoser.losses import mutual_information as mi

pytestmark = pytest.mark.usefixtures("strict_arrays")


def correlated(rng, batches, n, dim, rho):
    """Pairs of standard Gaussians with correlation rho in each dimension: I = −(d/2) ln(1 − ρ²)."""
    x = rng.standard_normal((batches, n, dim))
    return x, rho * x + math.sqrt(1 - rho**2) * rng.standard_normal((batches, n, dim))


def log_ratio(x, y, rho):
    """ln p(x, y) / p(x) p(y) for all pairs of a batch: the best critic there is."""
    x, y = x[..., :, None, :], y[..., None, :, :]
    log_density = -0.5 * math.log(1 - rho**2) - (rho**2 * (x**2 + y**2) - 2 * rho * x * y) / (2 * (1 - rho**2))
    return log_density.sum(axis=-1).astype(np.float32)


BATCHED = {estimator: jax.jit(jax.vmap(estimator)) for estimator in (mi.infonce, mi.nwj, mi.jsd)}


def over_batches(estimator, scores):
    return np.asarray(BATCHED[estimator](jnp.asarray(scores)), np.float64).mean(axis=1)


@pytest.fixture(scope="module")
def batches():
    rho = math.sqrt(1 - math.exp(-2 * 2.0 / 20))
    x, y = correlated(np.random.default_rng(0), 200, 64, 20, rho)
    return x, y, rho, 2.0


def test_infonce_with_the_best_critic_is_below_the_truth_but_not_by_much(batches):
    x, y, rho, truth = batches
    estimates = over_batches(mi.infonce, log_ratio(x, y, rho))
    # 1.82 ± 0.19 (sd over batches of 64) is what this estimator can do at I = 2.
    assert abs(estimates.mean() - 1.82) < 0.05
    assert estimates.mean() < truth
    assert estimates.max() <= math.log(64)


def test_nwj_is_unbiased_at_the_best_critic(batches):
    x, y, rho, truth = batches
    estimates = over_batches(mi.nwj, 1 + log_ratio(x, y, rho))
    error = estimates.std(ddof=1) / math.sqrt(len(estimates))
    assert error < 0.03
    assert abs(estimates.mean() - truth) < 4 * error


def test_a_worse_critic_gives_a_lower_bound(batches):
    x, y, rho, _ = batches
    scores = log_ratio(x, y, rho)
    best = over_batches(mi.infonce, scores).mean(), over_batches(mi.nwj, 1 + scores).mean()
    for worse in (0.5 * scores, 1.5 * scores, log_ratio(x, y, rho / 2)):
        assert over_batches(mi.infonce, worse).mean() < best[0]
        assert over_batches(mi.nwj, 1 + worse).mean() < best[1]


@pytest.mark.parametrize("scale", [0.1, 10.0, 1e4])
@pytest.mark.parametrize("n", [2, 7, 64])
def test_infonce_never_exceeds_ln_n(n, scale):
    scores = scale * np.random.default_rng(n).standard_normal((n, n)).astype(np.float32)
    scores += scale * 5 * np.eye(n, dtype=np.float32)
    assert (mi.infonce(jnp.asarray(scores)) <= jnp.log(n)).all()


def test_shuffled_pairs_give_nothing(batches):
    x, y, rho, _ = batches
    shuffled = log_ratio(x, np.roll(y, 1, axis=1), rho)
    assert over_batches(mi.infonce, shuffled).mean() < 0
    assert over_batches(mi.nwj, 1 + shuffled).mean() < 0
    # The best critic of independent pairs is constant.
    np.testing.assert_allclose(mi.infonce(jnp.full((8, 8), 3.0)), 0, atol=1e-6)
    np.testing.assert_allclose(mi.nwj(jnp.ones((8, 8))), 0, atol=1e-6)
    np.testing.assert_allclose(mi.jsd(jnp.zeros((8, 8))), -2 * math.log(2), rtol=1e-6)


def test_the_log_ratio_maximises_jsd():
    rho = 0.8
    x, y = correlated(np.random.default_rng(1), 20, 128, 1, rho)
    scores = log_ratio(x, y, rho)
    best = over_batches(mi.jsd, scores).mean()
    assert best > -2 * math.log(2)
    bump = np.tanh(x * np.swapaxes(y, 1, 2)).astype(np.float32)
    for perturbed in (0.5 * scores, 1.5 * scores, scores + 0.5, scores - 0.5, scores + 0.5 * bump, scores - 0.5 * bump):
        assert over_batches(mi.jsd, perturbed).mean() < best


JOINT = np.array([[0.20, 0.05, 0.05], [0.02, 0.25, 0.03], [0.05, 0.10, 0.25]])  # p(class, symbol)


def barber_agakov(log_q):
    """E[ln q(c|x)] + H(c), summed over the table with every (class, symbol) as a row."""
    label, symbol = np.divmod(np.arange(9), 3)
    rows = mi.categorical_log_likelihood(jnp.asarray(log_q[symbol], jnp.float32), jnp.asarray(label, jnp.int32))
    return float(JOINT.ravel() @ np.asarray(rows, np.float64)) + stats.entropy(JOINT.sum(axis=1))


def test_barber_agakov_is_tight_with_the_true_posterior():
    posterior = np.log(JOINT / JOINT.sum(axis=0)).T
    independent = JOINT.sum(axis=1, keepdims=True) * JOINT.sum(axis=0)
    truth = float((JOINT * np.log(JOINT / independent)).sum())
    assert barber_agakov(posterior) == pytest.approx(truth, abs=1e-6)
    # Logits may be shifted by any constant.
    assert barber_agakov(posterior + 100.0) == pytest.approx(truth, abs=1e-5)


def test_barber_agakov_is_a_lower_bound_for_any_q():
    posterior = np.log(JOINT / JOINT.sum(axis=0)).T
    best, entropy = barber_agakov(posterior), stats.entropy(JOINT.sum(axis=1))
    rng = np.random.default_rng(2)
    for scale in (0.1, 1.0, 30.0):
        assert barber_agakov(posterior + scale * rng.standard_normal((3, 3))) < best < entropy
    # Even a q that is always sure cannot exceed H(c).
    assert barber_agakov(50 * np.eye(3)) < entropy


def test_gaussian_log_likelihood_is_the_density():
    rng = np.random.default_rng(3)
    mean, log_variance, value = rng.standard_normal((3, 5, 4)).astype(np.float32)
    expected = stats.norm.logpdf(value, mean, np.exp(0.5 * log_variance)).mean(axis=1)
    actual = mi.gaussian_log_likelihood_per_dimension(*map(jnp.asarray, (mean, log_variance, value)))
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_gaussian_bound_is_tight_with_the_true_conditional():
    rho, rows = 0.8, 20_000
    x, y = correlated(np.random.default_rng(4), 1, rows, 3, rho)
    log_variance = np.full((rows, 3), math.log(1 - rho**2))
    arrays = (jnp.asarray(a, jnp.float32) for a in (rho * x[0], log_variance, y[0]))
    entropy = 0.5 * math.log(2 * math.pi * math.e)
    bound = np.asarray(mi.gaussian_log_likelihood_per_dimension(*arrays), np.float64) + entropy
    assert abs(bound.mean() - 0.5108) < 4 * bound.std() / math.sqrt(rows)


SCORES = np.random.default_rng(5).standard_normal((6, 6)).astype(np.float32)
DIAGONAL = np.eye(6, dtype=bool)


def reference(name, scores):
    """Row by row, in float64."""
    scores = scores.astype(np.float64)
    n = len(scores)
    rows = []
    for i in range(n):
        own, others = scores[i, i], np.delete(scores[i], i)
        rows.append(
            {
                "infonce": own - np.log(np.mean(np.exp(scores[i]))),
                "nwj": own - np.exp(others - 1).mean(),
                "jsd": -np.log1p(np.exp(-own)) - np.log1p(np.exp(others)).mean(),
            }[name]
        )
    return np.array(rows)


def gradient(name):
    """Of the mean over the batch with respect to every score."""
    scores, n = SCORES.astype(np.float64), len(SCORES)
    own, others = {
        "infonce": (1 - special.softmax(scores, axis=1), -special.softmax(scores, axis=1)),
        "nwj": (np.ones((n, n)), -np.exp(scores - 1) / (n - 1)),
        "jsd": (special.expit(-scores), -special.expit(scores) / (n - 1)),
    }[name]
    return np.where(DIAGONAL, own, others) / n


@pytest.mark.parametrize("name", ["infonce", "nwj", "jsd"])
def test_critic_estimators_agree_with_numpy(name):
    estimator = getattr(mi, name)
    np.testing.assert_allclose(estimator(jnp.asarray(SCORES)), reference(name, SCORES), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.jit(estimator)(SCORES), estimator(jnp.asarray(SCORES)), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(jax.grad(lambda s: estimator(s).mean())(SCORES), gradient(name), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["nwj", "jsd"])
def test_the_mean_over_others_leaves_the_own_pair_out(name):
    # Read from the gradient: what a row's negatives contribute does not depend on the diagonal.
    estimator = getattr(mi, name)
    for diagonal in (-3.0, 0.0, 3.0):
        scores = jnp.where(DIAGONAL, diagonal, SCORES)
        np.testing.assert_allclose(estimator(scores), reference(name, np.asarray(scores)), rtol=1e-5)
        off = np.asarray(jax.grad(lambda s: estimator(s).mean())(scores))[~DIAGONAL]
        np.testing.assert_allclose(off, gradient(name)[~DIAGONAL], rtol=1e-5)


@pytest.mark.parametrize("name", ["infonce", "nwj", "jsd"])
@pytest.mark.parametrize("own", [20.0, 100.0])
def test_a_confident_critic_keeps_its_precision(name, own):
    # Joint pairs score far above the others: exp of the diagonal must not swallow the negatives, nor overflow.
    estimator = getattr(mi, name)
    scores = jnp.where(DIAGONAL, own, SCORES)
    expected = reference(name, np.asarray(scores))
    np.testing.assert_allclose(estimator(scores), expected, rtol=1e-5)
    assert np.isfinite(jax.grad(lambda s: estimator(s).mean())(scores)).all()


def test_log_likelihood_gradients():
    rng = np.random.default_rng(6)
    logits, label = rng.standard_normal((5, 3)).astype(np.float32), np.array([0, 2, 1, 1, 0], np.int32)
    actual = jax.grad(lambda z: mi.categorical_log_likelihood(z, jnp.asarray(label)).sum())(logits)
    np.testing.assert_allclose(actual, np.eye(3)[label] - special.softmax(logits, axis=1), rtol=1e-5, atol=1e-6)

    mean, log_variance, value = rng.standard_normal((3, 5, 4)).astype(np.float32)
    of_mean, of_log_variance = jax.grad(
        lambda m, s: mi.gaussian_log_likelihood_per_dimension(m, s, jnp.asarray(value)).sum(), argnums=(0, 1)
    )(mean, log_variance)
    difference, precision = value - mean, np.exp(-log_variance)
    np.testing.assert_allclose(of_mean, difference * precision / 4, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(of_log_variance, -0.5 * (1 - difference**2 * precision) / 4, rtol=1e-5, atol=1e-6)


def test_likelihoods_are_the_same_compiled():
    rng = np.random.default_rng(7)
    logits, label = jnp.asarray(rng.standard_normal((5, 3)), jnp.float32), jnp.array([0, 2, 1, 1, 0], jnp.int32)
    eager = mi.categorical_log_likelihood(logits, label)
    np.testing.assert_allclose(jax.jit(mi.categorical_log_likelihood)(logits, label), eager, rtol=1e-6)
    triple = [jnp.asarray(a, jnp.float32) for a in rng.standard_normal((3, 5, 4))]
    eager = mi.gaussian_log_likelihood_per_dimension(*triple)
    np.testing.assert_allclose(jax.jit(mi.gaussian_log_likelihood_per_dimension)(*triple), eager, rtol=1e-6)
