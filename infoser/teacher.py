"""The teacher: cross-fitted heads on both modalities, whose class probabilities other heads may learn from."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from infoser.amounts import taught_rows
from infoser.config import Config, numbers
from infoser.corpus import UNLABELLED
from infoser.cross_fitting import deal
from infoser.matrix import Matrix, as_count, as_numbers
from infoser.spaces import Space
from infoser.stages.classify import Classify, ClassifyRun, GeneratedRows
from infoser.stages.schedule import decay_for

#: Rows that teachers read together.
ROWS_AT_ONCE = 4096


class Teacher:
    """For every unit as many heads as parts of its speakers, each trained as `none` is, but without one part's labels.

    They read audio and text, or audio where the corpus has no text. Nothing of a test part is read, and no training row is
    taught by a head that saw its label.

    Args:
      matrix: the folds and seeds.
      space: what is read.
      config: whose heads it has; those of the matrix if it is not given.
      name, folder: of its group, as of `Matrix.train`.
    """

    def __init__(self, matrix: Matrix, space: Space, config: Config | None = None, name: str = "teacher", folder: str = ""):
        self._matrix, self._space = matrix, space
        config, corpus = config or matrix.config, matrix.corpus
        #: What its heads read, and so which rows it can teach.
        self.modality = "audio" if corpus.text is None else "both"
        self.parts = config.augment.teacher_parts
        stage = Classify(
            n_classes=matrix.n_classes,
            modality=self.modality,
            width=config.classify.width,
            batch_size=config.classify.batch_size,
            steps=config.classify.steps,
            compute_dtype=config.compute_dtype,
        )
        members, runs, self._part = [], [], []
        dim = space.real(0, self.modality, np.zeros(1, int)).shape[1]
        for number, unit in enumerate(matrix.units):
            read = np.where(corpus.with_text, unit.label, UNLABELLED) if self.modality == "both" else unit.label
            part = deal(unit.fold.train, unit.label, read, corpus.speaker, self.parts)
            self._part.append(part)
            for own in range(self.parts):
                view: Any = space.view(number, self.modality).relabelled(np.where(part == own, UNLABELLED, unit.label))
                labelled = int(view.class_count.sum())
                values = numbers(config.classify) | {
                    "weight_decay": decay_for(labelled, config.classify.weight_decay, config.classify.learning_rate),
                    "real_weight": 1.0,
                    "generated_weight": 0.0,
                    "by_prior": 0.0,
                    "focal_gamma": 0.0,
                    "logit_adjustment": 0.0,
                    "curriculum": 1.0,
                }
                blank: Any = (np.zeros((1, dim), np.float32), np.zeros((1, matrix.n_classes), np.float32))
                nothing = GeneratedRows(blank[0], blank[1], as_count(0))
                members.append(unit)
                runs.append(ClassifyRun(view, nothing, as_numbers(values)))
        names = [f"without-part{1 + number % self.parts}" for number in range(len(members))]
        self._trained = matrix.train(name, stage, members, runs, space.features, names, folder)
        self._of_corpus: Any = None

    def rows(self, number: int) -> Int[np.ndarray, " rows"]:
        """The training rows of unit `number` that it can teach, with and without a label."""
        return taught_rows(self._matrix, number)

    def of_rows(self, number: int, rows: Int[np.ndarray, " rows"]) -> Float[np.ndarray, "rows classes"]:
        """Class probabilities of training rows: by the head that did not see its speaker; without a label the mean of all.

        Args:
          number: of the unit.
          rows: of those that `rows` gives.
        """
        if self._of_corpus is None:
            longest = max(len(self.rows(unit)) for unit in range(len(self._matrix.units)))
            asked = np.stack([np.resize(self.rows(unit), longest) for unit in range(len(self._matrix.units))])
            repeated = np.repeat(asked, self.parts, axis=0).astype(np.int32)
            said = self._trained.outputs_of_rows("outputs", repeated, min(longest, ROWS_AT_ONCE))
            self._of_corpus = np.exp(said.reshape(len(asked), self.parts, longest, -1))
        own = self.rows(number)
        place = np.searchsorted(own, rows)
        by_head = self._of_corpus[number][:, place]  # (parts, rows, classes)
        unit = self._matrix.units[number]
        alone = np.take_along_axis(by_head, self._part[number][rows][None, :, None], axis=0)[0]
        return np.where((unit.label[rows] >= 0)[:, None], alone, by_head.mean(axis=0))

    def of_features(self, features: Float[np.ndarray, "units rows dim"]) -> Float[np.ndarray, "units rows classes"]:
        """Class probabilities of other standardised features, as many for each unit: the mean of all its heads."""
        repeated = np.repeat(features, self.parts, axis=0)
        said = [
            self._trained.outputs("log_probabilities_of", runs=repeated[:, start : start + ROWS_AT_ONCE])
            for start in range(0, features.shape[1], ROWS_AT_ONCE)
        ]
        return np.exp(np.concatenate(said, axis=1)).reshape(len(features), self.parts, features.shape[1], -1).mean(axis=1)
