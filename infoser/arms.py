"""What an experiment compares: cells of settings, their arms, and the branches of cells that can train together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from infoser.config import Config
from infoser.variants import Variant

#: Settings that decide which rows, views and aligners the arms of a branch have: cells that differ in them share nothing.
BRANCH_SETTINGS = ("space", "label-fraction", "virtual-shards", "compute-dtype")
_LONGEST_FOLDER = 100


@dataclass(frozen=True)
class Cell:
    """Settings under study.

    Attributes:
      name: the canonical overrides: `key=value` by key, with a space between them; '' for the base configuration.
      config: the whole configuration of the cell.
      variants: those that are trained in it.
    """

    name: str
    config: Config
    variants: tuple[Variant, ...]


@dataclass(frozen=True)
class Arm:
    """One variant in one cell: what a fold and seed is trained for once.

    Attributes:
      config: of the cell.
      rest: the cell's name without what it shares with the whole branch.
    """

    variant: Variant
    cell: str
    config: Config
    rest: str = ""

    @property
    def name(self) -> str:
        """What tells it from the other arms of its branch."""
        return f"{self.variant} {self.rest}".rstrip()

    @property
    def probe_name(self) -> str:
        """The name of the head that sees its added rows alone."""
        return f"{self.variant}-probe {self.rest}".rstrip()


@dataclass(frozen=True)
class Branch:
    """Arms on the same units, views and aligners, which train together where their structure allows.

    Attributes:
      name: the overrides that all cells of the branch share.
      config: with the settings that decide units, views and aligners; its other settings are those of the first cell.
      folder: of its groups.
      arms: cell by cell, in the order in which they train.
    """

    name: str
    config: Config
    folder: str
    arms: tuple[Arm, ...]


def plain_arms(config: Config) -> tuple[Arm, ...]:
    """The arms of a configuration by itself: its variants."""
    return tuple(Arm(variant, "", config) for variant in config.variants)


def branches(cells: Sequence[Cell]) -> list[Branch]:
    """The cells' branches, in the order of their first cells."""
    found: dict[str, list[Arm]] = {}
    configs: dict[str, Config] = {}
    for cell in cells:
        overrides = cell.name.split(" ") if cell.name else []
        name = branch_name(cell.name)
        rest = " ".join(one for one in overrides if not _of_branch(one))
        configs.setdefault(name, cell.config)
        found.setdefault(name, []).extend(Arm(variant, cell.name, cell.config, rest) for variant in cell.variants)
    return [Branch(name, configs[name], _folder(name, configs[name]), tuple(arms)) for name, arms in found.items() if arms]


def branch_name(cell: str) -> str:
    """The overrides of a cell that decide its branch."""
    return " ".join(one for one in cell.split(" ") if _of_branch(one))


def _of_branch(override: str) -> bool:
    return override.startswith("align.") or override.split("=", 1)[0] in BRANCH_SETTINGS


def _folder(name: str, config: Config) -> str:
    """A branch's folder: its space's, with what else sets it apart."""
    others = "-".join(one for one in name.split(" ") if one and not one.startswith("space="))
    if len(others) > _LONGEST_FOLDER:
        others = hashlib.sha256(others.encode()).hexdigest()[:16]
    return f"{config.space}-{others}" if others else config.space
