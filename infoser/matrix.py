"""The matrix of runs: every fold and seed, what they read, and the training of a group of them."""

from __future__ import annotations

import functools
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from infoser.arms import Arm, plain_arms
from infoser.config import Config
from infoser.corpus import UNLABELLED, Corpus
from infoser.errors import InfoserError
from infoser.fold_view import Features, FoldView, standardisation
from infoser.frame_table import FrameMoments
from infoser.group import Group, Loaded, RunName
from infoser.leakage import Fold
from infoser.protocols import demote_labels
from infoser.streaming import Stream
from infoser.trainer import Trainer


@dataclass(frozen=True)
class Places:
    """Where the groups of a branch lie in a run folder.

    Attributes:
      folder: of those that are its own.
      aligner: of its aligners, which an earlier part may have trained.
      earlier: the folders of earlier parts on the same seeds and folds, with their arms: what they trained is used again.
    """

    folder: str
    aligner: str
    earlier: tuple[tuple[str, tuple[Arm, ...]], ...] = ()


@dataclass(frozen=True, eq=False)
class Unit:
    """One fold and seed: what all variants share.

    Attributes:
      label: (N,) labels of the training rows that may be used; −1 everywhere else.
    """

    fold: Fold
    seed: int
    label: np.ndarray

    def generator(self, *purpose: str) -> np.random.Generator:
        """NumPy's generator for this fold, seed and purpose."""
        return np.random.default_rng([self.seed, *(zlib.crc32(part.encode()) for part in (self.fold.name, *purpose))])


class Matrix:
    """All folds and seeds of one branch of an experiment.

    Args:
      config: the settings that all arms share: those of units, views and aligners.
      corpus: the corpus.
      folds: the folds.
      trainer: trains or restores groups.
      places: of the groups; without them, in the folder of the space.
      arms: what is run here; without them, the configuration's variants.

    Attributes:
      units: folds × seeds.
      n_classes: number of emotions.
      partial_text: whether some training rows have text and others have none; views of the rows with text are then needed.
      notes: what a reader of the results has to know.

    Raises:
      InfoserError: where the labelled training rows of a class all lack the text that other rows have.
    """

    def __init__(
        self,
        config: Config,
        corpus: Corpus,
        folds: Sequence[Fold],
        trainer: Trainer,
        places: Places | None = None,
        arms: Sequence[Arm] | None = None,
    ):
        self.config, self.corpus, self.folds, self.trainer = config, corpus, folds, trainer
        self.arms = plain_arms(config) if arms is None else tuple(arms)
        self.n_classes = len(corpus.classes)
        self.units = [Unit(fold, seed, usable_labels(config, corpus, fold, seed)) for fold in folds for seed in config.seeds]
        for unit in self.units:
            check_text(corpus, unit)
        self.partial_text = corpus.text is not None and not all(corpus.with_text[fold.train].all() for fold in folds)
        self.notes = _text_notes(corpus, folds)
        self.places = places or Places(config.space, config.space)
        self._statistics: dict[tuple[bool, bytes], tuple[np.ndarray, np.ndarray]] = {}
        self._trained_on = {fold.name: utterance_hashes(corpus.utterance_id[fold.train]) for fold in folds}
        self._tested_on = {fold.name: utterance_hashes(corpus.utterance_id[fold.test]) for fold in folds}
        self._rows_padded = max(len(fold.train) for fold in folds)
        self._labelled_padded = max(int((unit.label >= 0).sum()) for unit in self.units)
        self._test_padded = max(1, *(len(fold.test) for fold in folds))

    def view(
        self,
        unit: Unit,
        audio: np.ndarray,
        text: np.ndarray | None,
        *,
        label: np.ndarray | None = None,
        source: int = 0,
        with_text_only: bool = False,
        frames: bool = False,
    ) -> FoldView:
        """The view of a unit's training part.

        Args:
          label: replaces the unit's own where fewer labels may be seen.
          with_text_only: leaves out rows without text.
          frames: for reading the corpus' frames, where it has them and they are asked for.
        """
        audio_frames, text_frames = self._frame_moments if frames else (None, None)
        return FoldView.build(
            unit.fold.train,
            unit.label if label is None else label,
            n_classes=self.n_classes,
            audio=audio,
            text=text,
            source=source,
            rows_padded=self._rows_padded,
            labelled_padded=self._labelled_padded,
            has_text=self.corpus.with_text if self.partial_text else None,
            with_text_only=with_text_only and self.partial_text,
            audio_frames=audio_frames,
            text_frames=text_frames,
            virtual_shards=self.config.virtual_shards,
            standardise=self._standardisation,
        )

    def _standardisation(self, features: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Statistics of the corpus' own features are computed once for every set of rows: the seeds of a fold share them."""
        if features is not self.corpus.audio and features is not self.corpus.text:
            return standardisation(features, rows)
        key = (features is self.corpus.text, hashlib.sha256(rows.tobytes()).digest())
        if key not in self._statistics:
            self._statistics[key] = standardisation(features, rows)
        return self._statistics[key]

    @functools.cached_property
    def _frame_moments(self) -> tuple[FrameMoments | None, FrameMoments | None]:
        audio, text = (self.corpus.audio_frames, self.corpus.text_frames) if self.config.align.frames else (None, None)
        return None if audio is None else FrameMoments.of(audio), None if text is None else FrameMoments.of(text)

    def note(self, note: str) -> None:
        """Says something once."""
        if note not in self.notes:
            self.notes.append(note)

    def tested(self, unit: Unit, modality: str) -> np.ndarray:
        """The unit's test rows that have what a head of this modality reads."""
        test = unit.fold.test
        return test if modality == "audio" else test[self.corpus.with_text[test]]

    def padded_tests(self, units: Sequence[Unit], modality: str) -> np.ndarray:
        """(units, n) the tested rows of each, repeated to a common length; what they give beyond their number is cut off."""
        padded = np.zeros((len(units), self._test_padded), np.int32)
        for filled, unit in zip(padded, units, strict=True):
            tested = self.tested(unit, modality)
            filled[:] = np.resize(tested if len(tested) else np.zeros(1), len(filled))
        return padded

    def train(
        self,
        name: str,
        stage: Any,
        units: Sequence[Unit],
        runs: Sequence[Any],
        shared: Features | Stream,
        variants: Sequence[str] | None = None,
        folder: str = "",
    ) -> Loaded:
        """Trains or restores the runs of one structure.

        Args:
          name: of the group, below the folder.
          stage: the structure.
          units, runs, variants: of every run; no variants where they share the run.
          shared: the features, on the devices or streamed.
          folder: where it lies; without it, with those that are the matrix' own.
        """
        names = [
            RunName(unit.fold.name, unit.seed, variant)
            for unit, variant in zip(units, variants or [""] * len(units), strict=True)
        ]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *runs)
        return self.trainer.train(
            Group(f"{folder or self.places.folder}/{name}", stage, names, shared, stacked, self._trained_on, self._tested_on)
        )


def usable_labels(config: Config, corpus: Corpus, fold: Fold, seed: int) -> np.ndarray:
    """(N,) labels of the training rows that may be used; −1 everywhere else."""
    usable = np.full(len(corpus), UNLABELLED, corpus.label.dtype)
    kept = fold.train
    if config.label_fraction < 1:
        kept = demote_labels(corpus, fold, config.label_fraction, seed)
    usable[kept] = corpus.label[kept]
    return usable


def check_text(corpus: Corpus, unit: Unit) -> None:
    """Refuses a training part in which a class occurs without text only: nothing that reads text could learn it.

    Raises:
      InfoserError: naming the fold and the class.
    """
    if corpus.text is None:
        return
    lacking = np.setdiff1d(unit.label[unit.label >= 0], unit.label[corpus.with_text & (unit.label >= 0)])
    if len(lacking):
        raise InfoserError(
            f"fold {unit.fold.name!r}, seed {unit.seed}: no labelled training utterance of class "
            f"{corpus.classes[lacking[0]]!r} has a transcript; use --data.no-text, or --label-fraction 1 if it is lower"
        )


def _text_notes(corpus: Corpus, folds: Sequence[Fold]) -> list[str]:
    """How many utterances have no transcript, and what that concerns."""
    if corpus.text is None or corpus.with_text.all():
        return []
    missing, labelled = ~corpus.with_text, corpus.labelled
    notes = [
        f"{missing.sum():,} of {len(corpus):,} utterances have no transcript ({(missing & labelled).sum():,} labelled): audio "
        "heads and generators without text use them; text and both heads, aligning, and generators with text skip them"
    ]
    for fold in folds:
        trained, tested = missing[fold.train], missing[fold.test]
        if trained.any() or tested.any():
            left = int((~tested).sum())
            scored = f"text and both are scored on the other {left:,}" if left else "text and both are not scored there"
            notes.append(
                f"fold {fold.name}: {trained.sum():,} of {len(trained):,} training utterances "
                f"({(missing & labelled)[fold.train].sum():,} of {labelled[fold.train].sum():,} labelled) and "
                f"{tested.sum():,} of {len(tested):,} test utterances have no transcript; {scored}"
            )
    return notes


def utterance_hashes(utterance_id: Sequence[str] | np.ndarray) -> np.ndarray:
    """Sorted uint64 hashes of utterance ids: what a checkpoint remembers of the rows it was trained on."""
    digests = (hashlib.sha256(str(one).encode()).digest()[:8] for one in utterance_id)
    return np.sort(np.fromiter((int.from_bytes(digest, "big") for digest in digests), np.uint64))


def as_numbers(values: dict[str, float]) -> Any:
    """A run's numbers as scalar arrays."""
    return {name: np.float32(value) for name, value in values.items()}


def as_count(value: int) -> Any:
    """A count as a scalar array."""
    return np.int32(value)
