"""Arrays exchanged between hosts; on a single host nothing happens. All hosts must call these functions in the same order."""

from __future__ import annotations

import functools
import pickle
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from infoser import hosts
from infoser.errors import InfoserError

T = TypeVar("T")

_PIECE = 1 << 22  # bytes that are shared at a time


def gather(tree: Any) -> Any:
    """Arrays of each host's devices (local devices, …), to NumPy arrays of all devices (hosts × local devices, …), everywhere.

    Each device passes on its part to the same device of every other host, so that no device needs room for all.
    """
    if hosts.count() == 1:
        return jax.tree.map(np.asarray, tree)
    sharding = NamedSharding(_mesh(), PartitionSpec(("hosts", "devices")))

    def everywhere(leaf: jax.Array) -> jax.Array:
        shape = (hosts.count() * leaf.shape[0], *leaf.shape[1:])
        return jax.make_array_from_single_device_arrays(shape, sharding, [part.data for part in leaf.addressable_shards])

    def assembled(leaf: jax.Array) -> np.ndarray:
        parts = sorted(leaf.addressable_shards, key=lambda shard: shard.index[1].start or 0)
        whole = np.concatenate([np.asarray(part.data) for part in parts], axis=1)
        return whole.reshape(-1, *whole.shape[2:])

    return jax.tree.map(assembled, _all_gather()(jax.tree.map(everywhere, tree)))


def agree(*values: int) -> tuple[int, ...]:
    """The largest of what each host says: of clocks and signals, which differ between hosts."""
    if hosts.count() == 1:
        return values
    return tuple(multihost_utils.process_allgather(np.array(values, np.int32)).max(axis=0).tolist())


def from_primary(make: Callable[..., T], *arguments: Any) -> T:
    """What `make` returns on the primary host, a pytree of NumPy arrays and plain values, on all hosts; called there only."""
    if hosts.count() == 1:
        return make(*arguments)
    sent = pickle.dumps(make(*arguments)) if hosts.primary() else b""
    pieces, rest = agree(len(sent) // _PIECE, len(sent) % _PIECE)
    received = bytearray()
    for start in range(0, pieces * _PIECE + bool(rest), _PIECE):
        piece = np.zeros(_PIECE if start < pieces * _PIECE else rest, np.uint8)
        piece[:] = np.frombuffer(sent[start : start + len(piece)], np.uint8) if hosts.primary() else 0
        received += multihost_utils.broadcast_one_to_all(piece).tobytes()
    return pickle.loads(received)


def all_devices() -> list[Any]:
    """The devices of all hosts, host by host; what is spread over devices follows this order."""
    return sorted(jax.devices(), key=lambda device: device.process_index)


def own_devices() -> list[Any]:
    """The devices of this host, in the same order."""
    return [device for device in jax.devices() if device.process_index == jax.process_index()]


def check_devices() -> None:
    """Refuses hosts with different numbers of devices.

    Raises:
      InfoserError: saying how many each has.
    """
    of_host = Counter(device.process_index for device in jax.devices())
    if len(set(of_host.values())) > 1:
        raise InfoserError(
            f"hosts 0 to {hosts.count() - 1} have {', '.join(str(of_host[host]) for host in sorted(of_host))} devices: give "
            "all equally many; on CPUs JAX_NUM_CPU_DEVICES says how many"
        )


@functools.cache
def _mesh() -> Mesh:
    """(hosts, devices of each)."""
    check_devices()
    return Mesh(np.array(all_devices()).reshape(hosts.count(), -1), ("hosts", "devices"))


@functools.cache
def _all_gather() -> Callable[[Any], Any]:
    def by_host(leaf: jax.Array) -> jax.Array:
        return leaf.reshape(hosts.count(), leaf.shape[0] // hosts.count(), *leaf.shape[1:])

    sharding = NamedSharding(_mesh(), PartitionSpec(None, "devices"))
    return jax.jit(lambda tree: jax.tree.map(by_host, tree), out_shardings=sharding)
