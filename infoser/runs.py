"""All runs of one space: folds × seeds × variants, each stage trained as few programs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from infoser import augmenters, parallel
from infoser.augmenters import AugmentedRows
from infoser.config import GENERATORS, Config, numbers
from infoser.corpus import UNLABELLED, Corpus
from infoser.cross_fitting import combine, cross_fit
from infoser.fold_view import Features, FoldView, standardisation
from infoser.leakage import Fold
from infoser.metrics.generation import audio_text_information_given_class
from infoser.stages.align import Align, AlignRun
from infoser.stages.classify import MODALITIES, Classify, ClassifyRun, GeneratedRows
from infoser.stages.generate import Generate, GenerateRun
from infoser.trainer import Group, RunName, Trained, Trainer

#: Generated rows that no classifier trains on: the information they hold about their class is measured on them.
HELD_OUT = 2048


@dataclass(frozen=True)
class Unit:
    """One fold and seed: what all variants share."""

    fold: Fold
    seed: int


@dataclass(frozen=True)
class HeadOutputs:
    """What one head says of its fold's test rows.

    Attributes:
      variant: what it was trained for; `probe` says that it saw the variant's generated rows only.
      log_probability: (test rows, classes) float32.
      held_out: for a probe, (log probabilities, labels) of generated rows that it did not train on.
    """

    unit: Unit
    variant: str
    modality: str
    probe: bool
    log_probability: np.ndarray
    held_out: tuple[np.ndarray, np.ndarray] | None = None


def utterance_hashes(utterance_id: Sequence[str] | np.ndarray) -> np.ndarray:
    """Sorted uint64 hashes of utterance ids: what a checkpoint remembers of the rows it was trained on."""
    digests = (hashlib.sha256(str(one).encode()).digest()[:8] for one in utterance_id)
    return np.sort(np.fromiter((int.from_bytes(digest, "big") for digest in digests), np.uint64))


class SpaceRuns:
    """All runs of one space: align, generate, classify, each for every fold, seed and variant.

    Args:
      config: the settings; `variants` and `space` say what is run here.
      corpus: the corpus.
      folds: the folds.
      trainer: trains or restores groups.
    """

    def __init__(self, config: Config, corpus: Corpus, folds: Sequence[Fold], trainer: Trainer):
        self.config, self.corpus, self._trainer = config, corpus, trainer
        self.units = [Unit(fold, seed) for fold in folds for seed in config.seeds]
        self._trained_on = {fold.name: utterance_hashes(corpus.utterance_id[fold.train]) for fold in folds}
        self._n_classes = len(corpus.classes)
        self._has_text = corpus.text is not None
        self._rows_padded = max(len(fold.train) for fold in folds)
        self._test_padded = max(len(fold.test) for fold in folds)
        self._labelled_padded = max(int(corpus.labelled[fold.train].sum()) for fold in folds)
        self.notes: list[str] = []
        #: For each fold and seed the estimate of I(audio; text | class) on the test part, where an aligner was trained.
        self.alignment: list[float] = []

    def run(self) -> list[HeadOutputs]:
        """Trains or restores every stage and returns what the heads say."""
        features, views, conditions = self._encoder_space() if self.config.space == "encoder" else self._aligned_space()
        pools, held_out = self._pools(features, views, conditions)
        outputs = []
        for modality in MODALITIES if self._has_text else ("audio",):
            outputs += self._heads(modality, features, views, pools, held_out)
        return outputs

    # Stage 1: align.

    def _encoder_space(self) -> tuple[Features, list[FoldView], bool]:
        """Encoder features, and where a variant needs them, text conditions by an aligner trained without labels."""
        corpus = self.corpus
        plain = parallel.replicate(_features([corpus.audio], None if corpus.text is None else [corpus.text]))
        views = [self._view(unit, corpus.label, corpus.audio, corpus.text) for unit in self.units]
        if not any(GENERATORS.get(variant) for variant in self.config.variants):
            return plain, views, False
        unlabelled = np.full(len(corpus), UNLABELLED)
        runs = [
            AlignRun(self._view(unit, unlabelled, corpus.audio, corpus.text), _as_numbers(numbers(self.config.align)))
            for unit in self.units
        ]
        trained = self._train("align", self._align_stage(label_free=True), self.units, runs, plain)
        _, text = trained.outputs("outputs")
        test = np.stack([_filled(unit.fold.test, self._test_padded) for unit in self.units])
        critic = trained.outputs("critic_scores", runs=(trained.group.runs, test))
        for unit, scores in zip(self.units, critic, strict=True):
            n = len(unit.fold.test)
            self.alignment.append(audio_text_information_given_class(scores[:n, :n], corpus.label[unit.fold.test]))
        condition = [_standardised(text[i], unit.fold.train) for i, unit in enumerate(self.units)]
        return plain.replace(condition=parallel.replicate(np.stack(condition))), views, True

    def _aligned_space(self) -> tuple[Features, list[FoldView], bool]:
        """Representations by cross-fitted aligners: a layer of features for each fold and seed."""
        corpus, config = self.corpus, self.config.align
        plain = parallel.replicate(_features([corpus.audio], None if corpus.text is None else [corpus.text]))
        fits = [
            cross_fit(
                unit.fold.train,
                corpus.label,
                corpus.speaker,
                parts=config.cross_fits,
                dim=config.representation_dim,
                seed=unit.seed,
            )
            for unit in self.units
        ]
        units = [unit for unit in self.units for _ in range(config.cross_fits)]
        runs = [
            AlignRun(self._view(unit, label, corpus.audio, corpus.text), _as_numbers(numbers(config)))
            for unit, fit in zip(self.units, fits, strict=True)
            for label in fit.labels
        ]
        trained = self._train("align", self._align_stage(label_free=False), units, runs, plain)
        embedded = [part for part in trained.outputs("outputs") if part is not None]
        combined = [
            combine(fit, [part[i * config.cross_fits : (i + 1) * config.cross_fits] for part in embedded])
            for i, fit in enumerate(fits)
        ]
        audio = [both[0] for both in combined]
        text = [both[1] for both in combined] if self._has_text else None
        condition = None
        if text is not None:
            condition = [_standardised(text[i], unit.fold.train) for i, unit in enumerate(self.units)]
        views = [
            self._view(unit, corpus.label, audio[i], None if text is None else text[i], source=i)
            for i, unit in enumerate(self.units)
        ]
        return parallel.replicate(_features(audio, text, condition)), views, text is not None

    def _align_stage(self, *, label_free: bool) -> Align:
        config = self.config.align
        return Align(
            n_classes=self._n_classes,
            has_text=self._has_text,
            label_free=label_free,
            width=config.width,
            representation_dim=config.representation_dim,
            batch_size=config.batch_size,
            steps=config.steps,
            mi_estimator=config.mi_estimator,
        )

    # Stage 2: generate, or the controls.

    def _pools(
        self, features: Features, views: list[FoldView], has_condition: bool
    ) -> tuple[dict[tuple[int, str], AugmentedRows], dict[tuple[int, str], AugmentedRows]]:
        """For each unit (by number) and variant that adds rows: the rows to train on, and rows held out."""
        config = self.config
        real = [self._real_rows(features, view) for view in views]
        wanted = [round(config.generate.ratio * len(rows.label)) for rows in real]
        sizes = [min(size, config.generate.pool_limit) for size in wanted]
        if sizes != wanted:
            self.notes.append(
                f"generated rows are limited to {config.generate.pool_limit:,} of {max(wanted):,} (--generate.pool-limit)"
            )
        pools: dict[tuple[int, str], AugmentedRows] = {}
        held_out: dict[tuple[int, str], AugmentedRows] = {}

        def keep(number: int, variant: str, rows: AugmentedRows) -> None:
            pools[number, variant] = _slice(rows, slice(0, sizes[number]))
            held_out[number, variant] = _slice(rows, slice(len(rows.label) - HELD_OUT, None))

        for number, unit in enumerate(self.units):
            if "noise" in config.variants:
                generator = np.random.default_rng([unit.seed, *unit.fold.name.encode()])
                size = sizes[number] + HELD_OUT
                keep(number, "noise", augmenters.noise(real[number], size, generator, scale=config.augment.noise_scale))
        for with_text in (True, False):
            variants = [variant for variant in config.variants if GENERATORS.get(variant) == with_text]
            if variants:
                self._generate(with_text, variants, features, views, max(sizes) + HELD_OUT, keep)
        return pools, held_out

    def _generate(
        self, with_text: bool, variants: list[str], features: Features, views: list[FoldView], size: int, keep: Any
    ) -> None:
        config = self.config.generate
        stage = Generate(
            n_classes=self._n_classes,
            with_text=with_text,
            width=config.width,
            latent_dim=config.latent_dim,
            batch_size=config.batch_size,
            steps=config.steps,
        )
        settings = numbers(config)
        without_information = settings | {"class_mi_weight": 0.0, "text_mi_weight": 0.0}
        members = [(number, variant) for number in range(len(self.units)) for variant in variants]
        runs = [
            GenerateRun(views[number], _count(number), _as_numbers(without_information if variant == "cgan" else settings))
            for number, variant in members
        ]
        trained = self._train(
            "generate/class_text" if with_text else "generate/class",
            stage,
            [self.units[number] for number, _ in members],
            runs,
            features,
            [variant for _, variant in members],
        )
        pool = trained.outputs("outputs", size)
        for i, (number, variant) in enumerate(members):
            text = self._standardised_text(features, views[number], pool.text_row[i])
            keep(number, variant, AugmentedRows(pool.audio[i], text, pool.label[i]))

    def _real_rows(self, features: Features, view: FoldView) -> AugmentedRows:
        """The labelled training rows, standardised, on the host."""
        count = int(view.class_count.sum())
        rows = np.asarray(view.labelled_rows)[:count]
        label = np.repeat(np.arange(self._n_classes), view.class_count)
        audio = (np.asarray(features.audio[int(view.source)])[rows] - view.audio_mean) * view.audio_scale
        return AugmentedRows(audio, self._standardised_text(features, view, rows), label)

    def _standardised_text(self, features: Features, view: FoldView, rows: np.ndarray) -> np.ndarray | None:
        if features.text is None:
            return None
        return (np.asarray(features.text[int(view.source)])[rows] - view.text_mean) * view.text_scale

    # Stage 3: classify.

    def _heads(
        self,
        modality: str,
        features: Features,
        views: list[FoldView],
        pools: dict[tuple[int, str], AugmentedRows],
        held_out: dict[tuple[int, str], AugmentedRows],
    ) -> list[HeadOutputs]:
        config = self.config.classify
        stage = Classify(
            n_classes=self._n_classes,
            modality=modality,
            width=config.width,
            batch_size=config.batch_size,
            steps=config.steps,
        )
        # Probes see generated audio only: they say what the generated features hold (TSTR, information).
        members = [(i, variant, False) for i in range(len(self.units)) for variant in self.config.variants]
        if modality == "audio":
            members += [(i, variant, True) for i, variant, _ in members if (i, variant) in pools]
        padded = max([len(rows.label) for rows in pools.values()], default=1)
        width = {"audio": features.audio.shape[-1], "text": 0 if features.text is None else features.text.shape[-1]}
        dim = width["audio"] + width["text"] if modality == "both" else width[modality]
        empty = GeneratedRows(_zeros(padded, dim, dtype=np.float32), _zeros(padded), _count(0))
        share = self.config.generate.ratio * self.config.generate.row_weight
        runs, blank = [], _generated(empty, modality, None, padded)
        for i, variant, probe in members:
            pool = pools.get((i, variant))
            weights = {
                "real_weight": 0.0 if probe else 1.0,
                "generated_weight": 1.0 if probe else 0.0 if pool is None else share,
            }
            runs.append(
                ClassifyRun(
                    view=views[i],
                    generated=_generated(empty, modality, pool, padded) if pool is not None else blank,
                    test_rows=_filled(self.units[i].fold.test, self._test_padded),
                    numbers=_as_numbers(numbers(config) | weights),
                )
            )
        trained = self._train(
            f"classify/{modality}",
            stage,
            [self.units[i] for i, _, _ in members],
            runs,
            features,
            [f"{variant}-probe" if probe else variant for _, variant, probe in members],
        )
        log_probability = trained.outputs("outputs")
        probed = self._probe(trained, members, held_out) if modality == "audio" else {}
        return [
            HeadOutputs(
                unit=self.units[i],
                variant=variant,
                modality=modality,
                probe=probe,
                log_probability=log_probability[number][: len(self.units[i].fold.test)],
                held_out=probed.get(number) if probe else None,
            )
            for number, (i, variant, probe) in enumerate(members)
        ]

    def _probe(
        self,
        trained: Trained,
        members: list[tuple[int, str, bool]],
        held_out: dict[tuple[int, str], AugmentedRows],
    ) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """For each probe, its log probabilities of the generated rows held out from it, and their labels."""
        if not held_out:
            return {}
        nothing = next(iter(held_out.values()))
        rows = [held_out.get((i, variant), nothing) for i, variant, _ in members]
        said = trained.outputs("log_probabilities_of", runs=np.stack([one.audio for one in rows]))
        return {number: (said[number], rows[number].label) for number, member in enumerate(members) if member[2]}

    # What the stages have in common.

    def _view(self, unit: Unit, label: np.ndarray, audio: np.ndarray, text: np.ndarray | None, *, source: int = 0) -> FoldView:
        return FoldView.build(
            unit.fold.train,
            label,
            n_classes=self._n_classes,
            audio=audio,
            text=text,
            source=source,
            rows_padded=self._rows_padded,
            labelled_padded=self._labelled_padded,
        )

    def _train(
        self,
        name: str,
        stage: Any,
        units: Sequence[Unit],
        runs: Sequence[Any],
        shared: Features,
        variants: Sequence[str] | None = None,
    ) -> Trained:
        names = [
            RunName(unit.fold.name, unit.seed, variant)
            for unit, variant in zip(units, variants or [""] * len(units), strict=True)
        ]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *runs)
        group = Group(f"{self.config.space}/{name}", stage, names, shared, stacked, self._trained_on)
        return self._trainer.train(group)


def _features(
    audio: Sequence[np.ndarray], text: Sequence[np.ndarray] | None, condition: Sequence[np.ndarray] | None = None
) -> Features:
    def stack(arrays: Sequence[np.ndarray] | None) -> Any:
        return None if arrays is None else np.stack(arrays).astype(np.float32)

    return Features(stack(audio), stack(text), stack(condition))


def _standardised(features: np.ndarray, rows: np.ndarray) -> np.ndarray:
    mean, scale = standardisation(features[rows])
    return ((features - mean) * scale).astype(np.float32)


def _as_numbers(values: dict[str, float]) -> Any:
    return {name: np.float32(value) for name, value in values.items()}


def _slice(rows: AugmentedRows, part: slice) -> AugmentedRows:
    return AugmentedRows(rows.audio[part], None if rows.text is None else rows.text[part], rows.label[part])


def _generated(empty: GeneratedRows, modality: str, pool: AugmentedRows | None, padded: int) -> GeneratedRows:
    """A pool's features of one modality, padded with zero rows."""
    if pool is None:
        return empty
    parts = [pool.audio, pool.text] if modality == "both" else [getattr(pool, modality)]
    features, label = _zeros(padded, empty.features.shape[1], dtype=np.float32), _zeros(padded)
    features[: len(pool.label)] = np.concatenate(parts, axis=-1)
    label[: len(pool.label)] = pool.label
    return GeneratedRows(features, label, _count(len(pool.label)))


def _zeros(*shape: int, dtype: Any = np.int32) -> Any:
    return np.zeros(shape, dtype)


def _count(value: int) -> Any:
    return np.int32(value)


def _filled(rows: np.ndarray, length: int) -> Any:
    return np.resize(rows, length).astype(np.int32)  # repeats rows to fill; what they give is cut off again
