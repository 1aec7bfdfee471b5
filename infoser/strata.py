"""Stratified draws: every place of a batch draws from a part of the rows that is known beforehand.

Every row is as likely as in independent draws. Two orders of rows are divided so. In the corpus' order, the strata are
virtual shards: whatever a device or a host reads for its places then comes from its own share of the corpus, and it is the
same batch for any number of them. In order of length, with a stratum for each place, what a batch of frames can hold at
most is about what an average one holds, not its size times the longest row.

Rows that share a stratum are near each other in the corpus, so what has to be independent within a batch, as the packs that
a discriminator judges, is drawn with one stratum.

All of it is computed in integers, so that any two backends, and any two compiled programs, draw the very same rows.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from infoser.errors import InfoserError

#: Strata that 32 bits can tell apart.
MOST_STRATA = 2**15


def shard_of_place(batch_size: int, virtual_shards: int) -> Int[np.ndarray, " batch"]:
    """The stratum of each place of a batch in the corpus' order; strata unite virtual shards where a batch has fewer places.

    There are as many strata as divide both the batch and the virtual shards equally, so that all rows stay equally likely.
    """
    return np.arange(batch_size) * math.gcd(batch_size, virtual_shards) // batch_size


def stratum_order(batch_size: int) -> Int[np.ndarray, " batch"]:
    """The stratum of length that each place of a batch draws from, one for each place.

    Strata are dealt by the van der Corput sequence (bits reversed), so that every device's share of a batch, however many
    devices there are, has rows of all lengths.
    """
    bits = max(1, (batch_size - 1).bit_length())
    reversed_bits = [int(f"{place:0{bits}b}"[::-1], 2) for place in range(batch_size)]
    return np.argsort(np.argsort(reversed_bits)).astype(np.int32)


def draw_within_strata(key: jax.Array, count: Int[Array, "*batch"], stratum: Int[np.ndarray, " batch"]) -> Int[Array, " batch"]:
    """For each place of a batch a position in [0, count), drawn uniformly from the place's stratum.

    Of S strata the one numbered s is the interval [s, s + 1) · count / S, whose ends may lie within a row. In units of 1/S
    it begins at s · count and is `count` long: the sum of both, without their whole rows, stays below S² + count.

    Args:
      count: number of rows to draw from, one for all places or each place's own; at least 1 and below 2^30.
      stratum: of each place, from 0; all strata up to the largest number occur.
    """
    strata = int(np.max(stratum)) + 1
    whole, rest = jnp.divmod(count, strata)
    inside = jax.random.randint(key, stratum.shape, 0, count)
    return jnp.asarray(stratum * whole + (stratum * rest + inside) // strata)


def stratum_bounds(sizes: Int[np.ndarray, " rows"], batch_size: int) -> Int[np.ndarray, " batch"]:
    """The largest size that each place of a batch can draw from rows of these sizes, in the order that they are drawn in.

    Raises:
      InfoserError: for a batch whose strata 32 bits can't tell apart.
    """
    if batch_size > MOST_STRATA:
        raise InfoserError(f"--align.batch-size {batch_size}: at most {MOST_STRATA} where frames are read")
    if len(sizes) == 0:
        return np.zeros(batch_size, np.int64)
    stratum = stratum_order(batch_size).astype(np.int64)
    first = stratum * len(sizes) // batch_size
    last = ((stratum + 1) * len(sizes) - 1) // batch_size
    return np.array([sizes[low : high + 1].max() for low, high in zip(first, last, strict=True)], np.int64)


def largest_share(bounds: tuple[int, ...], shares: int) -> int:
    """The most that one of `shares` equal parts of a batch can hold, and at least 1."""
    return max(1, int(np.asarray(bounds, np.int64).reshape(shares, -1).sum(axis=1).max()))
