"""The parts of an experiment, branch by branch: what each trains, and what it takes from parts before it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from infoser.arms import Arm, Branch, branches
from infoser.cells import base_of, cell_of
from infoser.config import Config
from infoser.corpus import Corpus
from infoser.generators import new_structures
from infoser.leakage import Fold
from infoser.matrix import Matrix, Places
from infoser.overrides import overrides_of
from infoser.parts import ArmName, Part, prefix
from infoser.pools import needs_teacher
from infoser.runs import HeadOutputs, References, run_matrix
from infoser.stages.classify import MODALITIES
from infoser.trainer import Trainer
from infoser.variants import GENERATORS, Variant


@dataclass(frozen=True)
class Planned:
    """One branch of one part.

    Attributes:
      part: the part.
      branch: its arms of one branch, its configuration with the part's seeds.
      places: where its groups lie, and those that earlier parts trained on the same seeds and folds.
    """

    part: Part
    branch: Branch
    places: Places

    @property
    def aligns(self) -> bool:
        """Whether it needs aligners."""
        return self.branch.config.space != "encoder" or any(_conditioned(arm) for arm in self.branch.arms)

    @property
    def earlier_arms(self) -> list[Arm]:
        """Those of earlier parts on the same seeds and folds."""
        return [arm for _, arms in self.places.earlier for arm in arms]

    def matrix(self, corpus: Corpus, folds: Sequence[Fold], trainer: Trainer) -> Matrix:
        """Its folds and seeds; `folds` are those of the whole experiment."""
        own = [fold for fold in folds if fold.name in self.part.folds]
        return Matrix(self.branch.config, corpus, own, trainer, self.places, self.branch.arms)


@dataclass(frozen=True)
class Outputs:
    """What all runs say.

    Attributes:
      heads: of every part.
      alignment: for each branch by its name, then by fold, by seed the estimate of I(audio; text | class).
      notes: what a reader has to know.
    """

    heads: list[HeadOutputs]
    alignment: dict[str, dict[str, dict[int, float]]]
    notes: list[str]


def planned(config: Config, parts: Sequence[Part]) -> list[Planned]:
    """The branches of all parts, in the order in which they are trained.

    Raises:
      InfoserError: for a part whose cell is none of this configuration.
    """
    base, found = base_of(config), []
    for number, part in enumerate(parts):
        variants: dict[str, list[Variant]] = {}
        for cell, variant in part.arms:
            variants.setdefault(cell, []).append(variant)
        cells = [cell_of(base, overrides_of(name), tuple(own), name) for name, own in variants.items()]
        for branch in branches(cells):
            branch = dataclasses.replace(branch, config=dataclasses.replace(branch.config, seeds=part.seeds))
            earlier = [one for one in found if one.part.block == part.block and one.branch.name == branch.name]
            folder = prefix(number) + branch.folder
            aligned = next((one.places.aligner for one in earlier if one.aligns), folder)
            history = tuple((one.places.folder, one.branch.arms) for one in earlier)
            found.append(Planned(part, branch, Places(folder, aligned, history)))
    return found


def run_planned(
    plans: Iterable[Planned],
    corpus: Corpus,
    folds: Sequence[Fold],
    trainer: Trainer,
    heads_of: Collection[str] = MODALITIES,
) -> Outputs:
    """Trains or restores branches one after the other; raises as `runs.run_matrix`."""
    heads: list[HeadOutputs] = []
    alignment: dict[str, dict[str, dict[int, float]]] = {}
    notes: list[str] = []
    references: dict[str, References] = {}
    for plan in plans:
        started, trained = time.monotonic(), trainer.trained_s
        matrix = plan.matrix(corpus, folds, trainer)
        known = references.setdefault(plan.branch.name, {})
        outputs = run_matrix(matrix, [one for one in MODALITIES if one in heads_of], known)
        # What is only restored leaves the folder as it is, unless it was cut off before it could say this.
        if trainer.trained_s > trained or not trainer.told("branch", plan.places.folder):
            apart = time.monotonic() - started - (trainer.trained_s - trained)
            trainer.took("branch", folder=plan.places.folder, heads=len(outputs.heads), seconds=apart)
        notes += outputs.notes
        heads += outputs.heads
        there = alignment.setdefault(plan.branch.name, {})
        if plan.places.aligner == plan.places.folder:  # else an earlier part has told of the same aligners
            for fold, estimates in outputs.alignment.items():
                there.setdefault(fold, {}).update(zip(plan.part.seeds, estimates, strict=True))
    return Outputs(heads, alignment, notes)


def modalities_of(corpus: Corpus) -> tuple[str, ...]:
    """The modalities that heads can read."""
    return MODALITIES if corpus.text is not None else MODALITIES[:1]


def counted(plans: Iterable[Planned], *, modalities: int, n_classes: int) -> tuple[int, int, int]:
    """How many aligners, generators and heads there are to train; generators that arms share are counted once."""
    aligners = generators = heads = 0
    for plan in plans:
        units = len(plan.part.units)
        branch = plan.branch
        if plan.aligns and plan.places.aligner == plan.places.folder:
            aligners += units * (branch.config.align.cross_fits if branch.config.space == "aligned" else 1)
        generators += units * sum(number for _, _, number in new_structures(branch.arms, plan.earlier_arms, n_classes))
        heads += units * len(branch.arms) * modalities
    return aligners, generators, heads


def count_groups(plans: Iterable[Planned], *, modalities: int, n_classes: int) -> int:
    """How many groups of runs there are: aligners, teachers, each structure of generators, the heads of each modality.

    Heads whose added rows do not fit in memory together train in more groups than this says.
    """
    count = 0
    for plan in plans:
        arms = plan.branch.arms
        count += plan.aligns + any(map(needs_teacher, arms)) + len(new_structures(arms, (), n_classes))
        count += modalities * len({arm.config.classify.structure for arm in arms})
    return count


def _conditioned(arm: Arm) -> bool:
    return arm.variant in GENERATORS and GENERATORS[arm.variant].conditioned_on_text


def arm_names(plan: Planned) -> list[ArmName]:
    """The cells and variants of a branch of a part."""
    return [(arm.cell, arm.variant) for arm in plan.branch.arms]
