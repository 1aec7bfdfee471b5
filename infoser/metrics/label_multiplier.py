"""The equivalent label multiplier: how many times the labels would have brought the same, by a reference's learning curve."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float


class Multiplier(NamedTuple):
    """A multiple of the labels.

    Attributes:
      value: the multiple, or how far the curve goes.
      bound: '' for the multiple itself; '>' or '<' where it lies beyond the curve's end, of which `value` is the multiple.
    """

    value: float
    bound: Literal["", ">", "<"]

    def __str__(self) -> str:
        return f"{self.bound} {self.value:.2g}".lstrip()


def label_multiplier(gain: float, at: float, curve: Mapping[float, float]) -> Multiplier:
    """f / `at`, f being the label fraction at which the learning curve is `gain` above what it is at `at`.

    Between the fractions that were trained, the curve is linear in ln f; where the reference is worse with more labels than
    with fewer, which only chance makes it, both have their mean (`monotone`), and gains count from there. Where the curve is
    level, f is its smallest there; a gain of nothing is 1. Beyond its ends nothing is known but that.

    Args:
      gain: a difference in UA to the reference at the same label fraction.
      at: that label fraction.
      curve: the reference's UA by label fraction, that of `at` among them.

    Raises:
      ValueError: for a curve without `at`, or a fraction that is not positive.
    """
    if at not in curve or min(curve) <= 0:
        raise ValueError(f"a learning curve over positive label fractions is needed, not {dict(curve)} at {at}")
    if gain == 0:
        return Multiplier(1.0, "")
    fractions = sorted(curve)
    recalls = monotone(np.array([curve[one] for one in fractions], np.float64))
    reached = recalls[fractions.index(at)] + gain
    if reached > recalls[-1]:
        return Multiplier(fractions[-1] / at, ">")
    if reached < recalls[0]:
        return Multiplier(fractions[0] / at, "<")
    right = int(np.searchsorted(recalls, reached, side="left"))
    if recalls[right] == reached:
        return Multiplier(fractions[right] / at, "")
    share = (reached - recalls[right - 1]) / (recalls[right] - recalls[right - 1])
    log_fraction = (1 - share) * math.log(fractions[right - 1]) + share * math.log(fractions[right])
    return Multiplier(math.exp(log_fraction) / at, "")


def monotone(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The nearest sequence that never falls, by least squares: adjacent violators are pooled (doi 10.1214/aoms/1177728423)."""
    blocks: list[tuple[float, int]] = []
    for value in values.tolist():
        blocks.append((value, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (last, n), (before, m) = blocks.pop(), blocks.pop()
            blocks.append(((last * n + before * m) / (n + m), n + m))
    return np.repeat([value for value, _ in blocks], [count for _, count in blocks]).astype(np.float64)
