"""Scores and input gradients of D from one pass, against the network itself and JAX's derivatives of its derivatives."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infoser.models import apply, discriminator
from infoser.models.discriminator import Discriminator
from infoser.models.input_gradients import scores_and_input_gradients

ROWS, DIM, WIDTH = 7, 5, 6


def parameters(rng, of_condition):
    shapes = {
        "first": {"kernel": (DIM, WIDTH), "bias": (WIDTH,)},
        "second": {"kernel": (WIDTH, WIDTH), "bias": (WIDTH,)},
        "score": {"kernel": (WIDTH, 1), "bias": (1,)},
    }
    if of_condition:
        shapes["projection"] = {"kernel": (of_condition, WIDTH)}
    return {"params": jax.tree.map(rng.standard_normal, shapes, is_leaf=lambda leaf: isinstance(leaf, tuple))}


@pytest.mark.usefixtures("strict_arrays")
@pytest.mark.parametrize("batches", [2, 3])
@pytest.mark.parametrize("of_condition", [0, 4])
def test_scores_and_both_gradients_are_the_networks(monkeypatch, batches, of_condition):
    rng = np.random.default_rng(batches + of_condition)
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, parameters(rng, of_condition))
        features = jnp.asarray(rng.standard_normal((batches, ROWS, DIM)))
        conditions = tuple(jnp.asarray(rng.standard_normal((ROWS, of_condition))) for _ in range(2))
        factors = jnp.asarray(np.where(rng.random((batches, ROWS, WIDTH)) < 0.3, 0.0, 1.5))
        on_scores = jnp.asarray(rng.standard_normal((2, ROWS)))

        def loss(scores, at_inputs):
            return (on_scores * jnp.tanh(scores)).sum() + jnp.sin(at_inputs).sum() * (at_inputs**2).mean()

        def of_network(params):
            def judge(x, batch):
                monkeypatch.setattr(discriminator, "drop", lambda hidden, *_: hidden * factors[batch])
                rngs = {"dropout": jax.random.key(0)}
                return apply(Discriminator(WIDTH), params, x, conditions[min(batch, 1)], 0.3, train=True, rngs=rngs).score

            scores = jnp.stack([judge(features[batch], batch) for batch in range(2)])
            at_inputs = jax.grad(lambda x: judge(x, batches - 1).sum())(features[-1])
            return loss(scores, at_inputs), (scores, at_inputs)

        def of_one_pass(params):
            said = scores_and_input_gradients(params, features, conditions, factors)
            return loss(*said), said

        expected, found = (jax.jit(jax.grad(one, has_aux=True))(params) for one in (of_network, of_one_pass))
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype == np.float64 and np.abs(other).max() > 1e-3
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.usefixtures("strict_arrays")
def test_runs_may_be_batched():
    """As an accelerator takes them."""
    rng = np.random.default_rng(0)
    runs = [jax.tree.map(jnp.asarray, parameters(rng, 4)) for _ in range(3)]
    features, factors = jnp.asarray(rng.standard_normal((3, ROWS, DIM))), jnp.ones((3, ROWS, WIDTH))
    conditions = (jnp.asarray(rng.standard_normal((ROWS, 4))), jnp.ones((ROWS, 4)))

    def loss(params, features):
        scores, at_inputs = scores_and_input_gradients(params, features, conditions, factors)
        return (scores**2).sum() + jnp.sin(at_inputs).sum()

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *runs)
    found = jax.vmap(jax.grad(loss), in_axes=(0, None))(stacked, features)
    for place, params in enumerate(runs):
        alone = jax.grad(loss)(params, features)
        own = jax.tree.map(operator.itemgetter(place), found)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), own, alone)
