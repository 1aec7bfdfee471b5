"""Writing shards: in the memory of a few records, and with the bytes that TFDS' own way of passing them on would give."""

import contextlib
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle
from tensorflow_datasets.core.dataset_metadata import DatasetMetadata

from infoser import shard_writer
from infoser.corpus import Corpus
from infoser.shard_writer import CorpusBuilder, write_corpus
from infoser.shards import read_corpus


class MadeUp(CorpusBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.0.0")

    @classmethod
    def get_metadata(cls) -> Any:
        return DatasetMetadata(description="Made up.", citation=None, tags=None)


def made_up(rows: int = 500, dim: int = 8) -> Corpus:
    rng = np.random.default_rng(0)
    return Corpus(
        name="made-up",
        utterance_id=np.array([f"u{row}" for row in range(rows)]),
        audio=rng.standard_normal((rows, dim), dtype=np.float32),
        text=None,
        label=(np.arange(rows) % 3 - 1).astype(np.int32),
        classes=("a", "b"),
        speaker=np.resize(np.array(["s1", "s2"]), rows),
        provenance={"settings": {}},
    )


def test_more_than_tfds_keeps_in_memory_needs_no_tensorflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 1000)
    write_corpus(MadeUp, made_up(), tmp_path)
    np.testing.assert_array_equal(read_corpus(tmp_path, "made-up").audio, made_up().audio)


def test_the_bytes_are_those_of_tfds_own_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = write_corpus(MadeUp, made_up(), tmp_path / "ours")
    monkeypatch.setattr(shard_writer, "_spooled", contextlib.nullcontext)
    theirs = write_corpus(MadeUp, made_up(), tmp_path / "theirs")
    names = [path.name for path in sorted(ours.iterdir())]
    assert len(names) > 4 and names == [path.name for path in sorted(theirs.iterdir())]
    assert all((ours / name).read_bytes() == (theirs / name).read_bytes() for name in names)


def test_writing_takes_no_copy_of_the_features(tmp_path: Path) -> None:
    write_corpus(MadeUp, made_up(), tmp_path)  # what is imported and kept for good
    corpus = made_up(2000, 3000)
    tracemalloc.start()
    try:
        write_corpus(MadeUp, corpus, tmp_path / "larger")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.2 * corpus.audio.nbytes
    assert not list((tmp_path / "larger").glob(".*"))
