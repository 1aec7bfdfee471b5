"""The optimisers' shared setting: Adam with rates that may be traced numbers, a cosine decay, and moving averages."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float


def adamw(
    learning_rate: Float[Array, ""] | float,
    weight_decay: Float[Array, ""] | float,
    progress: Float[Array, ""] | float = 0.0,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
) -> optax.GradientTransformation:
    """AdamW (arXiv 1711.05101) whose learning rate falls to 0 by a half cosine over `progress` in [0, 1].

    Its state does not depend on the numbers, so the transformation may be built anew in every traced step.
    """
    rate = learning_rate * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
    return optax.chain(
        optax.scale_by_adam(b1=b1, b2=b2),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(rate),
    )


def adamw_step(
    gradients: Any, params: Any, optimizer: optax.OptState, numbers: Mapping[str, Any], progress: Float[Array, ""]
) -> tuple[Any, optax.OptState]:
    """Parameters and the optimiser's state after a step of `adamw` by a run's learning_rate and weight_decay."""
    transformation = adamw(numbers["learning_rate"], numbers["weight_decay"], progress)
    updates, optimizer = transformation.update(gradients, optimizer, params)
    return optax.apply_updates(params, updates), optimizer


def adam(learning_rate: Float[Array, ""] | float, *, b1: float, b2: float) -> optax.GradientTransformation:
    """Adam (arXiv 1412.6980) at a constant rate, for adversarial games, which have no end to decay to."""
    return optax.chain(optax.scale_by_adam(b1=b1, b2=b2), optax.scale_by_learning_rate(learning_rate))


def moving_average(new: Any, average: Any, decay: Float[Array, ""] | float, step: Float[Array, ""] | float) -> Any:
    """The exponential moving average of a pytree after `step` earlier updates, corrected for its start.

    The share of the new value is (1 − d) / (1 − d^(step + 1)): the weights sum to 1 over what has been averaged, as in
    Adam (arXiv 1412.6980, section 3), so that nothing is left of what `average` held before the first update.
    """
    return optax.incremental_update(new, average, (1.0 - decay) / (1.0 - decay ** (step + 1.0)))
