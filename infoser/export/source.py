"""Which model of a run folder rows are exported of, and its restoring."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infoser import experiment, run_folder
from infoser.augmenters import AUGMENTERS
from infoser.config import Config
from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.leakage import Fold
from infoser.matrix import Matrix, Unit
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
      variant: whose rows it makes.
      fold: what it was trained on; `final` names the final model.
      number: of its unit, in the matrix.
      pools: of the generators; None for a control.
    """

    config: Config
    corpus: Corpus
    cell: str
    variant: str
    fold: Fold
    number: int
    matrix: Matrix
    space: Space
    pools: Pools | None

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
    parts = experiment.cells(config)
    base = next(iter(parts))  # not '' where the whole run is in another space
    cell = request.cell or base
    if cell not in parts:
        known = ", ".join(repr(cell) for cell in parts)
        raise InfoserError(f"{request.folder} has no cell {request.cell!r}; its cells: {known} (the first by default)")
    if request.seed is not None and request.seed not in config.seeds:
        raise InfoserError(
            f"{request.folder} has no seed {request.seed}; its seeds: {', '.join(map(str, config.seeds))} (--draw-seed draws "
            "other rows of the same model)"
        )
    if request.fold:
        own, folds, fold, prefix, variant = _of_fold(request, config, parts[cell], corpus)
    else:
        if cell != base:
            raise InfoserError(f"--cell {cell!r}: the final model is of the base configuration; choose a fold with --fold")
        own, folds, fold, prefix, variant = _of_final(request, config, corpus)
    if own.space == "aligned":
        raise InfoserError(
            "rows of the aligned space are representations of this run's own aligners, which no other tool can compute for "
            "real utterances; export rows of the encoder or joined space"
        )
    seed = config.seeds[0] if request.seed is None else request.seed
    if variant in AUGMENTERS:  # nothing is learned: made from the fold's rows as they are, of encoder features in any space
        own, folds = dataclasses.replace(own, variants=(variant,), space="encoder", seeds=(seed,)), (fold,)
    else:
        group = GENERATORS[variant].group  # its runs were trained, and are restored, together
        same = tuple(one for one in own.variants if one in GENERATORS and GENERATORS[one].group == group)
        own = dataclasses.replace(own, variants=same)
    trainer = experiment.make_trainer(own, request.folder, restore_only=True)
    matrix = Matrix(own, corpus, folds, trainer, prefix)
    space = make_space(matrix)
    pools = None if variant in AUGMENTERS else Pools(matrix, space)
    number = next(i for i, unit in enumerate(matrix.units) if (unit.fold.name, unit.seed) == (fold.name, seed))
    return Source(own, corpus, cell, variant, fold, number, matrix, space, pools)


def _of_fold(request: Request, config: Config, part: Config, corpus: Corpus) -> tuple[Config, tuple[Fold, ...], Fold, str, Any]:
    """The settings, folds, fold, place and variant of the model that was tested on a fold."""
    _, folds = experiment.plan_folds(config, corpus)
    by_name = {fold.name: fold for fold in folds}
    if request.fold not in by_name:
        raise InfoserError(f"{request.folder} has no fold {request.fold!r}; its folds: {', '.join(by_name)}")
    generators = [one for one in part.variants if one in GENERATORS]
    known = sorted(set(part.variants) & set(_exported()), key=lambda one: (one not in GENERATORS, part.variants.index(one)))
    if not request.variant and not known:
        raise InfoserError(f"{request.folder}: none of its variants makes rows; name a control, such as --variant smote")
    variant: Any = request.variant or known[0]
    if variant in GENERATORS and variant not in generators:
        raise InfoserError(
            f"{request.folder} has no generator of variant {variant!r}{request.cell and f' in cell {request.cell!r}'}; it has: "
            f"{', '.join(generators) or 'none'}"
        )
    return part, folds, by_name[request.fold], "", variant


def _of_final(request: Request, config: Config, corpus: Corpus) -> tuple[Config, tuple[Fold, ...], Fold, str, Any]:
    """The same of the final model; a control has none, and is made from all labelled utterances."""
    fold = experiment.final_fold(len(corpus))
    variant: Any = request.variant
    if variant not in AUGMENTERS:
        trained = run_folder.read_final(request.folder)
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
    return experiment.final_config(config, variant), (fold,), fold, experiment.final_prefix(variant), variant


def _exported() -> list[str]:
    """The variants whose rows are synthetic."""
    return [one for one in VARIANTS if one in GENERATORS or (one in AUGMENTERS and one not in _REFUSED)]


def _refuse_unexported(variant: str) -> None:
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
