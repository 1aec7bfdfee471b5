"""The aligner: audio and text encoders into one representation space, and class heads."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from infoser.batch_axis import SINGLE, BatchAxis
from infoser.frame_table import PackedFrames
from infoser.models.mlp import MLP
from infoser.models.pooling import AttentiveStatistics


class Aligned(NamedTuple):
    """What the aligner makes of each row: representations h (audio) and t (text; None without text), class logits."""

    audio: Float[Array, "batch dim"]
    text: Float[Array, "batch dim"] | None
    logits: tuple[Float[Array, "batch classes"], ...]


class Aligner(nn.Module):
    """E_a: audio → h and E_t: text → t, and linear class heads on h, t and [h;t].

    An encoder of frames begins with attentive statistics pooling.

    Attributes:
      width: width of each encoder's hidden layer, and of the attention's.
      representation_dim: width of h and of t.
      n_classes: number of emotions.
      axis: how the batch is spread over devices (dropout depends on it).
    """

    width: int
    representation_dim: int
    n_classes: int
    axis: BatchAxis = SINGLE

    @nn.compact
    def __call__(
        self,
        audio: Float[Array, "batch audio_dim"] | PackedFrames,
        text: Float[Array, "batch text_dim"] | PackedFrames | None,
        dropout: Float[Array, ""] | float = 0.0,
        *,
        train: bool = False,
    ) -> Aligned:
        def encode(name, features):
            if isinstance(features, PackedFrames):
                features = AttentiveStatistics(self.width, name=f"{name}_pooling")(features)
            encoder = MLP((self.width,), self.representation_dim, self.axis, name=name)
            return nn.LayerNorm(name=f"{name}_norm")(encoder(features, dropout, train=train))

        h = encode("audio_encoder", audio)
        logits = (nn.Dense(self.n_classes, name="audio_head")(h),)
        if text is None:
            return Aligned(h, None, logits)
        t = encode("text_encoder", text)
        joint = nn.Dense(self.n_classes, name="joint_head")
        logits += (nn.Dense(self.n_classes, name="text_head")(t), joint(jnp.concatenate([h, t], axis=-1)))
        return Aligned(h, t, logits)
