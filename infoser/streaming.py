"""Corpora larger than memory: only the rows that the next steps read are on the devices, in a table of each one's own.

A batch depends on a run's key and the step alone, so what a chunk of steps is going to read is known before it is trained.
Grain builds the tables of the chunks to come while the devices train on the present one. The batches are those of a corpus
that stays in memory, to the last bit; and the number of the step is all that has to be remembered to go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from infoser import exchange, parallel
from infoser.corpus import Frames
from infoser.fold_view import Features
from infoser.frame_table import FrameTable
from infoser.memory_maps import release

#: Tables at a time: in use, waiting, being built, and its copy on the way to the devices.
_TABLES = 4
#: Rows that are read from a file before its pages are let go of.
_ROWS_AT_ONCE = 1024
_NO_ROW = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Stream:
    """Features on the host, or in files, that reach the devices a table of rows at a time.

    Attributes:
      audio, text: (N, dim); memory maps, as a rule.
      audio_frames, text_frames: in place of them for an aligner that reads frames.
      resident: what stays on the devices.
      mode: how devices are used.
      budget: bytes that all tables of a device may take.
    """

    audio: np.ndarray
    text: np.ndarray | None
    audio_frames: Frames | None
    text_frames: Frames | None
    resident: Features
    mode: parallel.RunsMode
    budget: int

    def chunk_steps(self, stage: Any, per_step: Places, most: int, parts: int = 1) -> int:
        """How many steps a chunk may have, at most `most`, so that its tables stay within the budget.

        Args:
          parts: how many parts the group is in; while one trains, a table of each of the others waits.
        """
        bytes_per_step = per_step.rows * self._row_bytes(stage)
        for frames, places in zip((self.audio_frames, self.text_frames), per_step.frames, strict=True):
            bytes_per_step += 0 if frames is None else places * frames.values.itemsize * frames.values.shape[1]
        return int(np.clip(self.budget // (_TABLES + parts - 1) // max(bytes_per_step, 1), 1, most))

    def rows_at_once(self, stage: Any) -> int:
        """How many rows a table of rows alone may have."""
        return int(max(1, self.budget // _TABLES // max(1, self._row_bytes(stage))))

    def chunks(self, stage: Any, runs: Any, keys: np.ndarray, start: int, length: int) -> Iterator[Any]:
        """What each chunk of `length` steps from `start` on reads, on the devices.

        Args:
          stage: as it trains: divided, in data mode.
          runs, keys: of every run of the group, on the host.
        """
        import grain

        undivided = parallel.undivided(stage)
        drawn_from = undivided.draws_from(runs)
        per_step = self.places(stage, drawn_from, keys)
        # More rows than the corpus has are never read, and steps past the last one read none.
        capacity = min(length * per_step.rows, len(self.audio))
        frames = [places * length for places in per_step.frames]
        source = _Chunks(self, undivided, drawn_from, keys, start, length, capacity, frames)
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
        return iter(grain.MapDataset.source(source).to_iter_dataset(options))

    def places(self, stage: Any, drawn_from: Any, keys: np.ndarray) -> Places:
        """The most that a step reads on one device; runs that draw alike (variants of a fold and seed) read together."""
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(drawn_from)]
        alike: dict[tuple[bytes, ...], int] = {}
        number = np.array(
            [
                alike.setdefault((keys[run].tobytes(), *(leaf[run].tobytes() for leaf in leaves)), len(alike))
                for run in range(len(keys))
            ]
        )
        one = jax.tree.map(lambda leaf: leaf[0], drawn_from)
        draws = jax.eval_shape(parallel.undivided(stage).rows_read, one, jax.random.key(0)).shape
        # Each run's rows replaced by the number of its draws: what is left to count is how many differ on a device.
        own = self.mode.steps_rows(np.broadcast_to(number[:, None, None, None], (len(keys), 1, *draws)))
        differing = max(len(np.unique(device)) for device in own)
        per_run = own[0][0].size if own[0].size else 0
        # Tables are of one size on all hosts.
        rows_read, *frames_read = exchange.agree(differing * per_run, *(differing * each for each in stage.frames_read()))
        return Places(rows_read, tuple(frames_read))

    def table(self, stage: Any, rows_of: Sequence[np.ndarray], capacity: int, frames: Sequence[int]) -> Features:
        """The tables of some devices, stacked on axis 0, on the host.

        Args:
          stage: whose features are wanted.
          rows_of: for each device the rows, in any order and number of repetitions.
          capacity: rows that a table has.
          frames: frames of audio and text that it has.
        """
        own = [np.unique(rows) for rows in rows_of]
        table_rows = np.full((len(own), capacity), _NO_ROW, np.int32)
        for filled, rows in zip(table_rows, own, strict=True):
            filled[: len(rows)] = rows
        values: dict[str, Any] = {"audio": None, "text": None, "audio_frames": None, "text_frames": None}
        for name in stage.reads:
            if name in ("audio", "text"):
                values[name] = _rows_table(getattr(self, name), own, capacity)
            else:
                values[name] = _frames_table(getattr(self, name), own, capacity, frames[name == "text_frames"])
        return Features(**values, table_rows=table_rows)  # pyright: ignore[reportArgumentType]

    def sizes(self, blocks: Sequence[np.ndarray]) -> tuple[int, tuple[int, int]]:
        """Rows, and frames of audio and of text, that a table needs to hold any of these (runs, …) blocks of rows."""
        own = [np.unique(device) for block in blocks for device in self.mode.output_rows(block)]
        sequences = (self.audio_frames, self.text_frames)
        frames = [0 if each is None else max(int(each.count[rows].sum()) for rows in own) for each in sequences]
        return max(map(len, own)), (frames[0], frames[1])

    def for_outputs(self, stage: Any, rows: np.ndarray, sizes: tuple[int, tuple[int, int]] | None = None) -> Any:
        """What `outputs` of some rows need, on the devices.

        Args:
          rows: (runs, …) of each run.
          sizes: of the table; what these rows need if None.
        """
        table = self.table(stage, self.mode.output_rows(rows), *(sizes or self.sizes([rows])))
        return self.mode.streamed_outputs(self.resident, table)

    def _row_bytes(self, stage: Any) -> int:
        pooled = [getattr(self, name) for name in stage.reads if name in ("audio", "text")]
        return 4 * sum(features.shape[1] for features in pooled) + 8


@dataclass(frozen=True)
class Places:
    """How much a step reads on a device: rows, and frames of audio and of text."""

    rows: int
    frames: tuple[int, ...]


@dataclass(frozen=True)
class _Chunks:
    """The tables of all chunks, as Grain asks for them."""

    stream: Stream
    stage: Any
    drawn_from: Any
    keys: np.ndarray
    start: int
    length: int
    capacity: int
    frames: Sequence[int]

    def __len__(self) -> int:
        return -(-(self.stage.steps - self.start) // self.length)

    def __getitem__(self, index: int) -> Any:
        stream, mode = self.stream, self.stream.mode
        first = self.start + int(index) * self.length
        rows = parallel.rows_of_steps(self.stage, self.length, self.drawn_from, self.keys, first)
        rows = rows[:, : self.stage.steps - first]
        tables = stream.table(self.stage, mode.steps_rows(rows), self.capacity, self.frames)
        return mode.streamed(stream.resident, tables)


def _rows_table(features: np.ndarray, own: Sequence[np.ndarray], capacity: int) -> np.ndarray:
    """(devices, 1, capacity, dim) the features of each device's rows; zeros beyond them."""
    table = np.zeros((len(own), 1, capacity, features.shape[1]), np.float32)
    for filled, rows in zip(table, own, strict=True):
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            block = rows[first : first + _ROWS_AT_ONCE]
            filled[0, first : first + len(block)] = features[block]
            release(features)  # with every page that is read, the system maps those around it
    return table


def _frames_table(frames: Frames, own: Sequence[np.ndarray], capacity: int, places: int) -> FrameTable:
    """The sequences of each device's rows, laid end to end."""
    values = np.zeros((len(own), max(1, places), frames.values.shape[1]), frames.values.dtype)
    start, count = (np.zeros((len(own), capacity), np.int32) for _ in range(2))
    for device, rows in enumerate(own):
        count[device, : len(rows)] = frames.count[rows]
        end = np.cumsum(frames.count[rows], dtype=np.int64)
        if len(rows) and end[-1] > values.shape[1]:
            raise AssertionError(f"{end[-1]} frames in a table of {values.shape[1]}")  # the strata's bounds exclude it
        start[device, : len(rows)] = end - frames.count[rows]
        for number, (row, begin, length) in enumerate(zip(rows, start[device], count[device], strict=False)):
            values[device, begin : begin + length] = frames.of(int(row))
            if number % _ROWS_AT_ONCE == 0:
                release(frames.values)
    release(frames.values)
    return FrameTable(values, start, count)  # pyright: ignore[reportArgumentType]
