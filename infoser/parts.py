"""What a run folder holds, part by part: every part is a rectangle of seeds, folds and arms that was trained in one go.

Groups of runs keep their shape for ever, so that nothing that is trained changes when seeds, folds, cells or variants are
added: what is missing becomes further parts, in folders of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from infoser.errors import InfoserError
from infoser.overrides import overrides_of
from infoser.variants import VARIANTS, Variant

#: Seeds and folds.
Block = tuple[tuple[int, ...], tuple[str, ...]]
#: Cell and variant.
ArmName = tuple[str, Variant]


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


def complete(parts: Sequence[Part]) -> tuple[Part, list[ArmName]]:
    """The largest rectangle of the first arm's seeds and folds, of the arms that have all of them; and the other arms."""
    arms = list(dict.fromkeys(arm for part in parts for arm in part.arms))
    units = {arm: {unit for part in parts if arm in part.arms for unit in part.units} for arm in arms}
    seeds = tuple(dict.fromkeys(seed for part in parts for seed in part.seeds))
    folds = tuple(dict.fromkeys(fold for part in parts for fold in part.folds))
    first = units[arms[0]]
    folds = tuple(fold for fold in folds if any((seed, fold) in first for seed in seeds))
    seeds = tuple(seed for seed in seeds if all((seed, fold) in first for fold in folds))
    whole = Part(seeds, folds, tuple(arm for arm in arms if {(s, f) for s in seeds for f in folds} <= units[arm]))
    return whole, [arm for arm in arms if arm not in whole.arms]


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
