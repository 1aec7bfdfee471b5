"""Draws by strata: every row as likely as in independent draws, bounds that no draw exceeds, shares of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from infoser.strata import draw_within_strata, largest_share, shard_of_place, stratum_bounds, stratum_order


def draw(key, count, batch):
    return draw_within_strata(key, count, stratum_order(batch))


DRAW = jax.jit(draw, static_argnums=2)


def test_order_by_hand():
    np.testing.assert_array_equal(stratum_order(8), [0, 4, 2, 6, 1, 5, 3, 7])
    np.testing.assert_array_equal(stratum_order(1), [0])
    np.testing.assert_array_equal(stratum_order(6), [0, 3, 2, 5, 1, 4])  # as of 8, without 6 and 7


@pytest.mark.parametrize("batch", [2, 16, 24, 256, 300])
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_every_device_s_share_has_strata_from_all_over(batch, devices):
    order = stratum_order(batch)
    np.testing.assert_array_equal(np.sort(order), np.arange(batch))
    if batch % devices == 0:
        means = order.reshape(devices, -1).mean(axis=1)
        assert np.ptp(means) <= 2 * devices  # dealt in blocks, the means would be batch / devices apart


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(0, 1000), min_size=1, max_size=200),
    batch=st.sampled_from([1, 5, 24]),
    seed=st.integers(0, 2**31 - 1),
    sort=st.booleans(),
)
def test_no_draw_exceeds_the_bound_of_its_place(sizes, batch, seed, sort):
    sizes = np.array(sorted(sizes) if sort else sizes)
    bounds = stratum_bounds(sizes, batch)
    drawn = np.asarray(DRAW(jax.random.key(seed), jnp.int32(len(sizes)), batch))
    assert drawn.min() >= 0 and drawn.max() < len(sizes)
    assert (sizes[drawn] <= bounds).all()
    for shares in (share for share in (1, 2, 4) if batch % share == 0):
        budget = largest_share(tuple(bounds.tolist()), shares)
        assert sizes[drawn].reshape(shares, -1).sum(axis=1).max() <= budget


def test_the_bound_is_tight():
    sizes = np.arange(1000)
    bounds = stratum_bounds(sizes, 10)
    # Stratum i holds sizes 100·i to 100·i + 99.
    np.testing.assert_array_equal(bounds[np.argsort(stratum_order(10))], range(99, 1000, 100))
    assert largest_share(tuple(bounds.tolist()), 1) == sum(range(99, 1000, 100))
    assert largest_share((0, 0, 0, 0), 2) == 1 and stratum_bounds(np.zeros(0, int), 4).tolist() == [0] * 4


@pytest.mark.parametrize(("count", "batch"), [(10, 16), (16, 16), (37, 16), (100, 24), (7, 1)])
def test_every_row_is_equally_likely(count, batch):
    drawn = np.asarray(jax.vmap(lambda key: DRAW(key, jnp.int32(count), batch))(jax.random.split(jax.random.key(3), 4000)))
    counts = np.bincount(drawn.ravel(), minlength=count)
    assert len(counts) == count
    assert stats.chisquare(counts).pvalue > 0.01


@pytest.mark.parametrize(("count", "batch"), [(100, 25), (96, 8)])
def test_a_batch_has_one_row_of_each_stratum(count, batch):
    drawn = np.asarray(DRAW(jax.random.key(1), jnp.int32(count), batch))
    np.testing.assert_array_equal(drawn // (count // batch), stratum_order(batch))


def test_rows_of_a_large_corpus_are_told_apart():
    """float32 positions in half a million rows would favour some over others."""
    count, batch = 500_003, 4096
    keys = jax.random.split(jax.random.key(0), 200)
    drawn = np.asarray(jax.lax.map(lambda key: DRAW(key, jnp.int32(count), batch), keys)).ravel()
    assert drawn.min() >= 0 and drawn.max() < count
    assert stats.chisquare(np.bincount(drawn % 16)).pvalue > 0.01
    assert stats.chisquare(np.bincount(drawn * 50 // count)).pvalue > 0.01


def test_places_may_have_counts_of_their_own():
    counts = jnp.array([5, 100, 1, 40], jnp.int32)
    drawn = np.stack([DRAW(jax.random.key(seed), counts, 4) for seed in range(300)])
    assert (drawn < np.asarray(counts)).all() and (drawn[:, 2] == 0).all()
    # Places have strata 0, 2, 1, 3: of 5 rows the first 1.25, of 100 the third quarter, of 40 the last.
    assert set(drawn[:, 0]) == {0, 1} and drawn[:, 1].min() >= 50 and drawn[:, 1].max() < 75 and drawn[:, 3].min() >= 30


def test_draws_depend_on_the_key_alone(same):
    first = DRAW(jax.random.key(5), jnp.int32(1000), 32)
    assert same(first, draw(jax.random.key(5), jnp.int32(1000), 32))
    assert not same(first, DRAW(jax.random.key(6), jnp.int32(1000), 32))


def test_virtual_shards_of_places_by_hand():
    np.testing.assert_array_equal(shard_of_place(8, 64), range(8))  # eight strata of eight virtual shards each
    np.testing.assert_array_equal(shard_of_place(8, 4), [0, 0, 1, 1, 2, 2, 3, 3])
    np.testing.assert_array_equal(shard_of_place(6, 4), [0, 0, 0, 1, 1, 1])  # more strata would not be equally likely
    np.testing.assert_array_equal(shard_of_place(5, 4), [0] * 5)
    np.testing.assert_array_equal(shard_of_place(1, 64), [0])


@pytest.mark.parametrize(("count", "batch", "virtual_shards"), [(10, 16, 64), (100, 24, 8), (7, 12, 4), (64, 64, 64)])
def test_every_row_is_equally_likely_over_virtual_shards(count, batch, virtual_shards):
    stratum = shard_of_place(batch, virtual_shards)
    keys = jax.random.split(jax.random.key(4), 4000)
    drawn = np.asarray(jax.vmap(lambda key: draw_within_strata(key, jnp.int32(count), stratum))(keys))
    counts = np.bincount(drawn.ravel(), minlength=count)
    assert len(counts) == count
    assert stats.chisquare(counts).pvalue > 0.01
    # A place never leaves its stratum; a host that holds some places reads their strata alone.
    strata = stratum.max() + 1
    for place, own in enumerate(stratum):
        assert drawn[:, place].min() == own * count // strata
        assert drawn[:, place].max() == ((own + 1) * count - 1) // strata


def test_ten_million_rows_do_not_overflow():
    count, batch = 10_000_019, 128
    stratum = shard_of_place(batch, 64)
    drawn = np.concatenate(
        [draw_within_strata(key, jnp.int32(count), stratum) for key in jax.random.split(jax.random.key(0), 200)]
    )
    assert drawn.min() >= 0 and drawn.max() < count
    np.testing.assert_array_equal(drawn.reshape(200, batch) * 64 // count, np.tile(stratum, (200, 1)))
    assert stats.chisquare(np.bincount(drawn % 16)).pvalue > 0.01
    most = shard_of_place(2**15, 2**15)
    top = np.asarray(draw_within_strata(jax.random.key(1), jnp.int32(2**30 - 1), most))
    np.testing.assert_array_equal(top.astype(np.int64) * 2**15 // (2**30 - 1), most)
