"""Reading corpora back: the order, the newest version, and what is said of folders that cannot be read."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infoser.corpus import Corpus, Frames
from infoser.digests import seal
from infoser.errors import InfoserError
from infoser.shards import (
    SPLIT,
    check_corpus_name,
    corpus_examples,
    corpus_features,
    corpus_metadata,
    list_corpora,
    read_corpus,
    read_provenance,
)

ROWS = 300


def small_corpus(name: str = "small") -> Corpus:
    rng = np.random.default_rng(0)
    return Corpus(
        name=name,
        utterance_id=np.array([f"u{i}" for i in rng.permutation(ROWS)]),
        audio=rng.normal(size=(ROWS, 40)).astype(np.float32),
        text=None,
        label=rng.integers(-1, 3, ROWS).astype(np.int32),
        classes=("a b", "ü", "c"),
        speaker=np.array(["s1", "s2", "s3"] * (ROWS // 3)),
        columns={"audio": np.arange(ROWS), "emotion": np.array(["x", "", "long"] * (ROWS // 3))},
        provenance={"source": "made up", "settings": {"kind": "test"}},
    )


def write(corpus: Corpus, data_dir: Path, version: str = "1.0.0", shards: int = 1) -> Path:
    """Writes `corpus` as a builder does and returns its version folder."""
    import tensorflow_datasets as tfds

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)
        name = corpus.name

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(
                builder=self,
                features=corpus_features(corpus),
                metadata=tfds.core.MetadataDict(corpus_metadata(corpus)),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager: Any) -> Any:
            return {SPLIT: self._generate_examples()}

        def _generate_examples(self) -> Any:
            yield from corpus_examples(corpus)

    tfds.disable_progress_bar()
    builder = Builder(data_dir=data_dir, file_format="array_record")
    config = tfds.download.DownloadConfig(num_shards=shards)
    builder.download_and_prepare(download_dir=data_dir / "downloads", download_config=config)
    seal(data_dir / corpus.name / version)
    return data_dir / corpus.name / version


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data_dir = tmp_path_factory.mktemp("data")
    write(small_corpus(), data_dir)
    return data_dir


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy that a test may break; its data directory is two levels up."""
    return Path(shutil.copytree(written / "small", tmp_path / "small")) / "1.0.0"


def record_file(folder: Path) -> Path:
    return next(folder.glob("*.array_record-*"))


def reading_fails(folder: Path) -> str:
    with pytest.raises(InfoserError) as caught:
        read_corpus(folder.parents[1], "small")
    return str(caught.value)


@pytest.mark.parametrize("shards", [1, 7])
def test_round_trip_in_row_order(shards: int, tmp_path: Path) -> None:
    corpus = small_corpus()
    folder = write(corpus, tmp_path, shards=shards)
    assert len(list(folder.glob("*.array_record-*"))) == shards
    read = read_corpus(tmp_path, "small")
    for field in ("utterance_id", "audio", "label", "speaker"):
        expected = getattr(corpus, field)
        assert getattr(read, field).dtype == expected.dtype
        np.testing.assert_array_equal(getattr(read, field), expected)
    assert read.classes == corpus.classes
    assert read.text is read.session is read.dialogue is read.split is None
    assert set(read.columns) == {"audio", "emotion"}
    for key, column in corpus.columns.items():  # a column may be called like a field
        np.testing.assert_array_equal(read.columns[key], column)
    assert read.audio.flags.writeable and read.audio.flags.c_contiguous


def test_round_trip_of_missing_transcripts_and_frames(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    has_text = np.arange(ROWS) % 3 > 0
    count = {"audio": rng.integers(1, 9, ROWS).astype(np.int32), "text": (has_text * rng.integers(1, 4, ROWS)).astype(np.int32)}
    values = {
        "audio": np.memmap(tmp_path / "frames", np.float32, "w+", shape=(int(count["audio"].sum()) + 5, 7)),
        "text": rng.normal(size=(int(count["text"].sum()), 3)).astype(np.float16),
    }
    values["audio"][:] = rng.normal(size=values["audio"].shape)
    frames = {key: Frames(values[key], np.cumsum(count[key], dtype=np.int64) - count[key], count[key]) for key in count}
    backwards = dataclasses.replace(frames["audio"], start=len(values["audio"]) - np.cumsum(count["audio"], dtype=np.int64))
    text = (has_text[:, None] * rng.normal(size=(ROWS, 2))).astype(np.float32)
    corpus = dataclasses.replace(
        small_corpus(), text=text, has_text=has_text, audio_frames=backwards, text_frames=frames["text"]
    )
    write(corpus, tmp_path, shards=3)
    read = read_corpus(tmp_path, "small")
    assert read.has_text is not None and read.has_text.dtype == bool
    np.testing.assert_array_equal(read.has_text, has_text)
    for written, back in ((backwards, read.audio_frames), (frames["text"], read.text_frames)):
        assert back is not None and back.values.dtype == written.values.dtype
        assert (back.start.dtype, back.count.dtype) == (np.int64, np.int32)
        assert len(back.values) == written.count.sum()  # without what belongs to no utterance
        for row in range(ROWS):
            np.testing.assert_array_equal(back.of(row), written.of(row))
    provenance = read_provenance(tmp_path, "small")
    assert provenance["frames"] == {"audio_frames": count["audio"].sum(), "text_frames": count["text"].sum()}
    assert provenance["counts"]["with_text"] == 200
    assert provenance["format_version"] == 2


def test_a_corpus_without_these_is_written_as_before(written: Path) -> None:
    provenance = read_provenance(written, "small")
    assert provenance["format_version"] == 1
    assert "frames" not in provenance and "with_text" not in provenance["counts"]
    read = read_corpus(written, "small")
    assert read.has_text is read.audio_frames is read.text_frames is None


def test_provenance_and_hash(written: Path, folder: Path) -> None:
    read = read_corpus(written, "small")
    assert read.provenance["source"] == "made up"
    assert read.provenance["counts"]["utterances"] == ROWS
    assert read.provenance["shards_path"] == str((written / "small" / "1.0.0").resolve())
    assert dict(read_provenance(written, "small")).items() < dict(read.provenance).items()
    assert read_corpus(folder.parents[1], "small").provenance["shards_hash"] == read.provenance["shards_hash"]
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace('"disableShuffling"', ' "disableShuffling"'))
    seal(folder)
    assert read_corpus(folder.parents[1], "small").provenance["shards_hash"] != read.provenance["shards_hash"]


def test_the_highest_version_is_read(tmp_path: Path) -> None:
    for version in ("1.9.0", "1.10.0", "1.2.0"):
        write(small_corpus(), tmp_path, version=version)
    assert read_corpus(tmp_path, "small").provenance["shards_path"].endswith("1.10.0")


def test_listing(written: Path, folder: Path, tmp_path: Path) -> None:
    assert list_corpora(written) == ["small"]
    assert list_corpora(tmp_path / "absent") == []
    (tmp_path / "another").mkdir()
    (tmp_path / "file").touch()
    assert list_corpora(tmp_path) == ["small"]
    (folder / "features.json").unlink()
    assert list_corpora(tmp_path) == []


def test_missing_data_directory(tmp_path: Path) -> None:
    with pytest.raises(InfoserError, match=r"absent does not exist; prepare it: python datasets/prepare.py arrays --source"):
        read_corpus(tmp_path / "absent", "small")
    with pytest.raises(InfoserError, match="prepare.py demo --data-dir"):
        read_corpus(tmp_path / "absent", "demo")
    (tmp_path / "file").touch()
    with pytest.raises(InfoserError, match="is not a directory"):
        read_corpus(tmp_path / "file", "small")
    with pytest.raises(InfoserError, match="holds no corpus yet"):
        read_corpus(tmp_path, "small")


@pytest.mark.parametrize("name", ["smal", "../small", "", "small/1.0.0"])
def test_unknown_corpus_lists_what_is_there(name: str, written: Path) -> None:
    with pytest.raises(InfoserError, match=r"no corpus .* \(there are: small\); prepare it"):
        read_corpus(written, name)


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json", "metadata.json", "label.labels.txt"])
def test_a_missing_or_damaged_description(file: str, folder: Path) -> None:
    whole = (folder / file).read_bytes()
    (folder / file).unlink()
    assert f"is incomplete: {file} is missing; prepare it again" in reading_fails(folder)
    for broken in (whole[: len(whole) // 2], b""):
        (folder / file).write_bytes(broken)
        assert "damaged; prepare it again" in reading_fails(folder)


def test_a_missing_record_file(folder: Path) -> None:
    name = record_file(folder).name
    record_file(folder).unlink()
    assert f"is incomplete: {name} is missing" in reading_fails(folder)


@pytest.mark.parametrize("cut", [0, 10, 30_000])
def test_a_truncated_record_file(cut: int, folder: Path) -> None:
    record_file(folder).write_bytes(record_file(folder).read_bytes()[:cut])
    assert f"{record_file(folder)} of corpus 'small' is damaged (its SHA-256" in reading_fails(folder)
    seal(folder)  # as if it had been written so: the records' own checks still notice
    assert "a record file of corpus 'small' is damaged" in reading_fails(folder)


def test_a_flipped_bit_never_gives_other_numbers(written: Path, folder: Path) -> None:
    whole = record_file(folder).read_bytes()
    truth = small_corpus()
    raised = 0
    used = np.flatnonzero(np.frombuffer(whole, np.uint8))  # the rest is padding, where a flip does no harm
    for place in used[np.linspace(0, len(used) - 1, 12).astype(int)]:
        flipped = bytearray(whole)
        flipped[place] ^= 1
        record_file(folder).write_bytes(flipped)
        try:
            np.testing.assert_array_equal(read_corpus(folder.parents[1], "small").audio, truth.audio)
        except InfoserError as error:
            assert "is damaged" in str(error)
            raised += 1
    assert raised == 12


def test_rows_of_another_corpus_are_refused(folder: Path, tmp_path: Path) -> None:
    """A record file that is whole, but holds other utterances than the description says."""
    shifted = small_corpus()
    other = Corpus(**{**vars(shifted), "utterance_id": np.roll(shifted.utterance_id, 1)})
    elsewhere = write(other, tmp_path / "elsewhere")
    shutil.copy(record_file(elsewhere), record_file(folder))
    seal(folder)
    assert "stand in another order" in reading_fails(folder)


def test_a_foreign_or_later_folder_is_refused(folder: Path) -> None:
    metadata = folder / "metadata.json"
    whole = metadata.read_text()
    metadata.write_text(whole.replace('"format_version": 1', '"format_version": 9'))
    assert "was written in format 9, and this infoser reads format 1 or 2" in reading_fails(folder)
    metadata.write_text("{}")
    assert "was written by something other than infoser" in reading_fails(folder)


def test_corpus_names() -> None:
    for name in ("iemocap", "msp-podcast_1", "A"):
        check_corpus_name(name)
    for name in ("", "1a", "a/b", "a b", "..", "a.b", "é", "a\n"):
        with pytest.raises(InfoserError, match="cannot name a corpus"):
            check_corpus_name(name)


def test_importing_is_quick_and_quiet() -> None:
    code = (
        "import sys, infoser.shards, infoser.commandline, infoser.demo;"
        "print([name for name in ('jax', 'tensorflow_datasets', 'array_record', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_reading_prints_nothing(written: Path, capfd: pytest.CaptureFixture[str]) -> None:
    read_corpus(written, "small")
    assert capfd.readouterr() == ("", "")
