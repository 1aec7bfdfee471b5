"""Time: what parts of an experiment are going to take, by what its groups took before, and how many of them a budget allows."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from infoser import exchange, final_folder, parallel, parts, run_folder
from infoser.config import Config
from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.execution import Planned, modalities_of, planned, run_planned
from infoser.generators import new_structures
from infoser.leakage import Fold
from infoser.parts import ArmName, Part
from infoser.trainer import TIMES, Trainer, say
from infoser.validation import seconds
from infoser.variants import CONTROLS, GENERATORS

_CALIBRATION_STEPS, _CALIBRATION_CHUNK = 60, 20


@dataclass(frozen=True)
class Rates:
    """What training takes, by the stages' names; of heads also by what they read (`classify/audio`), as far as that is known.

    Attributes:
      step_s: seconds that a step of one run takes, of all that train together.
      compile_s: seconds before the first step of a structure.
      head_s: seconds that a head takes beside its training: drawing its rows, and asking it.
      restored: the folders of branches that were finished.
    """

    step_s: dict[str, float]
    compile_s: dict[str, float]
    head_s: float
    restored: frozenset[str]

    def of(self, stage: str, runs: int, steps: int, structures: int = 1) -> float:
        """Seconds for so many runs of a stage; one that was never timed takes as long as the slowest that was."""
        return structures * _rate(self.compile_s, stage) + _rate(self.step_s, stage) * runs * steps


def _rate(rates: dict[str, float], stage: str) -> float:
    """The rate of a stage, of heads of one modality that of all heads if need be, else the slowest."""
    known = (rates[name] for name in (stage, stage.partition("/")[0]) if name in rates)
    return next(known, max(rates.values(), default=0.0))


@dataclass(frozen=True)
class Choice:
    """What a budget allows.

    Attributes:
      todo: the further parts that will be finished.
      seconds: what they and what was begun before are going to take.
      lines: what will and won't be finished, for the user.
      left: whether anything is left for another time.
      final: whether a final refit that is asked for is trained.
    """

    todo: list[Part]
    seconds: float
    lines: list[str]
    left: bool
    final: bool = False


@dataclass(frozen=True)
class Final:
    """The final refit that is asked for.

    Attributes:
      plans: what it trains.
      begun: whether the run folder has something of it, which goes on first, as begun parts do.
      finished: whether it has all of it.
    """

    plans: Sequence[Planned]
    begun: bool = False
    finished: bool = False


def measured(folder: Path) -> Rates | None:
    """The rates that a run folder's times say; None where it has none of heads."""
    lines: list[dict[str, Any]] = []
    if (folder / TIMES).exists():
        for line in (folder / TIMES).read_text("utf-8", "replace").splitlines():
            try:
                found = json.loads(line)
                lines += [found] if isinstance(found, dict) and found["seconds"] >= 0 else []
            except (ValueError, KeyError, TypeError):  # the half-written line of a killed process: an estimate can do without
                continue
    step_s: dict[str, list[float]] = {}
    compile_s: dict[str, list[float]] = {}
    for one in lines:
        if one["what"] == "branch":
            continue
        stage = f"{one['what']}/{one['modality']}" if one.get("modality") else one["what"]
        rest = one["steps"] - one["first_chunk_steps"]
        if rest <= 0:
            step_s.setdefault(stage, []).append(one["seconds"] / (one["runs"] * one["steps"]))
            continue
        each = (one["seconds"] - one["first_chunk_s"]) / rest
        step_s.setdefault(stage, []).append(each / one["runs"])
        compile_s.setdefault(stage, []).append(max(0.0, one["first_chunk_s"] - each * one["first_chunk_steps"]))
    branches = [one for one in lines if one["what"] == "branch" and one["heads"]]
    if not any(stage.partition("/")[0] == "classify" for stage in step_s):
        return None
    return Rates(
        {stage: median(values) for stage, values in step_s.items()},
        {stage: median(values) for stage, values in compile_s.items()},
        median(one["seconds"] / one["heads"] for one in branches) if branches else 0.0,
        frozenset(one["folder"] for one in branches),
    )


def calibrated(config: Config, corpus: Corpus, folds: Sequence[Fold], arms: Sequence[ArmName]) -> Rates:
    """The rates of a few steps of every stage of the first cell on one fold, of heads of each modality that the corpus has.

    They train in a folder that is thrown away.
    """
    short = {"steps": _CALIBRATION_STEPS}
    small: Any = {stage: dataclasses.replace(getattr(config, stage), **short) for stage in ("align", "generate", "classify")}
    seeds = tuple(range(parallel.device_count()))
    own = Part(seeds, (folds[0].name,), tuple(arm for arm in arms if arm[0] == arms[0][0]))
    mode = parallel.make_mode(config.parallel, config.accumulate)
    with tempfile.TemporaryDirectory(prefix="infoser-calibration-") as folder:
        trainer = Trainer(Path(folder), chunk_steps=_CALIBRATION_CHUNK, checkpoint_every_s=3600.0, mode=mode)
        run_planned(planned(dataclasses.replace(config, **small), [own]), corpus, folds, trainer, modalities_of(corpus))
        found = exchange.from_primary(measured, Path(folder))
    assert found is not None
    return dataclasses.replace(found, restored=frozenset())


def seconds_of(plan: Planned, rates: Rates, *, modalities: Sequence[str], n_classes: int) -> float:
    """What a branch of a part is going to take; of one that was finished, what asking it takes."""
    config, units, arms = plan.branch.config, len(plan.part.units), plan.branch.arms
    # The final refit has no probes: there is nothing to test them on.
    probed = [] if plan.part.folds == (run_folder.FINAL,) else arms
    probes = sum(arm.variant in GENERATORS or arm.variant in CONTROLS for arm in probed)
    heads = {modality: units * (len(arms) + (probes if modality == "audio" else 0)) for modality in modalities}
    total = rates.head_s * sum(heads.values())
    if plan.places.folder in rates.restored:
        return total
    if plan.aligns and plan.places.aligner == plan.places.folder:
        each = config.align.cross_fits if config.space == "aligned" else 1
        total += rates.of("align", units * each, config.align.steps)
    for stage, steps, number in new_structures(arms, plan.earlier_arms, n_classes):
        total += rates.of(stage, units * number, steps)
    steps = [arm.config.classify.steps for arm in arms]
    structures = len({arm.config.classify.structure for arm in arms})
    for modality, count in heads.items():
        total += rates.of(f"classify/{modality}", round(count * sum(steps) / len(steps)), 1, structures)
    return total


def choose(
    config: Config,
    corpus: Corpus,
    there: Sequence[Part],
    asked: Part,
    rates: Rates,
    budget_s: float,
    final: Final | None = None,
) -> Choice:
    """The further parts that are finished within a budget: cell by cell in their order, each on all seeds and folds.

    Where not even the first cell's seeds are, as many of them as are. The final refit comes last, as it is trained: it is left
    where anything before it is.

    Args:
      there: parts that were begun or finished: those go on first.
      asked: all that is asked for, in the order of its cells.
      final: the final refit, if one is asked for.
    """
    todo = parts.missing(there, asked)

    def of_plans(plans: Sequence[Planned]) -> float:
        own = {"modalities": modalities_of(corpus), "n_classes": len(corpus.classes)}
        return sum((seconds_of(plan, rates, **own) for plan in plans), 0.0)

    final_s = 0.0 if final is None or final.finished else of_plans(final.plans)
    begun_s = final_s if final is not None and final.begun else 0.0

    def total(own: Sequence[Part]) -> float:
        return of_plans(planned(config, [*there, *own])) + begun_s

    cells = list(dict.fromkeys(cell for cell, _ in asked.arms))
    steps = [(cell, part) for cell in cells for part in todo if any(cell == own for own, _ in part.arms)]
    chosen: list[tuple[str, Part]] = []
    for one in steps:
        if total(_grouped(todo, [*chosen, one])) > budget_s:
            break
        chosen.append(one)
    own, shorter = _grouped(todo, chosen), 0
    if not chosen and steps:
        cell, part = steps[0]
        for count in range(len(part.seeds) - 1, 0, -1):
            fewer = Part(part.seeds[:count], part.folds, tuple(arm for arm in part.arms if arm[0] == cell))
            if total([fewer]) <= budget_s:
                own, shorter = [fewer], count
                break
    lines = [f"{_cell(cell)} × {_seeds(part)}: will be finished" for cell, part in chosen]
    if shorter:
        lines.append(f"{_cell(steps[0][0])} × {_seeds(own[0])}: will be finished")
        rest = dataclasses.replace(steps[0][1], seeds=steps[0][1].seeds[shorter:])
        lines.append(f"{_cell(steps[0][0])} × {_seeds(rest)}: won't")
    lines += [f"{_cell(cell)} × {_seeds(part)}: won't" for cell, part in steps[len(chosen) + bool(shorter) :]]
    left, took = len(chosen) < len(steps), total(own)
    refitted = False
    if final is not None:
        refitted = final.begun or final.finished or (not left and took + final_s <= budget_s)
        took += final_s if refitted and not final.begun else 0.0
        if not final.finished:
            lines.append(f"{final_refit(config)}: " + ("will be finished" if refitted else "won't"))
    # New seeds and folds before new cells of those that are there: a table that a part has widened does not lose it again, and
    # the last cell may be finished on the latter alone.
    blocks = {part.block for part in there}
    own.sort(key=lambda part: part.block in blocks)
    return Choice(own, took, lines, left or (final is not None and not refitted), refitted)


def final_refit(config: Config) -> str:
    """The final refit in words."""
    return f"final refit of {config.final_variant} × {_of_seeds(config.seeds)}"


def _grouped(todo: Sequence[Part], chosen: Sequence[tuple[str, Part]]) -> list[Part]:
    """The chosen cells of each part, as parts."""
    found = []
    for part in todo:
        cells = {cell for cell, own in chosen if own == part}
        arms = tuple(arm for arm in part.arms if arm[0] in cells)
        found += [dataclasses.replace(part, arms=arms)] if arms else []
    return found


def _cell(name: str) -> str:
    return name or "base configuration"


def _seeds(part: Part) -> str:
    return _of_seeds(part.seeds)


def _of_seeds(seeds: Sequence[int]) -> str:
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"


def said(seconds: float) -> str:
    """A time in words."""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60:02d} min" if hours else f"{rest // 60} min {rest % 60:02d} s" if rest >= 60 else f"{rest} s"


def allowed(
    config: Config,
    corpus: Corpus,
    folds: Sequence[Fold],
    there: Sequence[Part],
    asked: Part,
    final: Sequence[Planned] = (),
) -> tuple[list[Part], bool]:
    """The further parts that `--budget` allows, and whether it allows the final refit; says what will be finished, and what
    won't.

    Args:
      final: what the final refit trains, if one is asked for.
    """
    started, budget_s = time.monotonic(), float(seconds(config.budget))
    rates = exchange.from_primary(measured, config.run_dir)
    known = "what this run folder's groups took"
    if rates is None:
        rates, known = calibrated(config, corpus, folds, asked.arms), "a short calibration"
    refit = Final(final, *exchange.from_primary(_state_of_final, config)) if final else None
    left_s = budget_s - (time.monotonic() - started)
    choice = exchange.from_primary(choose, config, corpus, there, asked, rates, left_s, refit)
    begun = f", with {len(there)} parts that are there" if there else ""
    took = f" (and {said(budget_s - left_s)} to estimate it)" if budget_s - left_s > 1 else ""
    for line in choice.lines:
        say(f"budget {config.budget}: {line}")
    say(f"budget {config.budget}: about {said(choice.seconds)}{took}, estimated by {known}{begun}")
    if not choice.todo and not there:
        say(f"budget {config.budget}: not even one seed of the base configuration would be finished; nothing is trained")
    return choice.todo, choice.final


def _state_of_final(config: Config) -> tuple[bool, bool]:
    """Whether the run folder has something of the final refit, and whether it has all of it."""
    if not (config.run_dir / run_folder.FINAL / config.final_variant).exists():
        return False, False
    try:
        return True, final_folder.read_final(config.run_dir) == config.final_variant
    except InfoserError:  # it was not finished, or can't be told: it goes on, or is only restored
        return True, False


def what_is_left(left: Sequence[Part], asked: Part, refit: str = "") -> str:
    """What remains for another time, in a line; `refit` is the final refit in words, if it remains."""
    if not left:
        return f"the {refit} is left"
    runs = sum(len(part.units) * len(part.arms) for part in left)
    cells = list(dict.fromkeys(_cell(cell) for part in left for cell, _ in part.arms))
    return (
        f"{runs:,} of {len(asked.units) * len(asked.arms):,} variants × cells × seeds × folds are left, of {len(cells)} cells: "
        f"{'; '.join(cells)}{refit and f'; and the {refit}'}"
    )
