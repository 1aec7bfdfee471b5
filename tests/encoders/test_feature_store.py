"""The store of features on their way to the shards: what was written comes back, what was cut off is encoded anew."""

import json
import os

import numpy as np
import pytest

from infoser.encoders.store import FeatureStore

ROWS, WIDTH, DIM = 7, 3, 2
BATCHES = ((2, 5), (0, 6, 1), (4,))


def features(row):
    return np.arange(WIDTH, dtype=np.float32) + 10 * row, np.full((row + 1, DIM), row, np.float32)


def fill(store, batches=BATCHES):
    for rows in batches:
        pooled, frames = zip(*map(features, rows), strict=True)
        store.write(rows, pooled, frames, {"bad": {str(rows[0]): "why"}})


@pytest.fixture
def folder(tmp_path):
    with FeatureStore(tmp_path / "audio", ROWS, WIDTH, DIM) as store:
        fill(store)
    return tmp_path / "audio"


def reopened(folder, width=WIDTH):
    with FeatureStore(folder, ROWS, width, DIM) as store:
        return store


def check_contents(store, batches=BATCHES):
    rows = [row for batch in batches for row in batch]
    assert [tuple(entry["rows"]) for entry in store.entries] == list(batches)
    expected = np.zeros((ROWS, WIDTH), np.float32)
    for row in rows:
        expected[row] = features(row)[0]
    np.testing.assert_array_equal(store.pooled(), expected)
    values, start, count = store.frames()
    for row in range(ROWS):
        own = features(row)[1] if row in rows else np.zeros((0, DIM))
        np.testing.assert_array_equal(values[start[row] : start[row] + count[row]], own)
    assert len(values) == sum(row + 1 for row in rows)


def test_what_was_written_comes_back(folder):
    store = reopened(folder)
    check_contents(store)
    assert [entry["said"] for entry in store.entries] == [{"bad": {str(batch[0]): "why"}} for batch in BATCHES]


def test_frames_are_not_kept_unless_asked_for(tmp_path):
    with FeatureStore(tmp_path, ROWS, WIDTH, None) as store:
        fill(store)
        assert store.frames() is None and len(store.entries) == 3
    assert (tmp_path / "frames.f32").stat().st_size == 0


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_a_cut_journal_loses_its_last_batch_only(folder, cut):
    journal = folder / "journal.jsonl"
    last = len(journal.read_text().splitlines()[-1]) + 1
    os.truncate(journal, journal.stat().st_size - min(cut, last - 1))
    if cut == 1:  # only the line's end is missing: the line itself holds
        return check_contents(reopened(folder))
    store = reopened(folder)
    assert [tuple(entry["rows"]) for entry in store.entries] == list(BATCHES[:2])
    with FeatureStore(folder, ROWS, WIDTH, DIM) as again:
        fill(again, BATCHES[2:])
    check_contents(reopened(folder))


@pytest.mark.parametrize(("name", "position", "left"), [("pooled.f32", 4 * 5 * WIDTH, 0), ("frames.f32", 4 * 9 * DIM + 3, 1)])
def test_a_changed_byte_is_noticed(folder, name, position, left):
    with (folder / name).open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 8]))
    assert len(reopened(folder).entries) == left


def test_frames_written_without_their_line_are_overwritten(folder):
    with (folder / "frames.f32").open("ab") as file:
        file.write(b"\1" * 17)
    check_contents(reopened(folder))


def test_another_shape_starts_anew(folder):
    store = reopened(folder, width=WIDTH + 1)
    assert store.entries == [] and not store.pooled().any() and store.frames() is None


def test_a_mangled_line_ends_what_is_believed(folder):
    journal = folder / "journal.jsonl"
    lines = journal.read_text().splitlines()
    entry = json.loads(lines[1])
    entry["said"] = {}
    journal.write_text("\n".join([lines[0], json.dumps(entry), lines[2]]) + "\n")
    assert len(reopened(folder).entries) == 1


def test_what_is_not_wanted_any_more_ends_what_is_kept(folder):
    with FeatureStore(folder, ROWS, WIDTH, DIM, lambda entry: 6 not in entry["rows"]) as store:
        assert [tuple(entry["rows"]) for entry in store.entries] == list(BATCHES[:1])
        assert store.times().tolist() == [0, 0, 1, 0, 0, 1, 0]
        fill(store, BATCHES[1:])
    check_contents(reopened(folder))
    assert reopened(folder).times().tolist() == [1, 1, 1, 0, 1, 1, 1]
