"""D's own step: scores and input gradients of real and generated rows from one pass, and from passes apart."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_accumulation import given
from test_data_mode import check_parity

from infoser.stages import networks
from infoser.stages.generate import Generate


def of_d(corpus, case, **options):
    stage, inputs, _ = given(corpus, case, **options)
    return stage, inputs, lambda stage, *each: [stage.discriminator_gradients(*each, jax.random.key(1))]


@pytest.mark.parametrize("case", ["generate from text", "generate pairs", "generate packs"])
@pytest.mark.parametrize("structure", [{}, {"by_class": False}, {"loss": "non-saturating"}])
def test_a_step_of_d_has_the_gradients_of_its_losses_apart(corpus, monkeypatch, case, structure):
    with jax.enable_x64(True):
        stage, inputs, gradients = of_d(corpus, case)
        stage = dataclasses.replace(stage, **structure)
        if "by_class" in structure:
            inputs[0] = state_of(stage, inputs)
        own = jax.jit(functools.partial(gradients, stage))(*inputs)
        monkeypatch.setattr(Generate, "_judges_together", False)
        expected = jax.jit(functools.partial(gradients, stage))(*inputs)
    check_parity(own, expected, 1e-11)


def state_of(stage, inputs):
    rng, shapes = np.random.default_rng(3), jax.eval_shape(stage.init, *inputs[1:], jax.random.key(0))
    return jax.tree.map(lambda leaf: 0.3 * rng.standard_normal(leaf.shape), shapes)


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
            lowered = jax.jit(lambda *each: stage.discriminator_gradients(*each, jax.random.key(0))).lower(*inputs)
            return lowered.compile().cost_analysis()["flops"]

    assert operations(True) < 0.85 * operations(False)


@pytest.mark.parametrize("case", ["generate from text", "generate packs"])
def test_d_drops_its_own_units_of_each_batch(corpus, monkeypatch, case):
    seen, judge = [], networks.scores_and_input_gradients

    def spy(params, features, conditions, factors):
        seen.append(np.asarray(factors))
        return judge(params, features, conditions, factors)

    monkeypatch.setattr(networks, "scores_and_input_gradients", spy)
    stage, inputs, gradients = of_d(corpus, case, dropout=0.25, cast=lambda tree: jax.tree.map(jnp.asarray, tree))
    gradients(stage, *inputs)
    (factors,) = seen
    batches = 3 if stage.loss == "wasserstein" else 2
    assert factors.shape == (batches, stage.batch_size // stage.pack, stage.width)
    np.testing.assert_allclose(np.unique(factors), [0, 4 / 3], rtol=1e-6)
    assert 0.1 < (factors == 0).mean() < 0.4
    assert not any((factors[0] == other).all() for other in factors[1:])


@pytest.mark.parametrize("structure", [{"spectral_norm": True}, {"auxiliary": True}])
def test_a_d_that_is_not_plain_is_judged_apart(corpus, structure):
    stage, _, _ = of_d(corpus, "generate from text", cast=lambda tree: tree)
    assert stage._judges_together
    assert not dataclasses.replace(stage, **structure)._judges_together
