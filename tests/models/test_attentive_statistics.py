"""Attentive statistics pooling against its formula, utterance by utterance in NumPy, and its gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infoser.frame_table import TILE, FrameStatistics, FrameTable, PackedFrames, pack, tiles
from infoser.models.pooling import AttentiveStatistics

DIM, WIDTH = 3, 5
POOLING = AttentiveStatistics(WIDTH)
PARAMS = jax.tree.map(
    np.asarray,
    POOLING.init(jax.random.key(0), PackedFrames(jnp.zeros((1, TILE, DIM)), jnp.ones((1, TILE), bool), jnp.ones((1, 1), bool))),
)
POOL = jax.jit(POOLING.apply)


def packed(utterances, spare=1, dtype=np.float32):
    count = np.array([len(one) for one in utterances], np.int32)
    values = np.concatenate([*utterances, np.zeros((1, DIM))]).astype(dtype)
    table = FrameTable(jnp.asarray(values), jnp.asarray(np.cumsum(count) - count), jnp.asarray(count))
    statistics = FrameStatistics(jnp.zeros(DIM, dtype), jnp.ones(DIM, dtype))
    return pack(table, statistics, jnp.arange(len(count)), int(tiles(count).sum()) + spare)


def reference(params, frames):
    """One utterance, in float64."""
    layers = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["params"])
    score = np.tanh(frames @ layers["hidden"]["kernel"] + layers["hidden"]["bias"]) @ layers["score"]["kernel"][:, 0]
    weight = np.exp(score - score.max())
    weight /= weight.sum()
    mean = weight @ frames
    return np.concatenate([mean, np.sqrt(weight @ (frames - mean) ** 2 + 1e-6)])


@settings(derandomize=True, deadline=None, max_examples=30)
@given(counts=st.lists(st.integers(1, 40), min_size=5, max_size=5), seed=st.integers(0, 1000))
def test_each_utterance_is_pooled_as_if_alone(counts, seed):
    rng = np.random.default_rng(seed)
    utterances = [rng.standard_normal((count, DIM)) for count in counts]
    budget = 5 * 5 + 1
    pooled = POOL(PARAMS, packed(utterances, spare=budget - int(tiles(np.array(counts)).sum())))
    expected = np.stack([reference(PARAMS, frames) for frames in utterances])
    np.testing.assert_allclose(pooled, expected, atol=1e-5)


def test_large_scores_do_not_overflow():
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: 100 * leaf, PARAMS)
    utterances = [100 * rng.standard_normal((20, DIM)), rng.standard_normal((3, DIM))]
    pooled = POOL(params, packed(utterances))
    np.testing.assert_allclose(pooled, np.stack([reference(params, frames) for frames in utterances]), rtol=1e-4, atol=1e-3)


def test_an_utterance_without_frames_gives_zeros():
    frames = np.random.default_rng(0).standard_normal((9, DIM))
    pooled = POOL(PARAMS, packed([frames, frames[:0], frames[:1]]))
    np.testing.assert_allclose(pooled[1], [0, 0, 0, 1e-3, 1e-3, 1e-3], rtol=1e-5)
    np.testing.assert_allclose(pooled[2], [*frames[0], 1e-3, 1e-3, 1e-3], atol=1e-6)
    np.testing.assert_allclose(pooled[0], reference(PARAMS, frames), atol=1e-5)


@jax.jit
def weighted_sum(params, values, batch, weights):
    values = jnp.where(batch.inside[..., None], values, 0.0)
    return (POOLING.apply(params, PackedFrames(values, batch.inside, batch.owner)) * weights).sum()


GRADIENT = jax.jit(jax.grad(weighted_sum, argnums=(0, 1)))


@pytest.mark.parametrize("counts", [(1, 9, 17), (8, 0, 33)])
def test_gradients_are_those_of_the_formula(counts):
    rng = np.random.default_rng(1)
    utterances = [rng.standard_normal((count, DIM)) for count in counts]
    weights = rng.standard_normal((3, 2 * DIM))
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: leaf.astype(np.float64), PARAMS)
        batch = packed(utterances, spare=8 - int(tiles(np.array(counts)).sum()), dtype=np.float64)
        inputs = (params, np.asarray(batch.values))
        # What is differentiated is the formula itself.
        pooled = [reference(params, one) if len(one) else np.repeat([0.0, 1e-3], DIM) for one in utterances]
        np.testing.assert_allclose(weighted_sum(*inputs, batch, weights), (pooled * weights).sum(), rtol=1e-10)
        gradient = GRADIENT(*inputs, batch, weights)
        for _ in range(5):
            direction = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape), inputs)
            ends = [jax.tree.map(lambda x, d, step=step: x + step * d, inputs, direction) for step in (1e-6, -1e-6)]
            slope = np.subtract(*(float(weighted_sum(*end, batch, weights)) for end in ends)) / 2e-6
            along = sum(jax.tree.leaves(jax.tree.map(lambda g, d: float((g * d).sum()), gradient, direction)))
            assert slope == pytest.approx(along, rel=1e-6)
