"""The quality panel of a run folder: how like real rows its added rows are, and what information they hold.

Every measure stands beside what real rows get at the same number of rows. Nothing is trained here but the critics and q's of
the estimates, which are fresh and read on rows that they were not fitted to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infoser import demo, experiment
from infoser.arms import Arm
from infoser.cells import sweep
from infoser.config import Config
from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.matrix import Matrix
from infoser.metrics import samples
from infoser.metrics.generation import class_information_lower_bound, mean_and_error
from infoser.metrics.information import ESTIMATORS, Information, mutual_information
from infoser.metrics.panel import Labelled, PanelOptions, panel_by_class
from infoser.metrics.two_sample import common_p_value
from infoser.models.conditionals import CategoricalConditional
from infoser.models.critics import BilinearCritic
from infoser.pools import Pools
from infoser.progress import show_progress
from infoser.spaces import Space, make_space
from infoser.variants import GENERATORS

#: What rows are compared with: test utterances, of other speakers than the training part's; in the demo corpus also further
#: utterances of the training part's own speakers, which only a synthetic corpus has.
TEST, SAME_SPEAKERS = "test part", "same speakers"
#: The demo's audio drawn anew for the texts of training rows: what text alone brings nearer to them.
SAME_TEXTS = "same speakers and texts"
#: Further utterances of the demo's speakers, for each one of the corpus.
_FURTHER = 20
_Q_WIDTH, _Q_STEPS = 64, 500
ALL = "all"


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
      folder: the run folder.
      data_dir: where its corpus is, if it was moved.
      variants: whose rows; none: of all that add rows.
      folds, seeds: which runs; none: all.
      options: of the panels.
      information: whether information is estimated.
    """

    folder: Path
    data_dir: Path | None = None
    variants: tuple[str, ...] = ()
    folds: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    options: PanelOptions = dataclasses.field(default_factory=PanelOptions)
    information: bool = True


@dataclass(frozen=True)
class _Unit:
    """The rows of one fold, seed and variant in one modality, and what they are held against."""

    fold: str
    generated: Labelled
    train: Labelled
    references: dict[str, Labelled]
    text: tuple[np.ndarray, np.ndarray] | None
    pair: tuple[int, ...]
    truth: Callable[[np.ndarray], np.ndarray] | None


def inspect(request: Request) -> dict[str, Any]:
    """Restores the added rows of a run folder and measures them.

    Returns:
      rows: for each cell, variant, modality, reference, class (and all of them) and measure: `value` of the added rows,
        `real` what as many rows of the reference itself get, `train` what training rows get, each the mean over seeds within
        a fold, then over folds, with `standard_error` over folds; `p` of the runs together where it is a test; `rows` of a
        sample. Information, in nats, has `ceiling`, `null` and `null_standard_error` instead of `train`, and its `real` is
        of training rows.
      left_out: by class, reference and fold, why there is no panel.

    Raises:
      InfoserError: as `experiment.score`, and for names that the run folder does not have.
    """
    if request.options.repeats < 2:
        raise InfoserError(f"--repeats {request.options.repeats}: one drawing of the rows gives no interval; ask for 2 or more")
    config, corpus = experiment.restore(request.folder, request.data_dir)
    _, folds = experiment.plan_folds(config, corpus)
    trainer = experiment.make_trainer(config, request.folder, restore_only=True)
    arms = sweep(config, has_text=corpus.text is not None).arms
    wanted = _wanted(request, config, [fold.name for fold in folds], tuple(dict.fromkeys(variant for _, variant in arms)))
    further = _further(corpus)
    # Candidates that were chosen for some fold were not asked for by themselves.
    plain = set(arms)
    rows: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    said: dict[tuple[str, str, str], list[tuple[str, dict[Any, dict[str, float]]]]] = {}
    for plan in experiment.plans_of(request.folder, config, corpus):
        asked = [arm for arm in plan.branch.arms if (arm.cell, arm.variant) in plain]
        if not asked:
            continue
        branch, matrix = plan.branch, plan.matrix(corpus, folds, trainer)
        space = make_space(matrix)
        pools = Pools(matrix, space)
        numbers = [i for i, unit in enumerate(matrix.units) if (unit.fold.name, unit.seed) in wanted]
        probed = [arm for arm in asked if pools.probed(arm) and arm.variant in (request.variants or (arm.variant,))]
        work = [(arm, modality, i) for arm in probed for modality in _modalities(arm) for i in numbers]
        what = f"quality{branch.name and f', {branch.name}'}"
        for arm, modality, i in show_progress(work, total=len(work), what=what, unit="panels"):
            pools.load([i], [arm])
            unit = _unit(matrix, space, pools, i, arm, modality, further)
            measured, gone = _measured(unit, corpus.classes, request)
            left_out |= {f"{name}, fold {unit.fold}": why for name, why in gone.items()}
            said.setdefault((arm.cell, arm.variant, modality), []).append((unit.fold, measured))
    for (cell, variant, modality), units in said.items():
        rows += _summary({"cell": cell, "variant": variant, "modality": modality}, units)
    if not rows:
        raise InfoserError(f"{request.folder}: none of its variants adds rows that could be inspected")
    return {"rows": rows, "left_out": left_out, "options": dataclasses.asdict(request.options)}


def _modalities(arm: Arm) -> tuple[str, ...]:
    return ("audio", "both") if arm.variant in GENERATORS and GENERATORS[arm.variant].text == "made" else ("audio",)


def _wanted(request: Request, config: Config, folds: Sequence[str], variants: Sequence[str]) -> set[tuple[str, int]]:
    has = {"--variants": tuple(variants), "--folds": tuple(folds), "--seeds": config.seeds}
    for (flag, known), asked in zip(has.items(), (request.variants, request.folds, request.seeds), strict=True):
        strange = [str(one) for one in asked if one not in known]
        if strange:
            raise InfoserError(f"{flag} {' '.join(strange)}: {request.folder} has {' '.join(map(str, dict.fromkeys(known)))}")
    return {(fold, seed) for fold in request.folds or folds for seed in request.seeds or config.seeds}


def _further(corpus: Corpus) -> Corpus | None:
    """Further utterances of the speakers of a demo corpus; None for others, and where it is one of several."""
    made = corpus.provenance.get("settings", {})
    if made.get("kind") != "demo" or "corpora" in corpus.provenance:
        return None
    return demo.further_utterances(made["seed"], made["size"], count=_FURTHER * made["size"])


def _unit(matrix: Matrix, space: Space, pools: Pools, number: int, arm: Arm, modality: str, further: Corpus | None) -> _Unit:
    unit, corpus = matrix.units[number], matrix.corpus
    added = pools.rows(number, arm, modality)
    features, target = (np.concatenate(parts) for parts in zip(*added, strict=True))
    generated = Labelled(features, target.argmax(axis=1))
    known = np.flatnonzero((unit.label >= 0) & (corpus.with_text if modality == "both" else True))
    tested = matrix.tested(unit, modality)
    references = {TEST: Labelled(space.real(number, modality, tested), corpus.label[tested])}
    plain = matrix.config.space == "encoder" and modality == "audio"
    view: Any = space.views[number]
    if further is not None and plain:
        own = np.isin(further.speaker, corpus.speaker[unit.fold.train]) & further.labelled
        references[SAME_SPEAKERS] = Labelled((further.audio[own] - view.audio_mean) * view.audio_scale, further.label[own])
    recipe, text = GENERATORS.get(arm.variant), None
    if recipe is not None and recipe.conditioned_on_text and modality == "audio":
        with_text = known[corpus.with_text[known]]
        if further is not None and plain and not recipe.wrong_text:
            made, again = corpus.provenance["settings"], np.repeat(with_text, _FURTHER // 4)
            drawn = demo.audio_again(made["seed"], made["size"], again)
            references[SAME_TEXTS] = Labelled((drawn - view.audio_mean) * view.audio_scale, unit.label[again])
        lent = pools.lent_text(number, arm, modality)
        text = (space.text_representation(number, lent), space.text_representation(number, with_text))
        known = with_text
    return _Unit(
        fold=unit.fold.name,
        generated=generated,
        train=Labelled(space.real(number, modality, known), unit.label[known]),
        references=references,
        text=text,
        pair=(space.real(number, "audio", known[:1]).shape[1],) if modality == "both" else (),
        truth=None
        if further is None or not plain
        else lambda rows: demo.class_posterior(rows / view.audio_scale + view.audio_mean, "audio"),
    )


def _measured(unit: _Unit, classes: Sequence[str], request: Request) -> tuple[dict[Any, dict[str, float]], dict[str, str]]:
    """By (reference, class, measure) what was found; and the classes without a panel."""
    found: dict[Any, dict[str, float]] = {}
    left_out: dict[str, str] = {}  # by class and reference
    for reference, rows in unit.references.items():
        panels = panel_by_class(unit.generated, rows, unit.train, classes, request.options)
        left_out |= {f"{name}, {reference}": why for name, why in panels["left_out"].items()}
        for name, panel in {ALL: panels["overall"], **panels["classes"]}.items():
            for measure, values in panel["measures"].items():
                kept = {key: value for key, value in values.items() if key in ("value", "real", "train", "p")}
                found[reference, name, measure] = kept | {"rows": panel["rows"]}
    if request.information:
        for measure, values in _information(unit, len(classes), request.options.seed).items():
            found["", ALL, measure] = values
    return found, left_out


def _information(unit: _Unit, n_classes: int, seed: int) -> dict[str, dict[str, float]]:
    """I(c;ĥ), I(t;ĥ) and Î(ĥ;t̂) of generated rows beside those of training rows, from as many of each."""
    rng = np.random.default_rng(seed)
    size = min(len(unit.generated.rows), len(unit.train.rows))
    drawn = [samples.drawn(len(rows.rows), size, rng) for rows in (unit.generated, unit.train)]
    given = [Labelled(rows.rows[own], rows.label[own]) for rows, own in zip((unit.generated, unit.train), drawn, strict=True)]
    q, critic = CategoricalConditional(n_classes, (_Q_WIDTH,)), BilinearCritic()

    def both(estimates: list[Information], name: str) -> dict[str, dict[str, float]]:
        generated, real = estimates
        ceiling = {} if generated.ceiling_nats is None else {"ceiling": generated.ceiling_nats}
        null = {"null": generated.null_nats, "null_standard_error": generated.null_standard_error}
        return {name: {"value": generated.estimate_nats, "real": real.estimate_nats, "rows": size, **ceiling, **null}}

    def estimated(model: Any, estimator: str, pairs: Sequence[tuple[np.ndarray, np.ndarray]], name: str) -> Any:
        settings: dict[str, Any] = {"estimator": ESTIMATORS[estimator], "steps": _Q_STEPS, "seed": seed, "weight_decay": 1e-2}
        return both([mutual_information(model, x, y, **settings)[estimator] for x, y in pairs], name)

    found = estimated(q, "barber-agakov", [(rows.rows, rows.label) for rows in given], "class_information_nats")
    if unit.text is not None:
        pairs = [(rows.rows, text[own]) for rows, text, own in zip(given, unit.text, drawn, strict=True)]
        found |= estimated(critic, "infonce", pairs, "text_information_nats")
    for dim in unit.pair:
        pairs = [(rows.rows[:, :dim], rows.rows[:, dim:]) for rows in given]
        found |= estimated(critic, "infonce", pairs, "pair_information_nats")
    if unit.truth is not None:
        # A row that is impossible for its class has the log of the smallest number, not minus infinity.
        said = [np.log(np.maximum(unit.truth(rows.rows), np.finfo(np.float64).tiny)) for rows in given]
        exact = [class_information_lower_bound(each, rows.label) for each, rows in zip(said, given, strict=True)]
        found["class_information_by_true_posterior_nats"] = {"value": exact[0], "real": exact[1], "rows": size}
    return found


def _summary(name: dict[str, str], units: Sequence[tuple[str, dict[Any, dict[str, float]]]]) -> list[dict[str, Any]]:
    """Seeds averaged within a fold, then folds."""
    rows = []
    keys = dict.fromkeys(key for _, measured in units for key in measured)
    for key in keys:
        reference, one, measure = key
        row: dict[str, Any] = {**name, "reference": reference, "class": one, "measure": measure}
        for entry in ("value", "real", "train", "ceiling", "null", "null_standard_error", "rows"):
            by_fold: dict[str, list[float]] = {}
            for fold, measured in units:
                if entry in measured.get(key, {}):
                    by_fold.setdefault(fold, []).append(float(measured[key][entry]))
            mean, error = mean_and_error(by_fold) if by_fold else (None, None)
            row[entry] = mean
            if entry in ("value", "real"):
                row["standard_error" if entry == "value" else "real_standard_error"] = error
        p_values = [measured[key]["p"] for _, measured in units if "p" in measured.get(key, {})]
        row["p"] = common_p_value(p_values) if p_values else None
        rows.append(row | {"runs": sum(key in measured for _, measured in units)})
    return rows
