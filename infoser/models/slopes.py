"""D's scores of a batch and its slopes at a part of it, with one backward pass for both.

D without spectral normalisation or a classifier is linear within each of the pieces that its leaky rectifiers make:

    h₁ = p₁∘(x·W₁ + b₁)    h₂ = p₂∘(h₁·W₂ + b₂)    D = ⟨h₂, d⟩ + b₀    d = w₀ + (c, t)·V/√width

with factors p of 1 or 0.2, p₁ times those of dropout. Its slope is ∇ₓD = u·W₁ᵀ with u = p₁∘(v·W₂ᵀ) and v = p₂∘d. A loss of both
has towards each row the derivatives a = ∂L/∂D and s = ∂L/∂∇ₓD, and as p does not change with the parameters, its gradients are
those of a·D(x) + ⟨s, ∇ₓD(x)⟩, the same linear function at a·x + s with biases times a. So v and u, which the slope was computed
from, are all of its backward pass, and each weight takes one product:

    ∂L/∂W₁ = (a·x + s)ᵀ·u    ∂L/∂W₂ = (a·h₁ + p₁∘(s·W₁))ᵀ·v    …

Differentiating the slope's own backward pass instead takes a product of each weight for a, another for s, and for real and
generated rows apart; and v·W₂ᵀ once more.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from infoser.models.generator import Condition

_LEAK = 0.2  # of `discriminator.Discriminator`
_Said = tuple[Float[Array, "two rows"], Float[Array, "rows dim"]]


@jax.custom_vjp
def scores_and_slopes(
    params: Any,
    features: Float[Array, "batches rows dim"],
    conditions: tuple[Condition, Condition],
    factors: Float[Array, "batches rows width"],
) -> _Said:
    """Scores of two batches, and ∇ₓD at the last one: the second, or a third under the second's conditions.

    As `Discriminator(width).apply(params, …, train=True)` says. Gradients flow towards `params` alone.

    Args:
      params: of a plain `Discriminator`.
      features: two batches, or three; packs are rows here.
      conditions: of the first and the second.
      factors: dropout's, of the first layer's output.
    """
    return _forward(params, features, conditions, factors)[0]


def _forward(params: Any, features: Any, conditions: Any, factors: Any) -> tuple[_Said, Any]:
    layers, (batches, rows, dim) = params["params"], features.shape
    x, dropout = features.reshape(-1, dim), factors.reshape(batches * rows, -1)
    first, second, score = layers["first"], layers["second"], layers["score"]
    direction = jnp.broadcast_to(score["kernel"][:, 0], (2 * rows, len(score["kernel"])))
    if "projection" in layers:
        # Two products, not one of both side by side: what conditions are made of would be computed anew to put them there.
        products = [condition @ layers["projection"]["kernel"] for condition in conditions]
        direction += jnp.concatenate(products) / jnp.sqrt(direction.shape[1]).astype(x.dtype)
    onto = x @ first["kernel"] + first["bias"][None]
    first_factors = _slope(onto) * dropout
    first_hidden = onto * first_factors
    onto = first_hidden @ second["kernel"] + second["bias"][None]
    second_factors = _slope(onto)
    second_hidden = onto * second_factors
    scores = (second_hidden[: 2 * rows] * direction).sum(axis=1) + score["bias"]
    directions = direction if batches == 2 else jnp.concatenate([direction, direction[rows:]])
    from_second = second_factors * directions
    from_first = first_factors * (from_second @ second["kernel"].T)
    slopes = from_first[-rows:] @ first["kernel"].T
    kept = params, x, conditions, first_factors, first_hidden, second_factors, second_hidden, from_second, from_first
    return (scores.reshape(2, rows), slopes), kept


def _backward(kept: Any, derivatives: _Said) -> tuple[Any, None, None, None]:
    params, x, conditions, first_factors, first_hidden, second_factors, second_hidden, from_second, from_first = kept
    by_score, by_slope = derivatives[0].reshape(-1), derivatives[1]
    rows, scored, layers = len(by_slope), len(by_score), params["params"]
    onward = first_factors[-rows:] * (by_slope @ layers["first"]["kernel"])
    further = second_factors[-rows:] * (onward @ layers["second"]["kernel"])

    def weighted(inputs: Any, tangent: Any) -> Any:
        """a times a layer's inputs, plus what the slope's derivatives are there."""
        own = by_score[:, None] * inputs[:scored]
        return jnp.concatenate([own, tangent] if len(inputs) > scored else [own[:-rows], own[-rows:] + tangent])

    def bias(slopes: Any) -> Any:
        return by_score @ slopes[:scored]

    last = by_score[:, None] * second_hidden[:scored]
    last = jnp.concatenate([last[:-rows], last[-rows:] + further])  # the third batch has the second's conditions
    gradients = {
        "first": {"kernel": weighted(x, by_slope).T @ from_first, "bias": bias(from_first)},
        "second": {"kernel": weighted(first_hidden, onward).T @ from_second, "bias": bias(from_second)},
        "score": {"kernel": last.sum(axis=0)[:, None], "bias": by_score.sum(keepdims=True)},
    }
    if "projection" in layers:
        halves = zip(conditions, (last[:rows], last[rows:]), strict=True)
        scale = jnp.sqrt(last.shape[1]).astype(x.dtype)
        gradients["projection"] = {"kernel": sum((c.T @ half for c, half in halves), jnp.zeros((), x.dtype)) / scale}
    return {"params": gradients}, None, None, None


def _slope(x: Any) -> Any:
    return jnp.where(x >= 0, jnp.ones((), x.dtype), jnp.asarray(_LEAK, x.dtype))


scores_and_slopes.defvjp(_forward, _backward)
