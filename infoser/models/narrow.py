"""Linear layers with a handful of outputs, whose weights' gradients XLA computes slowly on a CPU.

Such a gradient is a product (in, rows)·(rows, out). With few columns its time there is that of rearranging its left side, many
times that of its arithmetic; as a sum over rows it need not be rearranged. What that is worth for heads:
`tests/benchmarks/speed.py --only heads`.
"""

from __future__ import annotations

from typing import Any

import jax
from jaxtyping import Array, Float

#: Columns up to which the sum is quicker than the product.
MOST = 8


def dot_general(x: Any, kernel: Any, dimension_numbers: Any, precision: Any = None, **keywords: Any) -> Any:
    """`jax.lax.dot_general` of a dense layer (Linen's argument of that name), with the sum where it is quicker.

    That has derivatives by reverse mode alone, and theirs; not by forward mode (`jax.jvp`).
    """
    few = x.ndim == 2 and 1 < kernel.shape[1] <= MOST  # one column is a product with a vector, which XLA computes well
    exact = x.dtype.itemsize >= 4 and precision is None and not keywords  # shorter ones would be rounded before they are summed
    if few and exact and jax.default_backend() == "cpu":
        return _product(x, kernel)
    return jax.lax.dot_general(x, kernel, dimension_numbers, precision=precision, **keywords)


@jax.custom_vjp
def _product(x: Float[Array, "rows in"], kernel: Float[Array, "in out"]) -> Float[Array, "rows out"]:
    return x @ kernel


def _forward(x: Any, kernel: Any) -> tuple[Any, Any]:
    return x @ kernel, (x, kernel)


def _backward(kept: Any, derivative: Any) -> tuple[Any, Any]:
    x, kernel = kept
    return derivative @ kernel.T, (derivative[:, :, None] * x[:, None, :]).sum(axis=0).T


_product.defvjp(_forward, _backward)
