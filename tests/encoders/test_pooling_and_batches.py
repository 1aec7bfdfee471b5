"""Pooling against NumPy; batches hold every item once, within bounds, and waste little."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infoser.encoders.batches import padding_share, plan_batches
from infoser.encoders.pooling import POOLINGS, pool, pooled_dim
from infoser.errors import InfoserError

NEMO = Path(__file__).parents[3] / "shared" / "data" / "nemo_subset"

FRAMES = np.array([[1.0, -2.0, 0.0], [3.0, -4.0, 0.0], [8.0, 0.0, 0.0]], np.float32)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("mean", [4.0, -2.0, 0.0]),
        ("mean+std", [4.0, -2.0, 0.0, (26 / 3) ** 0.5, (8 / 3) ** 0.5, 0.0]),
        ("first", [1.0, -2.0, 0.0]),
        ("max", [8.0, 0.0, 0.0]),
    ],
)
def test_pooling_by_hand(kind, expected):
    found = pool(FRAMES, kind)
    assert found.dtype == np.float32
    assert len(found) == pooled_dim(3, kind)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", POOLINGS)
def test_one_frame_is_itself(kind):
    expected = [1.0, -2.0, 0.0] + ([0.0] * 3 if kind == "mean+std" else [])
    np.testing.assert_array_equal(pool(FRAMES[:1], kind), expected)


def test_many_frames_lose_no_precision():
    frames = np.full((100_000, 1), 0.1, np.float32)
    np.testing.assert_array_equal(pool(frames, "mean"), frames[0])


def test_wrong_pooling_is_refused():
    with pytest.raises(InfoserError, match="'median': choose one of mean, mean\\+std, first, max"):
        pool(FRAMES, "median")
    with pytest.raises(InfoserError, match="'median'"):
        pooled_dim(3, "median")
    with pytest.raises(InfoserError, match="without a frame"):
        pool(FRAMES[:0], "mean")


def test_batches_by_hand():
    batches = plan_batches(np.array([3, 10, 1, 4, 4, 30]), max_padded=12, max_items=2)
    assert [batch.tolist() for batch in batches] == [[5], [1], [3, 4], [0, 2]]
    assert padding_share(np.array([3, 10, 1, 4, 4, 30]), batches) == pytest.approx(2 / 54)
    assert plan_batches(np.zeros(0, int), 5, 5) == []
    assert padding_share(np.zeros(0, int), []) == 0.0
    assert [batch.tolist() for batch in plan_batches(np.array([0, 0, 0]), 2, 5)] == [[0, 1], [2]]
    for wrong in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="must hold something"):
            plan_batches(np.array([1]), *wrong)


@settings(derandomize=True, deadline=None)
@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 200), st.integers(1, 9))
def test_batches_hold_every_item_once_within_bounds(lengths, max_padded, max_items):
    lengths = np.array(lengths, np.int64)
    batches = plan_batches(lengths, max_padded, max_items)
    assert sorted(np.concatenate([np.zeros(0, int), *batches]).tolist()) == list(range(len(lengths)))
    ends = [lengths[[batch[0], batch[-1]]].tolist() for batch in batches]
    assert [one for pair in ends for one in pair] == sorted((one for pair in ends for one in pair), reverse=True)
    for batch in batches:
        assert 1 <= len(batch) <= max_items
        assert len(batch) == 1 or lengths[batch].max() * len(batch) <= max_padded
    assert 0.0 <= padding_share(lengths, batches) < 1.0


@pytest.mark.skipif(not NEMO.exists(), reason="the nEMO recordings are not in ../shared/data")
def test_padding_of_real_recordings_is_under_15_percent():
    soundfile = pytest.importorskip("soundfile", reason="needs the encoders extra")
    with (NEMO / "manifest.csv").open(encoding="utf-8") as file:
        paths = [NEMO / row["audio"] for row in csv.DictReader(file)]
    lengths = np.array([soundfile.info(str(path)).frames for path in paths])
    batches = plan_batches(lengths, 60 * 24_000, 64)
    assert len(lengths) == 500
    assert padding_share(lengths, batches) < 0.15
