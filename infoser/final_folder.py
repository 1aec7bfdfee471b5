"""What a run folder remembers of its final models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from infoser import hosts
from infoser.errors import InfoserError
from infoser.run_folder import FINAL, write

_FINAL_VARIANT = "variant.json"


def write_final(folder: Path, variant: str, seeds: Sequence[int]) -> None:
    """Remembers the variant of the final model that was trained last, and its seeds; raises InfoserError if it can't."""
    if hosts.primary():
        contents = {"variant": variant, "seeds": _final_seeds(folder) | {variant: list(seeds)}}
        write(folder / FINAL / _FINAL_VARIANT, json.dumps(contents) + "\n")


def final_seeds(folder: Path, variant: str) -> tuple[int, ...] | None:
    """The seeds that the final model of a variant was trained with; None where there is none, or nothing tells."""
    seeds = _final_seeds(folder).get(variant)
    return None if seeds is None else tuple(seeds)


def _final_seeds(folder: Path) -> dict[str, list[int]]:
    try:
        return dict(json.loads((folder / FINAL / _FINAL_VARIANT).read_text())["seeds"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def check_final(folder: Path, variant: str, seeds: Sequence[int]) -> None:
    """Refuses seeds that the folder's final model of the variant was not trained with: its runs are one group."""
    there = final_seeds(folder, variant)
    if there is not None and there != tuple(seeds):
        raise InfoserError(
            f"{folder} has a final model of {variant} with seeds {' '.join(map(str, there))}, which others can't be added to; "
            f"leave --final out, which keeps it as it is, or delete {folder / FINAL} to have it refitted with seeds "
            f"{' '.join(map(str, seeds))}"
        )


def has_final(folder: Path) -> bool:
    """Whether a final model was trained to its end."""
    return (folder / FINAL / _FINAL_VARIANT).exists()


def read_final(folder: Path) -> str:
    """The variant of the final model that was trained last.

    Raises:
      InfoserError: if there is none.
    """
    try:
        return str(json.loads((folder / FINAL / _FINAL_VARIANT).read_text())["variant"])
    except FileNotFoundError:
        raise InfoserError(
            f"{folder} has no final model; run its training command again with --final, or choose a fold's model with --fold"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InfoserError(
            f"{folder / FINAL / _FINAL_VARIANT} can't be read ({error}); run the training command again with --final"
        ) from error
