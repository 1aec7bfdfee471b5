"""The spaces in which features are generated and classified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from infoser.config import GENERATORS, numbers
from infoser.corpus import UNLABELLED
from infoser.cross_fitting import combine, cross_fit
from infoser.fold_view import Features, FoldView, standardisation
from infoser.matrix import Matrix, Unit, as_numbers
from infoser.metrics.generation import audio_text_information_given_class
from infoser.stages.align import Align, AlignRun


@dataclass(frozen=True)
class Space:
    """What generators and heads read.

    Attributes:
      host: the features, in host memory.
      features: the same, on the devices.
      views: of every unit, in the matrix' order.
      alignment: by fold, for each seed the estimate of I(audio; text | class) on the test part; empty without an aligner.
    """

    host: Features
    features: Features
    views: list[FoldView]
    alignment: dict[str, list[float]]

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
    views = [matrix.view(unit, corpus.audio, corpus.text) for unit in units]
    if not any(GENERATORS.get(variant) == "class_text" for variant in matrix.config.variants):
        return Space(host, features, views, {})
    unlabelled = np.full(len(corpus), UNLABELLED)
    runs = [
        AlignRun(matrix.view(unit, corpus.audio, corpus.text, label=unlabelled), as_numbers(numbers(matrix.config.align)))
        for unit in units
    ]
    trained = matrix.train("align", _stage(matrix, label_free=True), units, runs, features)
    _, text = trained.outputs("outputs")
    alignment = _alignment(matrix, trained)
    condition: Any = np.stack([_standardised(text[i], unit) for i, unit in enumerate(units)])
    host = host.replace(condition=condition)  # pyright: ignore[reportAttributeAccessIssue]
    return Space(host, matrix.trainer.mode.replicate(host), views, alignment)


def _alignment(matrix: Matrix, trained: Any) -> dict[str, list[float]]:
    """The estimate of I(audio; text | class) on every unit's test part, by fold; none without test parts."""
    test = np.stack([matrix.test_rows(unit) for unit in matrix.units])
    scores = trained.outputs("critic_scores", runs=(trained.group.runs, test))
    estimates: dict[str, list[float]] = {}
    for unit, own in zip(matrix.units, scores, strict=True):
        n = len(unit.fold.test)
        if n:
            estimate = audio_text_information_given_class(own[:n, :n], matrix.corpus.label[unit.fold.test])
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
        )
        for unit in units
    ]
    runs = [
        AlignRun(matrix.view(unit, corpus.audio, corpus.text, label=label), as_numbers(numbers(config)))
        for unit, fit in zip(units, fits, strict=True)
        for label in fit.labels
    ]
    members = [unit for unit in units for _ in range(parts)]
    trained = matrix.train("align", _stage(matrix, label_free=False), members, runs, plain)
    embedded = [modality for modality in trained.outputs("outputs") if modality is not None]
    combined = [combine(fit, [modality[i * parts : (i + 1) * parts] for modality in embedded]) for i, fit in enumerate(fits)]
    audio = [modalities[0] for modalities in combined]
    text = None if corpus.text is None else [modalities[1] for modalities in combined]
    condition = None if text is None else [_standardised(text[i], unit) for i, unit in enumerate(units)]
    host = _features(audio, text, condition)
    views = [matrix.view(unit, audio[i], None if text is None else text[i], source=i) for i, unit in enumerate(units)]
    return Space(host, matrix.trainer.mode.replicate(host), views, {})


def _stage(matrix: Matrix, *, label_free: bool) -> Align:
    config = matrix.config.align
    return Align(
        n_classes=matrix.n_classes,
        has_text=matrix.corpus.text is not None,
        label_free=label_free,
        width=config.width,
        representation_dim=config.representation_dim,
        batch_size=config.batch_size,
        steps=config.steps,
        mi_estimator=config.mi_estimator,
    )


def _features(
    audio: Sequence[np.ndarray], text: Sequence[np.ndarray] | None, condition: Sequence[np.ndarray] | None = None
) -> Features:
    def stack(arrays: Sequence[np.ndarray] | None) -> Any:
        return None if arrays is None else np.stack(arrays).astype(np.float32)

    return Features(stack(audio), stack(text), stack(condition))


def _standardised(features: np.ndarray, unit: Unit) -> np.ndarray:
    mean, scale = standardisation(features[unit.fold.train])
    return ((features - mean) * scale).astype(np.float32)
