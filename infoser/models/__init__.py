"""Flax Linen modules: the aligner, the generator, the discriminator with Q, and the classifier head."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


def apply(module: nn.Module, params: Any, *arguments: Any, dtype: str = "float32", **keywords: Any) -> Any:
    """`module.apply` where nothing is mutable: returns the module's own output, whatever its type.

    Args:
      dtype: what is computed in, as by `in_dtype`.
    """
    return in_dtype(module.apply, dtype)(params, *arguments, **keywords)


def in_dtype(function: Callable[..., Any], dtype: str) -> Callable[..., Any]:
    """The function, computed in a dtype, from casts of positional arguments; its output, and so gradients, are float32 again.

    Single numbers, such as rates, are not cast.
    """
    if dtype == "float32":
        return function

    def lowered(*arguments: Any, **keywords: Any) -> Any:
        said = function(*jax.tree.map(lambda leaf: _cast(leaf, jnp.float32, dtype), arguments), **keywords)
        return jax.tree.map(lambda leaf: _cast(leaf, dtype, jnp.float32), said)

    return lowered


def _cast(leaf: Any, old: Any, new: Any) -> Any:
    return leaf.astype(new) if jnp.ndim(leaf) and leaf.dtype == old else leaf
