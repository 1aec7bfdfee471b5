"""All runs of one branch: align, generate and classify, for every fold, seed and arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from infoser.amounts import HELD_OUT
from infoser.arms import Arm
from infoser.augmenters import Rows, labels
from infoser.config import ClassifyConfig, Config, numbers
from infoser.corpus import Corpus
from infoser.group import Loaded
from infoser.leakage import Fold
from infoser.matrix import Matrix, Places, Unit, as_count, as_numbers
from infoser.pools import Pools
from infoser.progress import expect_pieces
from infoser.run_folder import FINAL
from infoser.spaces import Space, make_space
from infoser.stages.classify import MODALITIES, Classify, ClassifyRun, GeneratedRows
from infoser.stages.schedule import decay_for
from infoser.trainer import Trainer
from infoser.variants import GENERATORS, REFERENCE

#: Test rows that heads read together.
TEST_ROWS = 4096


@dataclass(frozen=True)
class HeadOutputs:
    """What one head says of its fold's test rows.

    Attributes:
      variant: what it was trained for; `probe` says that it saw the variant's added rows only.
      rows: the fold's test rows that have what the head reads.
      log_probability: (rows, classes) float32.
      held_out: for a probe, (log probabilities, labels) of added rows that it did not train on.
      held_out_by_real: log probabilities of the same rows by the unit's head of `none`, where there is one.
      cell: whose settings it has.
    """

    unit: Unit
    variant: str
    modality: str
    probe: bool
    rows: np.ndarray
    log_probability: np.ndarray
    held_out: tuple[np.ndarray, np.ndarray] | None = None
    held_out_by_real: np.ndarray | None = None
    cell: str = ""


@dataclass(frozen=True)
class SpaceOutputs:
    """What all runs of one branch say.

    Attributes:
      heads: of every unit, arm and modality.
      alignment: by fold, for each seed the estimate of I(audio; text | class), where an aligner was trained.
      notes: what a reader has to know.
    """

    heads: list[HeadOutputs]
    alignment: dict[str, list[float]]
    notes: list[str]


#: Heads of `none` by fold and seed: those trained together, and which of them it is.
References = dict[tuple[str, int], tuple[Loaded, int]]


def run_space(
    config: Config,
    corpus: Corpus,
    folds: Sequence[Fold],
    trainer: Trainer,
    prefix: str = "",
    heads_of: Sequence[str] = MODALITIES,
) -> SpaceOutputs:
    """Trains or restores every stage of a configuration's variants in its space.

    Args:
      config: the settings; `variants` and `space` say what is run.
      corpus: the corpus.
      folds: the folds.
      trainer: of the run folder.
      prefix: of the groups' folders.
      heads_of: the modalities whose heads are wanted; those of text only where there is any.
    """
    place = f"{prefix}{config.space}"
    return run_matrix(Matrix(config, corpus, folds, trainer, Places(place, place)), heads_of, {})


def run_matrix(matrix: Matrix, heads_of: Sequence[str], references: References) -> SpaceOutputs:
    """Trains or restores every stage of a matrix' arms.

    Args:
      matrix: the folds, seeds and arms.
      heads_of: the modalities whose heads are wanted; those of text only where there is any.
      references: heads of `none` on audio that were trained before, to be asked where there are none here; those that are
        trained here are added.
    """
    space = make_space(matrix)
    pools = Pools(matrix, space)
    heads = []
    for modality in heads_of if matrix.corpus.text is not None else ("audio",):
        heads += _heads(matrix, space, pools, modality, references)
    return SpaceOutputs(heads, space.alignment, matrix.notes)


def _head_numbers(arm: Arm, labelled: int, *, adds_rows: bool, probe: bool) -> dict[str, float]:
    """A head's numbers: those of the configuration, and those by which its variant differs from `none`."""
    variant, generate, augment, classify = arm.variant, arm.config.generate, arm.config.augment, arm.config.classify
    return numbers(classify) | {
        "weight_decay": decay_for(labelled, classify.weight_decay, classify.learning_rate),
        "real_weight": 0.0 if probe else 1.0,
        "generated_weight": 1.0 if probe else generate.ratio * generate.row_weight if adds_rows else 0.0,
        "by_prior": 1.0 if variant in ("natural", "logit-adjust") else 0.0,
        "focal_gamma": augment.focal_gamma if variant == "focal" else 0.0,
        "logit_adjustment": augment.logit_adjustment if variant == "logit-adjust" else 0.0,
        "curriculum": generate.curriculum if variant in GENERATORS and not probe else 1.0,
    }


@dataclass
class _Bundle:
    """Arms whose heads are one structure, and train together.

    Attributes:
      size: rows that the added ones are padded to.
      heads: of one unit, with probes.
    """

    classify: ClassifyConfig
    size: int
    heads: int
    arms: list[Arm] = field(default_factory=list)


def _bundles(matrix: Matrix, pools: Pools, modality: str, dim: int) -> list[_Bundle]:
    """The arms in as few bundles as the memory that is allowed for added rows admits; a cell stays whole.

    Cells that add fewer rows than others of their structure are padded to theirs: fewer programs are compiled.
    """
    cells: dict[str, list[Arm]] = {}
    for arm in matrix.arms:
        cells.setdefault(arm.cell, []).append(arm)
    bundles: list[_Bundle] = []
    for arms in sorted(cells.values(), key=lambda own: -pools.amounts(own[0]).largest):
        heads = len(arms) + (sum(map(pools.probed, arms)) if modality == "audio" else 0)
        classify = arms[0].config.classify

        def fits(bundle: _Bundle, heads: int = heads, classify: ClassifyConfig = classify) -> bool:
            together = (bundle.heads + heads) * bundle.size * (dim + matrix.n_classes) * 4
            alike = bundle.classify.structure == classify.structure
            return alike and together <= matrix.config.max_group_gib * 2**30

        bundle = next(filter(fits, bundles), None)
        if bundle is None:
            bundles.append(bundle := _Bundle(classify, pools.amounts(arms[0]).largest, 0))
        bundle.heads += heads
        bundle.arms += arms
    position = {arm: number for number, arm in enumerate(matrix.arms)}
    for bundle in bundles:
        bundle.arms.sort(key=position.__getitem__)
    return sorted(bundles, key=lambda bundle: position[bundle.arms[0]])


def _heads(matrix: Matrix, space: Space, pools: Pools, modality: str, references: References) -> list[HeadOutputs]:
    """The heads of one modality; for audio also the probes of what is added."""
    dim = space.real(0, modality, np.zeros(1, int)).shape[1]
    heads, bundles = [], _bundles(matrix, pools, modality, dim)
    expect_pieces(len(bundles) - 1)
    for count, bundle in enumerate(bundles, start=1):
        parts = _equal_parts(matrix, bundle.heads * bundle.size * (dim + matrix.n_classes) * 4)
        expect_pieces(len(parts) - 1)
        for number, part in enumerate(parts, start=1):
            name = f"classify/{modality}" + (f"-{count}" if count > 1 else "")
            name += f"/part{number}of{len(parts)}" if len(parts) > 1 else ""
            heads += _heads_of(bundle, part, name, dim, matrix, space, pools, modality, references)
    return heads


def _equal_parts(matrix: Matrix, bytes_per_unit: int) -> list[range]:
    """The units in equal parts (so that they are one program) whose added rows fit in the memory that is allowed."""
    n_units = len(matrix.units)
    allowed = max(1, int(matrix.config.max_group_gib * 2**30 / bytes_per_unit))
    size = max(size for size in range(1, n_units + 1) if n_units % size == 0 and size <= allowed)
    return [range(start, start + size) for start in range(0, n_units, size)]


def _heads_of(
    bundle: _Bundle,
    part: Sequence[int],
    name: str,
    dim: int,
    matrix: Matrix,
    space: Space,
    pools: Pools,
    modality: str,
    references: References,
) -> list[HeadOutputs]:
    """The heads of some units, in one group."""
    width, batch_size, steps = bundle.classify.structure
    stage = Classify(
        n_classes=matrix.n_classes,
        modality=modality,
        width=width,
        batch_size=batch_size,
        steps=steps,
        compute_dtype=matrix.config.compute_dtype,
    )
    # Probes see added audio rows only: they say what these hold and teach. The final model has no test part to say it of, and
    # inner folds serve a choice that does not ask for it. By name: whoever asks restored heads gives folds rows of their own.
    probed = modality == "audio" and any(unit.fold.name != FINAL and not unit.fold.outer for unit in matrix.units)
    members: list[tuple[Unit, Arm, bool]] = []
    runs, held_out = [], []
    pools.load(part, bundle.arms)
    for i in part:
        unit = matrix.units[i]
        view: Any = space.view(i, modality)
        for arm in bundle.arms:
            adds_rows = pools.adds_rows(arm)
            added, kept_back = pools.rows(i, arm, modality) if adds_rows else (None, None)
            generated = _padded(added, bundle.size, dim, matrix.n_classes)
            for probe in (False, True) if probed and pools.probed(arm) else (False,):
                members.append((unit, arm, probe))
                held_out.append(kept_back if probe else None)
                values = _head_numbers(arm, int(view.class_count.sum()), adds_rows=adds_rows, probe=probe)
                runs.append(ClassifyRun(view, generated, as_numbers(values)))
    names = [arm.probe_name if probe else arm.name for _, arm, probe in members]
    trained = matrix.train(name, stage, [unit for unit, _, _ in members], runs, space.features, names)
    asked = matrix.padded_tests([unit for unit, _, _ in members], modality)
    said = trained.outputs_of_rows("outputs", asked, min(asked.shape[1], TEST_ROWS))
    by_probe, by_real = _of_held_out(trained, members, held_out, dim, references) if probed else ({}, {})
    return [
        HeadOutputs(
            unit=unit,
            variant=arm.variant,
            modality=modality,
            probe=probe,
            rows=(rows := matrix.tested(unit, modality)),
            log_probability=said[number][: len(rows)],
            held_out=by_probe.get(number),
            held_out_by_real=by_real.get(number),
            cell=arm.cell,
        )
        for number, (unit, arm, probe) in enumerate(members)
    ]


def _of_held_out(
    trained: Loaded,
    members: Sequence[tuple[Unit, Arm, bool]],
    held_out: Sequence[Rows | None],
    dim: int,
    references: References,
) -> tuple[dict[int, tuple[np.ndarray, np.ndarray]], dict[int, np.ndarray]]:
    """What probes say of the added rows kept from them, with the labels; and what the heads of `none` say of the same rows."""
    kept = {number: rows for number, rows in enumerate(held_out) if rows is not None}
    own = _references(trained, members)
    references |= own.pop("", {})
    if not kept:
        return {}, {}
    asked = np.zeros((len(members), HELD_OUT, dim), np.float32)
    for number, rows in kept.items():
        asked[number] = _filled_up(rows.features, HELD_OUT)
    said = trained.outputs("log_probabilities_of", runs=asked)
    by_probe = {number: (said[number][: len(rows.target)], labels(rows)) for number, rows in kept.items()}
    by_real = {}
    # The heads of all units are asked at once, arm by arm.
    for arm in dict.fromkeys(members[number][1] for number in kept):
        numbers_of = {_unit_key(members[number][0]): number for number in kept if members[number][1] == arm}
        heads = references | own.get(arm.rest, {})
        for loaded in dict.fromkeys(heads[unit][0] for unit in numbers_of if unit in heads):
            places = {
                number: heads[unit][1] for unit, number in numbers_of.items() if unit in heads and heads[unit][0] is loaded
            }
            of_arm = np.zeros((len(loaded.group.names), HELD_OUT, dim), np.float32)
            for number, place in places.items():
                of_arm[place] = asked[number]
            said = loaded.outputs("log_probabilities_of", runs=of_arm)
            by_real |= {number: said[place][: len(kept[number].target)] for number, place in places.items()}
    return by_probe, by_real


def _references(trained: Loaded, members: Sequence[tuple[Unit, Arm, bool]]) -> dict[str, References]:
    """The heads of `none` of each cell, without their training rows."""
    found: dict[str, dict[tuple[str, int], int]] = {}
    for number, (unit, arm, probe) in enumerate(members):
        if arm.variant == REFERENCE and not probe:
            found.setdefault(arm.rest, {})[_unit_key(unit)] = number
    alone = {rest: trained.alone(list(of_units.values())) for rest, of_units in found.items()}
    return {rest: {unit: (alone[rest], place) for place, unit in enumerate(found[rest])} for rest in found}


def _unit_key(unit: Unit) -> tuple[str, int]:
    return unit.fold.name, unit.seed


def _filled_up(features: np.ndarray, size: int) -> np.ndarray:
    """Rows repeated up to a size that all runs share; what is said of the repeated ones is cut off."""
    return features[np.arange(size) % len(features)]


def _padded(rows: Rows | None, size: int, dim: int, n_classes: int) -> GeneratedRows:
    """Added rows, padded with zeros to a size that all runs share; all zeros where nothing is added."""
    features: Any = np.zeros((max(size, 1), dim), np.float32)
    target: Any = np.zeros((max(size, 1), n_classes), np.float32)
    count = 0
    if rows is not None:
        count = len(rows.target)
        features[:count], target[:count] = rows
    return GeneratedRows(features, target, as_count(count))
