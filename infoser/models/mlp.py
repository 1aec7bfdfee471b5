"""The multilayer perceptron that every model is made of."""

from collections.abc import Sequence

import flax.linen as nn
import jax
from jaxtyping import Array, Float


class MLP(nn.Module):
    """Hidden layers with leaky rectifiers (slope 0.2) and dropout, then a linear layer.

    Attributes:
      hidden: width of each hidden layer.
      out: width of the output.
    """

    hidden: Sequence[int]
    out: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch dim"], dropout: Float[Array, ""] | float = 0.0, *, train: bool = False
    ) -> Float[Array, "batch out"]:
        for width in self.hidden:
            x = jax.nn.leaky_relu(nn.Dense(width)(x), 0.2)
            if train:
                x = drop(x, dropout, self.make_rng("dropout"))
        return nn.Dense(self.out)(x)


def drop(x: Float[Array, "batch dim"], rate: Float[Array, ""] | float, key: jax.Array) -> Float[Array, "batch dim"]:
    """Dropout whose rate may be a traced number, so that runs with different rates share one program (Linen's may not)."""
    keep = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jax.numpy.where(keep, x / (1.0 - rate), 0.0)
