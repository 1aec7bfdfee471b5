"""The optimisers' shared setting: Adam with rates that may be traced numbers, a cosine decay, and moving averages."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

#: Labelled rows that a head's weight decay is meant for; and the most of the weights that a step takes away, which is what
#: the growth below so many rows ends at.
DECAY_ROWS, MOST_DECAY = 4000, 0.1


def decay_for(labelled: int, weight_decay: float, learning_rate: float) -> float:
    """The weight decay of a head with so many labelled rows, as under a prior of fixed strength.

    Args:
      labelled: number of rows; below `DECAY_ROWS` the decay grows in proportion, up to `MOST_DECAY` a step at the full rate.
      weight_decay, learning_rate: as configured; a decay that is larger by itself stays as it is.
    """
    grown = weight_decay * max(1.0, DECAY_ROWS / max(labelled, 1))
    return max(weight_decay, min(grown, MOST_DECAY / max(learning_rate, 1e-30)))


def adamw(
    learning_rate: Float[Array, ""] | float,
    weight_decay: Float[Array, ""] | float,
    progress: Float[Array, ""] | float = 0.0,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    multipliers: Any = None,
) -> optax.GradientTransformation:
    """AdamW (arXiv 1711.05101) whose learning rate falls to 0 by a half cosine over `progress` in [0, 1].

    Its state does not depend on the numbers, so the transformation may be built anew in every traced step.

    Args:
      multipliers: of Adam's step, not of the decay: a tree like the parameters, of arrays that broadcast to them.
    """
    rate = learning_rate * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
    return optax.chain(
        _scale_by_adam(b1, b2, multipliers=multipliers),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(rate),
    )


def adamw_step(
    gradients: Any,
    params: Any,
    optimizer: optax.OptState,
    numbers: Mapping[str, Any],
    progress: Float[Array, ""],
    multipliers: Any = None,
) -> tuple[Any, optax.OptState]:
    """Parameters and the optimiser's state after a step of `adamw` by a run's learning_rate and weight_decay."""
    transformation = adamw(numbers["learning_rate"], numbers["weight_decay"], progress, multipliers=multipliers)
    updates, optimizer = transformation.update(gradients, optimizer, params)
    return optax.apply_updates(params, updates), optimizer


def adam(learning_rate: Float[Array, ""] | float, *, b1: float, b2: float) -> optax.GradientTransformation:
    """Adam (arXiv 1412.6980) at a constant rate, for adversarial games, which have no end to decay to."""
    return optax.chain(_scale_by_adam(b1, b2), optax.scale_by_learning_rate(learning_rate))


def _scale_by_adam(b1: float, b2: float, eps: float = 1e-8, multipliers: Any = None) -> optax.GradientTransformation:
    """`optax.scale_by_adam`, its corrections gathered into two scalars (arXiv 1412.6980, end of section 2).

    One division and one root for each parameter are left, and no sum is computed twice.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, optax.ScaleByAdamState]:
        count = jnp.asarray(optax.safe_increment(state.count))
        mean = jax.tree.map(lambda g, m: b1 * m + (1.0 - b1) * g, updates, state.mu)
        square = jax.tree.map(lambda g, v: b2 * v + (1.0 - b2) * g**2, updates, state.nu)
        root = jnp.sqrt(1.0 - b2 ** count.astype(jnp.float32))
        rate = root / (1.0 - b1 ** count.astype(jnp.float32))
        updates = jax.tree.map(lambda m, v: rate * m / (jnp.sqrt(v) + eps * root), mean, square)
        if multipliers is not None:
            updates = jax.tree.map(jnp.multiply, updates, multipliers)
        return updates, optax.ScaleByAdamState(count, mean, square)

    return optax.GradientTransformation(optax.scale_by_adam(b1=b1, b2=b2, eps=eps).init, update)


def moving_average(new: Any, average: Any, decay: Float[Array, ""] | float, step: Float[Array, ""] | float) -> Any:
    """The exponential moving average of a pytree after `step` earlier updates, corrected for its start.

    The share of the new value is (1 − d) / (1 − d^(step + 1)): the weights sum to 1 over what has been averaged, as in
    Adam (arXiv 1412.6980, section 3), so that nothing is left of what `average` held before the first update.
    """
    return optax.incremental_update(new, average, (1.0 - decay) / (1.0 - decay ** (step + 1.0)))
