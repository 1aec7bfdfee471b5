"""Losses of a classifier against class probabilities."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def focal_cross_entropy(
    logits: Float[Array, "batch classes"], target: Float[Array, "batch classes"], gamma: Float[Array, ""] | float
) -> Float[Array, " batch"]:
    """−Σ target · (1 − p)^γ · ln p: the focal loss (arXiv 1708.02002, eq. 4), per example; cross-entropy at γ = 0.

    Args:
      target: class probabilities, one-hot for a label.
      gamma: how far the loss of well-recognised examples is lowered; at least 0.
    """
    log_p = jax.nn.log_softmax(logits)
    # Away from p = 1, where (1 − p)^γ has no finite gradient for γ < 1 and none that is defined at γ = 0.
    missed = jnp.maximum(-jnp.expm1(log_p), 1e-6)
    return -(target * jnp.exp(gamma * jnp.log(missed)) * log_p).sum(axis=-1)
