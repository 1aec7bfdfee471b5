"""Which model of a run folder rows are exported of, and its restoring."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infoser import experiment, final_folder
from infoser.arms import Arm
from infoser.augmenters import AUGMENTERS
from infoser.cells import refuse_selected
from infoser.config import Config
from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.leakage import Fold
from infoser.matrix import Matrix, Places, Unit
from infoser.pools import Pools
from infoser.spaces import Space, make_space
from infoser.variants import GENERATORS, VARIANTS

#: Why the rows that a variant adds, if any, are not exported.
_NOTHING = "trains on the real rows alone"
_REFUSED = {"oversample": "adds exact copies of real rows", "teacher": "adds real rows"}


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
      folder: the run folder.
      variant: whose rows; '' for the final model's, or the first of the run that can be exported.
      fold: of the model that was tested on this fold; '' for the final model.
      cell: which part of the run, as the `cell` column of its scores names it; '' for what it is by its own --space.
      seed: which run; None for the first.
      per_class, count: how many rows: of each class, or in all and by the classes' frequency among the training rows.
      draw_seed: other seeds draw other rows of the same model.
      lend_text: also write the text features of the real utterances whose text goes with the rows.
      with_text: whether text features are written at all.
      with_real: also write the training rows of the model.
      data_dir: where the corpus is, if it was moved.
    """

    folder: Path
    variant: str = ""
    fold: str = ""
    cell: str = ""
    seed: int | None = None
    per_class: int | None = None
    count: int | None = None
    draw_seed: int = 0
    lend_text: bool = False
    with_text: bool = True
    with_real: bool = False
    data_dir: Path | None = None


@dataclass(frozen=True)
class Source:
    """A model whose rows are exported, restored.

    Attributes:
      config: the settings of its part of the run.
      corpus: what it was trained on.
      cell: the part of the run.
      arm: whose rows it makes.
      fold: what it was trained on; `final` names the final model.
      number: of its unit, in the matrix.
      pools: of the generators; None for a control.
    """

    config: Config
    corpus: Corpus
    cell: str
    arm: Arm
    fold: Fold
    number: int
    matrix: Matrix
    space: Space
    pools: Pools | None

    @property
    def variant(self) -> str:
        """Whose rows it makes."""
        return self.arm.variant

    @property
    def unit(self) -> Unit:
        return self.matrix.units[self.number]

    @property
    def final(self) -> bool:
        """Whether it is the final model, trained on all labelled utterances."""
        return not len(self.fold.test)


def check(request: Request) -> None:
    """Refuses a request that no run folder could answer.

    Raises:
      InfoserError: naming the flag.
    """
    if (request.per_class is None) == (request.count is None):
        raise InfoserError("say how many rows: --per-class N (of each class) or --count N (by the classes' frequency)")
    for flag, value in (("--per-class", request.per_class), ("--count", request.count)):
        if value is not None and not 1 <= value < 2**31:
            raise InfoserError(f"{flag} {value}: must be from 1 to {2**31 - 1}")
    if not 0 <= request.draw_seed < 2**31:
        raise InfoserError(f"--draw-seed {request.draw_seed}: must be from 0 to {2**31 - 1}")
    if request.lend_text and not request.with_text:
        raise InfoserError("--lend-text writes text features and --no-text leaves them out: give one of them")
    if request.variant:
        _refuse_unexported(request.variant)


def restore(request: Request) -> Source:
    """Restores the model that is asked for.

    Raises:
      InfoserError: as `experiment.score`, and for a variant, fold, seed or cell that the run folder does not have.
    """
    config, corpus = experiment.restore(request.folder, request.data_dir)
    if config.data.normalise != "training":
        raise InfoserError(
            f"{request.folder} was trained on features standardised by each {config.data.normalise}: its rows are in no "
            "encoder's units, and could not stand beside others; export from a run with --data.normalise training"
        )
    plans = experiment.plans_of(request.folder, config, corpus)
    cells = dict.fromkeys(arm.cell for plan in plans for arm in plan.branch.arms)
    base = next(iter(cells))  # not '' where the whole run is in another space
    cell = request.cell or base
    if cell not in cells:
        known = ", ".join(map(repr, cells))
        raise InfoserError(f"{request.folder} has no cell {request.cell!r}; its cells: {known} (the first by default)")
    if request.seed is not None and request.seed not in config.seeds:
        raise InfoserError(
            f"{request.folder} has no seed {request.seed}; its seeds: {', '.join(map(str, config.seeds))} (--draw-seed draws "
            "other rows of the same model)"
        )
    seed = config.seeds[0] if request.seed is None else request.seed
    if request.fold:
        folds = experiment.plan_folds(config, corpus)[1]
        fold = _fold(request, folds)
        # Of a part that does not hold the fold and seed nothing can be restored.
        plans = [plan for plan in plans if fold.name in plan.part.folds and seed in plan.part.seeds]
        arms = [arm for plan in plans for arm in plan.branch.arms if arm.cell == cell]
        if not arms:
            raise InfoserError(f"{request.folder}: cell {cell!r} has no run of fold {fold.name} and seed {seed}")
        variant: Any = _of_fold(request, arms)
        plan, arm = next(
            ((p, arm) for p in plans for arm in p.branch.arms if arm in arms and arm.variant == variant), (None, None)
        )
        own = arms[0].config if arm is None else arm.config
    else:
        if cell != base:
            raise InfoserError(f"--cell {cell!r}: the final model is of the base configuration; choose a fold with --fold")
        variant, fold, plan, arm = _of_final(request), experiment.final_fold(len(corpus)), None, None
        own, folds = experiment.restored_final(request.folder, config, variant), (fold,)
        if variant not in AUGMENTERS:  # fitted to seeds of its own: the run may have been extended since
            if request.seed is not None and seed not in own.seeds:
                raise InfoserError(
                    f"the final model of {request.folder} has no seed {seed}; its seeds: {', '.join(map(str, own.seeds))}"
                )
            seed = own.seeds[0] if request.seed is None else seed
    if own.space == "aligned":
        raise InfoserError(
            "rows of the aligned space are representations of this run's own aligners, which no other tool can compute for "
            "real utterances; export rows of the encoder or joined space"
        )
    trainer = experiment.make_trainer(config, request.folder, restore_only=True)
    if variant in AUGMENTERS:  # nothing is learned: made from the fold's rows as they are, of encoder features in any space
        own = dataclasses.replace(own, variants=(variant,), space="encoder", seeds=(seed,))
        matrix = Matrix(own, corpus, (fold,), trainer)
        space, pools = make_space(matrix), None
        return Source(own, corpus, cell, Arm(variant, cell, own), fold, 0, matrix, space, pools)
    if plan is not None:
        matrix = plan.matrix(corpus, folds, trainer)
    else:
        place = f"{experiment.final_prefix(variant)}{own.space}"
        matrix = Matrix(own, corpus, folds, trainer, Places(place, place))
        arm = matrix.arms[0]
    assert arm is not None
    space = make_space(matrix)
    pools = Pools(matrix, space)
    number = next(i for i, unit in enumerate(matrix.units) if (unit.fold.name, unit.seed) == (fold.name, seed))
    return Source(own, corpus, cell, arm, fold, number, matrix, space, pools)


def _fold(request: Request, folds: Sequence[Fold]) -> Fold:
    by_name = {fold.name: fold for fold in folds}
    if request.fold not in by_name:
        raise InfoserError(f"{request.folder} has no fold {request.fold!r}; its folds: {', '.join(by_name)}")
    return by_name[request.fold]


def _of_fold(request: Request, arms: Sequence[Arm]) -> str:
    """The variant of the model that was tested on a fold, of the arms of its cell."""
    variants = [arm.variant for arm in arms]
    generators = [one for one in variants if one in GENERATORS]
    known = sorted(set(variants) & set(_exported()), key=lambda one: (one not in GENERATORS, variants.index(one)))  # pyright: ignore
    if not request.variant and not known:
        raise InfoserError(f"{request.folder}: none of its variants makes rows; name a control, such as --variant smote")
    variant = request.variant or known[0]
    if variant in GENERATORS and variant not in generators:
        raise InfoserError(
            f"{request.folder} has no generator of variant {variant!r}{request.cell and f' in cell {request.cell!r}'}; it has: "
            f"{', '.join(generators) or 'none'}"
        )
    return variant


def _of_final(request: Request) -> str:
    """The variant of the final model; a control has none, and is made from all labelled utterances."""
    variant = request.variant
    if variant not in AUGMENTERS:
        trained = final_folder.read_final(request.folder)
        variant = variant or trained
        if variant != trained and not (request.folder / experiment.final_prefix(variant)).is_dir():
            raise InfoserError(
                f"{request.folder} has no final model of variant {variant!r} (it has one of {trained!r}); run its training "
                f"command again with --final --final-variant {variant}, or choose a fold's model with --fold"
            )
        if variant not in _exported():
            why = _REFUSED.get(variant, _NOTHING)
            raise InfoserError(
                f"the final model of {request.folder} is of variant {variant!r}, which {why}; run its training command again "
                "with --final --final-variant infogan, choose a fold's model with --fold, or name a control with --variant"
            )
    return variant


def _exported() -> list[str]:
    """The variants whose rows are synthetic."""
    return [one for one in VARIANTS if one in GENERATORS or (one in AUGMENTERS and one not in _REFUSED)]


def _refuse_unexported(variant: str) -> None:
    refuse_selected(variant)
    can = _exported()
    if variant not in VARIANTS:
        raise InfoserError(f"--variant {variant}: there is no such variant; those that can be exported: {', '.join(can)}")
    if variant not in can:
        why = _REFUSED.get(variant, _NOTHING)
        raise InfoserError(f"--variant {variant} {why}: there is nothing synthetic to export; choose {', '.join(can)}")


def labelled(source: Source, *, with_text: bool) -> np.ndarray:
    """The labelled training rows that rows are made from; those with text where they are made from text too."""
    known = source.unit.label >= 0
    return np.flatnonzero(known & source.corpus.with_text if with_text else known)
