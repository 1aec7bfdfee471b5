"""The matrix of runs: every fold and seed, what they read, and the training of a group of them."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from infoser.config import Config
from infoser.corpus import UNLABELLED, Corpus
from infoser.fold_view import Features, FoldView
from infoser.leakage import Fold
from infoser.protocols import demote_labels
from infoser.trainer import Group, RunName, Trained, Trainer


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
    """All folds and seeds of one space of an experiment.

    Args:
      config: the settings; `variants` and `space` say what is run here.
      corpus: the corpus.
      folds: the folds.
      trainer: trains or restores groups.
      prefix: of the groups' folders.

    Attributes:
      units: folds × seeds.
      n_classes: number of emotions.
      notes: what a reader of the results has to know.
    """

    def __init__(self, config: Config, corpus: Corpus, folds: Sequence[Fold], trainer: Trainer, prefix: str = ""):
        self.config, self.corpus, self.folds, self.trainer = config, corpus, folds, trainer
        self.n_classes = len(corpus.classes)
        self.units = [Unit(fold, seed, self._labels(fold, seed)) for fold in folds for seed in config.seeds]
        self.notes: list[str] = []
        self._prefix = f"{prefix}{config.space}"
        self._trained_on = {fold.name: utterance_hashes(corpus.utterance_id[fold.train]) for fold in folds}
        self._tested_on = {fold.name: utterance_hashes(corpus.utterance_id[fold.test]) for fold in folds}
        self._rows_padded = max(len(fold.train) for fold in folds)
        self._labelled_padded = max(int((unit.label >= 0).sum()) for unit in self.units)
        self._test_padded = max(1, *(len(fold.test) for fold in folds))

    def _labels(self, fold: Fold, seed: int) -> np.ndarray:
        usable = np.full(len(self.corpus), UNLABELLED, self.corpus.label.dtype)
        kept = fold.train
        if self.config.label_fraction < 1:
            kept = demote_labels(self.corpus, fold, self.config.label_fraction, seed)
        usable[kept] = self.corpus.label[kept]
        return usable

    def view(
        self, unit: Unit, audio: np.ndarray, text: np.ndarray | None, *, label: np.ndarray | None = None, source: int = 0
    ) -> FoldView:
        """The view of a unit's training part; `label` replaces the unit's own where fewer labels may be seen."""
        return FoldView.build(
            unit.fold.train,
            unit.label if label is None else label,
            n_classes=self.n_classes,
            audio=audio,
            text=text,
            source=source,
            rows_padded=self._rows_padded,
            labelled_padded=self._labelled_padded,
        )

    def test_rows(self, unit: Unit) -> Any:
        """The unit's test rows, repeated to a length that all units share; what they give is cut off again."""
        return np.resize(unit.fold.test if len(unit.fold.test) else np.zeros(1), self._test_padded).astype(np.int32)

    def train(
        self,
        name: str,
        stage: Any,
        units: Sequence[Unit],
        runs: Sequence[Any],
        shared: Features,
        variants: Sequence[str] | None = None,
    ) -> Trained:
        """Trains or restores the runs of one structure.

        Args:
          name: of the group, below its space.
          stage: the structure.
          units, runs, variants: of every run; no variants where they share the run.
          shared: the features, on the devices.
        """
        names = [
            RunName(unit.fold.name, unit.seed, variant)
            for unit, variant in zip(units, variants or [""] * len(units), strict=True)
        ]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *runs)
        return self.trainer.train(
            Group(f"{self._prefix}/{name}", stage, names, shared, stacked, self._trained_on, self._tested_on)
        )


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
