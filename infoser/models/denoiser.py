"""The network of the diffusion generator: what a noisy row was made of."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from infoser.models.generator import Condition

#: Sines and cosines that a level is told by, and the longest of their periods as in arXiv 1706.03762.
_WAVES, _LONGEST = 16, 10_000.0
#: Levels count as this many, however many there are, so that the waves mean the same.
_SPAN = 1000.0


def embedded(level: Int[Array, " batch"], levels: int) -> Float[Array, "batch waves"]:
    """sin and cos of a level at periods from 2π to 2π·10⁴ (arXiv 1706.03762, section 3.5); level `levels` stands for 1000."""
    frequency = _LONGEST ** (-jnp.arange(_WAVES) / _WAVES)
    angle = (level * (_SPAN / levels))[:, None] * frequency
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


class Denoiser(nn.Module):
    """v̂(x, k, c): the velocity at a noisy row x of level k, made from the condition.

    The row's own layer and two residual blocks, each told level and condition anew; the output is linear in what these
    leave, so that the part of v that is linear in x (all of it, for Gaussian data) needs no rectifiers.

    Attributes:
      width: of every hidden layer.
      levels: T.
    """

    width: int
    levels: int

    @nn.compact
    def __call__(
        self, noisy: Float[Array, "batch dim"], level: Int[Array, " batch"], condition: Condition
    ) -> Float[Array, "batch dim"]:
        waves = embedded(level, self.levels).astype(noisy.dtype)
        told = nn.silu(nn.Dense(self.width, name="told")(jnp.concatenate([waves, condition], axis=-1)))
        hidden = nn.Dense(self.width, name="row")(noisy)
        for number in range(2):
            inner = nn.Dense(self.width, name=f"in_{number}")(hidden) + nn.Dense(self.width, name=f"told_{number}")(told)
            hidden = hidden + nn.Dense(self.width, name=f"out_{number}")(jax.nn.silu(inner))
        return nn.Dense(noisy.shape[-1], name="said")(hidden)
