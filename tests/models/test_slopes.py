"""D's scores and slopes from one pass, against the network itself and JAX's derivatives of its derivatives."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_accumulation import given
from test_data_mode import check_parity

from infoser.models import apply, discriminator
from infoser.models.discriminator import Discriminator
from infoser.models.slopes import scores_and_slopes
from infoser.stages.generate import Generate

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
def test_scores_slopes_and_gradients_are_the_networks(monkeypatch, batches, of_condition):
    rng = np.random.default_rng(batches + of_condition)
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, parameters(rng, of_condition))
        features = jnp.asarray(rng.standard_normal((batches, ROWS, DIM)))
        conditions = tuple(jnp.asarray(rng.standard_normal((ROWS, of_condition))) for _ in range(2))
        factors = jnp.asarray(np.where(rng.random((batches, ROWS, WIDTH)) < 0.3, 0.0, 1.5))
        on_scores = jnp.asarray(rng.standard_normal((2, ROWS)))

        def loss(scores, slopes):
            return (on_scores * jnp.tanh(scores)).sum() + jnp.sin(slopes).sum() * (slopes**2).mean()

        def of_network(params):
            def judge(x, batch):
                monkeypatch.setattr(discriminator, "drop", lambda hidden, *_: hidden * factors[batch])
                rngs = {"dropout": jax.random.key(0)}
                return apply(Discriminator(WIDTH), params, x, conditions[min(batch, 1)], 0.3, train=True, rngs=rngs).score

            scores = jnp.stack([judge(features[batch], batch) for batch in range(2)])
            slopes = jax.grad(lambda x: judge(x, batches - 1).sum())(features[-1])
            return loss(scores, slopes), (scores, slopes)

        def of_one_pass(params):
            said = scores_and_slopes(params, features, conditions, factors)
            return loss(*said), said

        expected, found = (jax.jit(jax.grad(one, has_aux=True))(params) for one in (of_network, of_one_pass))
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype == np.float64 and np.abs(other).max() > 1e-3
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("case", ["generate from text", "generate pairs", "generate packs"])
@pytest.mark.parametrize("by_class", [True, False])
def test_a_step_of_d_has_the_gradients_of_its_losses_apart(corpus, monkeypatch, case, by_class):
    with jax.enable_x64(True):
        stage, inputs, gradients = given(corpus, case)
        if not by_class:
            stage, inputs[0] = without_class(stage, inputs)
        found = jax.jit(functools.partial(gradients, stage))(*inputs)
        monkeypatch.setattr(Generate, "_judges_together", False)
        expected = jax.jit(functools.partial(gradients, stage))(*inputs)
    check_parity(found, expected, 1e-11)


def without_class(stage, inputs):
    stage, rng = dataclasses.replace(stage, by_class=False), np.random.default_rng(3)
    shapes = jax.eval_shape(stage.init, *inputs[1:], jax.random.key(0))
    return stage, jax.tree.map(lambda leaf: 0.3 * rng.standard_normal(leaf.shape), shapes)


def test_products_of_a_step_are_fewer(corpus):
    """What the pass is for: the compiler counts fewer operations, those of G and of draws among them."""
    stage, inputs, _ = given(corpus, "generate from text", cast=lambda tree: tree)
    stage = dataclasses.replace(stage, width=64)
    inputs[0] = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(stage.init, *inputs[1:], jax.random.key(0))
    )

    def operations(together):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Generate, "_judges_together", together)
            lowered = jax.jit(lambda *given: stage.discriminator_gradients(*given, jax.random.key(0))).lower(*inputs)
            return lowered.compile().cost_analysis()["flops"]

    assert operations(True) < 0.85 * operations(False)
