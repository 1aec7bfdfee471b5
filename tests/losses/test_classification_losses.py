"""The focal loss against NumPy, its limits and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from infoser.losses.classification import focal_cross_entropy

pytestmark = pytest.mark.usefixtures("strict_arrays")

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((6, 3)).astype(np.float32)
LABEL = np.array([0, 2, 1, 1, 0, 2])
HARD = np.eye(3, dtype=np.float32)[LABEL]
SOFT = RNG.dirichlet(np.ones(3), 6).astype(np.float32)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("target", [HARD, SOFT], ids=["hard", "soft"])
def test_agrees_with_numpy(gamma, target):
    log_p = special.log_softmax(LOGITS.astype(np.float64), axis=1)
    expected = -(target * (1 - np.exp(log_p)) ** gamma * log_p).sum(axis=1)
    actual = focal_cross_entropy(jnp.asarray(LOGITS), jnp.asarray(target), gamma)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    compiled = jax.jit(focal_cross_entropy)(jnp.asarray(LOGITS), jnp.asarray(target), jnp.float32(gamma))
    np.testing.assert_allclose(compiled, actual, rtol=1e-5)


def test_without_focus_it_is_cross_entropy_and_so_is_its_gradient():
    gradient = jax.grad(lambda z: focal_cross_entropy(z, jnp.asarray(SOFT), 0.0).sum())(LOGITS)
    np.testing.assert_allclose(gradient, special.softmax(LOGITS, axis=1) - SOFT, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_gradient_agrees_with_finite_differences(gamma):
    def loss(logits):
        log_p = special.log_softmax(logits, axis=1)
        return -(HARD * (1 - np.exp(log_p)) ** gamma * log_p).sum()

    actual = jax.grad(lambda z: focal_cross_entropy(z, jnp.asarray(HARD), gamma).sum())(LOGITS)
    for row, column in [(0, 0), (0, 1), (4, 2)]:
        step = np.zeros((6, 3))
        step[row, column] = 1e-5
        assert actual[row, column] == pytest.approx((loss(LOGITS + step) - loss(LOGITS - step)) / 2e-5, rel=1e-4)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_sure_logits_have_a_finite_loss_and_gradient(gamma):
    for sign in (1.0, -1.0):  # surely right, and surely wrong
        loss, gradient = jax.value_and_grad(lambda z: focal_cross_entropy(z, jnp.asarray(HARD), gamma).sum())(sign * 200 * HARD)
        assert np.isfinite(loss) and np.isfinite(gradient).all()


def test_well_recognised_examples_count_less():
    easy, difficult = jnp.array([[4.0, 0.0, 0.0]]), jnp.array([[0.5, 0.0, 0.0]])
    target = jnp.array([[1.0, 0.0, 0.0]])
    ratios = [focal_cross_entropy(x, target, 2.0) / focal_cross_entropy(x, target, 0.0) for x in (easy, difficult)]
    assert ratios[0] < 0.01 < 0.2 < ratios[1]
