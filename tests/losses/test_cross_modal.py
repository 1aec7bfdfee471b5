"""The symmetric contrastive loss against NumPy, closed forms and its invariances."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from infoser.losses.cross_modal import symmetric_contrastive

pytestmark = pytest.mark.usefixtures("strict_arrays")

# Compiled once for each shape.
CONTRASTIVE = jax.jit(symmetric_contrastive)
RNG = np.random.default_rng(0)
AUDIO, TEXT = (jnp.asarray(RNG.standard_normal((6, 4)), jnp.float32) for _ in range(2))


def reference(audio, text, temperature):
    audio, text = (np.asarray(a, np.float64) for a in (audio, text))
    losses = np.zeros(len(audio))
    for i in range(len(audio)):
        for own, others in ((audio[i], text), (text[i], audio)):
            cosine = others @ own / np.linalg.norm(others, axis=1) / np.linalg.norm(own)
            losses[i] -= 0.5 * special.log_softmax(cosine / temperature)[i]
    return losses


@pytest.mark.parametrize("temperature", [0.05, 0.2, 1.0, 5.0])
def test_agrees_with_numpy(temperature):
    actual = CONTRASTIVE(AUDIO, TEXT, jnp.float32(temperature))
    np.testing.assert_allclose(actual, reference(AUDIO, TEXT, temperature), rtol=2e-5, atol=1e-5)


def test_is_the_same_compiled():
    eager = symmetric_contrastive(AUDIO, TEXT, 0.2)
    np.testing.assert_allclose(CONTRASTIVE(AUDIO, TEXT, 0.2), eager, rtol=1e-5, atol=1e-6)


def test_modalities_may_be_exchanged():
    np.testing.assert_allclose(CONTRASTIVE(AUDIO, TEXT, 0.2), CONTRASTIVE(TEXT, AUDIO, 0.2), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 10.0, 1e3])
def test_only_directions_count(scale):
    row_scale = jnp.asarray(scale * RNG.uniform(0.5, 2.0, (6, 1)), jnp.float32)
    scaled = CONTRASTIVE(AUDIO * row_scale, TEXT / 3.0, 0.2)
    np.testing.assert_allclose(scaled, CONTRASTIVE(AUDIO, TEXT, 0.2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n", [2, 5])
@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_identical_and_orthogonal_pairs(n, temperature):
    # Own pairs have cosine 1, all others 0.
    expected = math.log(math.exp(1 / temperature) + n - 1) - 1 / temperature
    np.testing.assert_allclose(CONTRASTIVE(jnp.eye(n), 2.0 * jnp.eye(n), temperature), expected, rtol=2e-5)
    # With all cosines equal nothing can be told: ln n.
    np.testing.assert_allclose(CONTRASTIVE(jnp.ones((n, 3)), jnp.ones((n, 3)), temperature), math.log(n), rtol=1e-6)


def test_gradient_agrees_with_finite_differences():
    def loss(audio, text):
        return symmetric_contrastive(audio, text, 0.5).mean()

    actual = jax.grad(loss)(AUDIO, TEXT)
    audio = np.asarray(AUDIO, np.float64)
    for row, column in [(0, 0), (2, 3), (5, 1)]:
        step = np.zeros_like(audio)
        step[row, column] = 1e-5
        ahead, behind = (reference(audio + sign * step, TEXT, 0.5).mean() for sign in (1, -1))
        assert actual[row, column] == pytest.approx((ahead - behind) / 2e-5, rel=1e-4, abs=1e-6)


def test_a_zero_vector_has_a_finite_gradient():
    audio = AUDIO.at[2].set(0.0)
    loss, gradient = jax.value_and_grad(lambda a: symmetric_contrastive(a, TEXT, 0.2).sum())(audio)
    assert np.isfinite(loss) and np.isfinite(gradient).all()
