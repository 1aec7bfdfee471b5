"""What a run folder holds, part by part: every part is a rectangle of seeds, folds and arms that was trained in one go.

Groups of runs keep their shape for ever, so that nothing that is trained changes when seeds, folds, cells or variants are
added: what is missing becomes further parts, in folders of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infoser.errors import InfoserError
from infoser.overrides import overrides_of
from infoser.variants import VARIANTS, Variant

#: Seeds and folds.
Block = tuple[tuple[int, ...], tuple[str, ...]]
#: Cell and variant.
ArmName = tuple[str, Variant]
_MOST_LISTED = 3


@dataclass(frozen=True)
class Part:
    """Every arm on every one of the seeds and folds."""

    seeds: tuple[int, ...]
    folds: tuple[str, ...]
    arms: tuple[ArmName, ...]

    @property
    def block(self) -> Block:
        """Its seeds and folds."""
        return self.seeds, self.folds

    @property
    def units(self) -> set[tuple[int, str]]:
        """Each seed and fold."""
        return {(seed, fold) for seed in self.seeds for fold in self.folds}


def prefix(number: int) -> str:
    """Where the groups of part `number`, counted from 0, lie in a run folder: the first has its root to itself."""
    return "" if number == 0 else f"part{number + 1}/"


def missing(parts: Sequence[Part], asked: Part) -> list[Part]:
    """What is asked for and in none of the parts, as further parts; those of seeds and folds that are there come first."""
    found = []
    for block in dict.fromkeys(part.block for part in parts):
        there = {arm for part in parts if part.block == block for arm in part.arms}
        arms = tuple(arm for arm in asked.arms if arm not in there)
        if arms:
            found.append(Part(*block, arms))
    covered = {unit for part in parts for unit in part.units}
    folds_of = {seed: tuple(fold for fold in asked.folds if (seed, fold) not in covered) for seed in asked.seeds}
    for folds in dict.fromkeys(own for own in folds_of.values() if own):
        seeds = tuple(seed for seed in asked.seeds if folds_of[seed] == folds)
        found.append(Part(seeds, folds, asked.arms))
    return found


def beyond(parts: Iterable[Part], asked: Part) -> list[str]:
    """What the parts hold and is not asked for, in words."""
    parts = list(parts)
    found = []
    for name in ("seeds", "folds", "arms"):
        more = dict.fromkeys(one for part in parts for one in getattr(part, name) if one not in getattr(asked, name))
        words = [said(one) if name == "arms" else str(one) for one in more]
        found += [f"{'variants' if name == 'arms' else name} {', '.join(words)}"] if words else []
    return found


def said(arm: ArmName) -> str:
    """An arm in words."""
    cell, variant = arm
    return f"{variant} ({cell})" if cell else variant


def complete(parts: Sequence[Part], asked: Collection[ArmName] | None = None) -> Part:
    """What a table is made of: arms that all have the same seeds and folds.

    What a table held before a further part was trained, it goes on holding: of the rectangles that have it, the one of most
    arms × seeds × folds is taken, of several the one of most arms.

    Args:
      parts: in the order in which they were trained.
      asked: the arms that decide which seeds and folds it has; without them, all. Others are there if they have these.
    """
    arms = list(dict.fromkeys(arm for part in parts for arm in part.arms))
    deciding = set(arms) if asked is None else set(asked)
    whole = Part(parts[0].seeds, parts[0].folds, tuple(arm for arm in parts[0].arms if arm in deciding))
    for count in range(2, len(parts) + 1):
        whole = _largest(parts[:count], deciding, whole)
    held = _held(parts)
    seeds = tuple(seed for seed in dict.fromkeys(seed for part in parts for seed in part.seeds) if seed in whole.seeds)
    folds = tuple(fold for fold in dict.fromkeys(fold for part in parts for fold in part.folds) if fold in whole.folds)
    return Part(seeds, folds, tuple(arm for arm in arms if whole.units <= held[arm]))


def left_out(parts: Sequence[Part], whole: Part, asked: Collection[ArmName] | None = None) -> str:
    """What was trained and is in no table, and what it wants to be there, in words; nothing if all is there.

    Args:
      parts: all of them.
      whole: what the table is made of.
      asked: the arms that are spoken of; without them, all.
    """
    held = {arm: units for arm, units in _held(parts).items() if asked is None or arm in asked}
    seeds = {seed for units in held.values() for seed, _ in units}
    folds = {fold for units in held.values() for _, fold in units}
    every = {(seed, fold) for seed in seeds for fold in folds}
    outside = _by_units({arm: units - (whole.units if arm in whole.arms else set()) for arm, units in held.items()})
    wanting = _by_units({arm: every - units for arm, units in held.items()})
    if not outside:
        return ""
    trained = "; ".join(f"{_listed(arms)} on {_units(units, folds)}" for units, arms in outside.items())
    lacking = "; ".join(f"{_listed(arms, _MOST_LISTED)} on {_units(units, folds)}" for units, arms in wanting.items())
    return f"trained, but not in the tables yet: {trained}; for that, the same command has to train {lacking}"


def _held(parts: Iterable[Part]) -> dict[ArmName, set[tuple[int, str]]]:
    """The seeds and folds that each arm has."""
    held: dict[ArmName, set[tuple[int, str]]] = {}
    for part in parts:
        for arm in part.arms:
            held.setdefault(arm, set()).update(part.units)
    return held


def _largest(parts: Sequence[Part], deciding: Collection[ArmName], within: Part) -> Part:
    """The largest rectangle of what the parts hold that has all of `within`.

    Seeds, folds and arms that occur in the same parts are one class each: there are few of these, whatever they hold.
    """
    classes = {name: _classes(parts, name) for name in ("seeds", "folds", "arms")}
    classes["arms"] = {key: own for key, values in classes["arms"].items() if (own := [v for v in values if v in deciding])}
    seeds, folds, arms = classes["seeds"], classes["folds"], classes["arms"]
    of_seed = {s: frozenset((f, a) for f in folds for a in arms if s & f & a) for s in seeds}
    largest, best = within, _size(within)
    for shared in _intersections(of_seed.values()):
        of_fold = {f: frozenset(a for a in arms if (f, a) in shared) for f in folds}
        for own_arms in _intersections(of_fold.values()):
            own_folds = [f for f in folds if own_arms <= of_fold[f]]
            own_seeds = [s for s in seeds if all((f, a) in of_seed[s] for f in own_folds for a in own_arms)]
            found = Part(
                tuple(value for s in own_seeds for value in seeds[s]),
                tuple(value for f in own_folds for value in folds[f]),
                tuple(value for a in arms if a in own_arms for value in arms[a]),
            )
            if _size(found) > best and all(set(getattr(within, name)) <= set(getattr(found, name)) for name in classes):
                largest, best = found, _size(found)
    return largest


def _classes(parts: Sequence[Part], name: str) -> dict[frozenset[int], list[Any]]:
    """The seeds, folds or arms of parts, by the numbers of the parts that they occur in."""
    found: dict[frozenset[int], list[Any]] = {}
    for value in dict.fromkeys(value for part in parts for value in getattr(part, name)):
        found.setdefault(frozenset(n for n, part in enumerate(parts) if value in getattr(part, name)), []).append(value)
    return found


def _intersections(sets: Iterable[frozenset[Any]]) -> list[frozenset[Any]]:
    """What any of the sets have in common."""
    found: dict[frozenset[Any], None] = {}
    for each in sets:
        found |= dict.fromkeys([each, *(one & each for one in found)])
    return list(found)


def _size(part: Part) -> tuple[int, int]:
    return len(part.arms) * len(part.seeds) * len(part.folds), len(part.arms)


def _by_units(units: Mapping[ArmName, set[tuple[int, str]]]) -> dict[frozenset[tuple[int, str]], list[ArmName]]:
    """Arms by the seeds and folds that are theirs; without those that have none."""
    found: dict[frozenset[tuple[int, str]], list[ArmName]] = {}
    for arm, own in units.items():
        if own:
            found.setdefault(frozenset(own), []).append(arm)
    return found


def _listed(arms: Sequence[ArmName], most: int | None = None) -> str:
    """Arms in words, no more than `most` of them by name."""
    if most is None or len(arms) <= most + 1:
        return ", ".join(map(said, arms))
    return f"{', '.join(map(said, arms[:most]))} and {len(arms) - most} more"


def _units(units: Collection[tuple[int, str]], every_fold: Collection[str]) -> str:
    """Seeds, with their folds where they are not all, in words."""
    of_folds: dict[tuple[str, ...], list[int]] = {}
    for seed in sorted({seed for seed, _ in units}):
        of_folds.setdefault(tuple(sorted(fold for own, fold in units if own == seed)), []).append(seed)
    words = []
    for folds, seeds in of_folds.items():
        which = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
        whole = len(folds) == len(every_fold)
        words.append(which if whole else f"{which} × fold{'s' if len(folds) > 1 else ''} {', '.join(folds)}")
    return " and ".join(words)


def to_json(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Plain JSON values."""
    return [{"seeds": list(part.seeds), "folds": list(part.folds), "arms": [list(arm) for arm in part.arms]} for part in parts]


def from_json(values: Any) -> list[Part]:
    """The inverse of `to_json`.

    Raises:
      InfoserError: for what `to_json` does not write.
    """
    try:
        found = [
            Part(tuple(one["seeds"]), tuple(one["folds"]), tuple((cell, variant) for cell, variant in one["arms"]))
            for one in values
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InfoserError(f"its parts can't be read ({error!r})") from error
    for part in found:
        cells, variants = {cell for cell, _ in part.arms}, {variant for _, variant in part.arms}
        known = all(isinstance(cell, str) for cell in cells) and variants <= set(VARIANTS)
        typed = all(type(seed) is int for seed in part.seeds) and all(isinstance(fold, str) for fold in part.folds)
        if not (known and typed and part.seeds and part.folds and part.arms):
            raise InfoserError(f"its parts can't be used: {part}")
        for cell in cells:
            overrides_of(cell)
    return found
