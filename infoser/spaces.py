"""The spaces in which features are generated and classified."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from infoser import parallel
from infoser.config import numbers
from infoser.corpus import UNLABELLED, Frames
from infoser.cross_fitting import combine, cross_fit
from infoser.fold_view import Features, FoldView, standardisation
from infoser.frame_table import CHUNK_VALUES, Chunks, frame_table, tiles
from infoser.group import Loaded
from infoser.matrix import Matrix, Unit, as_numbers
from infoser.metrics.generation import audio_text_information_given_class
from infoser.stages.align import Align, AlignRun, TileBounds
from infoser.strata import stratum_bounds
from infoser.streaming import Stream
from infoser.trainer import say
from infoser.variants import GENERATORS

#: Test utterances whose audio is scored against every one's text.
MOST_PAIRED = 2048
#: Of a stream nothing stays on the devices but what it is conditioned on.
_NOTHING: Any = Features(None, None)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class Space:
    """What generators and heads read.

    Attributes:
      host: the features, in host memory.
      features: the same, on the devices; or a `Stream` of them.
      views: of every unit, in the matrix' order.
      text_views: the same of the rows with text alone, where some have none.
      alignment: by fold, for each seed the estimate of I(audio; text | class) on the test part; empty without an aligner.
    """

    host: Features
    features: Features | Stream
    views: list[FoldView]
    text_views: list[FoldView]
    alignment: dict[str, list[float]]

    def view(self, number: int, modality: str) -> FoldView:
        """The training rows of unit `number` that have what a head of this modality reads."""
        return (self.views if modality == "audio" else self.text_views)[number]

    def real(self, number: int, modality: str, rows: np.ndarray) -> np.ndarray:
        """Standardised features of rows, as unit `number` sees them, in host memory."""
        view: Any = self.views[number]
        layer = int(view.source)
        parts: list[Any] = []
        if modality in ("audio", "both"):
            parts.append((self.host.audio[layer][rows] - view.audio_mean) * view.audio_scale)
            parts += [] if self.host.audio_aligned is None else [self.host.audio_aligned[int(view.aligned)][rows]]
        if modality in ("text", "both") and self.host.text is not None:
            parts.append((self.host.text[layer][rows] - view.text_mean) * view.text_scale)
            parts += [] if self.host.text_aligned is None else [self.host.text_aligned[int(view.aligned)][rows]]
        return np.concatenate(parts, axis=-1)

    def text_representation(self, number: int, rows: np.ndarray) -> np.ndarray:
        """What generators of unit `number` are given of the text of rows, in host memory; only where an aligner made it."""
        resident = self.features.resident if isinstance(self.features, Stream) else self.features
        assert resident.condition is not None
        return np.asarray(resident.condition[number])[rows]


def make_space(matrix: Matrix) -> Space:
    """The space that the configuration asks for, its aligners trained or restored."""
    return _aligned_space(matrix) if matrix.config.space == "aligned" else _encoder_space(matrix)


def _encoder_space(matrix: Matrix) -> Space:
    """Encoder features, and where a variant needs them, text conditions by an aligner trained without labels.

    In the joined space that aligner's representations are appended to the features, those of audio and of text each to theirs.
    """
    joined = matrix.config.space == "joined"
    corpus, units = matrix.corpus, matrix.units
    host = _features([corpus.audio], None if corpus.text is None else [corpus.text])
    features = _placed(matrix, host)
    views, text_views = _views(matrix, [corpus.audio] * len(units), None if corpus.text is None else [corpus.text] * len(units))
    conditioned = any(GENERATORS[arm.variant].conditioned_on_text for arm in matrix.arms if arm.variant in GENERATORS)
    if not conditioned and not joined:
        return Space(host, features, views, text_views, {})
    unlabelled = np.full(len(corpus), UNLABELLED)
    runs = [_align_run(matrix, unit, unlabelled) for unit in units]
    stage, place = _stage(matrix, runs, label_free=True), matrix.places.aligner
    trained = matrix.train("align", stage, units, runs, _with_frames(matrix, features), folder=place)
    audio, text = _embedded(matrix, trained)
    alignment = _alignment(matrix, trained, audio, text)
    everything = np.ones(len(corpus), bool)
    condition: Any = np.stack([_standardised(matrix, text[i], unit, corpus.with_text) for i, unit in enumerate(units)])
    resident = {"condition": condition}
    if joined:
        weight = np.float32(matrix.config.align.joined_weight)
        of_audio = np.stack([_standardised(matrix, audio[i], unit, everything) for i, unit in enumerate(units)])
        resident |= {"audio_aligned": weight * of_audio, "text_aligned": weight * condition}
        views, text_views = ([view.replace(aligned=np.int32(i)) for i, view in enumerate(own)] for own in (views, text_views))  # pyright: ignore
        host = host.replace(**{name: resident[name] for name in ("audio_aligned", "text_aligned")})  # pyright: ignore
    return Space(host, _with_resident(matrix, features, resident), views, text_views, alignment)


def _embedded(matrix: Matrix, trained: Loaded) -> tuple[Any, Any]:
    """(runs, N, dim) h and t of every row of the corpus by every aligner, a chunk of rows at a time."""
    corpus, stage, runs = matrix.corpus, trained.group.stage, len(trained.group.names)
    together = matrix.trainer.mode.together(runs)
    audio, text = (corpus.audio_frames, corpus.text_frames) if matrix.config.align.frames else (None, None)
    order: Any = np.arange(len(corpus), dtype=np.int32)
    if audio is None and text is None:
        size = CHUNK_VALUES // together // (corpus.audio.shape[1] + (0 if corpus.text is None else corpus.text.shape[1]))
        size, tiles_held, place = min(max(1, size), len(corpus)), (0, 0), order
    else:
        chunks = Chunks.deal(audio, text, together=together)
        order, size, place = chunks.rows.reshape(-1), chunks.rows.shape[1], chunks.place
        tiles_held = (chunks.audio_tiles, chunks.text_tiles)
    if isinstance(trained.group.shared, Stream):
        size = min(size, trained.group.shared.rows_at_once(stage)) if place is order else size
    said = trained.outputs_of_rows("embed", np.broadcast_to(order, (runs, len(order))), size, *tiles_held)
    return jax.tree.map(lambda leaf: leaf[:, place], said)


def _alignment(matrix: Matrix, trained: Loaded, audio: np.ndarray, text: np.ndarray) -> dict[str, list[float]]:
    """The estimate of I(audio; text | class) on every unit's test rows with text, by fold; none where there are none.

    All pairs of rows are scored: of more than MOST_PAIRED test rows, as many are drawn.
    """
    tested = []
    for unit in matrix.units:
        rows = matrix.tested(unit, "both")
        if len(rows) > MOST_PAIRED:
            rows = np.sort(unit.generator("paired").choice(rows, MOST_PAIRED, replace=False))
            matrix.notes.append(f"I(audio; text | emotion) is estimated on {MOST_PAIRED:,} drawn test utterances of each fold")
        tested.append(rows)
    padded = np.zeros((len(tested), max(map(len, tested), default=0) or 1), np.int64)
    for filled, rows in zip(padded, tested, strict=True):
        filled[: len(rows)] = rows
    given = tuple(np.take_along_axis(each, padded[..., None], axis=1) for each in (audio, text))
    scores = trained.outputs("critic_scores", runs=given)
    estimates: dict[str, list[float]] = {}
    for unit, rows, own in zip(matrix.units, tested, scores, strict=True):
        n = len(rows)
        if n:
            estimate = audio_text_information_given_class(own[:n, :n], matrix.corpus.label[rows])
            estimates.setdefault(unit.fold.name, []).append(estimate)
    return estimates


def _aligned_space(matrix: Matrix) -> Space:
    """Representations by cross-fitted aligners: a layer of features for each fold and seed."""
    corpus, config, units = matrix.corpus, matrix.config.align, matrix.units
    plain = _placed(matrix, _features([corpus.audio], None if corpus.text is None else [corpus.text]))
    parts = config.cross_fits
    fits = [
        cross_fit(
            unit.fold.train,
            unit.label,
            corpus.speaker,
            parts=parts,
            dim=config.representation_dim,
            generator=unit.generator("anchors"),
            has_text=corpus.with_text if matrix.partial_text else None,
        )
        for unit in units
    ]
    runs = [_align_run(matrix, unit, label) for unit, fit in zip(units, fits, strict=True) for label in fit.labels]
    members = [unit for unit in units for _ in range(parts)]
    names = [f"without-part{1 + number % parts}" for number in range(len(members))]
    stage, place = _stage(matrix, runs, label_free=False), matrix.places.aligner
    trained = matrix.train("align", stage, members, runs, _with_frames(matrix, plain), names, folder=place)
    embedded = [modality for modality in _embedded(matrix, trained) if modality is not None]
    combined = [combine(fit, [modality[i * parts : (i + 1) * parts] for modality in embedded]) for i, fit in enumerate(fits)]
    audio = [modalities[0] for modalities in combined]
    text = None if corpus.text is None else [modalities[1] for modalities in combined]
    condition = (
        None if text is None else [_standardised(matrix, text[i], unit, corpus.with_text) for i, unit in enumerate(units)]
    )
    host = _features(audio, text, condition)
    views, text_views = _views(matrix, audio, text, layered=True)
    return Space(host, matrix.trainer.mode.replicate(host), views, text_views, {})


def _views(
    matrix: Matrix, audio: Sequence[np.ndarray], text: Sequence[np.ndarray] | None, *, layered: bool = False
) -> tuple[list[FoldView], list[FoldView]]:
    """Every unit's view, and that of its rows with text; `layered` where each unit has features of its own."""

    def view(i: int, unit: Unit, *, with_text_only: bool) -> FoldView:
        own = None if text is None else text[i]
        return matrix.view(unit, audio[i], own, source=i if layered else 0, with_text_only=with_text_only)

    views = [view(i, unit, with_text_only=False) for i, unit in enumerate(matrix.units)]
    if not matrix.partial_text:
        return views, views
    return views, [view(i, unit, with_text_only=True) for i, unit in enumerate(matrix.units)]


def _align_run(matrix: Matrix, unit: Unit, label: np.ndarray) -> AlignRun:
    """What one aligner trains on; `label` says which labels it sees."""
    corpus = matrix.corpus
    views = [
        matrix.view(unit, corpus.audio, corpus.text, label=label, with_text_only=with_text_only, frames=True)
        for with_text_only in ([False, True] if matrix.partial_text else [False])
    ]
    return AlignRun(views[0], as_numbers(numbers(matrix.config.align)), *views[1:])


def _placed(matrix: Matrix, host: Features) -> Features | Stream:
    """Features of the corpus on the devices, if they fit there; else as a stream of tables."""
    mode, audio, text = matrix.trainer.mode, host.audio, host.text
    needed = sum(each.nbytes for each in (audio, text) if each is not None)
    limit = _limit(matrix)
    if needed <= limit:
        return mode.replicate(host)
    say(_streamed_note("features", needed, limit))
    return Stream(np.asarray(audio)[0], None if text is None else np.asarray(text)[0], None, None, _NOTHING, mode, limit)


def _with_resident(matrix: Matrix, features: Features | Stream, arrays: Mapping[str, Any]) -> Features | Stream:
    """The features, and on the devices what aligners made of every row."""
    placed = {name: matrix.trainer.mode.replicate(each) for name, each in arrays.items()}
    if isinstance(features, Stream):
        resident: Any = features.resident.replace(**placed)  # pyright: ignore[reportAttributeAccessIssue]
        return dataclasses.replace(features, resident=resident)
    return features.replace(**placed)  # pyright: ignore[reportAttributeAccessIssue]


def _with_frames(matrix: Matrix, features: Features | Stream) -> Features | Stream:
    """The features, and the frames that aligners read in their place: on the devices, or streamed too."""
    corpus, mode = matrix.corpus, matrix.trainer.mode
    sequences = (corpus.audio_frames, corpus.text_frames)
    if not matrix.config.align.frames or sequences == (None, None):
        return features
    needed, limit = sum(each.values.nbytes for each in sequences if each is not None), _limit(matrix)
    if needed <= limit and not isinstance(features, Stream):
        tables: Any = [frame_table(each, corpus.name) for each in sequences]
        replace: Any = features.replace  # pyright: ignore[reportAttributeAccessIssue]
        return replace(audio_frames=mode.replicate(tables[0]), text_frames=mode.replicate(tables[1]))
    say(_streamed_note("frames", needed, limit))
    return Stream(corpus.audio, corpus.text, *sequences, _NOTHING, mode, limit)


def _limit(matrix: Matrix) -> int:
    """Bytes of features that may stay on a device."""
    given = matrix.config.resident_gib
    return int(given * 2**30) if given else parallel.default_budget()


def _streamed_note(what: str, needed: int, limit: int) -> str:
    return (
        f"the {what} take {needed / 2**30:,.2f} GiB and --resident-gib is {limit / 2**30:,.2f}: they are streamed, in the "
        "same batches"
    )


def tile_bounds(runs: Sequence[AlignRun], frames: Frames | None, batch_size: int) -> TileBounds | None:
    """The most tiles that each place of a batch can hold in any of the runs; None without frames."""
    if frames is None:
        return None
    needed = tiles(frames.count)
    views: list[Any] = [view for run in runs for view in (run.view, run.text_view) if view is not None]
    drawn = [
        (view.rows[: view.row_count], np.split(view.labelled_rows[: view.class_count.sum()], view.class_start[1:]))
        for view in views
    ]
    pairs = [stratum_bounds(needed[rows], batch_size) for rows, _ in drawn]
    labelled = [stratum_bounds(needed[rows], batch_size) for _, classes in drawn for rows in classes]
    return TileBounds(*(tuple(np.max(bounds, axis=0).tolist()) for bounds in (pairs, labelled)))


def _stage(matrix: Matrix, runs: Sequence[AlignRun], *, label_free: bool) -> Align:
    config, corpus = matrix.config.align, matrix.corpus
    audio, text = (corpus.audio_frames, corpus.text_frames) if config.frames else (None, None)
    return Align(
        n_classes=matrix.n_classes,
        has_text=matrix.corpus.text is not None,
        label_free=label_free,
        width=config.width,
        representation_dim=config.representation_dim,
        batch_size=config.batch_size,
        steps=config.steps,
        mi_estimator=config.mi_estimator,
        critic=config.critic,
        compute_dtype=matrix.config.compute_dtype,
        audio_bounds=tile_bounds(runs, audio, config.batch_size),
        text_bounds=tile_bounds(runs, text, config.batch_size),
    )


def _features(
    audio: Sequence[np.ndarray], text: Sequence[np.ndarray] | None, condition: Sequence[np.ndarray] | None = None
) -> Features:
    def stack(arrays: Sequence[np.ndarray] | None) -> Any:
        if arrays is None:
            return None
        if len(arrays) == 1:  # without a copy: it may be a memory map, larger than memory
            return arrays[0].astype(np.float32, copy=False)[None]
        return np.stack(arrays).astype(np.float32, copy=False)

    return Features(stack(audio), stack(text), stack(condition))


def _standardised(matrix: Matrix, representation: np.ndarray, unit: Unit, known: np.ndarray) -> np.ndarray:
    """Representations, standardised by those of the training rows that have them; zeros for rows that have none."""
    train = unit.fold.train
    mean, scale = standardisation(representation[train[known[train]]])
    return np.where(known[:, None], (representation - mean) * scale, 0.0).astype(np.float32)
