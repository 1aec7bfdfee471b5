"""Discriminators: by projection or with an auxiliary classifier, of single rows or of packs, plain or spectrally normalised."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from infoser.batch_axis import SINGLE, BatchAxis, drop
from infoser.models.generator import Condition

#: The collection that spectral normalisation keeps its vectors in, beside the parameters.
SPECTRAL = "batch_stats"
#: The slope of its rectifiers below 0.
LEAK = 0.2


class Judged(NamedTuple):
    """What D says of every pack of rows: its score, and ln p(c|h) up to a constant for each row, or None without that head."""

    score: Float[Array, " packs"]
    logits: Float[Array, "rows classes"] | None


class Discriminator(nn.Module):
    """D(h | c, t): ψ(φ(h)) + ⟨V·(c, t), φ(h)⟩, the projection discriminator (arXiv 1802.05637, eq. 4).

    Without a condition the product is left out. With an auxiliary classifier (arXiv 1610.09585, eq. 2 and 3) a further head
    reads the class from φ(h); the caller then leaves c out of the condition. A pack of m rows is judged as one, features and
    conditions side by side (PacGAN, arXiv 1712.04086): a generator that repeats itself is seen to.

    Attributes:
      width: width of the two hidden layers.
      classes: of the auxiliary classifier; 0 for none.
      spectral: whether each layer's largest singular value is brought to 1 (arXiv 1802.05957, eq. 8). Its power iteration
        goes on in calls with `refresh`, in which SPECTRAL is mutable.
      pack: m; a batch holds whole packs.
      axis: how the batch is spread over devices.
    """

    width: int
    classes: int = 0
    spectral: bool = False
    pack: int = 1
    axis: BatchAxis = SINGLE

    @nn.compact
    def __call__(
        self,
        features: Float[Array, "rows dim"],
        condition: Condition,
        dropout: Float[Array, ""] | float = 0.0,
        *,
        train: bool = False,
        refresh: bool = False,
    ) -> Judged:
        def dense(x: Any, width: int, name: str, *, bias: bool = True) -> Any:
            layer = nn.Dense(width, use_bias=bias, name=name)
            return nn.SpectralNorm(layer, name=f"{name}_norm")(x, update_stats=refresh) if self.spectral else layer(x)

        rows = len(features)
        features, condition = (x.reshape(rows // self.pack, -1) for x in (features, condition))
        hidden = jax.nn.leaky_relu(dense(features, self.width, "first"), LEAK)
        if train:
            hidden = drop(hidden, dropout, self.make_rng("dropout"), self.axis)
        hidden = jax.nn.leaky_relu(dense(hidden, self.width, "second"), LEAK)
        score = dense(hidden, 1, "score")[:, 0]
        if condition.shape[-1]:
            # Divided by √width so that both terms start at the same scale.
            projection = dense(condition, self.width, "projection", bias=False)
            score += (projection * hidden).sum(axis=-1) / jnp.sqrt(self.width)
        if not self.classes:
            return Judged(score, None)
        return Judged(score, dense(hidden, self.pack * self.classes, "classifier").reshape(rows, self.classes))
