"""The only module that knows devices: lifts a stage, written for one run, to groups of runs spread over all devices.

Runs mode: each device takes an equal share of the runs and trains them without any communication, as
`pmap(lift(chunk))`. On an accelerator `lift` is `vmap`: small steps are bound by launching, so runs are batched. On a CPU
it is `lax.map`: batched products of small matrices are slower there than the same products one after the other, and a
run's numbers then do not depend on its company at all.
"""

from __future__ import annotations

import functools
import importlib.metadata
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

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

    def train_step(
        self, state: Any, shared: Any, run: Any, key: jax.Array, progress: jax.Array
    ) -> tuple[Any, dict[str, jax.Array]]:
        """One step with the key of this run, stage and step, `progress` of the way (in [0, 1)): new state, loss terms."""
        ...


def use_all_cores(cores: int) -> None:
    """Gives a CPU-only machine one device per core, so that runs train side by side; no effect once a backend runs.

    Small steps keep a single core busy; XLA's own threads help only with large products.
    """
    config: Any = jax.config  # its options are attributes that type checkers can't see
    if cores > 1 and config.jax_num_cpu_devices <= 1:
        jax.config.update("jax_num_cpu_devices", cores)


def device_count() -> int:
    """Number of devices that runs are spread over."""
    return jax.local_device_count()


def device_kind() -> str:
    """The devices in words, for provenance."""
    return f"{jax.local_device_count()} × {jax.local_devices()[0].device_kind}"


def versions() -> dict[str, str]:
    """Versions of the libraries that numbers depend on."""
    return {package: importlib.metadata.version(package) for package in ("jax", "jaxlib", "flax", "optax", "numpy")}


def spread(tree: Any) -> Any:
    """Stacks of runs (axis 0) dealt out to the devices: each leaf (runs, …) becomes (devices, runs per device, …).

    The last run is repeated to fill the last device; `gather` drops what was filled in.
    """
    devices = device_count()
    sharding = NamedSharding(Mesh(np.asarray(jax.local_devices()), ("runs",)), PartitionSpec("runs"))

    def deal(leaf: Any) -> jax.Array:
        leaf = jnp.asarray(leaf)
        per_device = -(-leaf.shape[0] // devices)
        index = np.minimum(np.arange(devices * per_device), leaf.shape[0] - 1)
        return jax.device_put(leaf[index].reshape(devices, per_device, *leaf.shape[1:]), sharding)

    return jax.tree.map(deal, tree)


def gather(tree: Any, runs: int) -> Any:
    """The inverse of `spread`, on the host: (devices, runs per device, …) to NumPy arrays (runs, …)."""

    def collect(leaf: jax.Array) -> np.ndarray:
        flat = leaf.reshape(-1, *leaf.shape[2:])[:runs]
        return np.asarray(flat)

    return jax.tree.map(collect, tree)


def replicate(tree: Any) -> Any:
    """Puts arrays that all runs share on every device, once."""
    sharding = NamedSharding(Mesh(np.asarray(jax.local_devices()), ("runs",)), PartitionSpec())
    return jax.tree.map(lambda leaf: jax.device_put(leaf, sharding), tree)


def run_keys(seeds: Sequence[int], folds: Sequence[str]) -> jax.Array:
    """(runs, 2) raw keys, one for each run's seed and fold; stage and step are folded in where they are used.

    Variants of the same fold and seed share their key, and so their real batches.
    """
    keys = [
        jax.random.fold_in(jax.random.key(seed), zlib.crc32(fold.encode()) & 0x7FFFFFFF)
        for seed, fold in zip(seeds, folds, strict=True)
    ]
    return jnp.stack([jax.random.key_data(key) for key in keys])


def init_runs(stage: Stage, shared: Any, runs: Any, keys: jax.Array) -> Any:
    """The state of every run before its first step; `runs` and `keys` are spread, `shared` replicated."""
    return _lifted(stage, "init")(shared, runs, keys)


def train_chunk(
    stage: Stage, length: int, state: Any, shared: Any, runs: Any, keys: jax.Array, start: int
) -> tuple[Any, Any, Any]:
    """Trains every run for up to `length` steps from step `start`, stopping at `stage.steps`, in one compiled call.

    Args:
      state: spread states; donated.
      keys: spread run keys.

    Returns:
      The new states; for each loss term its mean over the chunk; and the first step at which it was not finite (NEVER
      if it always was). Both are dictionaries of (devices, runs per device) arrays.
    """
    return _lifted(stage, f"chunk {length}")(state, shared, runs, keys, jnp.int32(start))


def run_outputs(stage: Any, function: str, state: Any, shared: Any, runs: Any, keys: jax.Array, *static: int) -> Any:
    """Calls `stage.<function>(state, shared, run, key, *static)` for every run."""
    return _lifted(stage, function, static)(state, shared, runs, keys)


def _lift(function: Callable[..., Any]) -> Callable[..., Any]:
    if jax.default_backend() == "cpu":
        return lambda *stacked: jax.lax.map(lambda one: function(*one), stacked)
    return jax.vmap(function)


@functools.cache
def _lifted(stage: Any, name: str, static: tuple[int, ...] = ()) -> Callable[..., Any]:
    """The compiled, lifted function of that name: built once for equal stages."""

    def typed(key: jax.Array) -> jax.Array:
        return jax.random.fold_in(jax.random.wrap_key_data(key), _stage_number(stage.name))

    def count() -> None:
        trace_counts[stage.name, name] += 1

    if name == "init":

        def init(shared: Any, runs: Any, keys: jax.Array) -> Any:
            count()
            return _lift(lambda run, key: stage.init(shared, run, typed(key)))(runs, keys)

        return jax.pmap(init, in_axes=(None, 0, 0))

    if name.startswith("chunk "):
        length = int(name.removeprefix("chunk "))

        def chunk(state: Any, shared: Any, runs: Any, keys: jax.Array, start: jax.Array) -> Any:
            count()
            return _lift(lambda s, run, key: _chunk(stage, length, s, shared, run, typed(key), start))(state, runs, keys)

        return jax.pmap(chunk, in_axes=(0, None, 0, 0, None), donate_argnums=0)

    def outputs(state: Any, shared: Any, runs: Any, keys: jax.Array) -> Any:
        count()
        method = getattr(stage, name)
        return _lift(lambda s, run, key: method(s, shared, run, typed(key), *static))(state, runs, keys)

    return jax.pmap(outputs, in_axes=(0, None, 0, 0))


def _chunk(
    stage: Stage, length: int, state: Any, shared: Any, run: Any, key: jax.Array, start: jax.Array
) -> tuple[Any, Any, Any]:
    """One run's chunk as one scan; steps past the stage's last are skipped, so that every chunk is the same program."""

    def step_terms(state: Any, step: jax.Array) -> tuple[Any, Any]:
        return stage.train_step(state, shared, run, jax.random.fold_in(key, step), step / stage.steps)

    names = jax.eval_shape(step_terms, state, start)[1]
    zeros = {name: jnp.zeros(()) for name in names}
    never = {name: jnp.int32(NEVER) for name in names}

    def advance(carry: Any, step: jax.Array) -> Any:
        state, sums, first_bad = carry
        state, terms = step_terms(state, step)
        sums = {name: sums[name] + terms[name] for name in names}
        first_bad = {name: jnp.minimum(first_bad[name], jnp.where(jnp.isfinite(terms[name]), NEVER, step)) for name in names}
        return state, sums, first_bad

    def body(carry: Any, step: jax.Array) -> tuple[Any, None]:
        return jax.lax.cond(step < stage.steps, advance, lambda carry, _: carry, carry, step), None

    (state, sums, first_bad), _ = jax.lax.scan(body, (state, zeros, never), start + jnp.arange(length))
    done = jnp.minimum(length, stage.steps - start)
    return state, {name: total / done for name, total in sums.items()}, first_bad


def _stage_number(name: str) -> int:
    return zlib.crc32(name.encode()) & 0x7FFFFFFF  # Python's own hash is salted per process
