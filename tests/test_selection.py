"""Which generated rows are kept: how many of each class, the best of each, and none twice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infoser.selection import drawn_for, select, wanted_by_class, within_class_rank

FILLS = ("balanced", "prior", "minority")
counts = st.lists(st.integers(0, 400), min_size=1, max_size=6).filter(any).map(np.array)


def test_what_each_way_of_filling_wants():
    real = np.array([100, 50, 0, 10])
    np.testing.assert_array_equal(wanted_by_class("balanced", real, 90), [30, 30, 0, 30])
    np.testing.assert_array_equal(wanted_by_class("prior", real, 32), [20, 10, 0, 2])
    # Up to 60 of each: the smallest first, the largest not at all.
    np.testing.assert_array_equal(wanted_by_class("minority", real, 60), [0, 10, 0, 50])
    np.testing.assert_array_equal(wanted_by_class("minority", real, 20), [0, 0, 0, 20])
    np.testing.assert_array_equal(wanted_by_class("minority", real, 200), [20, 70, 0, 110])
    np.testing.assert_array_equal(wanted_by_class("balanced", np.array([1, 1, 1]), 5), [2, 2, 1])


@given(counts, st.integers(1, 1000), st.sampled_from(FILLS))
def test_the_wanted_rows_are_as_many_as_asked_and_none_of_a_class_that_does_not_occur(real, size, fill):
    wanted = wanted_by_class(fill, real, size)
    assert wanted.sum() == size and (wanted >= 0).all()
    assert (wanted[real == 0] == 0).all()
    if fill == "minority":  # no filled class is left above one that could have been filled instead
        after = real + wanted
        assert after[wanted > 0].max() <= after[real > 0].min() + 1


@given(counts, st.integers(1, 500), st.sampled_from(FILLS), st.sampled_from([0.1, 0.5, 1.0]), st.integers(0, 2**31))
def test_enough_is_drawn_for_what_is_wanted(real, size, fill, share, seed):
    wanted = wanted_by_class(fill, real, size)
    rng = np.random.default_rng(seed)
    label = rng.choice(np.flatnonzero(real > 0), drawn_for(wanted, int((real > 0).sum()), 64, share))
    rank = within_class_rank(rng.standard_normal(len(label)), label)
    chosen, held = select(label, rank, share, wanted, 64)
    np.testing.assert_array_equal(np.bincount(label[chosen], minlength=len(real)), wanted)
    assert len(held) == 64
    assert len(np.unique(np.concatenate([chosen, held]))) == len(chosen) + len(held)


def test_ranks_are_within_the_class_and_equal_scores_keep_their_order():
    score, label = np.array([3.0, 1.0, 2.0, 9.0, 2.0, 9.0]), np.array([0, 0, 0, 1, 0, 1])
    np.testing.assert_allclose(within_class_rank(score, label), [0.75, 0.0, 0.25, 0.0, 0.5, 0.5])


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_the_best_share_of_each_class_is_kept(share):
    rng = np.random.default_rng(0)
    label, score = rng.integers(0, 3, 300), rng.standard_normal(300)
    chosen, held = select(label, within_class_rank(score, label), share, np.array([20, 5, 0]), 10)
    assert (np.diff(chosen) > 0).all() and not np.intersect1d(chosen, held).size
    for one, count in ((0, 20), (1, 5)):
        own = np.flatnonzero(label == one)
        best = own[np.argsort(-score[own])[: int(np.ceil(share * len(own)))]]
        mine = np.concatenate([chosen, held])[np.isin(np.concatenate([chosen, held]), own)]
        assert np.isin(mine, best).all() and (label[chosen] == one).sum() == count
    assert (label[held] != 2).all() and len(held) == 10


def test_nothing_is_refused_where_nothing_ranks():
    label = np.array([0, 1, 0, 1, 0, 0])
    chosen, held = select(label, None, 0.1, np.array([2, 1]), 2)
    np.testing.assert_array_equal(chosen, [0, 1, 2])
    np.testing.assert_array_equal(held, [3, 4])
