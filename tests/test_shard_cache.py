"""The cache beside the shards: the same corpus without decoding, made anew where it is not to be believed."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core.dataset_metadata import DatasetMetadata

from infoser import digests, shard_cache, shards
from infoser.config import Config, Data
from infoser.corpus import Corpus, Frames
from infoser.errors import InfoserError
from infoser.experiment import load_corpus
from infoser.shard_writer import CorpusBuilder, write_corpus
from infoser.shards import list_configs, list_corpora, read_corpus

ROWS, DIM = 700, 6


class MadeUp(CorpusBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.0.0")

    @classmethod
    def get_metadata(cls) -> Any:
        return DatasetMetadata(description="Made up.", citation=None, tags=None)


def made_up(rows: int = ROWS, dim: int = DIM, seed: int = 0) -> Corpus:
    """A corpus with everything that one can have."""
    rng = np.random.default_rng(seed)
    has_text = np.arange(rows) % 3 > 0
    count = {"audio": rng.integers(1, 5, rows).astype(np.int32), "text": (has_text * rng.integers(1, 4, rows)).astype(np.int32)}
    values = {
        "audio": rng.standard_normal((count["audio"].sum(), 3)).astype(np.float16),
        "text": rng.standard_normal((count["text"].sum(), 2)).astype(np.float32),
    }
    frames = {
        f"{key}_frames": Frames(values[key], np.cumsum(count[key], dtype=np.int64) - count[key], count[key]) for key in count
    }
    return Corpus(
        name="made-up",
        utterance_id=np.array([f"u{row}" for row in rng.permutation(rows)]),
        audio=rng.standard_normal((rows, dim), dtype=np.float32),
        text=has_text[:, None] * rng.standard_normal((rows, 3), dtype=np.float32),
        label=rng.integers(-1, 2, rows).astype(np.int32),
        classes=("ü", "b c"),
        speaker=np.resize(np.array(["s1", "a longer name"]), rows),
        session=np.resize(np.array(["1", "2"]), rows),
        columns={"arousal": rng.random(rows), "two/fold": rng.integers(0, 9, (rows, 2)), "word": np.resize(["", "x"], rows)},
        provenance={"source": "made up", "settings": {"kind": "test"}},
        has_text=has_text,
        **frames,
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data_dir = tmp_path_factory.mktemp("data")
    write_corpus(MadeUp, made_up(), data_dir)
    return data_dir


@pytest.fixture
def data_dir(written: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(written, tmp_path / "data"))


@pytest.fixture
def decoding(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one with each decoding of records."""
    calls: list[str] = []
    decode = shards.read_records

    def counted(builder: Any, *rest: Any) -> Any:
        calls.append(builder.name)
        return decode(builder, *rest)

    monkeypatch.setattr(shards, "read_records", counted)
    return calls


def caches(data_dir: Path) -> list[Path]:
    return sorted(path for path in (data_dir / "made-up").glob(".cache-*") if path.is_dir())


def assert_same(one: Corpus, other: Corpus) -> None:
    for key in ("utterance_id", "audio", "text", "label", "speaker", "session", "has_text"):
        a, b = getattr(one, key), getattr(other, key)
        assert a.dtype == b.dtype, key
        np.testing.assert_array_equal(a, b, err_msg=key)
    for key in ("audio_frames", "text_frames"):
        for part in ("values", "start", "count"):
            a, b = (getattr(getattr(corpus, key), part) for corpus in (one, other))
            assert a.dtype == b.dtype, (key, part)
            np.testing.assert_array_equal(a, b, err_msg=f"{key} {part}")
    assert one.columns.keys() == other.columns.keys()
    for key in one.columns:
        assert one.columns[key].dtype == other.columns[key].dtype
        np.testing.assert_array_equal(one.columns[key], other.columns[key])
    assert one.classes == other.classes and one.name == other.name
    assert one.dialogue is other.dialogue is None


def test_a_later_load_is_the_same_corpus_undecoded(
    data_dir: Path, decoding: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    plain = read_corpus(data_dir, "made-up")
    assert not caches(data_dir) and len(decoding) == 1
    first = read_corpus(data_dir, "made-up", cache=True)
    assert len(caches(data_dir)) == 1 and len(decoding) == 2
    later = read_corpus(data_dir, "made-up", cache=True)
    assert len(decoding) == 2
    for cached in (first, later):
        assert_same(plain, cached)
        assert cached.provenance == plain.provenance
        for array in (cached.audio, cached.text, cached.audio_frames.values, cached.text_frames.values):  # type: ignore[union-attr]
            assert isinstance(array, np.memmap) and not array.flags.writeable
    assert_same(plain, made_up())
    assert list_corpora(data_dir) == ["made-up"] and list_configs(data_dir, "made-up") == ["plain"]
    assert capfd.readouterr() == ("", "")


def test_the_version_folder_is_left_alone(data_dir: Path) -> None:
    before = shard_cache.stamps(data_dir / "made-up" / "1.0.0")
    read_corpus(data_dir, "made-up", cache=True)
    assert shard_cache.stamps(data_dir / "made-up" / "1.0.0") == before


def test_later_loads_need_no_tfds(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_corpus(data_dir, "made-up", cache=True)
    monkeypatch.setattr(shards, "_open_folder", None)
    assert len(read_corpus(data_dir, "made-up", cache=True)) == ROWS


def test_a_flipped_bit_in_the_shards_is_named_in_spite_of_a_cache(data_dir: Path) -> None:
    read_corpus(data_dir, "made-up", cache=True)
    for path in sorted((data_dir / "made-up" / "1.0.0").iterdir()):
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 4
        path.write_bytes(flipped)
        with pytest.raises(InfoserError, match="damaged|prepare it again") as refusal:
            read_corpus(data_dir, "made-up", cache=True)
        assert "made-up" in str(refusal.value)
        path.write_bytes(whole)
    assert_same(read_corpus(data_dir, "made-up", cache=True), made_up())


def test_a_flip_that_hides_its_time_is_named(data_dir: Path) -> None:
    read_corpus(data_dir, "made-up", cache=True)
    path = next((data_dir / "made-up" / "1.0.0").glob("*array_record*"))
    before, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(InfoserError, match="SHA-256"):
        read_corpus(data_dir, "made-up", cache=True)


def test_a_flipped_bit_in_the_cache_is_never_used(
    data_dir: Path, decoding: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    read_corpus(data_dir, "made-up", cache=True)
    rng = np.random.default_rng(3)
    names = sorted(path.name for path in caches(data_dir)[0].iterdir())
    assert len(names) > 10
    for name in names:
        path = caches(data_dir)[0] / name
        content = bytearray(path.read_bytes())
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        made = len(decoding)
        assert_same(read_corpus(data_dir, "made-up", cache=True), made_up())
        said = capfd.readouterr().err
        if name != digests.DIGESTS:  # of which only the lines of the small files are read
            assert "can't be used" in said and "made again" in said and len(decoding) == made + 1
    read_corpus(data_dir, "made-up", cache=True)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("what", ["cut", "gone", "more", "another format"])
def test_a_cache_that_is_not_whole_is_made_again(what: str, data_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    read_corpus(data_dir, "made-up", cache=True)
    (place,) = caches(data_dir)
    largest = max(place.glob("*.npy"), key=lambda path: path.stat().st_size)
    if what == "cut":
        largest.write_bytes(largest.read_bytes()[:-1])
    elif what == "gone":
        largest.unlink()
    elif what == "more":
        (place / "99.npy").touch()
    else:
        described = json.loads((place / "corpus.json").read_text())
        (place / "corpus.json").write_text(json.dumps(described | {"format": 0}))
        digests.seal(place)
    assert_same(read_corpus(data_dir, "made-up", cache=True), made_up())
    assert "made again" in capfd.readouterr().err


def test_a_copy_is_checked_once_and_believed(
    data_dir: Path, decoding: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_corpus(data_dir, "made-up", cache=True)
    copy = Path(shutil.copytree(data_dir, tmp_path / "copy"))
    checked: list[Path] = []
    damage = digests.damage
    monkeypatch.setattr(digests, "damage", lambda folder: checked.append(folder) or damage(folder))
    for _ in range(2):
        assert_same(read_corpus(copy, "made-up", cache=True), made_up())
        assert len(checked) == 2  # the shards and the cache, the first time
    assert len(decoding) == 1


def test_other_shards_take_the_place_of_the_cache(data_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    read_corpus(data_dir, "made-up", cache=True)
    (before,) = caches(data_dir)
    write_corpus(MadeUp, made_up(seed=1), data_dir)
    abandoned = data_dir / "made-up" / ".cache-making-old"
    abandoned.mkdir()
    os.utime(abandoned, (0, 0))
    underway = data_dir / "made-up" / ".cache-making-now"
    underway.mkdir()
    assert_same(read_corpus(data_dir, "made-up", cache=True), made_up(seed=1))
    (after,) = set(caches(data_dir)) - {underway}
    assert after != before
    said = capfd.readouterr().err
    assert f"removed {before}" in said and f"removed {abandoned}" in said


@pytest.mark.parametrize("locks", [True, False])
def test_what_killed_processes_left_goes_before_more_is_written(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, *, locks: bool
) -> None:
    left = data_dir / "made-up" / ".cache-making-half"
    left.mkdir()
    (left / "0.npy").write_bytes(b"half")
    for path in (left / "0.npy", left):
        os.utime(path, (time.time() - 1200,) * 2)
    if not locks:
        monkeypatch.setattr(fcntl, "flock", refused)
    mkdtemp, there = tempfile.mkdtemp, []
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **given: there.append(left.exists()) or mkdtemp(**given))
    read_corpus(data_dir, "made-up", cache=True)
    # Without locks it may be that of another process, for a day.
    assert there == [not locks] and left.exists() != locks


def refused(*_: object, **__: object) -> Any:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def full(*_: object, **__: object) -> Any:
    return shutil._ntuple_diskusage(10, 10, 0)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("module", "name", "change", "reason"),
    [
        (shard_cache.tempfile, "mkdtemp", refused, "Read-only file system"),
        (shard_cache.shutil, "disk_usage", full, "No space left on device"),
        (shard_cache.os, "fsync", refused, "Read-only file system"),
        (shard_cache.digests, "seal", refused, "Read-only file system"),
        (shard_cache.Path, "rename", refused, "Read-only file system"),
    ],
)
def test_a_disk_that_takes_no_cache_is_no_error(
    module: Any,
    name: str,
    change: Callable[..., Any],
    reason: str,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, name, change)
    assert_same(read_corpus(data_dir, "made-up", cache=True), made_up())
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("no cache of ") and reason in line
    assert not caches(data_dir)


@pytest.fixture
def read_only(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing can be written beside the shards; gives the user's folder of caches."""
    whole = Path.open

    def opened(path: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if "r" not in mode and path.is_relative_to(data_dir):
            refused()
        return whole(path, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", opened)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    return tmp_path / "own"


def test_the_cache_of_read_only_shards_is_the_users(
    data_dir: Path, read_only: Path, decoding: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(data_dir, data_dir / "copy"))
    for place in (data_dir, copy):
        assert_same(read_corpus(place, "made-up", cache=True), made_up())
        assert f"{place / 'made-up'} is read-only: the cache is made in {read_only}" in capfd.readouterr().err
    assert len(list(read_only.rglob("corpus.json"))) == 2  # one for each folder: neither removes the other's
    assert len(decoding) == 2 and not caches(data_dir) and not caches(copy)
    for place in (data_dir, copy):
        found = read_corpus(place, "made-up", cache=True)
        assert_same(found, made_up())
        assert isinstance(found.audio, np.memmap) and str(found.audio.filename).startswith(str(read_only))
    assert len(decoding) == 2 and not capfd.readouterr().err


def test_a_cache_that_nobody_can_keep_is_no_error(
    data_dir: Path, read_only: Path, decoding: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    read_only.write_text("no folder")
    assert_same(read_corpus(data_dir, "made-up", cache=True), made_up())
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("no cache of ") and "Read-only file system" in line
    assert len(decoding) == 1


def test_the_first_of_two_that_make_it_stays(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system has no locks; with them the second waits."""
    write, others = shard_cache._write, []
    monkeypatch.setattr(shard_cache, "_alone", lambda parent: contextlib.nullcontext())

    def slower(*arguments: Any) -> None:
        write(*arguments)
        if not others:
            others.append(None)
            read_corpus(data_dir, "made-up", cache=True)
            others[0] = (caches(data_dir)[0] / "corpus.json").stat().st_ino

    monkeypatch.setattr(shard_cache, "_write", slower)
    assert_same(read_corpus(data_dir, "made-up", cache=True), made_up())
    assert [(place / "corpus.json").stat().st_ino for place in caches(data_dir)] == others


def test_one_decodes_while_the_others_wait(data_dir: Path, decoding: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    copy = Path(shutil.copytree(data_dir, data_dir.parent / "copy"))
    found: list[Corpus] = []
    with (data_dir / "made-up" / ".cache-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = threading.Thread(target=lambda: found.append(read_corpus(data_dir, "made-up", cache=True)))
        waiting.start()
        said = ""
        while "waiting for another process" not in said:
            assert waiting.is_alive()
            said += capfd.readouterr().err
            time.sleep(0.01)
        read_corpus(copy, "made-up", cache=True)  # what the other process makes
        shutil.copytree(caches(copy)[0], data_dir / "made-up" / caches(copy)[0].name)
    waiting.join(60)
    assert_same(found[0], made_up())
    assert len(decoding) == 1


def test_the_flag_chooses(data_dir: Path) -> None:
    for cache in (False, True):
        config = Config(Data("made-up", cache=cache), data_dir=data_dir)
        assert isinstance(load_corpus(config).audio, np.memmap) == cache == bool(caches(data_dir))


def test_numbers_that_are_not_finite_are_refused_and_not_kept(tmp_path: Path) -> None:
    broken = made_up()
    broken.audio[411, 2] = np.inf  # behind the corpus' back
    write_corpus(MadeUp, broken, tmp_path)
    for cache in (False, True):
        with pytest.raises(InfoserError, match=rf"'audio' of utterance '{broken.utterance_id[411]}' \(row 411\) is NaN"):
            read_corpus(tmp_path, "made-up", cache=cache)
    assert not caches(tmp_path)


def test_what_is_checked_again_and_what_is_not(data_dir: Path) -> None:
    """A checked corpus takes its own maps on trust, and nothing else."""
    corpus = read_corpus(data_dir, "made-up", cache=True)
    broken = np.array(corpus.audio)
    broken[5, 1] = np.nan
    with pytest.raises(InfoserError, match="row 5"):
        replace(corpus, audio=broken)
    with pytest.raises(InfoserError, match="occurs twice"):
        replace(corpus, utterance_id=np.resize(corpus.utterance_id[:2], ROWS))
    assert replace(corpus, label=corpus.label).audio is corpus.audio


@pytest.mark.parametrize(("cache", "most"), [(False, 1.3), (True, 0.3)])
def test_loading_takes_no_second_copy(cache: bool, most: float, tmp_path: Path) -> None:
    corpus = replace(made_up(6000, 1000), audio_frames=None, text_frames=None)
    write_corpus(MadeUp, corpus, tmp_path)
    read_corpus(tmp_path, "made-up")  # what is imported and kept for good
    tracemalloc.start()
    try:
        read = read_corpus(tmp_path, "made-up", cache=cache)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most * corpus.audio.nbytes
    np.testing.assert_array_equal(read.audio, corpus.audio)
