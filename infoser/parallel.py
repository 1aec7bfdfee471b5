"""The only module that knows devices: gives each its share of a group's runs, or of every batch.

Runs mode: each device takes an equal share of the runs and trains them without any communication, as
`pmap(lifted(chunk))`.

Data mode: every batch is divided over the devices, gradients are averaged, negatives gathered.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from infoser import exchange, host_resources, hosts
from infoser.batch_axis import SINGLE, BatchAxis
from infoser.compilation_cache import Compiled, with_fewer_copies
from infoser.errors import InfoserError
from infoser.lifting import Stage, Streamed, lifted, one_by_one, rows_of_chunk

#: Bytes of features that a CPU's devices may hold together, however little memory is available.
_LEAST = 2**28


def use_all_cores(cores: int = 0) -> None:
    """Gives a CPU-only machine one device per core, so that runs train side by side; no effect once a backend runs.

    Small steps keep a single core busy; XLA's own threads help only with large products.

    Args:
      cores: how many; 0 for all that this process may use.
    """
    config: Any = jax.config  # its options are attributes that type checkers can't see
    cores = cores or host_resources.cores()
    if cores > 1 and config.jax_num_cpu_devices < 1:  # -1: nobody has set it
        jax.config.update("jax_num_cpu_devices", cores)


def device_count() -> int:
    """Number of devices that runs are spread over: those of all hosts."""
    exchange.check_devices()
    return jax.device_count()


def default_budget() -> int:
    """Bytes of features that may stay on each device: half of its memory; of a CPU's, a quarter of what is available.

    Of several hosts the smallest budget counts for all. The CPU's devices together have at least `_LEAST`: tables of less
    would save nothing that counts.
    """
    limits = [(device.memory_stats() or {}).get("bytes_limit", 0) for device in exchange.own_devices()]
    budget = min(limits) // 2
    if not budget:
        budget = max(_LEAST, host_resources.available_memory() // 4) // len(limits)
    if hosts.count() == 1:
        return budget
    return -exchange.agree(-(budget >> 20))[0] << 20  # in MiB: 32 bits are exchanged


def device_kind() -> str:
    """The devices in words, for provenance."""
    where = f" on {hosts.count()} hosts" if hosts.count() > 1 else ""
    return f"{jax.device_count()} × {exchange.own_devices()[0].device_kind}{where}"


def versions() -> dict[str, str]:
    """Versions of the libraries that numbers depend on."""
    return {package: importlib.metadata.version(package) for package in ("jax", "jaxlib", "flax", "optax", "numpy")}


def run_keys(seeds: Sequence[int], folds: Sequence[str]) -> jax.Array:
    """(runs, 2) raw keys, one for each run's seed and fold; stage and step are folded in where they are used.

    Variants of the same fold and seed share their key, and so their real batches.
    """
    keys = [
        jax.random.fold_in(jax.random.key(seed), zlib.crc32(fold.encode()) & 0x7FFFFFFF)
        for seed, fold in zip(seeds, folds, strict=True)
    ]
    return jnp.stack([jax.random.key_data(key) for key in keys])


class RunsMode:
    """Each device trains its share of the runs, without communication.

    Args:
      accumulate: parts that networks read a batch in, one after the other.
    """

    def __init__(self, accumulate: int = 1) -> None:
        self.axis = BatchAxis(parts=accumulate)

    def check_batch(self, flag: str, batch_size: int, pack: int = 1) -> None:
        """Refuses a batch that can't be read in equal parts, which devices share equally where they share batches.

        Args:
          flag: names the batch.
          batch_size: its rows.
          pack: rows that stay together.

        Raises:
          InfoserError: naming the flag.
        """
        size, parts = self.axis.size, self.axis.parts
        if size * parts > 1 and batch_size % (size * parts * pack):
            devices = f"--parallel data divides batches over {size} devices equally" if size > 1 else ""
            accumulate = f"--accumulate {parts} reads them in equal parts" if parts > 1 else ""
            packs = f"--generate.pack {pack} keeps so many rows together" if pack > 1 else ""
            raise InfoserError(f"{flag} {batch_size}: {', and '.join(filter(None, (devices, accumulate, packs)))}")

    def stage(self, stage: Any) -> Any:
        """The structure as it trains in this mode."""
        return stage if self.axis == SINGLE else dataclasses.replace(stage, axis=self.axis)

    def spread(self, tree: Any) -> Any:
        """Stacks of runs (axis 0) dealt out: each leaf (runs, …) becomes (devices, runs per device, …).

        The last run is repeated to fill the last device; `gather` drops what was filled in. Of several hosts each has the
        whole stack, and puts on its devices what is theirs: axis 0 are its own devices.
        """
        devices, own = device_count(), _own_part()
        sharding = NamedSharding(_mesh(), PartitionSpec("devices"))

        def deal(leaf: Any) -> jax.Array:
            leaf = np.asarray(leaf)
            per_device = -(-leaf.shape[0] // devices)
            index = np.minimum(np.arange(devices * per_device), leaf.shape[0] - 1).reshape(devices, per_device)
            return jax.device_put(leaf[index[own]], sharding)

        return jax.tree.map(deal, tree)

    def gather(self, tree: Any, runs: int) -> Any:
        """The inverse of `spread`, on every host: (devices, runs per device, …) to NumPy arrays (runs, …)."""

        def flat(leaf: np.ndarray) -> np.ndarray:
            return leaf.reshape(leaf.shape[0] * leaf.shape[1], *leaf.shape[2:])[:runs]

        return jax.tree.map(flat, exchange.gather(tree))

    def replicate(self, tree: Any) -> Any:
        """Puts arrays that all runs share on every device, once."""
        return _replicated(tree)

    def together(self, runs: int) -> int:
        """How many of so many runs a device computes at the same time."""
        return 1 if one_by_one() else -(-runs // device_count())

    def steps_rows(self, rows: np.ndarray) -> list[np.ndarray]:
        """The rows that each device's steps read.

        Args:
          rows: (runs, steps, draws, batch) of whole batches.
        """
        return self.output_rows(rows)

    def output_rows(self, rows: np.ndarray) -> list[np.ndarray]:
        """The rows that each device's `outputs` read, of (runs, …) rows of all runs."""
        return [rows[own] for own in self._own_runs(len(rows))]

    def _own_runs(self, runs: int) -> list[np.ndarray]:
        """The runs of each device of this host."""
        return list(np.asarray(self.spread(np.arange(runs))))

    def streamed(self, resident: Any, tables: Any) -> Streamed:
        """What runs share, from tables of each device, stacked on axis 0."""
        return Streamed(resident, jax.device_put(tables, NamedSharding(_mesh(), PartitionSpec("devices"))))

    def streamed_outputs(self, resident: Any, tables: Any) -> Any:
        """The same, for `outputs`."""
        return self.streamed(resident, tables)

    def prepare(self, stage: Stage, length: int, shared: Any, runs: Any, keys: Any) -> None:
        """Begins to compile `init_runs` and `train_chunk` beside each other, where that can be; else does nothing."""
        init = _runs_function(undivided(stage), "init", (), _is_streamed(shared))
        chunk = _runs_function(stage, "chunk", (length,), _is_streamed(shared))
        if isinstance(init, Compiled) and isinstance(chunk, Compiled):
            state = init.prepare(shared, runs, keys)
            if state is not None:
                chunk.prepare(state, shared, runs, keys, jnp.int32(0))

    def init_runs(self, stage: Stage, shared: Any, runs: Any, keys: Any) -> Any:
        """The state of every run before its first step; `runs` and `keys` are spread, `shared` replicated."""
        return _runs_function(undivided(stage), "init", (), _is_streamed(shared))(shared, runs, keys)

    def train_chunk(
        self, stage: Stage, length: int, state: Any, shared: Any, runs: Any, keys: Any, start: int
    ) -> tuple[Any, Any, Any]:
        """Trains every run for up to `length` steps from step `start`, stopping at `stage.steps`, in one compiled call.

        Args:
          state: spread states; donated.
          keys: spread run keys.

        Returns:
          The new states; for each loss term its mean over the chunk; and the first step at which it was not finite
          (NEVER if it always was). The latter two are dictionaries of spread arrays.
        """
        return _runs_function(stage, "chunk", (length,), _is_streamed(shared))(state, shared, runs, keys, jnp.int32(start))

    def outputs(self, stage: Any, function: str, state: Any, shared: Any, runs: Any, keys: Any, *static: int) -> Any:
        """Calls `stage.<function>(state, shared, run, key, *static)` for every run."""
        return _runs_function(undivided(stage), function, static, _is_streamed(shared))(state, shared, runs, keys)


class DataMode(RunsMode):
    """Every batch is divided over the devices; runs train one after the other, their states replicated.

    The gradients are those of the whole batch: means over devices, with the negatives of a contrastive loss gathered from
    all of them.
    """

    def __init__(self, accumulate: int = 1) -> None:
        self.axis = BatchAxis("devices", device_count(), accumulate)

    def spread(self, tree: Any) -> Any:
        """All runs to every device."""
        return _replicated(tree)

    def gather(self, tree: Any, runs: int) -> Any:
        """All runs, on the host."""
        return jax.tree.map(lambda leaf: np.asarray(leaf)[:runs], tree)

    def together(self, runs: int) -> int:
        """As in runs mode; every device has all runs."""
        return 1 if one_by_one() else runs

    def steps_rows(self, rows: np.ndarray) -> list[np.ndarray]:
        """As in runs mode: each device reads its own places of every batch."""
        shared = rows.reshape(*rows.shape[:-1], self.axis.parts, self.axis.size, -1)
        devices = np.arange(self.axis.size)[_own_part()]
        return [shared[..., device, :].reshape(*rows.shape[:-1], -1) for device in devices]

    def output_rows(self, rows: np.ndarray) -> list[np.ndarray]:
        """As in runs mode, on undivided batches: the same for all devices, said once."""
        return [rows]

    def streamed_outputs(self, resident: Any, tables: Any) -> Any:
        """As in runs mode; there is one table for all devices."""
        return resident.joined(_replicated(jax.tree.map(lambda leaf: leaf[0], tables)))

    def prepare(self, stage: Stage, length: int, shared: Any, runs: Any, keys: Any) -> None:
        """Nothing: here each is compiled when it is called."""

    def init_runs(self, stage: Stage, shared: Any, runs: Any, keys: Any) -> Any:
        """As in runs mode; parameters do not depend on how batches are divided."""
        return _replicated(_whole_function(undivided(stage), "init", ())(shared, runs, keys))

    def train_chunk(
        self, stage: Stage, length: int, state: Any, shared: Any, runs: Any, keys: Any, start: int
    ) -> tuple[Any, Any, Any]:
        """As in runs mode; the state is not donated, since every device holds it."""
        number = np.arange(self.axis.size)[_own_part()]
        return _data_function(stage, length, _is_streamed(shared))(number, state, shared, runs, keys, jnp.int32(start))

    def outputs(self, stage: Any, function: str, state: Any, shared: Any, runs: Any, keys: Any, *static: int) -> Any:
        """As in runs mode, on undivided batches."""
        return _whole_function(undivided(stage), function, static)(state, shared, runs, keys)


def make_mode(name: str, accumulate: int = 1) -> RunsMode:
    """The mode of that name: `runs` or `data`."""
    return {"runs": RunsMode, "data": DataMode}[name](accumulate)


def rows_of_steps(stage: Any, length: int, drawn_from: Any, keys: Any, start: int) -> np.ndarray:
    """(runs, steps, draws, batch) the rows that the steps from `start` read, computed beside the training devices if possible.

    Args:
      stage: undivided.
      drawn_from: `stage.draws_from` of the runs, stacked on axis 0; on the host.
      keys: (runs, 2) raw keys.
    """
    try:
        host = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # the platforms were restricted to an accelerator
        host = jax.local_devices()[0]
    with jax.default_device(host):
        return np.asarray(rows_of_chunk(stage, length)(drawn_from, keys, np.int32(start)))


def _is_streamed(shared: Any) -> bool:
    return isinstance(shared, Streamed)


@functools.cache
def _runs_function(stage: Any, name: str, static: tuple[int, ...], streamed: bool) -> Callable[..., Any]:
    """Compiled for runs spread over the devices; built once for equal stages."""
    shared = Streamed(None, 0) if streamed else None
    axes = {"init": (shared, 0, 0), "chunk": (0, shared, 0, 0, None)}.get(name, (0, shared, 0, 0))
    donated = (0,) if name == "chunk" else ()
    # Without communication, each host's devices are a program of their own.
    devices = exchange.own_devices() if hosts.count() > 1 else None
    return _compiled(jax.pmap(lifted(stage, name, static), in_axes=axes, donate_argnums=donated, devices=devices))


@functools.cache
def _whole_function(stage: Any, name: str, static: tuple[int, ...]) -> Callable[..., Any]:
    """Compiled for undivided batches and all runs, the same on every device."""
    return jax.jit(lifted(stage, name, static))


@functools.cache
def _data_function(stage: Any, length: int, streamed: bool) -> Callable[..., Any]:
    """A chunk compiled for batches divided over the devices: the device's number is the only thing that is mapped."""
    chunk = lifted(stage, "chunk", (length,))
    return _compiled(
        jax.pmap(
            lambda _, *arguments: chunk(*arguments),
            axis_name=stage.axis.name,
            devices=exchange.all_devices() if hosts.count() > 1 else None,
            in_axes=(0, None, Streamed(None, 0) if streamed else None, None, None, None),
            out_axes=(None, None, None),  # pyright: ignore[reportArgumentType]
        )
    )


def _compiled(function: Any) -> Callable[..., Any]:
    """With the compiler's options; of several hosts each call turns its arrays into global ones first, which needs `pmap`."""
    return function if hosts.count() > 1 else with_fewer_copies(function)


def undivided(stage: Any) -> Any:
    """The structure with whole batches."""
    return stage if stage.axis == SINGLE else dataclasses.replace(stage, axis=SINGLE)


def _mesh() -> Mesh:
    """The devices of this host."""
    return Mesh(np.asarray(exchange.own_devices()), ("devices",))


def _own_part() -> slice:
    """Which of the devices of all hosts are this host's."""
    own = len(exchange.own_devices())
    return slice(hosts.index() * own, (hosts.index() + 1) * own)


def _replicated(tree: Any) -> Any:
    sharding = NamedSharding(_mesh(), PartitionSpec())
    return jax.tree.map(lambda leaf: jax.device_put(leaf, sharding), tree)
