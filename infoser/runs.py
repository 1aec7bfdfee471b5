"""All runs of one space: align, generate and classify, for every fold, seed and variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from infoser.augmenters import Rows, labels
from infoser.config import DECAY_ROWS, Config, numbers
from infoser.corpus import Corpus
from infoser.group import Loaded
from infoser.leakage import Fold
from infoser.matrix import Matrix, Unit, as_count, as_numbers
from infoser.pools import HELD_OUT, Pools
from infoser.progress import expect_pieces
from infoser.spaces import Space, make_space
from infoser.stages.classify import MODALITIES, Classify, ClassifyRun, GeneratedRows
from infoser.trainer import Trainer
from infoser.variants import GENERATORS

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
    """

    unit: Unit
    variant: str
    modality: str
    probe: bool
    rows: np.ndarray
    log_probability: np.ndarray
    held_out: tuple[np.ndarray, np.ndarray] | None = None
    held_out_by_real: np.ndarray | None = None


@dataclass(frozen=True)
class SpaceOutputs:
    """What all runs of one space say.

    Attributes:
      heads: of every unit, variant and modality.
      alignment: by fold, for each seed the estimate of I(audio; text | class), where an aligner was trained.
      notes: what a reader has to know.
    """

    heads: list[HeadOutputs]
    alignment: dict[str, list[float]]
    notes: list[str]


def run_space(
    config: Config,
    corpus: Corpus,
    folds: Sequence[Fold],
    trainer: Trainer,
    prefix: str = "",
    heads_of: Sequence[str] = MODALITIES,
) -> SpaceOutputs:
    """Trains or restores every stage of one space.

    Args:
      config: the settings; `variants` and `space` say what is run.
      corpus: the corpus.
      folds: the folds.
      trainer: of the run folder.
      prefix: of the groups' folders.
      heads_of: the modalities whose heads are wanted; those of text only where there is any.
    """
    matrix = Matrix(config, corpus, folds, trainer, prefix)
    space = make_space(matrix)
    pools = Pools(matrix, space)
    heads = []
    for modality in heads_of if corpus.text is not None else ("audio",):
        heads += _heads(matrix, space, pools, modality)
    return SpaceOutputs(heads, space.alignment, matrix.notes)


def _head_numbers(config: Config, variant: str, labelled: int, *, adds_rows: bool, probe: bool) -> dict[str, float]:
    """A head's numbers: those of the configuration, and those by which its variant differs from `none`.

    Fewer labelled rows than `DECAY_ROWS` take proportionally more weight decay, as under a prior of fixed strength.
    """
    generate, augment = config.generate, config.augment
    return numbers(config.classify) | {
        "weight_decay": config.classify.weight_decay * max(1.0, DECAY_ROWS / max(labelled, 1)),
        "real_weight": 0.0 if probe else 1.0,
        "generated_weight": 1.0 if probe else generate.ratio * generate.row_weight if adds_rows else 0.0,
        "by_prior": 1.0 if variant in ("natural", "logit-adjust") else 0.0,
        "focal_gamma": augment.focal_gamma if variant == "focal" else 0.0,
        "logit_adjustment": augment.logit_adjustment if variant == "logit-adjust" else 0.0,
        "curriculum": generate.curriculum if variant in GENERATORS and not probe else 1.0,
    }


def _heads(matrix: Matrix, space: Space, pools: Pools, modality: str) -> list[HeadOutputs]:
    """The heads of one modality; for audio also the probes of what is added."""
    dim = space.real(0, modality, np.zeros(1, int)).shape[1]
    n_heads = len(matrix.config.variants)
    if modality == "audio":  # with probes
        n_heads += sum(pools.probed(variant) for variant in matrix.config.variants)
    parts = _equal_parts(matrix, n_heads * pools.largest * (dim + matrix.n_classes) * 4)
    expect_pieces(len(parts) - 1)
    heads = []
    for number, part in enumerate(parts):
        name = f"classify/{modality}" + (f"/part{number + 1}of{len(parts)}" if len(parts) > 1 else "")
        heads += _heads_of(part, name, dim, matrix, space, pools, modality)
    return heads


def _equal_parts(matrix: Matrix, bytes_per_unit: int) -> list[range]:
    """The units in equal parts (so that they are one program) whose added rows fit in the memory that is allowed."""
    n_units = len(matrix.units)
    allowed = max(1, int(matrix.config.max_group_gib * 2**30 / bytes_per_unit))
    size = max(size for size in range(1, n_units + 1) if n_units % size == 0 and size <= allowed)
    return [range(start, start + size) for start in range(0, n_units, size)]


def _heads_of(
    part: Sequence[int], name: str, dim: int, matrix: Matrix, space: Space, pools: Pools, modality: str
) -> list[HeadOutputs]:
    """The heads of some units, in one group."""
    config = matrix.config
    stage = Classify(
        n_classes=matrix.n_classes,
        modality=modality,
        width=config.classify.width,
        batch_size=config.classify.batch_size,
        steps=config.classify.steps,
        compute_dtype=config.compute_dtype,
    )
    # Probes see added audio rows only: they say what these hold and teach. The final model has no test part to say it of.
    probed = modality == "audio" and any(len(unit.fold.test) for unit in matrix.units)
    members, runs, held_out = [], [], []
    pools.load(part)
    for i in part:
        unit = matrix.units[i]
        view: Any = space.view(i, modality)
        for variant in config.variants:
            adds_rows = pools.adds_rows(variant)
            added, kept_back = pools.rows(i, variant, modality) if adds_rows else (None, None)
            generated = _padded(added, pools.largest, dim, matrix.n_classes)
            for probe in (False, True) if probed and pools.probed(variant) else (False,):
                members.append((unit, variant, probe))
                held_out.append(kept_back if probe else None)
                values = _head_numbers(config, variant, int(view.class_count.sum()), adds_rows=adds_rows, probe=probe)
                runs.append(ClassifyRun(view, generated, as_numbers(values)))
    names = [f"{variant}-probe" if probe else variant for _, variant, probe in members]
    trained = matrix.train(name, stage, [unit for unit, _, _ in members], runs, space.features, names)
    asked = matrix.padded_tests([unit for unit, _, _ in members], modality)
    said = trained.outputs_of_rows("outputs", asked, min(asked.shape[1], TEST_ROWS))
    by_probe, by_real = _of_held_out(trained, members, held_out, dim)
    return [
        HeadOutputs(
            unit=unit,
            variant=variant,
            modality=modality,
            probe=probe,
            rows=(rows := matrix.tested(unit, modality)),
            log_probability=said[number][: len(rows)],
            held_out=by_probe.get(number),
            held_out_by_real=by_real.get(number),
        )
        for number, (unit, variant, probe) in enumerate(members)
    ]


def _of_held_out(
    trained: Loaded, members: Sequence[tuple[Unit, str, bool]], held_out: Sequence[Rows | None], dim: int
) -> tuple[dict[int, tuple[np.ndarray, np.ndarray]], dict[int, np.ndarray]]:
    """What probes say of the added rows kept from them, with the labels; and what the heads of `none` say of the same rows."""
    kept = {number: rows for number, rows in enumerate(held_out) if rows is not None}
    if not kept:
        return {}, {}
    asked = np.zeros((len(members), HELD_OUT, dim), np.float32)
    for number, rows in kept.items():
        asked[number] = _filled_up(rows.features, HELD_OUT)
    said = trained.outputs("log_probabilities_of", runs=asked)
    by_probe = {number: (said[number][: len(rows.target)], labels(rows)) for number, rows in kept.items()}
    # The heads of all units are asked at once, variant by variant.
    reference = {unit: number for number, (unit, variant, probe) in enumerate(members) if variant == "none" and not probe}
    by_real = {}
    for one in dict.fromkeys(members[number][1] for number in kept) if reference else ():
        own = {number: reference[members[number][0]] for number in kept if members[number][1] == one}
        for number, head in own.items():
            asked[head] = asked[number]
        said = trained.outputs("log_probabilities_of", runs=asked, only=list(own.values()))
        by_real |= {number: said[place][: len(kept[number].target)] for place, number in enumerate(own)}
    return by_probe, by_real


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
