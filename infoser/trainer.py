"""The training loop: resume, then chunks of compiled steps, metrics, checkpoints and progress, until the last step."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from infoser import compilation_cache, exchange, hosts, lifting, parallel
from infoser.checkpoints import Checkpoints
from infoser.errors import InfoserError, can_be_written
from infoser.event_files import EventFiles, Means
from infoser.group import Group, Loaded
from infoser.progress import Progress, begin_piece
from infoser.run_folder import write as write_atomically

#: What each group of runs took, as JSON lines: by these a budget is planned.
TIMES = "times.jsonl"
_METRICS = "metrics.jsonl"
_MEETING_S = 60.0
#: The folder of TensorBoard's event files, below a run folder.
EVENTS = "events"
_REMEDY = "lower this stage's learning rate or the terms' weights, in a run folder of its own"


class Stopped(InfoserError):
    """A signal ended training after its state was saved.

    Attributes:
      status: the exit status that the signal calls for.
    """

    agreed = True

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


class Trainer:
    """Trains groups below one run folder, each from its newest checkpoint.

    Args:
      run_dir: the run folder.
      chunk_steps: steps in a compiled call; does not change results.
      checkpoint_every_s: seconds between checkpoints.
      mode: how devices are used.
      plan: said once, before the first step that is trained.
      restore_only: train nothing; a group that is not complete is an error (evaluation).
      tensorboard: write TensorBoard's event files beside the metrics.
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
        tensorboard: bool = False,
    ):
        self._run_dir = run_dir
        self.mode = mode
        self._chunk_steps = chunk_steps
        self._checkpoint_every_s = checkpoint_every_s
        self._restore_only = restore_only
        self._plan = plan
        #: Seconds that training itself has taken.
        self.trained_s = 0.0
        self._late: list[int] = []
        self._tensorboard = tensorboard

    def took(self, what: str, **values: float | int | str) -> None:
        """Adds a line to the times that the run folder keeps, on the primary host; nothing where nothing is trained."""
        if self._restore_only or not hosts.primary():
            return
        path = self._run_dir / TIMES
        with can_be_written(path), path.open("a") as file:
            file.write(json.dumps({"what": what, **values}) + "\n")

    def told(self, what: str, folder: str) -> bool:
        """Whether the run folder's times have such a line of a folder, or need none."""
        path, start = self._run_dir / TIMES, json.dumps({"what": what, "folder": folder})[:-1]
        if self._restore_only or not hosts.primary() or not path.exists():
            return True
        return any(line.startswith(start) for line in path.read_text("utf-8", "replace").splitlines())

    def train(self, group: Group) -> Loaded:
        """Trains what is left of this group's steps; a group that does not fit in memory trains in halves, or less.

        Raises:
          InfoserError: if a loss term is not finite, a checkpoint is damaged or missing, or not even one run fits.
          Stopped: after a signal.
        """
        compilation_cache.forget_if_many()
        begin_piece()
        parts = 1
        while True:
            try:
                with memory_watched():
                    return self._train(group, parts)
            except _OutOfMemoryError as error:
                if parts >= len(group.names):
                    raise InfoserError(
                        f"{group.name}: not even one run fits in memory; lower this stage's batch size and width, or "
                        "--resident-gib and --max-group-gib"
                    ) from error
                if not hosts.meet(f"memory/{group.name}/{parts}", _MEETING_S):
                    raise InfoserError(
                        f"{group.name}: the memory of this host does not suffice, that of others does; lower --max-group-gib, "
                        "--resident-gib, or this stage's batch size and width"
                    ) from error
                parts = min(2 * parts, len(group.names))
                say(
                    f"{group.name}: {len(group.names)} runs do not fit in memory together; going on in {parts} parts, one "
                    "after the other"
                )

    def _train(self, group: Group, parts: int) -> Loaded:
        stage, folder = group.stage, self._run_dir / group.name
        checkpoints = Checkpoints(folder)
        loaded = Loaded(self.mode, group, parts)
        started = time.monotonic()  # what is compiled counts as training, for the plan of a budget
        finished = (checkpoints.steps() or [0])[-1] >= stage.steps
        loaded.start(0 if finished or self._restore_only else self._chunk_steps)
        restored = exchange.from_primary(checkpoints.restore, loaded.state())
        done = 0
        if restored is not None:
            _check_utterances(folder, group, restored.trained_on)
            done = restored.step
            loaded.load(restored.state)
        if self._restore_only and done < stage.steps:
            raise InfoserError(
                f"{folder} has {done} of {stage.steps} training steps; run the training command again to finish it"
            )
        if done < stage.steps:
            self._loop(loaded, checkpoints, done, started)
        elif not self._restore_only:
            self._catch_up(group)
        return loaded

    def _events(self, group: Group) -> EventFiles | None:
        """The event files of a group, on the primary host; none where none are wanted."""
        if not self._tensorboard or not hosts.primary():
            return None
        runs = {str(name): name.parts for name in group.names}
        return EventFiles(self._run_dir / EVENTS / group.name, runs, group.stage.name)

    def _catch_up(self, group: Group) -> None:
        """Writes the event files of a finished group that was trained without them."""
        events, path = self._events(group), self._run_dir / group.name / _METRICS
        if events is not None and events.older_than(path):
            Metrics(path, group, group.stage.steps, events)

    def _loop(self, loaded: Loaded, checkpoints: Checkpoints, done: int, started: float) -> None:
        group, stage = loaded.group, loaded.group.stage
        if self._plan:
            say(self._plan)
            self._plan = ""
        length = loaded.begin(done, self._chunk_steps)
        metrics = Metrics(self._run_dir / group.name / _METRICS, group, done, self._events(group))
        saved_at = time.monotonic()
        what, of_first = f"{group.name} × {len(group.names)} runs", None
        steps = stage.steps - done
        with signals_held() as received, Progress(what, stage.steps, unit="steps", done=done, numbered=True) as progress:
            received += self._late
            while done < stage.steps:
                means, first_bad = loaded.train(length, done)
                of_first = of_first or (length, time.monotonic() - started)
                _refuse_not_finite(group, first_bad)
                done = min(done + length, stage.steps)
                metrics.write(done, means)
                progress.update(done)
                # Hosts do the same at the same step, whatever their clocks say and whichever was told to stop.
                stop, due = exchange.agree(max(received, default=0), time.monotonic() - saved_at >= self._checkpoint_every_s)
                if done == stage.steps or stop or due:
                    state = loaded.state()
                    _refuse_broken_state(group, state, done)
                    if hosts.primary():
                        checkpoints.save(done, state, group.trained_on)
                    saved_at = time.monotonic()
                if stop and done < stage.steps:
                    raise Stopped(
                        f"stopped by {signal.Signals(stop).name} in {group.name} after step {done} of {stage.steps}, which is "
                        "saved; run the same command again to go on",
                        128 + stop,
                    )
            (stop,) = exchange.agree(max(received, default=0))
        # A signal that came while hosts agreed is known to this one alone: it counts at the first chunk of the next group.
        self._late = received
        loaded.end()
        chunk_steps, first_s = of_first or (0, 0.0)
        seconds = time.monotonic() - started
        self.trained_s += seconds
        self.took(
            stage.name,
            modality=getattr(stage, "modality", ""),
            runs=len(group.names),
            steps=steps,
            seconds=seconds,
            first_chunk_steps=chunk_steps,
            first_chunk_s=first_s,
        )
        if stop:
            raise Stopped(
                f"stopped by {signal.Signals(stop).name} after {group.name} was finished and saved; "
                "run the same command again to go on",
                128 + stop,
            )


class Metrics:
    """The loss terms of every run, as JSON lines: one for each chunk and run, with the means over the chunk.

    Args:
      path: the file; lines of steps after `done` (which a killed process wrote and then lost) are dropped.
      events: TensorBoard's event files, which are made to say the same.
    """

    def __init__(self, path: Path, group: Group, done: int, events: EventFiles | None = None):
        self._path, self._group, self._events = path, group, events
        if not hosts.primary():
            return
        with can_be_written(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = self._keep_until(done)
        if events is not None:
            events.rewrite(kept)

    def _keep_until(self, done: int) -> list[Means]:
        path, kept, means = self._path, [], []
        if path.exists():
            lines = path.read_text("utf-8", "replace").splitlines()
            for number, line in enumerate(lines, start=1):
                try:
                    said = _means(json.loads(line))
                    if said.step <= done:
                        kept.append(line + "\n")
                        means.append(said)
                except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
                    if number == len(lines):
                        continue  # the half-written last line of a killed process
                    raise InfoserError(
                        f"{path}, line {number}, can't be read; delete the file to go on without the loss terms so far"
                    ) from error
        write_atomically(path, "".join(kept))
        return means

    def write(self, step: int, means: Mapping[str, np.ndarray]) -> None:
        """Appends one line for each run, on the primary host."""
        if not hosts.primary():
            return
        chunk = [
            Means(step, str(name), {term: float(means[term][number]) for term in self._group.stage.terms})
            for number, name in enumerate(self._group.names)
        ]
        lines = [json.dumps({"step": step, "run": run, **terms}) + "\n" for step, run, terms in chunk]
        with can_be_written(self._path), self._path.open("a") as file:
            file.writelines(lines)
        if self._events is not None:
            self._events.append(chunk)


def _means(line: dict[str, Any]) -> Means:
    """A line of the metrics; raises what a line of another form makes Python raise."""
    terms = {term: float(value) for term, value in line.items() if term not in ("step", "run")}
    step = int(line["step"])
    if step < 0:
        raise ValueError(step)
    return Means(step, str(line["run"]), terms)


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
    if (steps == lifting.NEVER).all():
        return
    run = int(np.argmin(steps.min(axis=0)))
    first = int(np.argmin(steps[:, run]))  # of those that went in the same step, the one that is computed first
    raise InfoserError(
        f"{group.name}, run {group.names[run]}: the loss term {terms[first]!r} is not finite at step {steps[first, run]}; "
        f"{_REMEDY}"
    )


class _OutOfMemoryError(Exception):
    """The devices' memory, or the host's, is exhausted."""


@contextmanager
def memory_watched() -> Iterator[None]:
    """Tells exhausted memory, the devices' or the host's, from other errors."""
    try:
        yield
    except MemoryError as error:
        raise _OutOfMemoryError from error
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise _OutOfMemoryError from error


def _refuse_broken_state(group: Group, state: Any, step: int) -> None:
    """Refuses to save parameters that are not finite: the last update may break what no later loss would show."""
    broken = np.zeros(len(group.names), bool)
    for leaf in jax.tree.leaves(state):
        if np.issubdtype(leaf.dtype, np.floating):
            broken |= ~np.isfinite(leaf).reshape(len(leaf), -1).all(axis=1)
    if broken.any():
        name = group.names[int(np.argmax(broken))]
        raise InfoserError(f"{group.name}, run {name}: parameters are not finite after step {step}; {_REMEDY}")


def say(message: str) -> None:
    """A line to the user, beside the results; of several hosts one speaks."""
    if hosts.primary():
        print(message, file=sys.stderr, flush=True)


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
