"""Checkpoints by Orbax, each with a digest of every file, so that a damaged one is never used.

Of several hosts the primary one writes and reads them alone: what is saved is on every host anyway, and what is read is sent.

Orbax commits atomically but does not notice a flipped bit in the arrays. A step counts as complete once its digest list
is written, which happens after the commit.
"""

from __future__ import annotations

import logging
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infoser import digests, hosts
from infoser.errors import InfoserError

_STATE = "state"
_MULTIHOST = "orbax.checkpoint.experimental.v1._src.synchronization.multihost"
_TRAINED_ON = "trained_on.npz"
_FOLDER = re.compile(r"step_(0|[1-9]\d*)", re.ASCII)


@dataclass(frozen=True)
class Restored:
    """A state read back: the step it was saved after, host arrays, and the utterances it was trained on (by fold)."""

    step: int
    state: Any
    trained_on: dict[str, np.ndarray]


class Checkpoints:
    """The checkpoints of one group of runs, in one folder: `step_N/state` (Orbax) and `step_N/digest.json`.

    Args:
      folder: created with the first save.
      keep: how many of the newest complete steps stay.
    """

    def __init__(self, folder: Path, *, keep: int = 2):
        self.folder = folder.absolute()  # Orbax takes absolute paths only
        self._keep = keep

    def save(self, step: int, state: Any, trained_on: Mapping[str, np.ndarray]) -> None:
        """Writes a pytree of host arrays as this step; complete or not there at all.

        Args:
          trained_on: for each fold the sorted uint64 hashes of the ids of the utterances it trains on.

        Raises:
          InfoserError: if the file system refuses (full, read-only); checkpoints before it stay as they were.
        """
        ocp = _orbax()
        target = self.folder / f"step_{step}"
        try:
            # What an earlier attempt left without a digest is not a checkpoint.
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            with _alone(ocp):
                ocp.save(target / _STATE, state)
            hashes: dict[str, Any] = {f"fold{number}": ids for number, ids in enumerate(trained_on.values())}
            np.savez(target / _TRAINED_ON, step=np.array(step), folds=np.array(list(trained_on)), **hashes)
            digests.seal(target)
        except (OSError, ValueError) as error:
            shutil.rmtree(target, ignore_errors=True)
            raise InfoserError(
                f"the checkpoint {target} can't be written: {error}; mend that (free space, permissions) and run the same "
                "command again: it goes on from the last checkpoint"
            ) from error
        for old in self.steps()[: -self._keep]:
            shutil.rmtree(self.folder / f"step_{old}", ignore_errors=True)

    def steps(self) -> list[int]:
        """The complete steps, ascending; a folder of another name, such as a copy that someone made, is none."""
        names = (_FOLDER.fullmatch(path.parent.name) for path in self.folder.glob(f"step_*/{digests.DIGESTS}"))
        return sorted(int(name[1]) for name in names if name)

    def restore(self, like: Any, *, step: int | None = None) -> Restored | None:
        """The newest step (or the given one), checked against its digests; None if there is none.

        Args:
          like: a pytree with the structure of what was saved.

        Raises:
          InfoserError: if a file is damaged (it is named, and the newest good step is offered), or the contents do not
            have the structure of `like`.
        """
        steps = [known for known in self.steps() if step in (None, known)]
        if not steps:
            return None
        target = self.folder / f"step_{steps[-1]}"
        damaged = digests.damage(target)
        if damaged:
            good = [known for known in self.steps() if not digests.damage(self.folder / f"step_{known}")]
            way_out = f"delete {target} to go on from step {good[-1]}" if good else f"delete {self.folder} to train it anew"
            raise InfoserError(f"the checkpoint file {damaged} is damaged (its SHA-256 is not the one recorded); {way_out}")
        try:
            ocp = _orbax()
            with _alone(ocp):
                state = ocp.load(target / _STATE, like)
            with (target / _TRAINED_ON).open("rb") as file, np.load(file, allow_pickle=False) as saved:
                trained_on = {str(fold): saved[f"fold{number}"] for number, fold in enumerate(saved["folds"])}
                step_saved = int(saved["step"]) if "step" in saved else steps[-1]  # earlier versions did not write it
            _refuse_other_shapes(like, state)
            if step_saved != steps[-1]:
                raise ValueError(f"it is step {step_saved}, renamed; name it step_{step_saved} again")
        except (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise InfoserError(f"the checkpoint {target} can't be read: {_first_line(error)}") from error
        return Restored(steps[-1], state, trained_on)


def discard(folder: Path) -> None:
    """Removes every checkpoint below a folder, for good."""
    for path in sorted(folder.rglob("step_*")):
        if _FOLDER.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def _refuse_other_shapes(like: Any, state: Any) -> None:
    import jax

    for (path, wanted), found in zip(jax.tree.leaves_with_path(like), jax.tree.leaves(state), strict=True):
        if (wanted.shape, wanted.dtype) != (found.shape, found.dtype):
            name = jax.tree_util.keystr(path)
            raise ValueError(f"{name} is {found.dtype}{found.shape}, and the settings make it {wanted.dtype}{wanted.shape}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def _alone(ocp: Any) -> Iterator[None]:
    """Keeps Orbax from waiting for other hosts: they have no part in it."""
    if hosts.count() == 1:
        yield
        return
    from unittest import mock

    own = hosts.index()
    options = ocp.options.MultiprocessingOptions(primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"host{own}")
    # All the same it compares the folder's name between all processes: it must believe that there is one.
    with ocp.Context(multiprocessing_options=options), mock.patch(f"{_MULTIHOST}.process_count", lambda: 1):
        yield


def _orbax() -> Any:
    from orbax.checkpoint import v1 as ocp

    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax reports every save; errors are raised besides
    return ocp
