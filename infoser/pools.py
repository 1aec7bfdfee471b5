"""The rows that each variant adds to the real ones: by a control, or by a trained generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from infoser.augmenters import AUGMENTERS, Rows
from infoser.config import GENERATORS, numbers
from infoser.group import Loaded
from infoser.matrix import Matrix, as_count, as_numbers
from infoser.spaces import Space
from infoser.stages.generate import Generate, GenerateRun, Pool

#: Added rows that no classifier trains on: the information they hold about their class is measured on them.
HELD_OUT = 2048


class Pools:
    """The added rows of every unit and variant; trains the generators that the configuration's variants need.

    Args:
      matrix: the folds and seeds.
      space: what is read.
    """

    def __init__(self, matrix: Matrix, space: Space):
        self._matrix, self._space = matrix, space
        config = matrix.config
        wanted = [self._wanted(number, "audio") for number in range(len(matrix.units))]
        if max(wanted) > config.generate.pool_limit:
            matrix.notes.append(
                f"added rows are limited to {config.generate.pool_limit:,} of {max(wanted):,} (--generate.pool-limit)"
            )
        #: The most rows that a variant adds, in any unit.
        self.largest = min(max(wanted), config.generate.pool_limit)
        if (
            any(GENERATORS.get(variant) in ("class", "class_text") for variant in config.variants)
            and matrix.corpus.text is not None
        ):
            matrix.notes.append(
                "cgan, infogan and infogan-notext generate audio: the text beside it, and all that they add to the text "
                "heads, is real text of training rows of the class"
            )
        self._generators: list[tuple[Loaded, list[tuple[int, str]]]] = []
        self._generated: dict[tuple[int, str], Any] = {}
        for kind in dict.fromkeys(GENERATORS.values()):
            variants = [variant for variant in config.variants if GENERATORS.get(variant) == kind]
            if variants:
                self._generate(kind, variants)

    def _labelled(self, number: int, modality: str) -> np.ndarray:
        """The labelled training rows of unit `number` that have what a head of this modality reads."""
        unit, corpus = self._matrix.units[number], self._matrix.corpus
        return np.flatnonzero((unit.label >= 0) & (corpus.with_text if modality != "audio" else True))

    def _known(self, number: int, modality: str) -> np.ndarray:
        """The rows that a control makes others from: the labelled ones; of a large corpus as many as the pool may have."""
        limit, real = self._matrix.config.generate.pool_limit, self._labelled(number, modality)
        if len(real) <= limit:
            return real
        self._matrix.notes.append(
            f"oversample, noise, mixup, smote and class-gaussian make rows from {limit:,} drawn labelled ones of each fold "
            "(--generate.pool-limit)"
        )
        unit = self._matrix.units[number]
        order = unit.generator("known", modality).permutation(real)
        # Class by class in turn, so that small classes are kept whole.
        label = unit.label[order]
        turn = np.zeros(len(order), np.int64)
        for one in np.unique(label):
            turn[label == one] = np.arange((label == one).sum())
        return np.sort(order[np.argsort(turn, kind="stable")[:limit]])

    def _wanted(self, number: int, modality: str) -> int:
        return max(1, round(self._matrix.config.generate.ratio * len(self._labelled(number, modality))))

    def adds_rows(self, variant: str) -> bool:
        """Whether a variant trains on more than the real rows."""
        return variant in GENERATORS or variant in AUGMENTERS

    def rows(self, number: int, variant: str, modality: str) -> tuple[Rows, Rows]:
        """What a variant adds for unit `number`: the rows to train on, and HELD_OUT further ones.

        Features are standardised as the unit's real ones are. Rows for `both` are audio and text side by side.
        """
        matrix = self._matrix
        size = min(self._wanted(number, modality), matrix.config.generate.pool_limit)
        identity = np.eye(matrix.n_classes, dtype=np.float32)
        if variant in AUGMENTERS:
            unit, real = matrix.units[number], self._known(number, modality)
            known = Rows(self._space.real(number, modality, real), identity[unit.label[real]])
            generator = unit.generator(variant, modality)
            made = AUGMENTERS[variant](known, size + HELD_OUT, generator, matrix.config.augment)
        else:
            pool: Any = self._generated[number, variant]
            parts = [pool.audio] if modality in ("audio", "both") else []
            if modality in ("text", "both"):
                lent = self._space.real(number, "text", pool.text_row) if pool.text is None else pool.text
                parts.append(lent)
            made = Rows(np.concatenate(parts, axis=-1), identity[pool.label])
        return Rows(*(part[:size] for part in made)), Rows(*(part[-HELD_OUT:] for part in made))

    def _generate(self, kind: str, variants: list[str]) -> None:
        """Trains one structure of generators for every unit and variant, and draws their rows."""
        matrix, config = self._matrix, self._matrix.config.generate
        stage = Generate(
            n_classes=matrix.n_classes,
            with_text=kind == "class_text",
            paired=kind == "paired",
            width=config.width,
            latent_dim=config.latent_dim,
            batch_size=config.batch_size,
            steps=config.steps,
            compute_dtype=matrix.config.compute_dtype,
        )
        settings: dict[str, float] = numbers(config)
        without_information = settings | {name: 0.0 for name in settings if name.endswith("_mi_weight")}
        members = [(number, variant) for number in range(len(matrix.units)) for variant in variants]
        runs = [
            GenerateRun(
                self._space.view(number, "audio" if kind == "class" else "both"),
                as_count(number),
                as_numbers(without_information if variant == "cgan" else settings),
                self._space.view(number, "text") if kind == "class" and matrix.partial_text else None,
            )
            for number, variant in members
        ]
        units = [matrix.units[number] for number, _ in members]
        names = [variant for _, variant in members]
        trained = matrix.train(f"generate/{kind}", stage, units, runs, self._space.features, names)
        self._generators.append((trained, members))

    def load(self, part: Sequence[int]) -> None:
        """Draws the generated rows of some units; of all of them at once, and for good, if they take no more than allowed."""
        members = [member for _, own in self._generators for member in own]
        if all(member in self._generated for member in members if member[0] in part):
            return
        space, size = self._space.host, self.largest + HELD_OUT
        dim = space.audio.shape[2] + (0 if space.text is None else space.text.shape[2])
        if len(members) * size * dim * 4 <= self._matrix.config.max_group_gib * 2**30:
            part = range(len(self._matrix.units))
        self._generated.clear()
        for trained, own in self._generators:
            wanted = [i for i, (number, _) in enumerate(own) if number in part]
            drawn: Any = trained.outputs("outputs", size, only=None if len(wanted) == len(own) else wanted)
            for i, position in enumerate(wanted):
                rows: Any = (None if each is None else each[i] for each in drawn)
                self._generated[own[position]] = Pool(*rows)
