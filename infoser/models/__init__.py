"""Flax Linen modules: the aligner, the generator, the discriminator with Q, and the classifier head."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


def apply(module: nn.Module, params: Any, *arguments: Any, dtype: str = "float32", **keywords: Any) -> Any:
    """`module.apply` where nothing is mutable: returns the module's own output, whatever its type.

    Args:
      dtype: what is computed in, from casts of parameters and arguments; the output, and so gradients, are float32 again.
        Single numbers, such as rates, are not cast.
    """
    if dtype == "float32":
        return module.apply(params, *arguments, **keywords)
    lower = jax.tree.map(lambda leaf: _cast(leaf, jnp.float32, dtype), (params, arguments))
    said = module.apply(lower[0], *lower[1], **keywords)
    return jax.tree.map(lambda leaf: _cast(leaf, dtype, jnp.float32), said)


def _cast(leaf: Any, old: Any, new: Any) -> Any:
    return leaf.astype(new) if jnp.ndim(leaf) and leaf.dtype == old else leaf
