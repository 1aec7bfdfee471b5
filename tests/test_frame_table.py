"""Frames on the devices: their statistics, packing that cuts nothing, and chunks of all rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infoser import frame_table as module
from infoser.corpus import Frames
from infoser.errors import InfoserError
from infoser.frame_table import TILE, Chunks, FrameMoments, FrameStatistics, frame_table, pack, tiles

PACK = jax.jit(pack, static_argnums=3)
PLAIN = FrameStatistics(jnp.zeros(2), jnp.ones(2))


def sequences(counts, dim=2, seed=0):
    """Frames of these counts, laid out backwards, with a frame between them that belongs to nobody."""
    counts = np.asarray(counts, np.int32)
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((int((counts + 1).sum()), dim)).astype(np.float32)
    start = len(values) - np.cumsum(counts + 1)
    return Frames(values, start.astype(np.int64), counts)


def on_device(frames):
    return jax.tree.map(jnp.asarray, frame_table(frames, "tiny"))


def unpacked(packed):
    """The frames of each utterance of a packed batch."""
    values, inside, owner = (np.asarray(part) for part in (packed.values, packed.inside, packed.owner))
    assert (values[~inside] == 0).all()
    assert (owner.sum(axis=0) <= 1).all() and not inside[owner.sum(axis=0) == 0].any()
    return [values[owned][inside[owned]] for owned in owner]


@settings(derandomize=True, deadline=None, max_examples=40)
@given(counts=st.lists(st.integers(0, 40), min_size=1, max_size=12), seed=st.integers(0, 1000))
def test_packing_keeps_every_frame(counts, seed):
    frames = sequences(counts, seed=seed)
    rows = np.random.default_rng(seed).integers(0, len(counts), 6)
    # The table in one shape, so that only budgets are compiled for; and these in steps of three.
    values = np.full((12 * 41, 2), np.nan, np.float32)
    values[: len(frames.values)] = frames.values
    start, count = (np.resize(each, 12) for each in (frames.start, frames.count))
    budget = max(1, -(-int(tiles(frames.count[rows]).sum()) // 3) * 3)
    packed = PACK(on_device(Frames(values, start, count)), PLAIN, jnp.asarray(rows), budget)
    assert packed.values.shape == (budget, TILE, 2)
    for row, own in zip(rows, unpacked(packed), strict=True):
        np.testing.assert_array_equal(own, frames.of(row))


def test_a_batch_takes_as_many_tiles_as_it_needs():
    assert tiles(np.array([0, 1, TILE, TILE + 1])).tolist() == [0, 1, 1, 2]
    frames = sequences([TILE + 1, 0, 3, TILE])
    packed = pack(on_device(frames), PLAIN, jnp.arange(4), 5)
    expected = np.array([[1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0]], bool)
    np.testing.assert_array_equal(packed.owner, expected)


def test_frames_are_standardised_and_others_are_not_looked_at():
    frames = sequences([5, 3, 9])
    statistics = FrameStatistics(jnp.array([1.0, -2.0]), jnp.array([2.0, 0.5]))
    (own,) = unpacked(pack(on_device(frames), statistics, jnp.array([1]), 2))
    np.testing.assert_allclose(own, (frames.of(1) - [1.0, -2.0]) * [2.0, 0.5], rtol=1e-6)
    spoiled = frames.values.copy()
    spoiled[: frames.start[1]] = np.nan
    spoiled[frames.start[1] + 3 :] = np.nan
    packed = pack(on_device(Frames(spoiled, frames.start, frames.count)), statistics, jnp.array([1]), 2)
    np.testing.assert_array_equal(unpacked(packed)[0], own)
    assert np.isfinite(packed.values).all()


def test_half_precision_stays_so_until_it_is_read():
    frames = sequences([5, 3])
    half = Frames(frames.values.astype(np.float16), frames.start, frames.count)
    table = on_device(half)
    assert table.values.dtype == jnp.float16
    packed = pack(table, PLAIN, jnp.array([0]), 1)
    assert packed.values.dtype == jnp.float32
    np.testing.assert_array_equal(unpacked(packed)[0], half.of(0).astype(np.float32))


def test_statistics_are_those_of_all_frames_of_the_rows():
    frames = sequences([4, 1, 0, 7, 12], dim=3)
    frames.values[:, 2] = 5.0
    frames.values[:, 1] = 1e4 + 0.01 * frames.values[:, 1]
    rows = np.array([0, 2, 3])
    together = np.concatenate([frames.of(row) for row in rows]).astype(np.float64)
    statistics = FrameMoments.of(frames).statistics(rows)
    np.testing.assert_allclose(statistics.mean, together.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(statistics.scale[:2], 1 / together.std(axis=0)[:2], rtol=1e-6)
    assert statistics.scale[2] == 1.0
    spoiled = Frames(frames.values.copy(), frames.start, frames.count)
    for row in (1, 4):
        spoiled.of(row)[:] = np.nan
    np.testing.assert_array_equal(FrameMoments.of(spoiled).statistics(rows).mean, statistics.mean)


@pytest.mark.parametrize("limit", [10, 200, 10**6])
@pytest.mark.parametrize("modalities", ["audio", "text", "both"])
def test_chunks_hold_every_row_once_and_fit(monkeypatch, limit, modalities):
    monkeypatch.setattr(module, "CHUNK_VALUES", limit)
    rng = np.random.default_rng(0)
    audio = sequences(rng.integers(1, 60, 53)) if modalities != "text" else None
    text = sequences(rng.integers(0, 9, 53), seed=1) if modalities != "audio" else None
    chunks = Chunks.deal(audio, text)
    np.testing.assert_array_equal(np.asarray(chunks.rows).reshape(-1)[chunks.place], np.arange(53))
    for frames, most in ((audio, chunks.audio_tiles), (text, chunks.text_tiles)):
        if frames is None:
            assert most == 0
            continue
        held = tiles(frames.count)[chunks.rows].sum(axis=1)
        assert held.max() == most
    if audio is not None:
        # Chunks differ by little more than a row's length, so that little is padding.
        held = tiles(audio.count)[chunks.rows].sum(axis=1)
        assert np.ptp(held) <= tiles(audio.count).max()
    assert (len(chunks.rows) == 1) == (limit == 10**6)
    if limit == 10:
        assert chunks.rows.shape[1] == 1


def test_more_frames_than_can_be_numbered_are_refused():
    many = np.broadcast_to(np.zeros((1, 1), np.float16), (2**31, 1))
    with pytest.raises(InfoserError, match="2,147,483,648 frames"):
        frame_table(Frames(many, np.zeros(1, np.int64), np.ones(1, np.int32)), "vast")
    assert frame_table(None, "tiny") is None
