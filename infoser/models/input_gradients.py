"""D's scores of two batches, and its input gradients at one of them or at a third, with one backward pass for both.

D without spectral normalisation or a classifier is linear within each of the pieces that its leaky rectifiers make:

    h₁ = p₁∘(x·W₁ + b₁)    h₂ = p₂∘(h₁·W₂ + b₂)    D = ⟨h₂, d⟩ + b₀    d = w₀ + (c, t)·V/√width

with factors p of 1 or 0.2, p₁ times those of dropout. Its input gradient is ∇ₓD = u·W₁ᵀ with u = p₁∘(v·W₂ᵀ) and v = p₂∘d. A
loss of both has, for each row, the derivatives a = ∂L/∂D (0 of the third batch) and s = ∂L/∂∇ₓD (0 where none is asked for).
As p does not change with the parameters, the loss' gradients are those of a·D(x) + ⟨s, ∇ₓD(x)⟩: of the same linear function,
its factors those at x, read at a·x + s with biases times a. So v and u, which ∇ₓD was computed from, are all of its backward
pass, and each weight takes one product:

    ∂L/∂W₁ = (a·x + s)ᵀ·u             s₁ = p₁∘(s·W₁)    ∂L/∂b₁ = aᵀ·u
    ∂L/∂W₂ = (a·h₁ + s₁)ᵀ·v           s₂ = p₂∘(s₁·W₂)   ∂L/∂b₂ = aᵀ·v
    ∂L/∂V  = (c, t)ᵀ·(a·h₂ + s₂)/√width, and its sum over rows is ∂L/∂w₀

JAX's derivatives of the backward pass that gives ∇ₓD take a product of each weight for a and another for s, for real and for
generated rows apart, and v·W₂ᵀ a second time.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from infoser.models.discriminator import LEAK
from infoser.models.generator import Condition

_Said = tuple[Float[Array, "2 rows"], Float[Array, "rows dim"]]


@jax.custom_vjp
def scores_and_input_gradients(
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
        # Two products, not one of stacked conditions: XLA computes what they are made of a second time to stack them.
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
    v = second_factors * directions
    u = first_factors * (v @ second["kernel"].T)
    input_gradients = u[-rows:] @ first["kernel"].T
    kept = params, x, conditions, first_factors, first_hidden, second_factors, second_hidden, v, u
    return (scores.reshape(2, rows), input_gradients), kept


def _backward(kept: Any, derivatives: _Said) -> tuple[Any, None, None, None]:
    params, x, conditions, first_factors, first_hidden, second_factors, second_hidden, v, u = kept
    by_score, by_input_gradient = derivatives[0].reshape(-1), derivatives[1]
    rows, scored, layers = len(by_input_gradient), len(by_score), params["params"]
    first_tangent = first_factors[-rows:] * (by_input_gradient @ layers["first"]["kernel"])
    second_tangent = second_factors[-rows:] * (first_tangent @ layers["second"]["kernel"])

    def weighted(inputs: Any, tangent: Any) -> Any:
        """a times a layer's inputs, plus s as it gets there."""
        own = by_score[:, None] * inputs[:scored]
        return jnp.concatenate([own, tangent] if len(inputs) > scored else [own[:-rows], own[-rows:] + tangent])

    def weighted_sum(rows_of: Any) -> Any:
        """aᵀ times u or v: a sum, whose order, unlike that of a product, is the same on any number of a CPU's threads."""
        return (by_score[:, None] * rows_of[:scored]).sum(axis=0)

    last = by_score[:, None] * second_hidden[:scored]
    last = jnp.concatenate([last[:-rows], last[-rows:] + second_tangent])  # the third batch has the second's conditions
    gradients = {
        "first": {"kernel": weighted(x, by_input_gradient).T @ u, "bias": weighted_sum(u)},
        "second": {"kernel": weighted(first_hidden, first_tangent).T @ v, "bias": weighted_sum(v)},
        "score": {"kernel": last.sum(axis=0)[:, None], "bias": by_score.sum(keepdims=True)},
    }
    if "projection" in layers:
        of_both = conditions[0].T @ last[:rows] + conditions[1].T @ last[rows:]
        gradients["projection"] = {"kernel": of_both / jnp.sqrt(last.shape[1]).astype(x.dtype)}
    return {"params": gradients}, None, None, None


def _slope(x: Any) -> Any:
    return jnp.where(x >= 0, jnp.ones((), x.dtype), jnp.asarray(LEAK, x.dtype))


scores_and_input_gradients.defvjp(_forward, _backward)
