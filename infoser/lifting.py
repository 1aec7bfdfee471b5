"""From one run to many: a stage, written for one run and one device, lifted to the runs that a device holds.

On an accelerator runs are batched by `vmap`: small steps are bound by launching. On a CPU `lax.map` takes them one after the
other: batched products of small matrices are slower there than the same products by themselves, and a run's numbers then do not
depend on its company.
"""

from __future__ import annotations

import functools
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from infoser.threefry import typed_key

NEVER = np.iinfo(np.int32).max

#: How often each compiled function was traced, by (stage name, function); read by tests.
trace_counts: Counter[tuple[str, str]] = Counter()


class Stage(Protocol):
    """One stage of a run: pure functions, written for one run on one device.

    An instance holds structure only (widths, batch sizes, which inputs): it is hashable, and equal stages share one
    compiled program. Everything that is a mere number (weights, rates, row tables, statistics) comes in as an array.
    """

    @property
    def name(self) -> str:
        """Names folders, progress and metrics."""
        ...

    @property
    def steps(self) -> int:
        """Number of training steps."""
        ...

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the loss terms in the order of their computation."""
        ...

    def init(self, shared: Any, run: Any, key: jax.Array) -> Any:
        """The state (a pytree of arrays) before the first step; `shared` is common to all runs, `run` this run's own."""
        ...

    @property
    def reads(self) -> tuple[str, ...]:
        """Which of the features it reads: audio, text, audio_frames, text_frames."""
        ...

    def frames_read(self) -> tuple[int, int]:
        """The most frames of audio and of text that a step of a run reads on one device."""
        ...

    def draws_from(self, run: Any) -> Any:
        """As much of a run's arrays as `rows_read` needs."""
        ...

    def rows_read(self, drawn_from: Any, key: jax.Array) -> jax.Array:
        """(draws, batch) the rows whose features a step with this key reads, in whole batches."""
        ...

    def train_step(
        self, state: Any, shared: Any, run: Any, key: jax.Array, progress: jax.Array
    ) -> tuple[Any, dict[str, jax.Array]]:
        """One step with the key of this run, stage and step, `progress` of the way (in [0, 1)): new state, loss terms."""
        ...


@struct.dataclass
class Streamed:
    """What all runs share, where the features do not stay on the devices.

    Attributes:
      resident: the same on every device; has `joined(table)`, which puts a table's arrays in their place.
      table: each device's own; axis 0 are the devices.
    """

    resident: Any
    table: Any


def one_by_one() -> bool:
    """Whether a device computes its runs one after the other."""
    return jax.default_backend() == "cpu"


def lift(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one run's arrays, for stacks of them."""
    if one_by_one():
        return lambda *stacked: jax.lax.map(lambda one: function(*one), stacked)
    return jax.vmap(function)


def lifted(stage: Any, name: str, static: tuple[int, ...]) -> Callable[..., Any]:
    """One function of a stage, lifted to the runs that one device holds; counts its traces."""

    def init(shared: Any, runs: Any, keys: Any) -> Any:
        trace_counts[stage.name, name] += 1
        shared = _joined(shared)
        # A number that no step has: `split` and `fold_in` of one key make the same keys.
        return lift(lambda run, key: stage.init(shared, run, jax.random.fold_in(_typed(stage, key), NEVER)))(runs, keys)

    def chunk(state: Any, shared: Any, runs: Any, keys: Any, start: Any) -> Any:
        trace_counts[stage.name, name] += 1
        shared = _joined(shared)
        own = functools.partial(_typed, stage, one_pass=one_by_one())
        return lift(lambda s, run, key: _chunk(stage, static[0], s, shared, run, own(key), start))(state, runs, keys)

    def outputs(state: Any, shared: Any, runs: Any, keys: Any) -> Any:
        trace_counts[stage.name, name] += 1
        shared = _joined(shared)
        method = getattr(stage, name)
        return lift(lambda s, run, key: method(s, shared, run, _typed(stage, key), *static))(state, runs, keys)

    return {"init": init, "chunk": chunk}.get(name, outputs)


@functools.cache
def rows_of_chunk(stage: Any, length: int) -> Callable[..., Any]:
    """Compiled: (runs, steps, draws, batch) the rows that steps read, from what runs draw from, their keys, a first step."""

    def of_run(run: Any, key: jax.Array, start: jax.Array) -> jax.Array:
        own = _typed(stage, key)
        return jax.vmap(lambda step: stage.rows_read(run, jax.random.fold_in(own, step)))(start + jnp.arange(length))

    return jax.jit(lambda runs, keys, start: jax.lax.map(lambda one: of_run(one[0], one[1], start), (runs, keys)))


def _joined(shared: Any) -> Any:
    return shared.resident.joined(shared.table) if isinstance(shared, Streamed) else shared


def _typed(stage: Stage, key: jax.Array, *, one_pass: bool = False) -> jax.Array:
    """The key of a run and stage, from the run's raw key."""
    return jax.random.fold_in(typed_key(key, one_pass=one_pass), zlib.crc32(stage.name.encode()) & 0x7FFFFFFF)


def _chunk(
    stage: Stage, length: int, state: Any, shared: Any, run: Any, key: jax.Array, start: jax.Array
) -> tuple[Any, Any, Any]:
    """One run's chunk as one loop, which ends at the stage's last step, so that every chunk is the same program."""

    def step_terms(state: Any, step: jax.Array) -> tuple[Any, Any]:
        return stage.train_step(state, shared, run, jax.random.fold_in(key, step), step / stage.steps)

    names = stage.terms  # asking a step for them would trace it twice
    zeros = {name: jnp.zeros(()) for name in names}
    never = {name: jnp.int32(NEVER) for name in names}

    def advance(step: jax.Array, carry: Any) -> Any:
        state, sums, first_bad = carry
        state, terms = step_terms(state, step)
        sums = {name: sums[name] + terms[name] for name in names}
        first_bad = {name: jnp.minimum(first_bad[name], jnp.where(jnp.isfinite(terms[name]), NEVER, step)) for name in names}
        return state, sums, first_bad

    # A loop of so many steps, not a condition within each: that would copy the state once a step.
    end = jnp.minimum(start + length, stage.steps)
    state, sums, first_bad = jax.lax.fori_loop(start, end, advance, (state, zeros, never))
    return state, {name: total / (end - start) for name, total in sums.items()}, first_bad
