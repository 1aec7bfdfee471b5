"""Adversarial losses and the penalties of discriminators against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infoser.losses.adversarial import (
    GAMES,
    gradient_penalty,
    hinge_discriminator,
    hinge_generator,
    logistic_discriminator,
    score_and_r1,
)

pytestmark = pytest.mark.usefixtures("strict_arrays")

RNG = np.random.default_rng(0)
REAL = jnp.asarray(RNG.standard_normal((5, 3)), jnp.float32)


def test_hinge_values():
    real = jnp.array([-2.0, 0.0, 0.5, 1.0, 3.0])
    generated = jnp.array([2.0, 0.0, -0.5, -1.0, -3.0])
    np.testing.assert_allclose(hinge_discriminator(real, generated), [6.0, 2.0, 1.0, 0.0, 0.0])
    np.testing.assert_allclose(hinge_generator(generated), [-2.0, 0.0, 0.5, 1.0, 3.0])


def test_hinge_gradients_stop_beyond_the_margin():
    real, generated = jnp.array([-2.0, 0.5, 1.5]), jnp.array([2.0, -0.5, -1.5])
    of_real, of_generated = jax.grad(lambda r, g: hinge_discriminator(r, g).sum(), argnums=(0, 1))(real, generated)
    np.testing.assert_array_equal(of_real, [-1.0, -1.0, 0.0])
    np.testing.assert_array_equal(of_generated, [1.0, 1.0, 0.0])
    # The generator is pushed however sure the discriminator is.
    np.testing.assert_array_equal(jax.grad(lambda g: hinge_generator(g).sum())(generated), [-1.0, -1.0, -1.0])


def r1_penalty(score, real):
    return score_and_r1(lambda h: (score(h), None), real)[1]


def test_the_score_comes_along_with_its_penalty():
    def score(h):
        return jnp.tanh(h).sum(axis=-1)

    said, _, else_said = score_and_r1(lambda h: (score(h), 2 * h), REAL)
    np.testing.assert_allclose(said, np.tanh(np.asarray(REAL)).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(else_said, 2 * REAL)


def test_r1_of_a_linear_score_is_half_the_squared_weight():
    weight = jnp.array([1.0, -2.0, 0.5])

    def penalty(weight):
        return r1_penalty(lambda h: h @ weight + 7.0, REAL)

    np.testing.assert_allclose(penalty(weight), np.full(5, 0.5 * 5.25), rtol=1e-6)
    np.testing.assert_allclose(jax.grad(lambda w: penalty(w).mean())(weight), weight, rtol=1e-6)


def test_r1_of_a_quadratic_score():
    matrix = np.asarray(RNG.standard_normal((3, 3)), np.float32)
    matrix = matrix + matrix.T

    def score(h):
        return 0.5 * ((h @ matrix) * h).sum(axis=-1)

    expected = 0.5 * ((np.asarray(REAL) @ matrix) ** 2).sum(axis=1)
    np.testing.assert_allclose(r1_penalty(score, REAL), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(lambda h: r1_penalty(score, h))(REAL), r1_penalty(score, REAL), rtol=1e-6)


def test_r1_ignores_other_examples():
    def score(h):
        return jnp.tanh(h).sum(axis=-1)

    alone = jnp.concatenate([r1_penalty(score, REAL[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(r1_penalty(score, REAL), alone, rtol=1e-6)


def test_every_game_s_values():
    real, generated = np.array([-2.0, 0.3, 1.5], np.float32), np.array([1.0, -0.4, -3.0], np.float32)

    def softplus(x):
        return np.log1p(np.exp(x))

    expected = {
        "hinge": (np.maximum(0, 1 - real) + np.maximum(0, 1 + generated), -generated),
        "non-saturating": (softplus(-real) + softplus(generated), softplus(-generated)),
        "wasserstein": (generated - real, -generated),
    }
    assert set(GAMES) == set(expected)
    for name, (of_discriminator, of_generator) in expected.items():
        np.testing.assert_allclose(
            GAMES[name].discriminator(jnp.asarray(real), jnp.asarray(generated)), of_discriminator, rtol=1e-6
        )
        np.testing.assert_allclose(GAMES[name].generator(jnp.asarray(generated)), of_generator, rtol=1e-6)


def test_the_best_logistic_discriminator_is_the_log_ratio_and_reads_jensen_shannon():
    p, q = jnp.array([0.5, 0.3, 0.2]), jnp.array([0.1, 0.3, 0.6])

    def loss(scores):  # weighted by both distributions
        of_real, of_generated = (logistic_discriminator(s, jnp.full(3, -50.0)) for s in (scores, -scores))
        return (p * of_real).sum() + (q * of_generated).sum()

    best = jnp.log(p / q)
    np.testing.assert_allclose(jax.grad(loss)(best), np.zeros(3), atol=1e-6)
    middle = (p + q) / 2
    shannon = 0.5 * (p * jnp.log(p / middle)).sum() + 0.5 * (q * jnp.log(q / middle)).sum()
    np.testing.assert_allclose(2 * np.log(2) - loss(best), 2 * shannon, rtol=1e-5)


def test_the_gradient_penalty_of_linear_constant_and_quadratic_scores():
    generated, share = jnp.asarray(RNG.standard_normal((5, 3)), jnp.float32), jnp.array([0.0, 0.25, 0.5, 0.75, 1.0])
    weight = jnp.array([2.0, -1.0, 2.0])
    np.testing.assert_allclose(gradient_penalty(lambda h: h @ weight, REAL, generated, share), np.full(5, 4.0), rtol=1e-5)
    # A constant D has no direction to go; the penalty's slope must not be infinite there.
    flat = jax.grad(lambda w: gradient_penalty(lambda h: (h * w).sum(axis=-1), REAL, generated, share).mean())(
        jnp.zeros((1, 3))
    )
    assert np.isfinite(flat).all()
    np.testing.assert_allclose(gradient_penalty(lambda h: 0.0 * h[:, 0], REAL, generated, share), np.ones(5), rtol=1e-5)
    # ∇ ½‖x‖² = x: the penalty says where it looked.
    between = np.asarray(share)[:, None] * np.asarray(REAL) + (1 - np.asarray(share))[:, None] * np.asarray(generated)
    squared = (np.linalg.norm(between, axis=1) - 1) ** 2
    found = gradient_penalty(lambda h: 0.5 * (h**2).sum(axis=-1), REAL, generated, share)
    np.testing.assert_allclose(found, squared, rtol=1e-4, atol=1e-6)
