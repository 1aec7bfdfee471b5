"""Adam and AdamW against Optax' own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from infoser.stages.schedule import MOST_DECAY, adam, adamw, decay_for


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e3])  # gradients about as small as Adam's epsilon, and far larger
def test_adam_is_that_of_optax(scale):
    rng = np.random.default_rng(0)
    params = {"a": jnp.zeros((3, 2)), "b": jnp.ones(4)}
    pairs = (
        (adam(0.01, b1=0.5, b2=0.9), optax.adam(0.01, b1=0.5, b2=0.9)),
        (adamw(0.01, 0.1), optax.adamw(0.01, weight_decay=0.1)),
    )
    for one, other in pairs:
        states, ends = [one.init(params), other.init(params)], [params, params]
        assert jax.tree.structure(states[0][0]) == jax.tree.structure(states[1][0])
        for _ in range(5):
            gradients = jax.tree.map(lambda p: jnp.asarray(scale * rng.standard_normal(p.shape), p.dtype), params)
            for side, transformation in enumerate((one, other)):
                updates, states[side] = transformation.update(gradients, states[side], ends[side])
                ends[side] = optax.apply_updates(ends[side], updates)
        for mine, reference in zip(*map(jax.tree.leaves, ends), strict=True):
            np.testing.assert_allclose(mine, reference, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("labelled", "weight_decay", "rate", "expected"),
    [
        (8000, 1.0, 0.003, 1.0),  # as configured
        (4000, 1.0, 0.003, 1.0),
        (400, 1.0, 0.003, 10.0),
        (12, 1.0, 0.003, MOST_DECAY / 0.003),  # not 333: all that is left of the weights is what a step adds
        (0, 1.0, 0.003, MOST_DECAY / 0.003),
        (12, 500.0, 0.003, 500.0),  # asked for
        (12, 0.0, 0.003, 0.0),
        (12, 1.0, 0.0, 4000 / 12),
    ],
)
def test_weight_decay_grows_as_labels_get_fewer_up_to_a_bound(labelled, weight_decay, rate, expected):
    assert decay_for(labelled, weight_decay, rate) == pytest.approx(expected)
