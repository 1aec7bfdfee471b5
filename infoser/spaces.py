"""The spaces in which features are generated and classified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from infoser.config import GENERATORS, numbers
from infoser.corpus import UNLABELLED, Frames
from infoser.cross_fitting import combine, cross_fit
from infoser.fold_view import Features, FoldView, standardisation
from infoser.frame_table import Chunks, frame_table, tiles
from infoser.matrix import Matrix, Unit, as_numbers
from infoser.metrics.generation import audio_text_information_given_class
from infoser.stages.align import Align, AlignRun, TileBounds
from infoser.strata import stratum_bounds


@dataclass(frozen=True)
class Space:
    """What generators and heads read.

    Attributes:
      host: the features, in host memory.
      features: the same, on the devices.
      views: of every unit, in the matrix' order.
      text_views: the same of the rows with text alone, where some have none.
      alignment: by fold, for each seed the estimate of I(audio; text | class) on the test part; empty without an aligner.
    """

    host: Features
    features: Features
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
        parts = []
        if modality in ("audio", "both"):
            parts.append((self.host.audio[layer][rows] - view.audio_mean) * view.audio_scale)
        if modality in ("text", "both") and self.host.text is not None:
            parts.append((self.host.text[layer][rows] - view.text_mean) * view.text_scale)
        return np.concatenate(parts, axis=-1)


def make_space(matrix: Matrix) -> Space:
    """The space that the configuration asks for, its aligners trained or restored."""
    return _encoder_space(matrix) if matrix.config.space == "encoder" else _aligned_space(matrix)


def _encoder_space(matrix: Matrix) -> Space:
    """Encoder features, and where a variant needs them, text conditions by an aligner trained without labels."""
    corpus, units = matrix.corpus, matrix.units
    host = _features([corpus.audio], None if corpus.text is None else [corpus.text])
    features = matrix.trainer.mode.replicate(host)
    views, text_views = _views(matrix, [corpus.audio] * len(units), None if corpus.text is None else [corpus.text] * len(units))
    if not any(GENERATORS.get(variant) == "class_text" for variant in matrix.config.variants):
        return Space(host, features, views, text_views, {})
    unlabelled = np.full(len(corpus), UNLABELLED)
    runs = [_align_run(matrix, unit, unlabelled) for unit in units]
    trained = matrix.train("align", _stage(matrix, runs, label_free=True), units, runs, _with_frames(matrix, features))
    _, text = trained.outputs("outputs")
    alignment = _alignment(matrix, trained)
    condition: Any = np.stack([_standardised(matrix, text[i], unit) for i, unit in enumerate(units)])
    host = host.replace(condition=condition)  # pyright: ignore[reportAttributeAccessIssue]
    return Space(host, matrix.trainer.mode.replicate(host), views, text_views, alignment)


def _alignment(matrix: Matrix, trained: Any) -> dict[str, list[float]]:
    """The estimate of I(audio; text | class) on every unit's test rows with text, by fold; none where there are none."""
    test = np.stack([matrix.test_rows(unit, "both") for unit in matrix.units])
    scores = trained.outputs("critic_scores", runs=(trained.group.runs, test))
    estimates: dict[str, list[float]] = {}
    for unit, own in zip(matrix.units, scores, strict=True):
        tested = matrix.tested(unit, "both")
        n = len(tested)
        if n:
            estimate = audio_text_information_given_class(own[:n, :n], matrix.corpus.label[tested])
            estimates.setdefault(unit.fold.name, []).append(estimate)
    return estimates


def _aligned_space(matrix: Matrix) -> Space:
    """Representations by cross-fitted aligners: a layer of features for each fold and seed."""
    corpus, config, units = matrix.corpus, matrix.config.align, matrix.units
    plain = matrix.trainer.mode.replicate(_features([corpus.audio], None if corpus.text is None else [corpus.text]))
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
    trained = matrix.train("align", _stage(matrix, runs, label_free=False), members, runs, _with_frames(matrix, plain))
    embedded = [modality for modality in trained.outputs("outputs") if modality is not None]
    combined = [combine(fit, [modality[i * parts : (i + 1) * parts] for modality in embedded]) for i, fit in enumerate(fits)]
    audio = [modalities[0] for modalities in combined]
    text = None if corpus.text is None else [modalities[1] for modalities in combined]
    condition = None if text is None else [_standardised(matrix, text[i], unit) for i, unit in enumerate(units)]
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


def _with_frames(matrix: Matrix, features: Features) -> Features:
    """The features, and on the devices the frames that aligners read in their place."""
    corpus, tables = matrix.corpus, dict[str, Any]()
    if not matrix.config.align.frames or (corpus.audio_frames is None and corpus.text_frames is None):
        return features
    for name in ("audio_frames", "text_frames"):
        tables[name] = frame_table(getattr(corpus, name), corpus.name)
    tables["chunks"] = Chunks.deal(corpus.audio_frames, corpus.text_frames)
    replace: Any = features.replace  # pyright: ignore[reportAttributeAccessIssue]
    return replace(**matrix.trainer.mode.replicate(tables))


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
        audio_bounds=tile_bounds(runs, audio, config.batch_size),
        text_bounds=tile_bounds(runs, text, config.batch_size),
    )


def _features(
    audio: Sequence[np.ndarray], text: Sequence[np.ndarray] | None, condition: Sequence[np.ndarray] | None = None
) -> Features:
    def stack(arrays: Sequence[np.ndarray] | None) -> Any:
        return None if arrays is None else np.stack(arrays).astype(np.float32)

    return Features(stack(audio), stack(text), stack(condition))


def _standardised(matrix: Matrix, text: np.ndarray, unit: Unit) -> np.ndarray:
    """Text representations, standardised by those of the training rows that have text."""
    train = unit.fold.train
    mean, scale = standardisation(text[train[matrix.corpus.with_text[train]]])
    return ((text - mean) * scale).astype(np.float32)
