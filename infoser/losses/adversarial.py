"""Adversarial losses between a generator and a discriminator, and the penalties that keep the discriminator smooth.

D scores without bound: high for what it takes for real.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Scores = Float[Array, " batch"]
Score = Callable[[Float[Array, "batch dim"]], Scores]


def hinge_discriminator(real_score: Float[Array, " batch"], generated_score: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """max(0, 1 − D(h)) + max(0, 1 + D(ĥ)): the discriminator's hinge loss (arXiv 1705.02894, eq. 3), per pair."""
    return jax.nn.relu(1.0 - real_score) + jax.nn.relu(1.0 + generated_score)


def hinge_generator(generated_score: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """−D(ĥ): the generator's side of the hinge loss (arXiv 1705.02894, eq. 4), per example."""
    return -generated_score


def logistic_discriminator(
    real_score: Float[Array, " batch"], generated_score: Float[Array, " batch"]
) -> Float[Array, " batch"]:
    """−ln σ(D(h)) − ln(1 − σ(D(ĥ))): the discriminator's loss of the first GAN (arXiv 1406.2661, eq. 1), per pair."""
    return jax.nn.softplus(-real_score) + jax.nn.softplus(generated_score)


def non_saturating_generator(generated_score: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """−ln σ(D(ĥ)): the generator's loss whose gradient does not vanish where D wins (arXiv 1406.2661, section 3)."""
    return jax.nn.softplus(-generated_score)


def wasserstein_discriminator(
    real_score: Float[Array, " batch"], generated_score: Float[Array, " batch"]
) -> Float[Array, " batch"]:
    """D(ĥ) − D(h): minus the Wasserstein-1 distance's dual, if D is 1-Lipschitz (arXiv 1701.07875, eq. 2), per pair."""
    return generated_score - real_score


def wasserstein_generator(generated_score: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """−D(ĥ): the generator's side of the Wasserstein distance (arXiv 1701.07875, eq. 3), per example."""
    return -generated_score


class Game(NamedTuple):
    """The two sides of an adversarial loss, both minimised: D's of real and generated scores, G's of generated ones."""

    discriminator: Callable[[Scores, Scores], Scores]
    generator: Callable[[Scores], Scores]


#: By the name that settings use.
GAMES: Mapping[str, Game] = MappingProxyType(
    {
        "hinge": Game(hinge_discriminator, hinge_generator),
        "non-saturating": Game(logistic_discriminator, non_saturating_generator),
        "wasserstein": Game(wasserstein_discriminator, wasserstein_generator),
    }
)


def gradient_penalty(
    score: Score, real: Float[Array, "batch dim"], generated: Float[Array, "batch dim"], share: Float[Array, " batch"]
) -> Float[Array, " batch"]:
    """(‖∇D(x)‖ − 1)² at x = u·h + (1 − u)·ĥ: what keeps D nearly 1-Lipschitz (arXiv 1704.00028, eq. 3), per example.

    Args:
      score: maps a batch to one score per example; an example's score must not depend on the others.
      share: u, uniform in [0, 1).
    """
    (gradient,) = jax.vjp(score, between(real, generated, share))[1](jnp.ones_like(share))
    return gradient_penalty_of(gradient)


def between(
    real: Float[Array, "batch dim"], generated: Float[Array, "batch dim"], share: Float[Array, " batch"]
) -> Float[Array, "batch dim"]:
    """x = u·h + (1 − u)·ĥ: where the gradient penalty is taken."""
    return share[:, None] * real + (1.0 - share[:, None]) * generated


def gradient_penalty_of(gradient: Float[Array, "batch dim"]) -> Float[Array, " batch"]:
    """(‖∇D(x)‖ − 1)² of input gradients, per example."""
    # The small constant sits inside the root: a gradient of zero, as of a constant D, has a finite slope.
    return (jnp.sqrt((gradient**2).sum(axis=-1) + 1e-12) - 1.0) ** 2


def r1_of(gradient: Float[Array, "batch dim"]) -> Float[Array, " batch"]:
    """½‖∇D(x)‖² of input gradients, per example."""
    return 0.5 * (gradient**2).sum(axis=-1)


def score_and_r1(
    judge: Callable[[Float[Array, "batch dim"]], tuple[Scores, Any]], real: Float[Array, "batch dim"]
) -> tuple[Float[Array, " batch"], Float[Array, " batch"], Any]:
    """D(h) and ½‖∇ₕD(h)‖² at real examples (R1; arXiv 1801.04406, eq. 9), per example, from one pass through D.

    Args:
      judge: maps a batch to one score per example, and whatever else D says; an example's score must not depend on the others.
      real: the real features.

    Returns:
      Both, and what else D says.
    """
    scores, pull_back, else_said = jax.vjp(judge, real, has_aux=True)
    (gradient,) = pull_back(jnp.ones_like(scores))
    return scores, r1_of(gradient), else_said
