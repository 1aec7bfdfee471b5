"""Which generated rows are kept, how many of each class, and in which order the classifier meets them."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int


def wanted_by_class(fill: str, real: Int[np.ndarray, " classes"], size: int) -> Int[np.ndarray, " classes"]:
    """How many of `size` added rows each class gets; a class without real rows gets none.

    Args:
      fill: "balanced": equally many; "prior": in proportion to the real rows; "minority": so that real and added rows
        together are as balanced as they can be, the smallest classes first.
      real: labelled training rows of each class.
    """
    occurring = real > 0
    if fill == "prior":
        exact = size * real / real.sum()
    elif fill == "balanced":
        exact = size * occurring / occurring.sum()
    else:
        exact = np.where(occurring, np.maximum(_level(real[occurring], size) - real, 0.0), 0.0)
    counts = np.floor(exact + 1e-9).astype(np.int64)
    # What rounding leaves over goes to the largest remainders, the first class first.
    over = np.argsort(-(exact - counts), kind="stable")[: size - int(counts.sum())]
    counts[over] += 1
    return counts


def _level(real: Int[np.ndarray, " classes"], size: int) -> float:
    """The number of rows up to which `size` added ones fill the smallest classes."""
    ascending = np.sort(real)
    for filled in range(1, len(ascending) + 1):
        level = (ascending[:filled].sum() + size) / filled
        if filled == len(ascending) or level <= ascending[filled]:
            return float(level)
    raise AssertionError("there is no class")


def drawn_for(wanted: Int[np.ndarray, " classes"], drawn_classes: int, held_out: int, keep_share: float) -> int:
    """How many rows of classes drawn at random, all equally likely, hold what is wanted after a share of each is kept.

    All `drawn_classes` classes are drawn, those too that nothing is wanted of.

    Four standard deviations of the least class' count are added, so that a shortage is rare.
    """
    each = (int(wanted.max()) + -(-held_out // int((wanted > 0).sum()))) / keep_share + 1
    return math.ceil(drawn_classes * (each + 4 * math.sqrt(each)))


def within_class_rank(score: Float[np.ndarray, " rows"], label: Int[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
    """The share of the rows of its class that a row's score exceeds, in [0, 1); earlier rows first among equal ones."""
    rank = np.zeros(len(score))
    for one in np.unique(label):
        own = np.flatnonzero(label == one)
        rank[own[np.argsort(score[own], kind="stable")]] = np.arange(len(own)) / len(own)
    return rank


def select(
    label: Int[np.ndarray, " rows"],
    rank: Float[np.ndarray, " rows"] | None,
    keep_share: float,
    wanted: Int[np.ndarray, " classes"],
    held_out: int,
) -> tuple[Int[np.ndarray, " chosen"], Int[np.ndarray, " held"]]:
    """Positions of the rows to train on, and of further ones, both in the order of drawing.

    Args:
      label: of each drawn row.
      rank: from `within_class_rank`: the best `keep_share` of each class are kept; None keeps all.
      wanted: rows of each class to train on; fewer where there are not as many.
      held_out: further rows, equally many of each class that is wanted.
    """
    chosen, held = [], []
    parts = np.array_split(np.arange(held_out), max(1, int((wanted > 0).sum())))
    for one, part in zip(np.flatnonzero(wanted > 0), parts, strict=True):
        own = np.flatnonzero(label == one)
        if rank is not None:
            kept = math.ceil(keep_share * len(own))
            own = np.sort(own[np.argsort(-rank[own], kind="stable")[:kept]])
        chosen.append(own[: wanted[one]])
        held.append(own[wanted[one] : wanted[one] + len(part)])
    return np.sort(np.concatenate(chosen)), np.sort(np.concatenate(held))
