"""Batches of like length, so that little of what is encoded is padding."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int


def plan_batches(lengths: Int[np.ndarray, " items"], max_padded: int, max_items: int) -> list[Int[np.ndarray, " _"]]:
    """Divides items into batches: sorted by length, the longest first, so that too little memory shows at once.

    Args:
      lengths: of the items, in any unit.
      max_padded: the most that a batch may hold, every item padded to its longest; a longer item is alone.
      max_items: in a batch.

    Returns:
      The items of each batch; every item is in one of them. Depends on the arguments alone.

    Raises:
      ValueError: if a batch could hold nothing.
    """
    if max_padded < 1 or max_items < 1:
        raise ValueError(f"a batch must hold something, but max_padded is {max_padded} and max_items {max_items}")
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        longest = max(int(lengths[order[start]]), 1)
        size = min(max(max_padded // longest, 1), max_items)
        batches.append(order[start : start + size])
        start += size
    return batches


def padding_share(lengths: Int[np.ndarray, " items"], batches: Sequence[Int[np.ndarray, " _"]]) -> float:
    """The share of all padded batches that is padding; 0 where there is nothing to pad."""
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in batches if len(batch))
    held = sum(int(lengths[batch].sum()) for batch in batches)
    return 1.0 - held / padded if padded else 0.0
