"""The controls: rows made without learning a generator, on the host, in standardised features."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class AugmentedRows(NamedTuple):
    """Rows to train on besides the real ones, standardised like them."""

    audio: Float[np.ndarray, "pool audio_dim"]
    text: Float[np.ndarray, "pool text_dim"] | None
    label: Int[np.ndarray, " pool"]


def class_balanced_rows(label: Int[np.ndarray, " rows"], size: int, generator: np.random.Generator) -> Int[np.ndarray, " size"]:
    """Positions in `label`, drawn with replacement so that every class that occurs is equally likely."""
    classes, inverse, count = np.unique(label, return_inverse=True, return_counts=True)
    probability = 1.0 / (len(classes) * count[inverse])
    return generator.choice(len(label), size=size, p=probability)


def noise(real: AugmentedRows, size: int, generator: np.random.Generator, *, scale: float) -> AugmentedRows:
    """Class-balanced copies of real rows with Gaussian noise.

    Args:
      real: the labelled training rows, standardised.
      size: how many rows to make.
      scale: standard deviation of the noise, in standard deviations of a feature.
    """
    chosen = class_balanced_rows(real.label, size, generator)

    def blurred(features: np.ndarray) -> np.ndarray:
        return (features[chosen] + scale * generator.standard_normal((size, features.shape[1]))).astype(np.float32)

    return AugmentedRows(blurred(real.audio), None if real.text is None else blurred(real.text), real.label[chosen])
