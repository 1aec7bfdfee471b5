"""What a stage may know of the corpus: the training rows of one fold, and statistics computed from them alone."""

from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from infoser.frame_table import Chunks, FrameMoments, FrameStatistics, FrameTable, PackedFrames, pack
from infoser.strata import draw_within_strata


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
      audio_mean, audio_scale, text_mean, text_scale: standardise features as (x − mean) · scale; of all training rows,
        and of those with text.
      audio_frames, text_frames: the same for frames, where they are read.
    """

    rows: Int[Array, " rows"]
    row_count: Int[Array, ""]
    labelled_rows: Int[Array, " labelled"]
    class_start: Int[Array, " classes"]
    class_count: Int[Array, " classes"]
    source: Int[Array, ""]
    audio_mean: Float[Array, " audio_dim"]
    audio_scale: Float[Array, " audio_dim"]
    text_mean: Float[Array, " text_dim"]
    text_scale: Float[Array, " text_dim"]
    audio_frames: FrameStatistics | None = None
    text_frames: FrameStatistics | None = None

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
        rows_padded: int,
        labelled_padded: int,
        has_text: np.ndarray | None = None,
        with_text_only: bool = False,
        audio_frames: FrameMoments | None = None,
        text_frames: FrameMoments | None = None,
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
        """
        with_text = rows if has_text is None else rows[has_text[rows]]
        audio_mean, audio_scale = standardisation(audio[rows])
        text_mean, text_scale = standardisation(text[with_text]) if text is not None else (np.zeros(0), np.zeros(0))
        of_audio_frames = None if audio_frames is None else audio_frames.statistics(rows)
        of_text_frames = None if text_frames is None else text_frames.statistics(with_text)
        rows = with_text if with_text_only else rows
        lengths = audio_frames or text_frames
        if lengths is not None:
            rows = rows[np.argsort(lengths.count[rows], kind="stable")]
        labelled = rows[label[rows] >= 0]
        labelled = labelled[np.argsort(label[labelled], kind="stable")]
        count = np.bincount(label[labelled], minlength=n_classes)
        return cls(
            rows=_padded(rows, rows_padded, rows[0]),
            row_count=_host(len(rows), np.int32),
            labelled_rows=_padded(labelled, labelled_padded, rows[0]),
            class_start=_host(np.cumsum(count) - count, np.int32),
            class_count=_host(count, np.int32),
            source=_host(source, np.int32),
            audio_mean=_host(audio_mean, np.float32),
            audio_scale=_host(audio_scale, np.float32),
            text_mean=_host(text_mean, np.float32),
            text_scale=_host(text_scale, np.float32),
            audio_frames=of_audio_frames,
            text_frames=of_text_frames,
        )


@struct.dataclass
class Features:
    """The corpus' features on the device, shared by all runs: a layer for each way in which they were made.

    Encoder features have one layer; representations of aligners have one for each aligner.

    Attributes:
      audio: (layers, N, audio_dim).
      text: (layers, N, text_dim), or None.
      condition: (aligners, N, condition_dim), the text representation that a generator is conditioned on, or None.
      audio_frames, text_frames, chunks: the sequences that an aligner reads in place of the features, if any, and how
        their rows are divided to be embedded.
    """

    audio: Float[Array, "layers rows audio_dim"]
    text: Float[Array, "layers rows text_dim"] | None
    condition: Float[Array, "aligners rows condition_dim"] | None = None
    audio_frames: FrameTable | None = None
    text_frames: FrameTable | None = None
    chunks: Chunks | None = None

    def read_audio(self, view: FoldView, rows: Int[Array, " batch"]) -> Float[Array, "batch audio_dim"]:
        """Standardised audio features of `rows`."""
        return (self.audio[view.source, rows] - view.audio_mean) * view.audio_scale

    def read_text(self, view: FoldView, rows: Int[Array, " batch"]) -> Float[Array, "batch text_dim"] | None:
        """Standardised text features of `rows`, or None without text."""
        if self.text is None:
            return None
        return (self.text[view.source, rows] - view.text_mean) * view.text_scale

    def pack_audio(self, view: FoldView, rows: Int[Array, " batch"], budget: int) -> PackedFrames:
        """Standardised audio frames of `rows`, in `budget` tiles."""
        assert self.audio_frames is not None and view.audio_frames is not None
        return pack(self.audio_frames, view.audio_frames, rows, budget)

    def pack_text(self, view: FoldView, rows: Int[Array, " batch"], budget: int) -> PackedFrames:
        """Standardised text frames of `rows`, in `budget` tiles."""
        assert self.text_frames is not None and view.text_frames is not None
        return pack(self.text_frames, view.text_frames, rows, budget)


def standardisation(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and reciprocal standard deviation of each column; a constant column keeps scale 1.

    Summed in float64, so that the order of millions of rows does not show.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    deviation = features.std(axis=0, dtype=np.float64)
    constant = deviation <= 1e-6 * np.maximum(np.abs(mean), 1.0)
    return mean, np.where(constant, 1.0, 1.0 / np.where(constant, 1.0, deviation))


def draw_rows(key: jax.Array, view: FoldView, batch_size: int, *, by_length: bool = False) -> Int[Array, " batch"]:
    """Rows drawn uniformly, with replacement, from the whole training part; one from each stratum of length if asked."""
    if by_length:
        return view.rows[draw_within_strata(key, view.row_count, batch_size)]
    return view.rows[jax.random.randint(key, (batch_size,), 0, view.row_count)]


def draw_class_balanced(
    key: jax.Array,
    view: FoldView,
    batch_size: int,
    prior_exponent: Float[Array, ""] | float = 0.0,
    *,
    by_length: bool = False,
) -> tuple[Int[Array, " batch"], Int[Array, " batch"]]:
    """Labelled rows, drawn with replacement, and their labels: a class from those that occur, then a row of it.

    A class is drawn with a probability proportional to its count to the power of `prior_exponent`: at 0 uniformly, at 1
    by its share of the rows. With `by_length` each draw takes the row from its own stratum of the class' lengths.
    """
    class_key, row_key = jax.random.split(key)
    log_weight = prior_exponent * jnp.log(jnp.maximum(view.class_count, 1).astype(jnp.float32))
    log_weight = jnp.where(view.class_count > 0, log_weight, -jnp.inf)
    label = jax.random.categorical(class_key, log_weight, shape=(batch_size,))
    if by_length:
        within = draw_within_strata(row_key, view.class_count[label], batch_size)
        return view.labelled_rows[view.class_start[label] + within], label
    return draw_of_classes(row_key, view, label), label


def draw_of_classes(key: jax.Array, view: FoldView, label: Int[Array, " batch"]) -> Int[Array, " batch"]:
    """A row of each of the given classes, drawn uniformly from those of the class, which must occur."""
    within = jax.random.randint(key, label.shape, 0, view.class_count[label])
    return view.labelled_rows[view.class_start[label] + within]


def _host(value: Any, dtype: Any) -> Any:
    # Views are made on the host and moved to the devices as a stack of runs.
    return np.asarray(value, dtype)


def _padded(rows: np.ndarray, length: int, filling: int) -> Any:
    padded = np.full(length, filling, np.int32)  # a training row: even what is never drawn may not be a test row
    padded[: len(rows)] = rows
    return padded
