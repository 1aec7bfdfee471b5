"""Variational estimates of mutual information, in nats, per example.

Critic estimators read a score matrix whose entry (i, j) scores audio i with text j: the diagonal holds joint pairs,
the rest products of marginals.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def categorical_log_likelihood(logits: Float[Array, "batch classes"], label: Int[Array, " batch"]) -> Float[Array, " batch"]:
    """ln q(c|ĥ) for a categorical q.

    Its mean plus H(c) is the Barber–Agakov lower bound on I(c;ĥ) that InfoGAN maximises (arXiv 1606.03657, eq. 4); it
    never exceeds H(c).
    """
    return jnp.take_along_axis(jax.nn.log_softmax(logits), label[:, None], axis=1)[:, 0]


def gaussian_log_likelihood_per_dimension(
    mean: Float[Array, "batch dim"], log_variance: Float[Array, "batch dim"], value: Float[Array, "batch dim"]
) -> Float[Array, " batch"]:
    """ln q(t|ĥ) for a diagonal Gaussian q, as a mean over dimensions (a sum would swamp an adversarial term).

    Its mean is the Barber–Agakov bound on I(t;ĥ) per dimension only up to the unknown constant h(t).
    """
    log_density = -0.5 * (jnp.log(2 * jnp.pi) + log_variance + (value - mean) ** 2 * jnp.exp(-log_variance))
    return log_density.mean(axis=-1)


def infonce(scores: Float[Array, "batch batch"]) -> Float[Array, " batch"]:
    """f(i,i) − ln (1/N) Σⱼ exp f(i,j): a lower bound in expectation (arXiv 1807.03748); at most ln N on every batch."""
    return jnp.diagonal(scores) - jax.nn.logsumexp(scores, axis=1) + jnp.log(scores.shape[0])


def nwj(scores: Float[Array, "batch batch"]) -> Float[Array, " batch"]:
    """f(i,i) − e⁻¹ · mean over j≠i of exp f(i,j): a lower bound in expectation (arXiv 0809.0853), tight at f = 1 + ln ratio."""
    return jnp.diagonal(scores) - _mean_of_others(lambda score: jnp.exp(score - 1.0), scores)


def jsd(scores: Float[Array, "batch batch"]) -> Float[Array, " batch"]:
    """−softplus(−f(i,i)) − mean over j≠i of softplus f(i,j): the Jensen–Shannon objective (arXiv 1808.06670, eq. 4).

    An objective, not an estimate in nats: its best critic is the log density ratio; read that critic through `nwj` (f + 1).
    """
    return -jax.nn.softplus(-jnp.diagonal(scores)) - _mean_of_others(jax.nn.softplus, scores)


def _mean_of_others(function: Callable[[Array], Array], scores: Float[Array, "batch batch"]) -> Float[Array, " batch"]:
    # The diagonal is taken out before and after: a large joint score must neither overflow nor swallow the others.
    diagonal = jnp.eye(scores.shape[0], dtype=bool)
    others = jnp.where(diagonal, 0.0, function(jnp.where(diagonal, 0.0, scores)))
    return others.sum(axis=1) / (scores.shape[0] - 1)
