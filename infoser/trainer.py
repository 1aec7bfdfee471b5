"""The training loop: resume, then chunks of compiled steps, metrics, checkpoints and progress, until the last step."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from infoser import parallel
from infoser.checkpoints import Checkpoints
from infoser.errors import InfoserError, can_be_written
from infoser.progress import Progress
from infoser.run_folder import write as write_atomically

_REMEDY = "lower this stage's learning rate or the terms' weights, in a run folder of its own"


class Stopped(InfoserError):
    """A signal ended training after its state was saved.

    Attributes:
      status: the exit status that the signal calls for.
    """

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class RunName:
    """What tells one run from the others of its group."""

    fold: str
    seed: int
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.fold, f"seed{self.seed}", self.variant) if part)


@dataclass(frozen=True)
class Group:
    """Runs of one structure, which train as one program.

    Attributes:
      name: the group's folder below the run folder; also shown.
      stage: the structure.
      names: the runs, in the order of axis 0 of `runs`.
      shared: arrays common to all runs, on the devices already.
      runs: this group's run arrays, stacked on axis 0, on the host.
      trained_on, tested_on: for each fold, the sorted hashes of the ids of the utterances it trains on, and is tested on.
    """

    name: str
    stage: Any
    names: Sequence[RunName]
    shared: Any
    runs: Any
    trained_on: Mapping[str, np.ndarray] = field(default_factory=dict)
    tested_on: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """A trained group: its states and its inputs, spread over the devices, ready for `outputs`."""

    mode: parallel.RunsMode
    group: Group
    state: Any
    runs: Any
    keys: jax.Array

    def outputs(self, function: str, *static: int, runs: Any = None) -> Any:
        """`stage.<function>` for every run, as host arrays with the runs on axis 0.

        Args:
          function: a method that takes state, shared arrays, run arrays, key, and the `static` sizes.
          runs: other run arrays than those trained on, stacked on axis 0.
        """
        group = self.group
        inputs = self.runs if runs is None else self.mode.spread(runs)
        arguments = (self.state, group.shared, inputs, self.keys, *static)
        return self.mode.gather(self.mode.outputs(group.stage, function, *arguments), len(group.names))


class Trainer:
    """Trains groups below one run folder, each from its newest checkpoint.

    Args:
      run_dir: the run folder.
      chunk_steps: steps in a compiled call; does not change results.
      checkpoint_every_s: seconds between checkpoints.
      mode: how devices are used.
      plan: said once, before the first step that is trained.
      restore_only: train nothing; a group that is not complete is an error (evaluation).
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        chunk_steps: int,
        checkpoint_every_s: float,
        mode: parallel.RunsMode,
        plan: str = "",
        restore_only: bool = False,
    ):
        self._run_dir = run_dir
        self.mode = mode
        self._chunk_steps = chunk_steps
        self._checkpoint_every_s = checkpoint_every_s
        self._restore_only = restore_only
        self._plan = plan

    def train(self, group: Group) -> Trained:
        """Trains what is left of this group's steps.

        Raises:
          InfoserError: if a loss term is not finite, or a checkpoint is damaged or missing.
          Stopped: after a signal.
        """
        stage, folder = group.stage, self._run_dir / group.name
        mode = self.mode
        checkpoints = Checkpoints(folder)
        runs = mode.spread(group.runs)
        keys = mode.spread(parallel.run_keys([n.seed for n in group.names], [n.fold for n in group.names]))
        with fits_in_memory(group):
            state = mode.init_runs(mode.stage(stage), group.shared, runs, keys)
        restored = checkpoints.restore(self._gathered(group, state))
        done = 0
        if restored is not None:
            _check_utterances(folder, group, restored.trained_on)
            done, state = restored.step, mode.spread(restored.state)
        if self._restore_only and done < stage.steps:
            raise InfoserError(
                f"{folder} has {done} of {stage.steps} training steps; run the training command again to finish it"
            )
        if done < stage.steps:
            state = self._loop(group, checkpoints, state, runs, keys, done)
        return Trained(mode, group, state, runs, keys)

    def _loop(self, group: Group, checkpoints: Checkpoints, state: Any, runs: Any, keys: Any, done: int) -> Any:
        stage = group.stage
        trained_stage = self.mode.stage(stage)
        if self._plan:
            print(self._plan, file=sys.stderr, flush=True)
            self._plan = ""
        length = -(-stage.steps // -(-stage.steps // self._chunk_steps))  # equal chunks of at most chunk_steps
        metrics = Metrics(self._run_dir / group.name / "metrics.jsonl", group, done)
        saved_at = time.monotonic()
        what = f"{group.name} × {len(group.names)} runs"
        with signals_held() as received, Progress(what, stage.steps, unit="steps", done=done) as progress:
            while done < stage.steps:
                with fits_in_memory(group):
                    state, means, first_bad = self.mode.train_chunk(
                        trained_stage, length, state, group.shared, runs, keys, done
                    )
                    means, first_bad = self.mode.gather((means, first_bad), len(group.names))
                _refuse_not_finite(group, first_bad)
                done = min(done + length, stage.steps)
                metrics.write(done, means)
                progress.update(done)
                due = time.monotonic() - saved_at >= self._checkpoint_every_s
                if done == stage.steps or received or due:
                    self._refuse_broken_state(group, state, done)
                    checkpoints.save(done, self._gathered(group, state), group.trained_on)
                    saved_at = time.monotonic()
                if received and done < stage.steps:
                    name = signal.Signals(received[0]).name
                    raise Stopped(
                        f"stopped by {name} in {group.name} after step {done} of {stage.steps}, which is saved; "
                        "run the same command again to go on",
                        128 + received[0],
                    )
        if received:
            raise Stopped(
                f"stopped by {signal.Signals(received[0]).name} after {group.name} was finished and saved; "
                "run the same command again to go on",
                128 + received[0],
            )
        return state

    def _refuse_broken_state(self, group: Group, state: Any, step: int) -> None:
        """Refuses to save parameters that are not finite: the last update may break what no later loss would show."""
        broken = np.zeros(len(group.names), bool)
        for leaf in jax.tree.leaves(self._gathered(group, state)):
            if np.issubdtype(leaf.dtype, np.floating):
                broken |= ~np.isfinite(leaf).reshape(len(leaf), -1).all(axis=1)
        if broken.any():
            name = group.names[int(np.argmax(broken))]
            raise InfoserError(f"{group.name}, run {name}: parameters are not finite after step {step}; {_REMEDY}")

    def _gathered(self, group: Group, state: Any) -> Any:
        return self.mode.gather(state, len(group.names))


class Metrics:
    """The loss terms of every run, as JSON lines: one for each chunk and run, with the means over the chunk.

    Args:
      path: the file; lines of steps after `done` (which a killed process wrote and then lost) are dropped.
    """

    def __init__(self, path: Path, group: Group, done: int):
        self._path, self._group = path, group
        with can_be_written(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._keep_until(done)

    def _keep_until(self, done: int) -> None:
        path, kept = self._path, []
        if path.exists():
            lines = path.read_text("utf-8", "replace").splitlines()
            for number, line in enumerate(lines, start=1):
                try:
                    if json.loads(line)["step"] <= done:
                        kept.append(line + "\n")
                except (ValueError, KeyError, TypeError, RecursionError) as error:
                    if number == len(lines):
                        continue  # the half-written last line of a killed process
                    raise InfoserError(
                        f"{path}, line {number}, can't be read; delete the file to go on without the loss terms so far"
                    ) from error
        write_atomically(path, "".join(kept))

    def write(self, step: int, means: Mapping[str, np.ndarray]) -> None:
        """Appends one line for each run."""
        lines = []
        for number, name in enumerate(self._group.names):
            terms = {term: float(means[term][number]) for term in self._group.stage.terms}
            lines.append(json.dumps({"step": step, "run": str(name), **terms}) + "\n")
        with can_be_written(self._path), self._path.open("a") as file:
            file.writelines(lines)


def _check_utterances(folder: Path, group: Group, trained_on: Mapping[str, np.ndarray]) -> None:
    """Refuses a checkpoint that was trained on test utterances, or on others than this group's."""
    for fold, tested in group.tested_on.items():
        seen = np.intersect1d(trained_on.get(fold, tested), tested)
        if len(seen):
            raise InfoserError(
                f"{folder} was trained on {len(seen)} of the {len(tested)} test utterances of fold {fold!r}: scores on them "
                "would mean nothing; train this protocol and corpus in a run folder of its own"
            )
    for fold, ids in group.trained_on.items():
        if not np.array_equal(trained_on.get(fold, ids[:0]), ids):
            raise InfoserError(
                f"{folder} was trained on other utterances of fold {fold!r} than the corpus has now; use another --run-dir"
            )


def _refuse_not_finite(group: Group, first_bad: Mapping[str, np.ndarray]) -> None:
    terms = group.stage.terms
    steps = np.stack([first_bad[term] for term in terms])  # (terms, runs)
    if (steps == parallel.NEVER).all():
        return
    run = int(np.argmin(steps.min(axis=0)))
    first = int(np.argmin(steps[:, run]))  # of those that went in the same step, the one that is computed first
    raise InfoserError(
        f"{group.name}, run {group.names[run]}: the loss term {terms[first]!r} is not finite at step {steps[first, run]}; "
        f"{_REMEDY}"
    )


@contextmanager
def fits_in_memory(group: Group) -> Iterator[None]:
    """Turns an exhausted memory, the devices' or the host's, into a message that says what to do."""
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise InfoserError(
            f"{group.name}: {len(group.names)} runs do not fit in memory together; train them in parts, with fewer --folds, "
            "--seeds or --variants in run folders of their own, or lower this stage's batch size and width"
        ) from error


@contextmanager
def signals_held() -> Iterator[list[int]]:
    """Collects SIGTERM and SIGINT instead of dying of them; outside the main thread nothing is held."""
    received: list[int] = []
    previous = {}
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            previous[number] = signal.signal(number, lambda number, _: received.append(number))
    except ValueError:  # signals belong to the main thread
        pass
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
