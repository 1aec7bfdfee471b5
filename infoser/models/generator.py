"""The conditional generator, and Q, which reads the condition back."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from infoser.models.mlp import MLP

#: A row of what features are made from: the class' one-hot code, a text representation, both side by side, or nothing.
Condition = Float[Array, "batch condition_dim"]


def condition_of(
    label: Int[Array, " batch"] | None, n_classes: int, text: Float[Array, "batch text_dim"] | None, rows: int
) -> Condition:
    """Class and text side by side; (rows, 0) for neither."""
    parts = [jnp.zeros((rows, 0))]
    if label is not None:
        parts.append(jax.nn.one_hot(label, n_classes))
    if text is not None:
        parts.append(text)
    return jnp.concatenate(parts, axis=-1)


class Generator(nn.Module):
    """G(z, c, t) → ĥ, with the condition (c, t), c, t or none.

    Attributes:
      width: width of the two hidden layers.
      out: width of the generated feature.
    """

    width: int
    out: int

    @nn.compact
    def __call__(self, noise: Float[Array, "batch latent_dim"], condition: Condition) -> Float[Array, "batch out"]:
        return MLP((self.width, self.width), self.out)(jnp.concatenate([noise, condition], axis=-1))


class Recovered(NamedTuple):
    """Q's guess of the condition: class logits, and mean and log-variance of the text representation (None without)."""

    logits: Float[Array, "batch classes"]
    text_mean: Float[Array, "batch text_dim"] | None
    text_log_variance: Float[Array, "batch text_dim"] | None


class Recogniser(nn.Module):
    """Q(c, t | ĥ): a categorical and a diagonal Gaussian head on one trunk.

    Attributes:
      width: width of the hidden layer.
      n_classes: number of emotions.
      text_dim: width of the text condition; 0 for none.
    """

    width: int
    n_classes: int
    text_dim: int

    @nn.compact
    def __call__(self, features: Float[Array, "batch dim"]) -> Recovered:
        hidden = jax.nn.leaky_relu(nn.Dense(self.width)(features), 0.2)
        logits = nn.Dense(self.n_classes)(hidden)
        if not self.text_dim:
            return Recovered(logits, None, None)
        # Bounded so that a variance can neither vanish nor explode: ln σ² in [−6, 6].
        log_variance = 6.0 * jnp.tanh(nn.Dense(self.text_dim)(hidden) / 6.0)
        return Recovered(logits, nn.Dense(self.text_dim)(hidden), log_variance)
