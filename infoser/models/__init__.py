"""Flax Linen modules: the aligner, the generator, the discriminator with Q, and the classifier head."""

from typing import Any

import flax.linen as nn


def apply(module: nn.Module, params: Any, *arguments: Any, **keywords: Any) -> Any:
    """`module.apply` where nothing is mutable: returns the module's own output, whatever its type."""
    return module.apply(params, *arguments, **keywords)
