"""The classifier head: the same for every variant, so that only the training rows differ."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from infoser.batch_axis import SINGLE, BatchAxis, drop
from infoser.models.mlp import MLP


class Classifier(nn.Module):
    """A multilayer perceptron over the features of one modality, or of both side by side.

    Attributes:
      width: width of the hidden layer.
      n_classes: number of emotions.
      axis: how the batch is spread over devices.
    """

    width: int
    n_classes: int
    axis: BatchAxis = SINGLE

    @nn.compact
    def __call__(
        self,
        features: Float[Array, "batch dim"],
        dropout: Float[Array, ""] | float = 0.0,
        input_dropout: Float[Array, ""] | float = 0.0,
        *,
        train: bool = False,
    ) -> Float[Array, "batch classes"]:
        if train:
            rate, key = jnp.asarray(input_dropout), self.make_rng("dropout")
            # At the default rate of 0 no mask is drawn.
            features = jax.lax.cond(rate > 0, lambda x: drop(x, rate, key, self.axis), lambda x: x, features)
        return MLP((self.width,), self.n_classes, self.axis)(jnp.asarray(features), dropout, train=train)
