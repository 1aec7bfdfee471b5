"""Layers with few outputs: the same numbers and derivatives as Linen's own, whatever the shape and type."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infoser.models import apply, narrow
from infoser.models.mlp import MLP


def layers(outputs):
    return nn.Dense(outputs, dot_general=narrow.dot_general), nn.Dense(outputs)


@pytest.mark.parametrize("outputs", [1, 2, 4, narrow.MOST, narrow.MOST + 1])
def test_values_gradients_and_derivatives_of_gradients_are_those_of_the_product(outputs):
    rng = np.random.default_rng(outputs)
    with jax.enable_x64(True):
        x, weights = jnp.asarray(rng.standard_normal((7, 5))), jnp.asarray(rng.standard_normal((7, outputs)))
        params = {"params": {"kernel": jnp.asarray(rng.standard_normal((5, outputs))), "bias": jnp.ones(outputs)}}

        def said(layer):
            def loss(params, x):
                return (weights * jnp.tanh(apply(layer, params, x))).sum()

            def penalty(params, x):
                return (jax.grad(loss, argnums=1)(params, x) ** 2).sum()

            return [loss(params, x), *(jax.grad(one, argnums=(0, 1))(params, x) for one in (loss, penalty))]

        found, expected = map(said, layers(outputs))
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "outputs", "dtype", "sums"),
    [
        ((7, 5), 4, "float32", True),
        ((7, 5), 1, "float32", False),
        ((7, 5), narrow.MOST + 1, "float32", False),
        ((3, 7, 5), 4, "float32", False),
        ((7, 5), 4, "bfloat16", False),
    ],
)
def test_only_a_few_columns_of_rows_are_summed(shape, outputs, dtype, sums):
    x, kernel = jnp.ones(shape, dtype), jnp.ones((shape[-1], outputs), dtype)

    def products(layer):
        def loss(kernel, x):
            return apply(layer, {"params": {"kernel": kernel, "bias": jnp.zeros(outputs, dtype)}}, x).sum()

        return str(jax.make_jaxpr(jax.grad(loss, argnums=(0, 1)))(kernel, x)).count("dot_general")

    own, plain = map(products, layers(outputs))
    assert (own, plain) == (2 if sums else 3, 3)


def test_runs_together_have_the_gradients_of_runs_alone():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((3, 8, 5)), jnp.float32)
    params = jax.vmap(lambda key: MLP((6,), 4).init(key, x[0]))(jax.random.split(jax.random.key(0), 3))

    def gradient(params, x):
        return jax.grad(lambda params: (apply(MLP((6,), 4), params, x) ** 2).sum())(params)

    together = jax.vmap(gradient)(params, x)
    for run in range(3):
        alone = gradient(jax.tree.map(lambda leaf, run=run: leaf[run], params), x[run])
        for one, other in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(one[run], other, rtol=1e-5, atol=1e-6)
