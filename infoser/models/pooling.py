"""From a sequence of frames to one vector."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from infoser.frame_table import PackedFrames

_LEAST_VARIANCE = 1e-6  # of standardised frames: the root's slope stays finite where an utterance is a single frame


class AttentiveStatistics(nn.Module):
    """Attentive statistics pooling (arXiv 1803.10963, eq. 1 to 6): mean and standard deviation under learned weights.

    The weights are a softmax over an utterance's frames of vᵀ·tanh(W·x + b). An utterance without frames gives zeros and
    the least deviation.

    Attributes:
      width: of the hidden layer of the attention.
    """

    width: int

    @nn.compact
    def __call__(self, frames: PackedFrames) -> Float[Array, "batch twice_dim"]:
        x, inside = frames.values, frames.inside
        owner = frames.owner.astype(x.dtype)
        hidden = jnp.tanh(nn.Dense(self.width, name="hidden")(x))
        score = jnp.where(inside, nn.Dense(1, use_bias=False, name="score")(hidden)[..., 0], -jnp.inf)

        exact = jax.lax.Precision.HIGHEST

        def total(of_tiles: Float[Array, "tiles *rest"]) -> Float[Array, "batch *rest"]:
            return jnp.dot(owner, of_tiles, precision=exact)

        def spread(of_utterances: Float[Array, "batch *rest"]) -> Float[Array, "tiles *rest"]:
            return jnp.dot(owner.T, of_utterances, precision=exact)

        # A softmax does not change when its largest score is taken off, so no gradient has to flow through that.
        highest = jnp.where(frames.owner, jax.lax.stop_gradient(score).max(axis=1), -jnp.inf).max(axis=1)
        highest = spread(jnp.where(jnp.isfinite(highest), highest, 0.0))
        weight = jnp.where(inside, jnp.exp(jnp.where(inside, score - highest[:, None], 0.0)), 0.0)
        sum_of_weights = total(weight.sum(axis=1))[:, None]
        sum_of_weights = jnp.where(sum_of_weights > 0, sum_of_weights, 1.0)
        mean = total(jnp.einsum("nt,ntd->nd", weight, x, precision=exact)) / sum_of_weights
        squares = (x - spread(mean)[:, None, :]) ** 2
        variance = total(jnp.einsum("nt,ntd->nd", weight, squares, precision=exact)) / sum_of_weights
        return jnp.concatenate([mean, jnp.sqrt(variance + _LEAST_VARIANCE)], axis=-1)
