"""Stratified draws of rows in order of length: a batch's frames never exceed a number that is known beforehand.

A batch of b rows takes one from each of b strata of equal probability, instead of b independent ones. Every row is as
likely as before, and what a batch can hold at most is about what an average one holds, not b times the longest row.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from infoser.errors import InfoserError


def stratum_order(batch_size: int) -> Int[np.ndarray, " batch"]:
    """The stratum that each place of a batch draws from.

    Strata are dealt by the van der Corput sequence (bits reversed), so that every device's share of a batch, however many
    devices there are, has rows of all lengths.
    """
    bits = max(1, (batch_size - 1).bit_length())
    reversed_bits = [int(f"{place:0{bits}b}"[::-1], 2) for place in range(batch_size)]
    return np.argsort(np.argsort(reversed_bits)).astype(np.int32)


def draw_within_strata(key: jax.Array, count: Int[Array, "*batch"], batch_size: int) -> Int[Array, " batch"]:
    """For each place of a batch a position in [0, count), drawn uniformly from the place's stratum.

    Stratum i is the interval [i, i + 1) · count / batch_size, whose ends may lie within a row. The whole part of its
    beginning is computed in integers: float32 would not resolve the rows of a large corpus.

    Args:
      count: number of rows to draw from, one for all places or each place's own.
    """
    stratum = jnp.asarray(stratum_order(batch_size))
    whole, rest = count // batch_size, count % batch_size
    begin = stratum * whole + stratum * rest // batch_size
    remainder = (stratum * rest % batch_size).astype(jnp.float32)
    width = jnp.asarray(count).astype(jnp.float32) / batch_size
    inside = remainder / batch_size + jax.random.uniform(key, (batch_size,), jnp.float32) * width
    return jnp.clip(begin + jnp.floor(inside).astype(jnp.int32), 0, jnp.maximum(count - 1, 0))


def stratum_bounds(sizes: Int[np.ndarray, " rows"], batch_size: int) -> Int[np.ndarray, " batch"]:
    """The largest size that each place of a batch can draw from rows of these sizes, in the order that they are drawn in.

    Raises:
      InfoserError: for a batch whose strata 32 bits can't tell apart.
    """
    if batch_size > 2**15:
        raise InfoserError(f"--align.batch-size {batch_size}: at most {2**15} where frames are read")
    if len(sizes) == 0:
        return np.zeros(batch_size, np.int64)
    stratum = stratum_order(batch_size).astype(np.int64)
    first = stratum * len(sizes) // batch_size
    last = np.minimum((stratum + 1) * len(sizes) // batch_size, len(sizes) - 1)  # one more, should rounding reach it
    return np.array([sizes[low : high + 1].max() for low, high in zip(first, last, strict=True)], np.int64)


def largest_share(bounds: tuple[int, ...], shares: int) -> int:
    """The most that one of `shares` equal parts of a batch can hold, and at least 1."""
    return max(1, int(np.asarray(bounds, np.int64).reshape(shares, -1).sum(axis=1).max()))
