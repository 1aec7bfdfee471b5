"""How many rows the variants of a cell add, and how many are drawn from its generators."""

from __future__ import annotations

import numpy as np

from infoser.config import Config
from infoser.matrix import Matrix
from infoser.selection import drawn_for, wanted_by_class

#: Added rows that no classifier trains on: the information they hold about their class is measured on them.
HELD_OUT = 2048


class Amounts:
    """The numbers of added rows under the settings of one cell.

    Args:
      matrix: the folds and seeds.
      config: of the cell.

    Attributes:
      wanted: the most rows that `--generate.ratio` asks for, in any unit.
      largest: the most rows that a variant adds, in any unit.
      drawn: how many rows are drawn from a generator: those that are kept, held out, and refused.
    """

    def __init__(self, matrix: Matrix, config: Config):
        self._matrix, self.config = matrix, config
        self._limit = config.generate.pool_limit
        units = range(len(matrix.units))
        self.wanted = max(self._wanted(number, "audio") for number in units)
        self.largest = min(self.wanted, self._limit)
        if any(arm.variant == "teacher" for arm in matrix.arms):
            taught = max(len(taught_rows(matrix, number)) for number in units)
            self.largest = max(self.largest, min(taught, self._limit))
        self.drawn = self._rows_to_draw()

    @property
    def takes_all(self) -> bool:
        """Whether rows are taken as they are drawn."""
        settings = self.config.generate
        return settings.fill == "balanced" and settings.keep_by == "all-rows" and settings.curriculum == 1

    def size(self, number: int, modality: str) -> int:
        """How many rows are added to unit `number` for a head of this modality."""
        return min(self._wanted(number, modality), self._limit)

    def _wanted(self, number: int, modality: str) -> int:
        return max(1, round(self.config.generate.ratio * len(labelled_rows(self._matrix, number, modality))))

    def _rows_to_draw(self) -> int:
        if self.takes_all:
            return self.largest + HELD_OUT
        settings, matrix = self.config.generate, self._matrix
        share = 1.0 if settings.keep_by == "all-rows" else settings.keep_share
        needed = []
        for number, unit in enumerate(matrix.units):
            real = np.bincount(unit.label[labelled_rows(matrix, number, "audio")], minlength=matrix.n_classes)
            wanted = wanted_by_class(settings.fill, real, self.size(number, "audio"))
            needed.append(drawn_for(wanted, int((real > 0).sum()), HELD_OUT, share))
        return max(needed)


def labelled_rows(matrix: Matrix, number: int, modality: str) -> np.ndarray:
    """The labelled training rows of unit `number` that have what a head of this modality reads."""
    unit, corpus = matrix.units[number], matrix.corpus
    return np.flatnonzero((unit.label >= 0) & (corpus.with_text if modality != "audio" else True))


def taught_rows(matrix: Matrix, number: int) -> np.ndarray:
    """The training rows of unit `number` that a teacher can teach, with and without a label."""
    train = matrix.units[number].fold.train
    return train if matrix.corpus.text is None else train[matrix.corpus.with_text[train]]
