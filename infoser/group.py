"""Runs of one structure on the devices: all together or, where they do not fit in memory, in parts one after the other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from infoser import parallel
from infoser.streaming import Stream


@dataclass(frozen=True)
class RunName:
    """What tells one run from the others of its group."""

    fold: str
    seed: int
    variant: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """Fold, seed and variant, if there is one."""
        return (self.fold, f"seed{self.seed}", *((self.variant,) if self.variant else ()))

    def __str__(self) -> str:
        return "/".join(part for part in self.parts if part)


@dataclass(frozen=True)
class Group:
    """Runs of one structure, which train as one program.

    Attributes:
      name: the group's folder below the run folder; also shown.
      stage: the structure.
      names: the runs, in the order of axis 0 of `runs`.
      shared: arrays common to all runs, on the devices already; or a `Stream` of them.
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

    @property
    def keys(self) -> np.ndarray:
        """(runs, 2) the runs' raw keys, on the host."""
        return np.asarray(parallel.run_keys([n.seed for n in self.names], [n.fold for n in self.names]))


class Loaded:
    """A group whose runs are, or are to be, on the devices.

    Args:
      mode: how devices are used.
      group: the group.
      parts: how many parts it is divided into. A single one stays on the devices; of several, each comes to them for a
        chunk of steps and leaves again, and all are of one size, the last one filled up with its last run.
    """

    def __init__(self, mode: parallel.RunsMode, group: Group, parts: int = 1):
        self.mode, self.group = mode, group
        self._keys = group.keys
        runs = len(group.names)
        size = -(-runs // parts)
        self._parts = [_Part(np.minimum(np.arange(start, start + size), runs - 1)) for start in range(0, runs, size)]

    def start(self, most_steps: int = 0) -> None:
        """Gives every run the state before its first step.

        Args:
          most_steps: of the chunks that `begin` is going to be asked for; 0 if none are to be trained.
        """
        stage, shared = self.mode.stage(self.group.stage), self.group.shared
        if isinstance(shared, Stream):
            shared = shared.for_outputs(self.group.stage, self._no_rows())  # only shapes count here
        elif most_steps and self._stays:
            self.mode.prepare(stage, _equal_chunks(stage.steps, most_steps), shared, *self._inputs(self._parts[0]))
        for part in self._parts:
            self._put(part, self.mode.init_runs(stage, shared, *self._inputs(part)))

    def load(self, state: Any) -> None:
        """Gives every run a state that `state` returned."""
        for part in self._parts:
            self._put(part, self.mode.spread(_taken(state, part.which)))

    def state(self) -> Any:
        """The states of all runs, as host arrays with the runs on axis 0."""
        return self._whole([self._gathered(part, part.state) if self._stays else part.state for part in self._parts])

    def begin(self, done: int, most_steps: int) -> int:
        """Prepares chunks of equally many steps, at most `most_steps`, from step `done` on; returns how many."""
        stage, shared = self.group.stage, self.group.shared
        divided = self.mode.stage(stage)
        if isinstance(shared, Stream):
            drawn_from = parallel.undivided(stage).draws_from(self.group.runs)
            places = [shared.places(divided, _taken(drawn_from, part.which), self._keys[part.which]) for part in self._parts]
            most_steps = min(shared.chunk_steps(divided, each, most_steps, len(self._parts)) for each in places)
        length = _equal_chunks(stage.steps, most_steps)
        for part in self._parts:
            part.shared = itertools.repeat(shared)
            if isinstance(shared, Stream):
                part.shared = shared.chunks(divided, _taken(self.group.runs, part.which), self._keys[part.which], done, length)
        return length

    def train(self, length: int, done: int) -> tuple[Any, Any]:
        """Trains every run for a chunk from step `done`.

        Returns:
          For each loss term its mean over the chunk, and the first step at which it was not finite: (runs,) host arrays.
        """
        stage, said = self.mode.stage(self.group.stage), []
        for part in self._parts:
            state = part.state if self._stays else self.mode.spread(part.state)
            runs, keys = self._inputs(part)
            state, *of_chunk = self.mode.train_chunk(stage, length, state, next(part.shared), runs, keys, done)
            self._put(part, state)
            said.append(self._gathered(part, tuple(of_chunk)))
        return self._whole(said)

    def end(self) -> None:
        """Lets go of what was prepared for chunks to come."""
        for part in self._parts:
            part.shared = iter(())

    def outputs(
        self,
        function: str,
        *static: int,
        runs: Any = None,
        only: Sequence[int] | None = None,
        keys: np.ndarray | None = None,
    ) -> Any:
        """`stage.<function>` for every run, as host arrays with the runs on axis 0.

        Args:
          function: a method that takes state, shared arrays, run arrays, key, and the `static` sizes.
          runs: other run arrays than those trained on, stacked on axis 0.
          only: the runs that are asked, in this order; all of them if None.
          keys: (only, 2) raw keys in the place of the runs' own, where `only` names the runs.
        """
        shared = self.group.shared
        if isinstance(shared, Stream):
            shared = shared.for_outputs(self.group.stage, self._no_rows())
        if only is not None:
            which = np.asarray(only)
            state = self.mode.spread(_taken(self.state(), which))
            inputs = self.mode.spread(_taken(self.group.runs if runs is None else runs, which))
            spread_keys = self.mode.spread(self._keys[which] if keys is None else keys)
            said = self.mode.outputs(self.group.stage, function, state, shared, inputs, spread_keys, *static)
            return self.mode.gather(said, len(which))

        def ask(part: _Part) -> Any:
            other = None if runs is None else self.mode.spread(_taken(runs, part.which))
            return self._ask(part, function, shared, other, *static)

        return self._whole([ask(part) for part in self._parts])

    def outputs_of_rows(self, function: str, rows: np.ndarray, size: int, *static: int) -> Any:
        """`stage.<function>` of rows of the corpus, `size` at a time, as host arrays (runs, rows, …).

        Args:
          function: a method that takes state, shared arrays, (run arrays, rows), key, and the `static` sizes.
          rows: (runs, n) of each run.
        """
        stage, shared = self.group.stage, self.group.shared
        starts = range(0, rows.shape[1], size)
        # The last block is filled up with rows that it has.
        blocks = [rows[:, np.minimum(np.arange(start, start + size), rows.shape[1] - 1)] for start in starts]
        if isinstance(shared, Stream):
            sizes = shared.sizes([block[part.which] for block in blocks for part in self._parts])
        said = []
        for start, block in zip(starts, blocks, strict=True):
            of_parts = []
            for part in self._parts:
                of_part = block[part.which]
                table = shared.for_outputs(stage, of_part, sizes) if isinstance(shared, Stream) else shared
                asked = (self._inputs(part)[0], self.mode.spread(of_part))
                of_parts.append(self._ask(part, function, table, asked, *static))
            kept = min(size, rows.shape[1] - start)
            said.append(jax.tree.map(lambda leaf, kept=kept: leaf[:, :kept], self._whole(of_parts)))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *said)

    def alone(self, only: Sequence[int]) -> Loaded:
        """Some of the runs without what they trained on, which can then leave the devices: to be asked of given rows."""
        which = np.asarray(only)
        names = [self.group.names[number] for number in only]
        nothing = self.mode.replicate(np.zeros((), np.float32))  # pmap takes axes of other arguments for an empty one's
        group = replace(self.group, names=names, shared=nothing, runs=np.zeros(len(names), np.int32))
        loaded = Loaded(self.mode, group)
        loaded.load(_taken(self.state(), which))
        return loaded

    @property
    def _stays(self) -> bool:
        return len(self._parts) == 1

    def _no_rows(self) -> np.ndarray:
        return np.zeros((len(self.group.names), 1), np.int32)

    def _inputs(self, part: _Part) -> tuple[Any, Any]:
        """The arrays and keys of a part's runs, on the devices."""
        if part.inputs is not None:
            return part.inputs
        inputs = (self.mode.spread(_taken(self.group.runs, part.which)), self.mode.spread(self._keys[part.which]))
        if self._stays:
            part.inputs = inputs
        return inputs

    def _put(self, part: _Part, state: Any) -> None:
        part.state = state if self._stays else self._gathered(part, state)

    def _gathered(self, part: _Part, tree: Any) -> Any:
        return self.mode.gather(tree, len(part.which))

    def _ask(self, part: _Part, function: str, shared: Any, other: Any, *static: int) -> Any:
        state = part.state if self._stays else self.mode.spread(part.state)
        runs, keys = self._inputs(part)
        arguments = (state, shared, runs if other is None else other, keys, *static)
        return self._gathered(part, self.mode.outputs(self.group.stage, function, *arguments))

    def _whole(self, of_parts: Sequence[Any]) -> Any:
        """One tree from those of the parts, without what fills up the last."""
        runs = len(self.group.names)
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:runs], *of_parts)


@dataclass
class _Part:
    """Some of a group's runs: their numbers; on the devices their arrays and keys, if they stay; and what they share."""

    which: np.ndarray
    inputs: tuple[Any, Any] | None = None
    state: Any = None
    shared: Iterator[Any] = iter(())


def _equal_chunks(steps: int, most: int) -> int:
    """The steps of each of the fewest chunks of at most so many."""
    return -(-steps // -(-steps // most))


def _taken(tree: Any, which: np.ndarray) -> Any:
    def take(leaf: Any) -> np.ndarray:
        leaf = np.asarray(leaf)
        return leaf if np.array_equal(which, np.arange(len(leaf))) else leaf[which]  # all of it need not be copied

    return jax.tree.map(take, tree)
