"""Log-likelihoods of conditional models q, in nats, per example: the heads of Barber–Agakov bounds and of CLUB.

For any q, E[ln q(c|h)] + H(c) ≤ I(c;h), with equality for the true posterior (Barber and Agakov, 2003; the bound that
InfoGAN maximises: arXiv 1606.03657, eq. 4). For a continuous t, h(t) stands in place of H(c).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def barber_agakov(log_likelihood: Float[Array, " batch"], entropy_nats: Float[Array, ""] | float) -> Float[Array, " batch"]:
    """ln q(c|h) + H(c): in expectation a lower bound on I(c;h) for any q (arXiv 1606.03657, eq. 4).

    Args:
      log_likelihood: ln q of what goes with each row, from a head below, in nats summed over dimensions.
      entropy_nats: H(c) of c as it is sampled, or h(t) of a continuous t. A c of K classes bounds the mean by ln K.
    """
    return log_likelihood + entropy_nats


def categorical_log_likelihood(logits: Float[Array, "batch classes"], label: Int[Array, " batch"]) -> Float[Array, " batch"]:
    """ln q(c|ĥ) for a categorical q.

    Its mean plus H(c) is the Barber–Agakov lower bound on I(c;ĥ) that InfoGAN maximises (arXiv 1606.03657, eq. 4); it
    never exceeds H(c).
    """
    return jnp.take_along_axis(jax.nn.log_softmax(logits), label[:, None], axis=1)[:, 0]


def gaussian_log_likelihood(
    mean: Float[Array, "*batch dim"], log_variance: Float[Array, "*batch dim"], value: Float[Array, "*batch dim"]
) -> Float[Array, "*batch"]:
    """ln q(t|ĥ) = −½ Σ_d (ln 2π + ln σ²_d + (t_d − μ_d)² / σ²_d) for a diagonal Gaussian q, summed over dimensions.

    Its mean plus h(t) is the Barber–Agakov lower bound on I(t;ĥ).
    """
    return (-0.5 * (jnp.log(2 * jnp.pi) + log_variance + (value - mean) ** 2 * jnp.exp(-log_variance))).sum(axis=-1)


def gaussian_log_likelihood_per_dimension(
    mean: Float[Array, "batch dim"], log_variance: Float[Array, "batch dim"], value: Float[Array, "batch dim"]
) -> Float[Array, " batch"]:
    """ln q(t|ĥ) for a diagonal Gaussian q, as a mean over dimensions (a sum would swamp an adversarial term).

    Its mean is the Barber–Agakov bound on I(t;ĥ) per dimension only up to the unknown constant h(t).
    """
    log_density = -0.5 * (jnp.log(2 * jnp.pi) + log_variance + (value - mean) ** 2 * jnp.exp(-log_variance))
    return log_density.mean(axis=-1)


def gaussian_mixture_log_likelihood(
    logits: Float[Array, "*batch components"],
    mean: Float[Array, "*batch components dim"],
    log_variance: Float[Array, "*batch components dim"],
    value: Float[Array, "*batch dim"],
) -> Float[Array, "*batch"]:
    """ln q(t|ĥ) = ln Σ_k π_k N(t; μ_k, σ²_k) for a mixture of diagonal Gaussians (Bishop, Mixture Density Networks, 1994).

    Its mean plus h(t) is the Barber–Agakov lower bound on I(t;ĥ): tight where t given ĥ has several modes too.

    Args:
      logits: ln π up to a constant for each row.
    """
    own = gaussian_log_likelihood(mean, log_variance, jnp.broadcast_to(value[..., None, :], mean.shape))
    return jax.nn.logsumexp(jax.nn.log_softmax(logits) + own, axis=-1)


def gaussian_mixture_log_likelihood_per_dimension(
    logits: Float[Array, "batch components"],
    mean: Float[Array, "batch components dim"],
    log_variance: Float[Array, "batch components dim"],
    value: Float[Array, "batch dim"],
) -> Float[Array, " batch"]:
    """`gaussian_mixture_log_likelihood` / dim: the size that a loss wants; a bound per dimension only up to h(t)."""
    return gaussian_mixture_log_likelihood(logits, mean, log_variance, value) / value.shape[-1]


def gaussian_log_likelihood_of_pairs(
    mean: Float[Array, "batch dim"], log_variance: Float[Array, "batch dim"], value: Float[Array, "others dim"]
) -> Float[Array, "batch others"]:
    """ln q(t_j|h_i) of every pair (i, j) for a diagonal Gaussian q, summed over dimensions: what CLUB reads.

    Differences are squared, never expanded: a narrow q would lose the result in rounding. One row of differences
    (others, dim) is in memory for each row that the compiler does at a time, which on the whole is a fused sum.
    """
    return jax.vmap(lambda own_mean, own_log_variance: _of_all(own_mean, own_log_variance, value))(mean, log_variance)


def gaussian_log_likelihood_of_all(
    mean: Float[Array, "batch dim"], log_variance: Float[Array, "batch dim"], value: Float[Array, "others dim"]
) -> Float[Array, " batch"]:
    """(1/N) Σⱼ ln q(t_j|h_i) for a diagonal Gaussian q: the mean of `gaussian_log_likelihood_of_pairs`, without the pairs.

    For each dimension (1/N) Σⱼ (t_j − μ_i)² = (t̄ − μ_i)² + (1/N) Σⱼ (t_j − t̄)², a sum of squares that nothing is lost in.
    """
    center = value.mean(axis=0, keepdims=True)
    spread = ((value - center) ** 2).mean(axis=0, keepdims=True)
    squares = (center - mean) ** 2 + spread
    return (-0.5 * (jnp.log(2 * jnp.pi) + log_variance + squares * jnp.exp(-log_variance))).sum(axis=-1)


def _of_all(
    mean: Float[Array, " dim"], log_variance: Float[Array, " dim"], value: Float[Array, "others dim"]
) -> Float[Array, " others"]:
    shape = value.shape
    return gaussian_log_likelihood(jnp.broadcast_to(mean, shape), jnp.broadcast_to(log_variance, shape), value)
