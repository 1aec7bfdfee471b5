"""Adversarial losses between a generator and a discriminator."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def hinge_discriminator(real_score: Float[Array, " batch"], generated_score: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """max(0, 1 − D(h)) + max(0, 1 + D(ĥ)): the discriminator's hinge loss (arXiv 1705.02894, eq. 3), per pair."""
    return jax.nn.relu(1.0 - real_score) + jax.nn.relu(1.0 + generated_score)


def hinge_generator(generated_score: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """−D(ĥ): the generator's side of the hinge loss (arXiv 1705.02894, eq. 4), per example."""
    return -generated_score


def score_and_r1(
    score: Callable[[Float[Array, "batch dim"]], Float[Array, " batch"]], real: Float[Array, "batch dim"]
) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
    """D(h) and ½‖∇ₕD(h)‖² at real examples (R1; arXiv 1801.04406, eq. 9), per example, from one pass through D.

    Args:
      score: maps a batch to one score per example; an example's score must not depend on the others.
      real: the real features.
    """
    scores, pull_back = jax.vjp(score, real)
    (gradient,) = pull_back(jnp.ones_like(scores))
    return scores, 0.5 * (gradient**2).sum(axis=-1)
