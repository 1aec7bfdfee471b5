"""Frame sequences for training: flat on the devices, packed without padding utterances to a common length.

A packed batch is a fixed number of tiles of TILE frames; an utterance takes as many as it needs. Sums over an utterance
are sums over its tiles: a scatter would be slower on a CPU, and on a GPU not the same twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from infoser.corpus import Frames
from infoser.errors import InfoserError

TILE = 8
#: Numbers that a chunk of rows may hold, of all runs that read one at the same time; more rows are read in more chunks.
CHUNK_VALUES = 2**24


@struct.dataclass
class FrameTable:
    """The sequences of one modality; those of row i are values[start[i] : start[i] + count[i]]."""

    values: Float[Array, "total dim"]
    start: Int[Array, " rows"]
    count: Int[Array, " rows"]


@struct.dataclass
class FrameStatistics:
    """What standardises frames as (x − mean) · scale."""

    mean: Float[Array, " dim"]
    scale: Float[Array, " dim"]


@struct.dataclass
class PackedFrames:
    """The frames of a batch, in tiles.

    Attributes:
      values: standardised; zero where `inside` is not.
      inside: which places of a tile hold a frame.
      owner: which tiles belong to each utterance; an utterance without frames has none.
    """

    values: Float[Array, "tiles tile dim"]
    inside: Bool[Array, "tiles tile"]
    owner: Bool[Array, "batch tiles"]


@dataclass(frozen=True)
class FrameMoments:
    """Count, mean and sum of squared deviations of the frames of every utterance, each of its own frames alone.

    Statistics of any fold follow without reading the frames again.
    """

    count: Int[np.ndarray, " rows"]
    mean: Float[np.ndarray, "rows dim"]
    squares: Float[np.ndarray, "rows dim"]

    @classmethod
    def of(cls, frames: Frames) -> FrameMoments:
        """The moments of a corpus' frames, read one utterance at a time."""
        mean, squares = (np.zeros((len(frames), frames.values.shape[1])) for _ in range(2))
        for row in np.flatnonzero(frames.count):
            own = np.asarray(frames.of(int(row)), np.float64)
            mean[row] = own.mean(axis=0)
            squares[row] = ((own - mean[row]) ** 2).sum(axis=0)
        return cls(np.asarray(frames.count, np.int64), mean, squares)

    def statistics(self, rows: np.ndarray) -> FrameStatistics:
        """Of all frames of `rows`; a constant column keeps scale 1."""
        count = self.count[rows, None]
        mean = (count * self.mean[rows]).sum(axis=0) / count.sum()
        squares = self.squares[rows].sum(axis=0) + (count * (self.mean[rows] - mean) ** 2).sum(axis=0)
        deviation = np.sqrt(squares / count.sum())
        constant = is_constant(mean, deviation)
        scale: np.ndarray = np.where(constant, 1.0, 1.0 / np.where(constant, 1.0, deviation))
        return FrameStatistics(mean.astype(np.float32), scale.astype(np.float32))  # pyright: ignore[reportArgumentType]


def is_constant(mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Whether columns vary by no more than float32 rounds their mean, or by less than what it can be divided by."""
    return deviation <= np.maximum(1e-6 * np.abs(mean), 1e-30)


@dataclass(frozen=True)
class Chunks:
    """All rows of the corpus in chunks of nearly equally many numbers, for embedding them in bounded memory.

    Attributes:
      rows: the rows of each chunk; the shortest row fills the chunks up to one size.
      place: where each row stands in the flattened `rows`.
      audio_tiles, text_tiles: the most that a chunk holds; 0 without frames.
    """

    rows: Int[np.ndarray, "chunks size"]
    place: Int[np.ndarray, " rows"]
    audio_tiles: int
    text_tiles: int

    @classmethod
    def deal(cls, audio: Frames | None, text: Frames | None, *, together: int = 1) -> Chunks:
        """Deals rows in order of length to the chunks in turn, as many as keep each below CHUNK_VALUES.

        Args:
          together: how many aligners embed a chunk at the same time.
        """
        given = [frames for frames in (audio, text) if frames is not None]
        order = np.argsort(given[0].count, kind="stable")
        values = max(int(tiles(each.count).sum()) * TILE * each.values.shape[1] for each in given)
        n_chunks = min(-(-values * together // CHUNK_VALUES), len(order))
        size = -(-len(order) // n_chunks)
        filling = n_chunks * size - len(order)
        rows = np.concatenate([np.repeat(order[:1], filling), order]).reshape(size, n_chunks).T
        dealt = np.arange(filling, n_chunks * size)
        place: Any = np.empty(len(order), np.int32)
        place[order] = dealt % n_chunks * size + dealt // n_chunks
        most = [0 if each is None else int(tiles(each.count)[rows].sum(axis=1).max()) for each in (audio, text)]
        dealt_rows: Any = rows.astype(np.int32)
        return cls(dealt_rows, place, max(most[0], audio is not None), max(most[1], text is not None))


def tiles(count: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
    """How many tiles sequences of these lengths take."""
    return -(-np.asarray(count, np.int64) // TILE)


def frame_table(frames: Frames | None, corpus_name: str) -> FrameTable | None:
    """The table of a corpus' sequences, still on the host.

    Raises:
      InfoserError: if there are more frames than 32 bits can number.
    """
    if frames is None:
        return None
    if len(frames.values) > np.iinfo(np.int32).max - TILE:
        raise InfoserError(f"corpus {corpus_name!r} has {len(frames.values):,} frames, too many to train on: --align.no-frames")
    table: Any = (frames.values, frames.start.astype(np.int32), frames.count.astype(np.int32))
    return FrameTable(*table)


def pack(table: FrameTable, statistics: FrameStatistics, rows: Int[Array, " batch"], budget: int) -> PackedFrames:
    """The standardised frames of `rows`.

    Args:
      budget: number of tiles, known to be enough for these rows: what lies beyond it would be lost.
    """
    count = table.count[rows]
    needed = (count + TILE - 1) // TILE
    end = jnp.cumsum(needed)
    tile = jnp.arange(budget, dtype=end.dtype)
    owner = (tile >= (end - needed)[:, None]) & (tile < end[:, None])
    utterance = jnp.minimum(jnp.searchsorted(end, tile, side="right"), len(rows) - 1)
    within = ((tile - (end - needed)[utterance]) * TILE)[:, None] + jnp.arange(TILE, dtype=end.dtype)
    inside = (tile < end[-1])[:, None] & (within < count[utterance][:, None])
    source = jnp.where(inside, table.start[rows][utterance][:, None] + within, 0)
    values = (table.values[source].astype(statistics.mean.dtype) - statistics.mean) * statistics.scale
    return PackedFrames(jnp.where(inside[..., None], values, 0.0), inside, owner)
