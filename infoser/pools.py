"""The rows that each arm adds to the real ones: by a control, a teacher, or a trained generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from infoser.amounts import HELD_OUT, Amounts, labelled_rows
from infoser.arms import Arm
from infoser.augmenters import AUGMENTERS, Rows
from infoser.concerns import asks_teacher
from infoser.config import ClassifyConfig
from infoser.generators import Generators
from infoser.group import Loaded
from infoser.matrix import Matrix
from infoser.progress import Progress
from infoser.selection import select, wanted_by_class, within_class_rank
from infoser.spaces import Space
from infoser.stages.conditions import Pool
from infoser.teacher import Teacher
from infoser.variants import GENERATORS


@dataclass(frozen=True)
class _Drawing:
    """What is drawn at once: from which generators, how many rows of each, and whose they are.

    Attributes:
      members: the unit and arm that rows are drawn for.
      runs: for each, its generator's number among those that were trained together.
    """

    trained: Loaded
    function: str
    size: int
    members: list[tuple[int, Arm]]
    runs: list[int]


class Pools:
    """The added rows of every unit and arm; trains the generators that the arms need.

    Args:
      matrix: the folds, seeds and arms.
      space: what is read.
    """

    def __init__(self, matrix: Matrix, space: Space):
        self._matrix, self._space = matrix, space
        self._amounts: dict[str, Amounts] = {}
        self._teachers: dict[Any, Teacher] = {}
        self._teacher_places = _teacher_places(matrix)
        for arm in matrix.arms:
            self._prepare(arm)
        for arm in filter(needs_teacher, matrix.arms):
            self._teacher(arm)
        self._generated: dict[tuple[int, Arm], Any] = {}
        self._taught_rows: dict[tuple[int, Arm], np.ndarray] = {}
        generators = Generators(matrix, space, [arm for arm in matrix.arms if arm.variant in GENERATORS])
        self._drawings: list[_Drawing] = []
        for group in generators.groups:
            for wrong in (False, True):
                own = [arm for arm in group.arms if GENERATORS[arm.variant].wrong_text == wrong]
                for size in dict.fromkeys(self.amounts(arm).drawn for arm in own):
                    drawn = [arm for arm in own if self.amounts(arm).drawn == size]
                    members = [(number, arm) for number in range(len(matrix.units)) for arm in drawn]
                    runs = [group.run_of(number, arm) for number, arm in members]
                    function = "outputs_of_wrong_text" if wrong else "outputs"
                    self._drawings.append(_Drawing(group.trained, function, size, members, runs))

    def _prepare(self, arm: Arm) -> None:
        """Counts the rows of an arm's cell, once, and says what a reader has to know of it."""
        matrix = self._matrix
        where = f" ({arm.rest})" if arm.rest else ""
        if arm.cell not in self._amounts:
            amounts = self._amounts[arm.cell] = Amounts(matrix, arm.config)
            limit = arm.config.generate.pool_limit
            if amounts.wanted > limit:
                matrix.note(f"added rows are limited to {limit:,} of {amounts.wanted:,} (--generate.pool-limit){where}")
        if arm.variant == "diffusion-unconditional" and matrix.corpus.text is not None:
            matrix.note("diffusion-unconditional: the text beside its audio is that of any row, of whatever emotion")
        elif arm.variant in GENERATORS and GENERATORS[arm.variant].text != "made" and matrix.corpus.text is not None:
            matrix.note(
                "generators other than paired ones make audio: the text beside it, and all that they add to the text heads, is "
                "real text of training rows of the class (infogan-wrong-text: of another class)"
            )

    def amounts(self, arm: Arm) -> Amounts:
        """How many rows an arm adds."""
        return self._amounts[arm.cell]

    def _teacher(self, arm: Arm) -> Teacher:
        """The teacher of an arm's cell, trained when it is first asked for."""
        key = _teacher_key(arm)
        if key not in self._teachers:
            folder, name = self._teacher_places[key]
            self._teachers[key] = Teacher(self._matrix, self._space, arm.config, name, folder)
        return self._teachers[key]

    def _known(self, number: int, arm: Arm, modality: str) -> np.ndarray:
        """The rows that a control makes others from: the labelled ones; of a large corpus as many as the pool may have."""
        limit, real = arm.config.generate.pool_limit, labelled_rows(self._matrix, number, modality)
        if len(real) <= limit:
            return real
        self._matrix.note(
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

    def adds_rows(self, arm: Arm) -> bool:
        """Whether an arm trains on more than the real rows."""
        return arm.variant in GENERATORS or arm.variant in AUGMENTERS or arm.variant == "teacher"

    def probed(self, arm: Arm) -> bool:
        """Whether heads see an arm's added rows alone, to say what these hold and teach; a teacher's are real ones."""
        return self.adds_rows(arm) and arm.variant != "teacher"

    def rows(self, number: int, arm: Arm, modality: str) -> tuple[Rows, Rows]:
        """What an arm adds for unit `number`: the rows to train on, and up to HELD_OUT further ones.

        Features are standardised as the unit's real ones are. Rows for `both` are audio and text side by side. The surest ones
        come first where there is a curriculum.
        """
        matrix, variant = self._matrix, arm.variant
        size = self.amounts(arm).size(number, modality)
        identity = np.eye(matrix.n_classes, dtype=np.float32)
        if variant == "teacher":
            rows, teacher = self._taught(number, arm), self._teacher(arm)
            made = Rows(self._space.real(number, modality, rows), teacher.of_rows(number, rows).astype(np.float32))
            return made, Rows(*(part[:0] for part in made))
        if variant in AUGMENTERS:
            unit, real = matrix.units[number], self._known(number, arm, modality)
            known = Rows(self._space.real(number, modality, real), identity[unit.label[real]])
            generator = unit.generator(variant, modality)
            made = AUGMENTERS[variant](known, size + HELD_OUT, generator, arm.config.augment)
            return Rows(*(part[:size] for part in made)), Rows(*(part[-HELD_OUT:] for part in made))
        pool: Any = self._generated[number, arm]
        made = Rows(self._features(number, pool, modality), self._target(number, arm))
        chosen, held = self._selected(number, arm, modality, made.target)
        return Rows(*(part[chosen] for part in made)), Rows(*(part[held] for part in made))

    def lent_text(self, number: int, arm: Arm, modality: str) -> np.ndarray:
        """The corpus rows whose text goes with a generator's rows: with those to train on, then with the further ones."""
        selected = self._selected(number, arm, modality, self._target(number, arm))
        return np.asarray(self._generated[number, arm].text_row)[np.concatenate(selected)]

    def _selected(self, number: int, arm: Arm, modality: str, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which rows of a pool are trained on, in the order of the curriculum if there is one, and which are kept back."""
        matrix, size = self._matrix, self.amounts(arm).size(number, modality)
        settings = arm.config.generate
        if self.amounts(arm).takes_all:
            every = np.arange(len(target))
            return every[:size], every[-HELD_OUT:]
        label = target.argmax(axis=1)
        sure = self._sureness(number, arm, target)
        real = np.bincount(matrix.units[number].label[labelled_rows(matrix, number, modality)], minlength=matrix.n_classes)
        wanted = wanted_by_class(settings.fill, real, size)
        kept = None if settings.keep_by == "all-rows" else sure
        chosen, held = select(label, kept, settings.keep_share, wanted, HELD_OUT)
        if len(chosen) < size:
            matrix.note(
                f"{arm.name}: too few rows were drawn of some classes to fill them as --generate.fill {settings.fill} asks; "
                "what there is was taken"
            )
        if settings.curriculum < 1:
            chosen = chosen[np.argsort(-sure[chosen], kind="stable")]
        return chosen, held

    def _taught(self, number: int, arm: Arm) -> np.ndarray:
        """The real rows that the variant teacher adds; of more than the pool may have, as many are drawn."""
        rows, limit = self._teacher(arm).rows(number), arm.config.generate.pool_limit
        if len(rows) <= limit:
            return rows
        self._matrix.note(f"teacher: {limit:,} drawn training rows of each fold are taught (--generate.pool-limit)")
        return np.sort(self._matrix.units[number].generator("taught").choice(rows, limit, replace=False))

    def _features(self, number: int, pool: Pool, modality: str) -> np.ndarray:
        """What a head of this modality reads of generated rows."""
        parts: list[Any] = [pool.audio] if modality in ("audio", "both") else []
        if modality in ("text", "both"):
            parts.append(self._space.real(number, "text", np.asarray(pool.text_row)) if pool.text is None else pool.text)
        return np.concatenate(parts, axis=-1)

    def _target(self, number: int, arm: Arm) -> np.ndarray:
        """(rows, classes) class probabilities of a pool's rows."""
        pool, label_by = self._generated[number, arm], arm.config.generate.label_by
        if label_by == "teacher":
            return self._by_teacher(number, arm).astype(np.float32)
        if label_by == "recogniser" or GENERATORS[arm.variant].group == "nothing":
            return np.exp(pool.log_q)
        return np.eye(self._matrix.n_classes, dtype=np.float32)[pool.label]

    def _by_teacher(self, number: int, arm: Arm) -> np.ndarray:
        """What the teacher says of a pool; asked for all units that are loaded at once, since its heads are one program."""
        if (number, arm) not in self._taught_rows:
            teacher, units = self._teacher(arm), range(len(self._matrix.units))
            loaded = [unit for unit in units if (unit, arm) in self._generated]
            pools = {unit: self._features(unit, self._generated[unit, arm], teacher.modality) for unit in loaded}
            blank = np.zeros_like(next(iter(pools.values())))
            said = teacher.of_features(np.stack([pools.get(unit, blank) for unit in units]))
            self._taught_rows |= {(unit, arm): said[unit] for unit in loaded}
        return self._taught_rows[number, arm]

    def _sureness(self, number: int, arm: Arm, target: np.ndarray) -> np.ndarray:
        """Rank within its class of each row of a pool, by those that --generate.keep-by names (Q if none)."""
        pool, keep_by, label = self._generated[number, arm], arm.config.generate.keep_by, target.argmax(axis=1)

        def own(probability: np.ndarray) -> np.ndarray:
            return np.take_along_axis(probability, label[:, None], axis=1)[:, 0]

        ranks = []
        if keep_by in ("discriminator", "consensus"):
            ranks.append(within_class_rank(pool.score, label))
        if keep_by in ("recogniser", "consensus", "all-rows"):
            ranks.append(within_class_rank(own(pool.log_q), label))
        if keep_by in ("teacher", "consensus"):
            ranks.append(within_class_rank(own(self._by_teacher(number, arm)), label))
        return np.min(ranks, axis=0)

    def load(self, part: Sequence[int], arms: Sequence[Arm] | None = None) -> None:
        """Draws the generated rows of some units and arms; of all of them at once, and for good, if they may take that much.

        Args:
          part: numbers of the units.
          arms: whose rows; all of them if not given.
        """
        asked = set(self._matrix.arms if arms is None else arms)
        wanted = {member for one in self._drawings for member in one.members if member[0] in part and member[1] in asked}
        if wanted <= self._generated.keys():
            return
        dim = self._space.host.audio_dim + self._space.host.text_dim
        whole = sum(len(one.members) * one.size for one in self._drawings)
        if whole * dim * 4 <= self._matrix.config.max_group_gib * 2**30:
            wanted = {member for one in self._drawings for member in one.members}
        self._generated.clear()
        self._taught_rows.clear()
        total = sum(one.size * sum(member in wanted for member in one.members) for one in self._drawings)
        with Progress("drawing generated rows", total, unit="rows") as progress:
            drawn_rows = 0
            for one in self._drawings:
                places = [i for i, member in enumerate(one.members) if member in wanted]
                if not places:
                    continue
                runs = [one.runs[i] for i in places]
                everyone = runs == list(range(len(one.trained.group.names)))
                drawn: Any = one.trained.outputs(one.function, one.size, only=None if everyone else runs)
                for i, place in enumerate(places):
                    rows: Any = (None if each is None else each[i] for each in drawn)
                    self._generated[one.members[place]] = Pool(*rows)
                drawn_rows += one.size * len(places)
                progress.update(drawn_rows)

    def generator(self, number: int, arm: Arm) -> tuple[Loaded, int, str]:
        """What was trained for an arm of unit `number`: the group, which of its runs, and the function that makes rows."""
        for one in self._drawings:
            if (number, arm) in one.members:
                return one.trained, one.runs[one.members.index((number, arm))], one.function
        raise KeyError(arm.name)

    def judged(self, number: int, arm: Arm, pool: Pool) -> tuple[np.ndarray, np.ndarray | None]:
        """Class probabilities of rows that `generator` made, and their ranks by --generate.keep-by (None if all are kept)."""
        self._generated[number, arm] = pool
        self._taught_rows.pop((number, arm), None)
        try:
            target = self._target(number, arm)
            all_kept = arm.config.generate.keep_by == "all-rows"
            return target, None if all_kept else self._sureness(number, arm, target)
        finally:
            del self._generated[number, arm]


def needs_teacher(arm: Arm) -> bool:
    """Whether an arm takes something from a teacher."""
    return arm.variant == "teacher" or (arm.variant in GENERATORS and asks_teacher(arm.config))


def _teacher_key(arm: Arm) -> tuple[ClassifyConfig, int]:
    return arm.config.classify, arm.config.augment.teacher_parts


def _teacher_places(matrix: Matrix) -> dict[tuple[ClassifyConfig, int], tuple[str, str]]:
    """The folder and name of every teacher's group: the first part that needs a teacher has it."""
    found: dict[tuple[ClassifyConfig, int], tuple[str, str]] = {}
    for folder, arms in (*matrix.places.earlier, (matrix.places.folder, matrix.arms)):
        new = dict.fromkeys(_teacher_key(arm) for arm in arms if needs_teacher(arm) and _teacher_key(arm) not in found)
        for count, key in enumerate(new, start=1):
            found[key] = (folder, "teacher" + (f"-{count}" if count > 1 else ""))
    return found
