"""What a stage may know of the corpus: the training rows of one fold, and statistics computed from them alone."""

from collections.abc import Callable
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from infoser.config import VIRTUAL_SHARDS
from infoser.frame_table import FrameMoments, FrameStatistics, FrameTable, PackedFrames, is_constant, pack
from infoser.memory_maps import release
from infoser.strata import draw_within_strata, shard_of_place, stratum_order

Standardise = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
#: Numbers that are summed together.
_BLOCK_VALUES = 2**21


@struct.dataclass
class FoldView:
    """Row numbers of one fold's training part, and the statistics that standardise its features.

    Row tables are padded at the end to a common length, so that folds of different sizes stack; the counts say how many
    entries are meant. Nothing here depends on the test part.

    Attributes:
      rows: every training row, with or without a label; in a view of the rows with text, only those. In order of length
        where frames are read.
      labelled_rows: those with a label, sorted by class.
      class_start, class_count: where each class begins in `labelled_rows`, and how many rows it has.
      source: which layer of stacked features (see `Features`) these rows are read from.
      aligned: which layer of the representations that are appended to them, where there are any.
      audio_mean, audio_scale, text_mean, text_scale: standardise features as (x − mean) · scale; of all training rows,
        and of those with text.
      audio_frames, text_frames: the same for frames, where they are read.
      virtual_shards: how many parts, of rows that follow one another in the corpus, the batches are stratified over.
    """

    rows: Int[Array, " rows"]
    row_count: Int[Array, ""]
    labelled_rows: Int[Array, " labelled"]
    class_start: Int[Array, " classes"]
    class_count: Int[Array, " classes"]
    source: Int[Array, ""]
    aligned: Int[Array, ""]
    audio_mean: Float[Array, " audio_dim"]
    audio_scale: Float[Array, " audio_dim"]
    text_mean: Float[Array, " text_dim"]
    text_scale: Float[Array, " text_dim"]
    audio_frames: FrameStatistics | None = None
    text_frames: FrameStatistics | None = None
    virtual_shards: int = struct.field(pytree_node=False, default=VIRTUAL_SHARDS)

    @classmethod
    def build(
        cls,
        rows: np.ndarray,
        label: np.ndarray,
        *,
        n_classes: int,
        audio: np.ndarray,
        text: np.ndarray | None,
        source: int = 0,
        aligned: int = 0,
        rows_padded: int,
        labelled_padded: int,
        has_text: np.ndarray | None = None,
        with_text_only: bool = False,
        audio_frames: FrameMoments | None = None,
        text_frames: FrameMoments | None = None,
        virtual_shards: int = VIRTUAL_SHARDS,
        standardise: Standardise | None = None,
    ) -> Self:
        """Builds the view of the training part `rows`.

        Args:
          rows: training rows.
          label: (N,) labels of the whole corpus with −1 where the label must not be used; only `label[rows]` is read.
          audio, text: (N, dim) features; only `rows` are read.
          rows_padded, labelled_padded: lengths that the two row tables are padded to.
          has_text: (N,) bool, or None where all rows have text; statistics of text are of rows that have it.
          with_text_only: leave the other rows out of the row tables. The statistics are the same.
          audio_frames, text_frames: of every row; the row tables are then in order of length.
          virtual_shards: see the attribute.
          standardise: takes the place of `standardisation`, for views that share statistics.
        """
        standardise = standardise or standardisation
        with_text = rows if has_text is None else rows[has_text[rows]]
        audio_mean, audio_scale = standardise(audio, rows)
        text_mean, text_scale = standardise(text, with_text) if text is not None else (np.zeros(0), np.zeros(0))
        of_audio_frames = None if audio_frames is None else audio_frames.statistics(rows)
        of_text_frames = None if text_frames is None else text_frames.statistics(with_text)
        rows = with_text if with_text_only else rows
        lengths = audio_frames or text_frames
        if lengths is not None:
            rows = rows[np.argsort(lengths.count[rows], kind="stable")]
        labelled, count = _by_class(rows, label, n_classes)
        return cls(
            rows=_padded(rows, rows_padded, rows[0]),
            row_count=_host(len(rows), np.int32),
            labelled_rows=_padded(labelled, labelled_padded, rows[0]),
            class_start=_host(np.cumsum(count) - count, np.int32),
            class_count=_host(count, np.int32),
            source=_host(source, np.int32),
            aligned=_host(aligned, np.int32),
            audio_mean=_host(audio_mean, np.float32),
            audio_scale=_host(audio_scale, np.float32),
            text_mean=_host(text_mean, np.float32),
            text_scale=_host(text_scale, np.float32),
            audio_frames=of_audio_frames,
            text_frames=of_text_frames,
            virtual_shards=virtual_shards,
        )

    def relabelled(self, label: np.ndarray) -> Self:
        """The same rows, on the host, with other labels.

        Args:
          label: (N,) of the whole corpus with −1 where the label must not be used.
        """
        rows: Any = self.rows
        labelled, count = _by_class(rows[: int(self.row_count)], label, len(self.class_count))
        tables = {"labelled_rows": _padded(labelled, len(self.labelled_rows), rows[0])}
        tables |= {"class_start": _host(np.cumsum(count) - count, np.int32), "class_count": _host(count, np.int32)}
        return self.replace(**tables)  # pyright: ignore[reportAttributeAccessIssue]


@struct.dataclass
class Features:
    """The corpus' features on the device, shared by all runs: a layer for each way in which they were made.

    Encoder features have one layer; representations of aligners have one for each aligner. Of a corpus that is streamed,
    only the rows of a table are there at a time.

    Attributes:
      audio: (layers, N, audio_dim).
      text: (layers, N, text_dim), or None.
      condition: (aligners, N, condition_dim), the text representation that a generator is conditioned on, or None; of all
        rows, also where the others are of a table.
      audio_aligned, text_aligned: (aligners, N, dim) representations that are appended to the features, as they are, or None;
        of all rows too.
      audio_frames, text_frames: the sequences that an aligner reads in place of the features, if any.
      table_rows: of a table, the rows that it holds, ascending, filled up with the largest int32; None for all rows.
    """

    audio: Float[Array, "layers rows audio_dim"]
    text: Float[Array, "layers rows text_dim"] | None
    condition: Float[Array, "aligners rows condition_dim"] | None = None
    audio_frames: FrameTable | None = None
    text_frames: FrameTable | None = None
    table_rows: Int[Array, " table"] | None = None
    audio_aligned: Float[Array, "aligners rows aligned_dim"] | None = None
    text_aligned: Float[Array, "aligners rows aligned_dim"] | None = None

    @property
    def audio_dim(self) -> int:
        """Width of what `read_audio` gives."""
        return self.audio.shape[-1] + (0 if self.audio_aligned is None else self.audio_aligned.shape[-1])

    @property
    def text_dim(self) -> int:
        """Width of what `read_text` gives; 0 without text."""
        own = 0 if self.text is None else self.text.shape[-1]
        return own + (0 if self.text_aligned is None else self.text_aligned.shape[-1])

    def place(self, rows: Int[Array, " batch"]) -> Int[Array, " batch"]:
        """Where `rows` stand in the arrays."""
        if self.table_rows is None:
            return rows
        return jnp.searchsorted(self.table_rows, rows, method="scan_unrolled").astype(rows.dtype)

    def _read(self, features: Any, view: FoldView, rows: Int[Array, " batch"]) -> Float[Array, "batch dim"]:
        place = self.place(rows)
        read = features[view.source, place]
        if self.table_rows is None:
            return read
        # A row that is not in the table would be read as another one without a word: no loss survives a NaN.
        return jnp.where((self.table_rows[place] == rows)[:, None], read, jnp.nan)

    def read_audio(self, view: FoldView, rows: Int[Array, " batch"]) -> Float[Array, "batch audio_dim"]:
        """Standardised audio features of `rows`."""
        features = (self._read(self.audio, view, rows) - view.audio_mean) * view.audio_scale
        return _appended(features, self.audio_aligned, view, rows)

    def read_text(self, view: FoldView, rows: Int[Array, " batch"]) -> Float[Array, "batch text_dim"] | None:
        """Standardised text features of `rows`, or None without text."""
        if self.text is None:
            return None
        features = (self._read(self.text, view, rows) - view.text_mean) * view.text_scale
        return _appended(features, self.text_aligned, view, rows)

    def joined(self, table: "Features") -> "Features":
        """These features with what a table holds of the others."""
        stay = {name: getattr(self, name) for name in ("condition", "audio_aligned", "text_aligned")}
        return table.replace(**stay)  # pyright: ignore[reportAttributeAccessIssue]

    def _pack(self, frames: Any, statistics: Any, rows: Int[Array, " batch"], budget: int) -> PackedFrames:
        place = self.place(rows)
        packed = pack(frames, statistics, place, budget)
        if self.table_rows is None:
            return packed
        there = (self.table_rows[place] == rows).all()
        return packed.replace(values=jnp.where(there, packed.values, jnp.nan))  # pyright: ignore[reportAttributeAccessIssue]

    def pack_audio(self, view: FoldView, rows: Int[Array, " batch"], budget: int) -> PackedFrames:
        """Standardised audio frames of `rows`, in `budget` tiles."""
        assert self.audio_frames is not None and view.audio_frames is not None
        return self._pack(self.audio_frames, view.audio_frames, rows, budget)

    def pack_text(self, view: FoldView, rows: Int[Array, " batch"], budget: int) -> PackedFrames:
        """Standardised text frames of `rows`, in `budget` tiles."""
        assert self.text_frames is not None and view.text_frames is not None
        return self._pack(self.text_frames, view.text_frames, rows, budget)


def _appended(
    features: Float[Array, "batch dim"], aligned: Any, view: FoldView, rows: Int[Array, " batch"]
) -> Float[Array, "batch whole_dim"]:
    return features if aligned is None else jnp.concatenate([features, aligned[view.aligned, rows]], axis=-1)


def standardisation(features: np.ndarray, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and reciprocal standard deviation of each column; a constant column keeps scale 1.

    Summed in float64, so that the order of millions of rows does not show, as differences from the first row, so that
    numbers far from zero lose no digits; a block of rows at a time, so that a memory map is not read into memory whole.

    Args:
      features: (N, dim).
      rows: those that count; all of them if None.
    """
    count = len(features) if rows is None else len(rows)
    first = np.asarray(features[0 if rows is None else rows[0]], np.float64)
    total, squares = np.zeros_like(first), np.zeros_like(first)
    step = max(1, _BLOCK_VALUES // features.shape[1])
    for begin in range(0, count, step):
        block = slice(begin, begin + step)
        difference = features[block if rows is None else rows[block]] - first
        total += difference.sum(axis=0)
        squares += np.einsum("ij,ij->j", difference, difference)
        release(features)
    mean = first + total / count
    deviation = np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0.0))
    constant = is_constant(mean, deviation)
    return mean, np.where(constant, 1.0, 1.0 / np.where(constant, 1.0, deviation))


def draw_rows(key: jax.Array, view: FoldView, batch_size: int, *, by_length: bool = False) -> Int[Array, " batch"]:
    """Rows drawn uniformly, with replacement, from the whole training part: each place of the batch from its own stratum.

    Args:
      by_length: the strata are those of length, in place of the virtual shards.
    """
    return view.rows[draw_within_strata(key, jnp.asarray(view.row_count), _strata(view, batch_size, by_length))]


def draw_class_balanced(
    key: jax.Array,
    view: FoldView,
    batch_size: int,
    by_prior: Float[Array, ""] | float = 0.0,
    *,
    by_length: bool = False,
) -> tuple[Int[Array, " batch"], Int[Array, " batch"]]:
    """Labelled rows, drawn with replacement, and their labels: a class from those that occur, then a row of it.

    Args:
      by_prior: where it is not 0, a class is drawn by its share of the rows, instead of all equally.
      by_length: each place takes its row from its own stratum of the class' lengths, in place of its virtual shard.
    """
    class_key, row_key = jax.random.split(key)
    weight = jnp.where(jnp.asarray(by_prior) != 0, view.class_count, (view.class_count > 0).astype(jnp.int32))
    end = jnp.cumsum(weight)
    drawn = jax.random.randint(class_key, (batch_size,), 0, end[-1])
    # The default would be a loop, in every step.
    label = jnp.searchsorted(end, drawn, side="right", method="compare_all")
    return draw_of_classes(row_key, view, label, by_length=by_length), label


def draw_of_classes(
    key: jax.Array, view: FoldView, label: Int[Array, " batch"], *, by_length: bool = False
) -> Int[Array, " batch"]:
    """A row of each of the given classes, which must occur, drawn uniformly from those of the class: each place's stratum."""
    within = draw_within_strata(key, jnp.asarray(view.class_count)[label], _strata(view, len(label), by_length))
    return view.labelled_rows[view.class_start[label] + within]


def _strata(view: FoldView, batch_size: int, by_length: bool) -> np.ndarray:
    return stratum_order(batch_size) if by_length else shard_of_place(batch_size, view.virtual_shards)


def _by_class(rows: np.ndarray, label: np.ndarray, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Those of the rows that have a label, sorted by class; and how many each class has."""
    labelled = rows[label[rows] >= 0]
    return labelled[np.argsort(label[labelled], kind="stable")], np.bincount(label[labelled], minlength=n_classes)


def _host(value: Any, dtype: Any) -> Any:
    # Views are made on the host and moved to the devices as a stack of runs.
    return np.asarray(value, dtype)


def _padded(rows: np.ndarray, length: int, filling: int) -> Any:
    padded = np.full(length, filling, np.int32)  # a training row: even what is never drawn may not be a test row
    padded[: len(rows)] = rows
    return padded
