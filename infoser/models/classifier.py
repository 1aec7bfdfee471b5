"""The classifier head: the same for every variant, so that only the training rows differ."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from infoser.models.mlp import MLP, drop


class Classifier(nn.Module):
    """A multilayer perceptron over the features of one modality, or of both side by side.

    Attributes:
      width: width of the hidden layer.
      n_classes: number of emotions.
    """

    width: int
    n_classes: int

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
            features = drop(features, input_dropout, self.make_rng("dropout"))
        return MLP((self.width,), self.n_classes)(jnp.asarray(features), dropout, train=train)
