"""The batch as a step sees it: whole on one device, or a slice of it on each of several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped

T = TypeVar("T")


@dataclass(frozen=True)
class BatchAxis:
    """How a batch is spread over devices; all that a step needs to know of them.

    Random draws are made for the whole batch on every device and sliced, so that a batch and its noise do not depend on
    the number of devices.

    Attributes:
      name: of the mapped axis; None for a single device.
      size: number of devices that share a batch.
    """

    name: str | None = None
    size: int = 1

    def local(self, batch: Shaped[Array, "batch *rest"]) -> Shaped[Array, "local *rest"]:
        """This device's rows of a whole batch; its length must be a multiple of `size`."""
        if self.name is None:
            return batch
        rows = batch.shape[0] // self.size
        return jax.lax.dynamic_slice_in_dim(batch, jax.lax.axis_index(self.name) * rows, rows)

    def whole(self, rows: Shaped[Array, "local *rest"]) -> Shaped[Array, "batch *rest"]:
        """The whole batch from every device's rows; gradients flow back to the devices that the rows came from."""
        if self.name is None:
            return rows
        return jax.lax.all_gather(rows, self.name, axis=0, tiled=True)

    def mean(self, tree: T) -> T:
        """Mean over devices: of gradients of a mean over each one's rows, the gradient of the mean over the whole batch."""
        return tree if self.name is None else jax.lax.pmean(tree, self.name)


SINGLE = BatchAxis()


def drop(
    x: Shaped[Array, "local dim"], rate: Shaped[Array, ""] | float, key: jax.Array, axis: BatchAxis = SINGLE
) -> Shaped[Array, "local dim"]:
    """Dropout whose rate may be a traced number, so that runs with different rates share one program (Linen's may not)."""
    keep = axis.local(jax.random.bernoulli(key, 1.0 - rate, (x.shape[0] * axis.size, *x.shape[1:])))
    return jnp.where(keep, x / (1.0 - rate), 0.0)
