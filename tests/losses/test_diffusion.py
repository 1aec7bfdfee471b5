"""Denoising diffusion against closed forms: the schedule, the way to noise, and the way back from it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infoser.losses import diffusion

pytestmark = pytest.mark.usefixtures("strict_arrays")


def test_the_schedule_is_a_cosine_with_every_step_bounded():
    share = diffusion.cosine_schedule(10)
    ideal = np.cos(np.pi / 2 * (np.arange(11) / 10 + 0.008) / 1.008) ** 2
    np.testing.assert_allclose(share[:10], (ideal / ideal[0])[:10], rtol=1e-5)
    assert share[0] == 1 and (np.diff(share) < 0).all()
    np.testing.assert_allclose(share[10], 0.001 * share[9], rtol=1e-4)  # the last step would take all
    assert diffusion.cosine_schedule(1000)[-1] < 1e-6
    with pytest.raises(ValueError, match="at least one"):
        diffusion.cosine_schedule(0)


def test_data_and_noise_come_back_from_a_noisy_row_and_its_velocity():
    rng = np.random.default_rng(0)
    data, noise = (jnp.asarray(rng.standard_normal((6, 3)), jnp.float32) for _ in range(2))
    share = jnp.asarray([1.0, 0.9, 0.5, 0.1, 0.01, 0.0], jnp.float32)
    noisy, velocity = diffusion.noised(data, noise, share), diffusion.velocity(data, noise, share)
    np.testing.assert_allclose(noisy[0], data[0])
    np.testing.assert_allclose(noisy[5], noise[5])
    np.testing.assert_allclose(velocity[5], -data[5])  # at the noisy end the denoiser says the data, not the noise
    np.testing.assert_allclose(velocity[0], noise[0])
    np.testing.assert_allclose(diffusion.data_of_velocity(noisy, velocity, share), data, atol=1e-6)
    # (data, noise) → (noisy, velocity) turns by an angle: lengths stay.
    np.testing.assert_allclose(noisy**2 + velocity**2, data**2 + noise**2, rtol=1e-5)


def test_a_level_has_its_share_of_the_data_s_variance():
    key = jax.random.split(jax.random.key(0))
    data, noise = 3.0 * jax.random.normal(key[0], (200_000, 1)), jax.random.normal(key[1], (200_000, 1))
    noisy = diffusion.noised(data, noise, jnp.full(200_000, 0.3))
    np.testing.assert_allclose(noisy.std() ** 2, 0.3 * 9 + 0.7, rtol=0.02)
    np.testing.assert_allclose(jnp.mean(noisy * data), np.sqrt(0.3) * 9, rtol=0.02)


def test_the_way_back_is_the_gaussian_conditional():
    # (x_{k−1}, x_k) given x₀ is Gaussian: condition it by the matrix formula.
    data, noisy = 1.7, -0.4
    for before, share in ((0.8, 0.5), (0.3, 0.02), (1.0, 0.9)):
        kept = share / before
        mean = np.sqrt([before, share]) * data
        cross = np.sqrt(kept) * (1 - before)
        covariance = np.array([[1 - before, cross], [cross, 1 - share]])
        expected = mean[0] + covariance[0, 1] / covariance[1, 1] * (noisy - mean[1])
        variance = covariance[0, 0] - covariance[0, 1] ** 2 / covariance[1, 1]
        said, spread = diffusion.posterior(
            *(jnp.asarray([[value]]) for value in (noisy, data)), *map(jnp.asarray, ([share], [before]))
        )
        np.testing.assert_allclose(said[0, 0], expected, rtol=1e-5)
        np.testing.assert_allclose(spread[0], variance, rtol=1e-4, atol=1e-7)


def test_guidance_goes_on_from_what_nothing_says():
    said, nothing = jnp.asarray([[1.0, 2.0]]), jnp.asarray([[0.0, 3.0]])
    np.testing.assert_allclose(diffusion.guided(said, nothing, 0.0), said)
    np.testing.assert_allclose(diffusion.guided(said, nothing, 0.5), [[1.5, 1.5]])


def test_the_loss_is_the_mean_square_over_the_width():
    np.testing.assert_allclose(diffusion.velocity_loss(jnp.asarray([[1.0, 3.0]]), jnp.asarray([[0.0, 1.0]])), [2.5])


def test_the_exact_denoiser_makes_gaussian_data():
    """With E[x₀|x] in closed form, going down all levels gives the data's mean and variance."""
    mean, variance, levels, rows = jnp.asarray([[2.0, -1.0]]), jnp.asarray([[0.25, 4.0]]), 400, 20_000
    shares = jnp.asarray(diffusion.cosine_schedule(levels))

    def nearer(level, state):
        x, key = state
        share, before = shares[levels - level], shares[levels - level - 1]
        total = share * variance + 1 - share
        data = mean + jnp.sqrt(share) * variance / total * (x - jnp.sqrt(share) * mean)
        # What a denoiser would say: the expected velocity given x.
        noise = (x - jnp.sqrt(share) * data) / jnp.sqrt(1 - share)
        every = jnp.full(rows, share)
        said = diffusion.data_of_velocity(x, diffusion.velocity(data, noise, every), every)
        centre, spread = diffusion.posterior(x, said, every, jnp.full(rows, before))
        key, own = jax.random.split(key)
        return centre + jnp.sqrt(spread)[:, None] * jax.random.normal(own, x.shape), key

    start = jax.random.normal(jax.random.key(1), (rows, 2))
    made, _ = jax.jit(lambda x: jax.lax.fori_loop(0, levels, nearer, (x, jax.random.key(2))))(start)
    error = np.sqrt(variance / rows)
    assert (np.abs(made.mean(axis=0, keepdims=True) - mean) < 4 * error).all()
    # The posterior variance is that of known data, so a finite number of levels loses a little: under 3 % at 400.
    np.testing.assert_allclose(made.var(axis=0, keepdims=True), variance, rtol=0.05)
