"""The cells of an experiment: the base configuration, further spaces, named ablations and grids."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from infoser.ablations import ABLATIONS, Ablation
from infoser.arms import Cell
from infoser.concerns import can_follow, concerned, concerns
from infoser.config import Config
from infoser.errors import InfoserError
from infoser.overrides import SELECT, Overrides, applied, name_of, parse_grid, value_of, written
from infoser.validation import validate
from infoser.variants import GENERATORS, REFERENCE, Variant

#: Cell and variant.
ArmName = tuple[str, Any]

#: More cells than this are refused: their table would say nothing to anybody.
MOST_CELLS = 2000
GRID = "grid"
#: The variant that is chosen among candidates, and the name of the primary family that it is compared to `none` in: by these
#: modalities, at these label fractions, fixed before anything was seen.
SELECTED = "selected"
PRIMARY_MODALITIES = ("audio", "both")
PRIMARY_FRACTIONS = (1.0, 0.1)


class Selected(NamedTuple):
    """A cell of what is chosen among candidates.

    Attributes:
      name: of the cell.
      label_fraction: at which candidates are trained.
    """

    name: str
    label_fraction: float


@dataclass(frozen=True)
class Sweep:
    """What an experiment compares.

    Attributes:
      cells: the base cell first, then in the order in which they were asked for.
      sets: by the name of the ablation (or `grid`) its arms: (cell, variant).
      notes: what was left out or added, and why.
      selected: the cells of what is chosen among candidates, one for each label fraction.
    """

    cells: tuple[Cell, ...]
    sets: Mapping[str, tuple[ArmName, ...]]
    notes: tuple[str, ...]
    selected: tuple[Selected, ...] = ()

    @property
    def arms(self) -> list[ArmName]:
        """Every cell and variant, in the order in which they are trained."""
        return [(cell.name, variant) for cell in self.cells for variant in cell.variants]


def base_of(config: Config) -> Config:
    """A configuration by itself: without further spaces, cells and final model."""
    plain = {"aligned_variants": (), "joined_variants": (), "ablate": (), "grid": (), "budget": "", "primary": ""}
    plain |= {"select": "off", "candidates": (), "none_candidates": ()}
    return dataclasses.replace(config, **plain, final=False, final_variant="none")  # pyright: ignore[reportArgumentType]


def root_of(config: Config) -> str:
    """The name of the base cell: that of another space than the encoder's has always been called by it."""
    return "" if config.space == "encoder" else f"space={config.space}"


def cell_name(base: Config, overrides: Overrides) -> str:
    """The name of a cell among those of an experiment; beside a base cell that is called by its space, every cell names it."""
    name, root = name_of(base, overrides), root_of(base)
    if root and "space" not in overrides:
        name = " ".join(sorted({*name.split(" "), root} - {""}))
    return name


def cell_of(config: Config, overrides: Overrides, variants: tuple[Variant, ...], name: str | None = None) -> Cell:
    """A cell of a base configuration.

    Raises:
      InfoserError: if no run could use its settings, naming it.
    """
    name = name_of(config, overrides) if name is None else name
    own = dataclasses.replace(applied(config, overrides), variants=variants)
    try:
        validate(own)
    except InfoserError as error:
        raise InfoserError(f"cell {name}: {error}" if name else str(error)) from None
    return Cell(name, own, variants)


def sweep(config: Config, *, has_text: bool = True) -> Sweep:
    """The cells that a configuration asks for.

    Args:
      config: the configuration.
      has_text: whether the corpus has text; ablations then leave out what needs it.

    Raises:
      InfoserError: for a grid that can't be read, or whose settings change nothing; for a cell that no run could use; for an
        ablation without anything left to compare.
    """
    return _Builder(config, has_text).sweep()


class _Builder:
    def __init__(self, config: Config, has_text: bool):
        self._config, self._base, self._has_text = config, base_of(config), has_text
        self._notes: list[str] = []
        self._found: dict[str, tuple[Overrides, list[Any]]] = {}
        self._sets: dict[str, list[ArmName]] = {}
        self._root = root_of(config)

    def sweep(self) -> Sweep:
        config = self._config
        grid, notes = parse_grid(config.grid)
        self._notes += notes
        variants = list(config.variants)
        for name in config.ablate:
            variants += [one for one in self._added_by(name, variants) if one not in variants]
        self._found[self._root] = ({}, variants)
        for space, own in (("aligned", config.aligned_variants), ("joined", config.joined_variants)):
            if own:
                self._found[f"space={space}"] = ({"space": space}, list(own))
        for name in config.ablate:
            self._ablation(name, ABLATIONS[name])
        if grid:
            self._grid(grid)
        cells = [cell_of(self._base, overrides, tuple(own), name) for name, (overrides, own) in self._found.items()]
        selected = self._selected() if config.select == "dev" else ()
        return Sweep(tuple(cells), {name: tuple(arms) for name, arms in self._sets.items()}, tuple(self._notes), selected)

    def _selected(self) -> tuple[Selected, ...]:
        """What is chosen among candidates: in the base cell, and in those that differ from it in the label fraction alone."""
        fractions = [
            overrides.get("label-fraction", self._base.label_fraction)
            for overrides, _ in self._found.values()
            if overrides.keys() <= {"label-fraction"}
        ]
        found = [Selected(self._name({"label-fraction": one, SELECT: "dev"}), one) for one in dict.fromkeys(fractions)]
        self._sets[SELECTED] = [(one.name, SELECTED) for one in found if one.label_fraction in PRIMARY_FRACTIONS]
        if not self._sets[SELECTED]:
            self._notes.append("--primary selected: its family is at 100 % and 10 % of the labels, and this run has neither")
        return tuple(found)

    def _added_by(self, name: str, present: list[Any]) -> list[Any]:
        """The variants that an ablation trains in the base cell besides those that are there."""
        ablation = ABLATIONS[name]  # pyright: ignore[reportArgumentType]
        added = list(ablation.variants)
        cells = [cell for cell in ablation.cells if name_of(self._base, cell)]
        if ablation.needs and not any(self._concerned(cell, present) for cell in cells):
            added += ablation.needs
        if not self._has_text:
            without = [one for one in added if one in GENERATORS and GENERATORS[one].needs_text]
            added = [one for one in added if one not in without]
            if without and ablation.needs:
                added.append("infogan-notext")
            elif without:
                self._notes.append(f"--ablate {name}: {', '.join(without)} left out: the corpus has no text features here")
        new = [one for one in added if one not in present]
        if new and ablation.needs:
            self._notes.append(f"--ablate {name}: {', '.join(new)} added to the variants, none of which it could change")
        return added

    def _concerned(self, overrides: Overrides, variants: list[Any]) -> tuple[Variant, ...]:
        """The variants that a cell's overrides can change."""
        own = applied(self._base, overrides)
        changed = [key for key, value in overrides.items() if value != value_of(self._base, key)]
        return concerned(changed, variants, own)

    def _ablation(self, name: str, ablation: Ablation) -> None:
        variants = self._found[self._root][1]
        arms: list[ArmName] = [(self._root, one) for one in variants if one in ablation.variants]
        unread, textless = [], []
        for overrides in ablation.cells:
            if not name_of(self._base, overrides):
                continue
            if not self._has_text and overrides.get("space") == "joined":
                textless.append(name_of(self._base, overrides))
                continue
            own = self._concerned(overrides, variants)
            if not own:
                unread.append(name_of(self._base, overrides))
                continue
            arms += self._cell(overrides, own, f"--ablate {name}")
        for which, why in ((unread, "none of the variants reads them"), (textless, "the corpus has no text features here")):
            if which:
                self._notes.append(f"--ablate {name}: {len(which)} cells left out, {why}: {'; '.join(which)}")
        if not arms:
            raise InfoserError(f"--ablate {name}: nothing is left of it to compare: {'; '.join(self._notes)}")
        if ablation.cells:  # the configuration's own value is one of those compared
            arms = [(self._root, variant) for variant in variants if variant in {own for _, own in arms}] + arms
        self._sets[name] = list(dict.fromkeys(arms))

    def _grid(self, grid: Mapping[str, tuple]) -> None:
        if (size := math.prod(len(values) for values in grid.values())) > MOST_CELLS:
            raise InfoserError(f"--grid asks for {size:,} cells; at most {MOST_CELLS:,} are trained")
        if not self._has_text and "joined" in grid.get("space", ()):
            raise InfoserError("--grid space=joined: the corpus has no text features here to align audio with")
        variants = self._found[self._root][1]
        arms: list[ArmName] = []
        read: set[str] = set()
        for values in itertools.product(*grid.values()):
            overrides = dict(zip(grid, values, strict=True))
            own = self._concerned(overrides, variants)
            read |= {key for key in grid if value_of(self._base, key) != overrides[key] and self._concerned_by(key, overrides)}
            arms += self._cell(overrides, own, "--grid") if name_of(self._base, overrides) and own else []
        for key, values in grid.items():
            others = [value for value in values if value != value_of(self._base, key)]
            if others and key not in read:
                raise InfoserError(
                    f"--grid {key}={','.join(map(written, values))}: none of the variants reads it here "
                    f"({', '.join(variants)}); add one that does to --variants, or leave it out"
                )
        if not arms:
            self._notes.append("--grid: all of its combinations are the base configuration")
        if all(value_of(self._base, key) in values for key, values in grid.items()):
            # The base configuration is one of the combinations.
            arms = [(self._root, variant) for variant in variants if variant in {own for _, own in arms}] + arms
        self._sets[GRID] = list(dict.fromkeys(arms))

    def _concerned_by(self, key: str, overrides: Overrides) -> bool:
        return bool(concerned([key], self._found[self._root][1], applied(self._base, overrides)))

    def _cell(self, overrides: Overrides, variants: tuple[Variant, ...], flag: str) -> list[ArmName]:
        """Adds the arms of a cell; gives them.

        A variant that some of the overrides say nothing to is of the cell without these: nothing is trained under two names.
        """
        own = applied(self._base, overrides)
        kept = {key: value for key, value in overrides.items() if value != value_of(self._base, key)}
        arms = []
        for one in variants:
            told = {key: value for key, value in kept.items() if concerns(key, one, own)}
            if not can_follow(one, own):
                self._notes.append(f"{flag}: {one} left out of cell {self._name(told)}, whose settings it can't follow")
                continue
            arms.append(self._arm(told, one))
            if REFERENCE in self._found[self._root][1] and concerned(told, (REFERENCE,), own):
                self._arm(told, REFERENCE)  # what the others of the cell are compared with
        return arms

    def _arm(self, overrides: Overrides, variant: Variant) -> ArmName:
        name = self._name(overrides)
        _, there = self._found.setdefault(name, (overrides, []))
        if variant not in there:
            there.append(variant)
            # `none` first, as it is in the base cell of every preset.
            there.sort(key=lambda one: one != REFERENCE)
        return name, variant

    def _name(self, overrides: Overrides) -> str:
        return cell_name(self._base, overrides)


def refuse_selected(variant: str) -> None:
    """Refuses to take what is chosen for each fold for one model; raises InfoserError."""
    if variant == SELECTED:
        raise InfoserError(
            f"--variant {SELECTED} is another variant for each fold, modality and label fraction, and no model; selection.csv "
            "in the run folder says which: ask for that one (--cell), or train it by itself (--grid, --final)"
        )


def primary_of(config: Config) -> str:
    """The name of the primary family."""
    return config.primary or (SELECTED if config.select == "dev" else "all")


def check_primary(sweep: Sweep, config: Config) -> None:
    """Refuses a primary family that the sweep does not have; raises InfoserError."""
    known, primary = ["all", *sweep.sets], primary_of(config)
    if primary not in known:
        raise InfoserError(f"--primary {primary}: the families of this experiment are {', '.join(known)}")
