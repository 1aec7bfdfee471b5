"""The batch as a step sees it: whole on one device, or a slice of it on each of several."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class BatchAxis:
    """How a batch is spread over devices, and over time; all that a step needs to know of either.

    Random draws are made for the whole batch on every device and sliced, so that a batch and its noise do not depend on
    the number of devices. A batch of several parts is divided part by part: each device has its share of every part.

    Attributes:
      name: of the mapped axis; None for a single device.
      size: number of devices that share a batch.
      parts: how many parts a model reads a batch in, one after the other, so that only one part's activations are in memory.
    """

    name: str | None = None
    size: int = 1
    parts: int = 1

    def local(self, batch: Shaped[Array, "batch *rest"]) -> Shaped[Array, "local *rest"]:
        """This device's rows of a whole batch; its length must be a multiple of `size` times `parts`."""
        if self.name is None:
            return batch
        shared = batch.reshape(self.parts, self.size, -1, *batch.shape[1:])
        own = jax.lax.dynamic_index_in_dim(shared, jax.lax.axis_index(self.name), axis=1, keepdims=False)
        return own.reshape(-1, *batch.shape[1:])

    def whole(self, rows: Shaped[Array, "local *rest"]) -> Shaped[Array, "batch *rest"]:
        """The whole batch from every device's rows; gradients flow back to the devices that the rows came from."""
        if self.name is None:
            return rows
        by_part = rows.reshape(self.parts, -1, *rows.shape[1:])
        return jax.lax.all_gather(by_part, self.name, axis=1, tiled=True).reshape(-1, *rows.shape[1:])

    def mean(self, tree: T) -> T:
        """Mean over devices: of gradients of a mean over each one's rows, the gradient of the mean over the whole batch."""
        return tree if self.name is None else jax.lax.pmean(tree, self.name)

    def in_parts(self, function: Callable[..., R], key: jax.Array, *rows: Any) -> R:
        """`function(axis, key, *rows)` of a device's rows, computed part by part and put together again.

        Gradients are those of the whole: in their turn the parts are computed again, so that the activations of one are in
        memory at a time. Each part has a key of its own.

        Args:
          function: of an axis without parts, a key and rows; row i of what it returns must depend on row i alone.
          rows: pytrees of arrays (local, …).
        """
        if self.parts == 1:
            return function(self, key, *rows)
        divided = jax.tree.map(lambda leaf: leaf.reshape(self.parts, -1, *leaf.shape[1:]), rows)
        axis = replace(self, parts=1)

        def of_part(part: Any) -> R:
            number, own = part
            return function(axis, jax.random.fold_in(key, number), *own)

        said = jax.lax.map(jax.checkpoint(of_part), (jnp.arange(self.parts), divided))
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), said)


SINGLE = BatchAxis()


def drop(
    x: Shaped[Array, "local dim"], rate: Shaped[Array, ""] | float, key: jax.Array, axis: BatchAxis = SINGLE
) -> Shaped[Array, "local dim"]:
    """Dropout whose rate may be a traced number, so that runs with different rates share one program (Linen's may not).

    The rate is rounded to the nearest 256th below 1: a mask takes a byte of random bits, whose drawing costs the most of it.
    """
    keep, threshold = _kept((x.shape[0] * axis.size, *x.shape[1:]), rate, key)
    keep = axis.local(keep)
    return jnp.where(keep, (x / (1.0 - threshold / 256.0)).astype(x.dtype), jnp.zeros((), x.dtype))


def dropout_factors(
    shape: tuple[int, int, int], rate: Shaped[Array, ""] | float, key: jax.Array, axis: BatchAxis = SINGLE
) -> Shaped[Array, "batches local dim"]:
    """What `drop` multiplies by, drawn for several batches at once: 0, or 1 / (1 − rate).

    Args:
      shape: (batches, rows of each on this device, width).
    """
    batches, local, width = shape
    keep, threshold = _kept((batches, local * axis.size, width), rate, key)
    return jnp.where(jax.vmap(axis.local)(keep), 1.0 / (1.0 - threshold / 256.0), 0.0)


def _kept(shape: tuple[int, ...], rate: Any, key: jax.Array) -> tuple[Shaped[Array, "..."], Shaped[Array, ""]]:
    """What is not dropped, and the number below which random bytes are."""
    threshold = jnp.clip(jnp.round(256.0 * jnp.asarray(rate)), 0, 255)
    return _random_bytes(key, shape) >= threshold.astype(jnp.uint32), threshold


def _random_bytes(key: jax.Array, shape: tuple[int, ...]) -> Shaped[Array, "..."]:
    """Numbers in 0..255, four of each random word."""
    size = math.prod(shape)
    words = jax.random.bits(key, (-(-size // 4),), jnp.uint32)
    shifted = [jnp.right_shift(words, jnp.uint32(8 * place)) & jnp.uint32(255) for place in range(4)]
    return jnp.concatenate(shifted)[:size].reshape(shape)
