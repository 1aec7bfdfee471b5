"""The conditional generator, the projection discriminator, and Q, which reads the condition back."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from infoser.batch_axis import SINGLE, BatchAxis
from infoser.models.mlp import MLP


def _condition(
    label: Int[Array, " batch"], n_classes: int, text: Float[Array, "batch text_dim"] | None
) -> Float[Array, "batch condition_dim"]:
    one_hot = jax.nn.one_hot(label, n_classes)
    return one_hot if text is None else jnp.concatenate([one_hot, text], axis=-1)


class Generator(nn.Module):
    """G(z, c, t) → ĥ, or G(z, c) where no text is given.

    Attributes:
      width: width of the two hidden layers.
      out: width of the generated feature.
      n_classes: number of emotions.
    """

    width: int
    out: int
    n_classes: int

    @nn.compact
    def __call__(
        self,
        noise: Float[Array, "batch latent_dim"],
        label: Int[Array, " batch"],
        text: Float[Array, "batch text_dim"] | None,
    ) -> Float[Array, "batch out"]:
        condition = _condition(label, self.n_classes, text)
        return MLP((self.width, self.width), self.out)(jnp.concatenate([noise, condition], axis=-1))


class Discriminator(nn.Module):
    """D(h | c, t): ψ(φ(h)) + ⟨V·(c, t), φ(h)⟩, the projection discriminator (arXiv 1802.05637, eq. 4).

    Attributes:
      width: width of the two hidden layers.
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
        label: Int[Array, " batch"],
        text: Float[Array, "batch text_dim"] | None,
        dropout: Float[Array, ""] | float = 0.0,
        *,
        train: bool = False,
    ) -> Float[Array, " batch"]:
        hidden = MLP((self.width,), self.width, self.axis)(features, dropout, train=train)
        hidden = jax.nn.leaky_relu(hidden, 0.2)
        condition = _condition(label, self.n_classes, text)
        projection = nn.Dense(self.width, use_bias=False, name="projection")(condition)
        # Divided by √width so that both terms start at the same scale.
        return nn.Dense(1)(hidden)[:, 0] + (projection * hidden).sum(axis=-1) / jnp.sqrt(self.width)


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


class PairCritic(nn.Module):
    """f(ĥ, t̂) = ⟨a(ĥ), b(t̂)⟩ / √dim: a separable critic that scores every audio of a batch with every text.

    Attributes:
      width: width of the hidden layers.
      dim: width of the inner product.
      axis: how the batch is spread over devices; the pairs of the whole batch are scored.
    """

    width: int
    dim: int = 32
    axis: BatchAxis = SINGLE

    @nn.compact
    def __call__(
        self, audio: Float[Array, "batch audio_dim"], text: Float[Array, "batch text_dim"]
    ) -> Float[Array, "whole whole"]:
        audio = MLP((self.width,), self.dim, name="audio")(audio)
        text = MLP((self.width,), self.dim, name="text")(text)
        return self.axis.whole(audio) @ self.axis.whole(text).T / jnp.sqrt(self.dim)
