"""The multilayer perceptron that every model is made of."""

from collections.abc import Sequence

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from infoser.batch_axis import SINGLE, BatchAxis, drop
from infoser.models import narrow


class MLP(nn.Module):
    """Hidden layers with leaky rectifiers (slope 0.2) and dropout, then a linear layer.

    Attributes:
      hidden: width of each hidden layer.
      out: width of the output.
      axis: how the batch is spread over devices (dropout depends on it).
    """

    hidden: Sequence[int]
    out: int
    axis: BatchAxis = SINGLE

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch dim"], dropout: Float[Array, ""] | float = 0.0, *, train: bool = False
    ) -> Float[Array, "batch out"]:
        for width in self.hidden:
            x = jax.nn.leaky_relu(nn.Dense(width)(x), 0.2)
            if train:
                x = drop(x, dropout, self.make_rng("dropout"), self.axis)
        return nn.Dense(self.out, dot_general=narrow.dot_general)(x)
