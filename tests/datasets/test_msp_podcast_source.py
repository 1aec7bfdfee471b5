"""MSP-Podcast in miniature, in the corpus' own layout: what is read, what is dodged, what is refused."""

import wave
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from msp_podcast import msp_podcast_source
from msp_podcast.make_dummy_data import DUMMY_DATA, write_miniature
from msp_podcast.msp_podcast_source import CLASS_MAPS, DEFAULT_CLASSES, PUBLISHED, read_msp_podcast
from recorded import corpus_of, files, row

from infoser.errors import InfoserError
from infoser.links import speaker_clusters
from infoser.protocols import make_folds, resolve_protocol
from infoser.recordings import Recordings

# What `write_miniature` says it writes: 6, 2, 2 and 2 speakers x 8 emotions x 2; two unknown turns each in Train and Test1.
SPLITS = {"Train": 98, "Development": 32, "Test1": 34, "Test2": 32, "Test3": 3}
TRUTH = {"turns": 199} | {f"{split} turns": number for split, number in SPLITS.items()}
SMALL = {"Train": ("1", "2"), "Development": ("3",), "Test1": ("4",)}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("msp_podcast")
    write_miniature(folder)
    return folder


@pytest.fixture(scope="module")
def read(written: Path) -> Recordings:
    return read_msp_podcast(written, release="1.11", allow_incomplete=True)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Ten turns: A and N of four speakers, and two of Test3."""
    write_miniature(tmp_path, codes=("A", "N"), repeats=1, speakers=SMALL, hidden=2, oddities=False)
    return tmp_path


def refused(root: Path, *, release: str = "1.11", allow_incomplete: bool = True) -> str:
    with pytest.raises(InfoserError) as caught:
        read_msp_podcast(root, release=release, allow_incomplete=allow_incomplete)
    return str(caught.value)


def test_counts_of_the_miniature(read: Recordings) -> None:
    emotions = {"": 3, "A": 24, "C": 24, "D": 24, "F": 24, "H": 24, "N": 26, "O": 1, "S": 24, "U": 24, "X": 1}
    assert len(read) == 199 and Counter(read.emotion.tolist()) == emotions
    assert read.provenance["counts"] == {
        "turns": 199,
        "emotions": emotions,
        "splits": dict(sorted(SPLITS.items())),
        "speakers": 11,
        "recordings": 14,
    }
    assert (read.provenance["release"], read.provenance["label_file"]) == ("1.11", "labels_consensus.csv")
    assert read.session is None and read.start_s is None
    assert all(read.path(each).is_file() for each in range(len(read)))


def test_first_turn_in_full(read: Recordings) -> None:
    assert (read.utterance_id[0], read.audio[0]) == ("MSP-PODCAST_0001_0000", "Audios/MSP-PODCAST_0001_0000.wav")
    assert (read.emotion[0], read.speaker[0], read.split[0], read.dialogue[0]) == ("A", "1", "Train", "0001")
    assert read.transcript[0] == "I am furious, call 0 of podcast 1"
    values = {key: column[0] for key, column in read.columns.items()}
    assert values == {"activation": np.float32(1.2), "valence": 4, "dominance": np.float32(2.6), "gender": "male"}


def test_both_spellings_of_the_label_file_and_of_the_dev_split(tmp_path: Path) -> None:
    write_miniature(tmp_path, release="1.8", codes=("A", "N"), repeats=1, speakers=SMALL)
    assert "Validation" in (tmp_path / "Labels/labels_concensus.csv").read_text()
    found = read_msp_podcast(tmp_path, release="1.8", allow_incomplete=True)
    assert found.provenance["label_file"] == "labels_concensus.csv"
    assert Counter(found.split.tolist()) == {"Train": 6, "Development": 2, "Test1": 4}
    fold, *others = make_folds(corpus_of(found, ("ang=A", "neu=N")), "auto", with_dev=True)
    assert (len(fold.train), len(fold.dev), len(fold.test), others) == (6, 2, 3, [])


def test_official_folds_never_train_on_a_test_set(read: Recordings) -> None:
    corpus = corpus_of(read, CLASS_MAPS[DEFAULT_CLASSES])
    assert corpus.classes == ("ang", "hap", "neu", "sad") and resolve_protocol(corpus, "auto") == "official"
    folds = make_folds(corpus, "official", with_dev=True)
    assert [(fold.name, len(fold.train), len(fold.dev), len(fold.test)) for fold in folds] == [
        ("Test1", 98, 16, 17),
        ("Test2", 98, 16, 16),
    ]
    assert all(set(read.split[fold.train].tolist()) == {"Train"} for fold in folds)
    assert "10" in read.speaker[folds[0].test] and "10" in read.speaker[folds[1].test]  # the test sets share speakers
    assert folds[0].notes == ("no fold for Test3: 3 utterances, none labelled",)


@pytest.mark.parametrize(
    ("task", "classes", "labelled"),
    [
        ("4", ("ang", "hap", "neu", "sad"), 98),
        ("5", ("ang", "dis", "hap", "neu", "sad"), 122),
        ("8", ("ang", "con", "dis", "fea", "hap", "neu", "sad", "sur"), 194),
    ],
)
def test_class_maps(read: Recordings, task: str, classes: tuple[str, ...], labelled: int) -> None:
    corpus = corpus_of(read, CLASS_MAPS[task])
    assert corpus.classes == classes and corpus.labelled.sum() == labelled
    assert read.emotion[corpus.label == classes.index("sad")].tolist() == ["S"] * 24


def test_unknown_speakers_cross_splits_and_are_clustered_by_podcast(read: Recordings) -> None:
    unknown = read.speaker == "Unknown"
    assert set(read.split[unknown].tolist()) == {"Train", "Test1", "Test3"} and read.provenance["unknown_speakers"] == 7
    corpus = corpus_of(read, CLASS_MAPS[DEFAULT_CLASSES])
    assert len(make_folds(corpus, "official")) == 2  # which refuses any other speaker in both training and test
    assert len(make_folds(corpus, "kfold", n_folds=3)) == 3
    clusters = speaker_clusters(corpus)
    assert clusters[row(read, "MSP-PODCAST_0900_0001")] == clusters[row(read, "MSP-PODCAST_0900_0002")] == "dialogue 0900"
    assert clusters[row(read, "MSP-PODCAST_0901_0002")] == "dialogue 0901"
    assert clusters[row(read, "MSP-PODCAST_0001_0000")] == "speaker 1"
    assert clusters[-1] == "utterance MSP-PODCAST_test3_0003"  # the podcasts of Test3 are hidden


def test_speakers_without_a_name_are_unknown(small: Path) -> None:
    path = small / "Labels/labels_consensus.csv"
    path.write_text(path.read_text().replace(",1,Male,", ",,Male,").replace(",2,Female,", ",unknown,Unknown,"))
    found = read_msp_podcast(small, release="1.11", allow_incomplete=True)
    assert found.speaker[:4].tolist() == ["Unknown"] * 4 and found.provenance["unknown_speakers"] == 6
    assert found.columns["gender"][:4].tolist() == ["male", "male", "", ""]


def test_hidden_labels_of_test3(read: Recordings) -> None:
    hidden = read.split == "Test3"
    assert read.utterance_id[hidden].tolist() == [f"MSP-PODCAST_test3_000{number}" for number in (1, 2, 3)]
    assert set(read.emotion[hidden].tolist()) == set(read.transcript[hidden].tolist()) == {""}
    assert np.isnan(read.columns["valence"][hidden]).all()


def test_hidden_labels_in_the_label_file(small: Path) -> None:
    path = small / "Labels/labels_consensus.csv"
    path.write_text(path.read_text() + "MSP-PODCAST_test3_0001.wav,-,,,,Unknown,Unknown,Test3\n")
    found = read_msp_podcast(small, release="1.11", allow_incomplete=True)
    assert len(found) == 10 and Counter(found.split.tolist())["Test3"] == 2
    listed = row(found, "MSP-PODCAST_test3_0001")
    assert found.emotion[listed] == "" and np.isnan(found.columns["activation"][listed])


def test_missing_transcripts_are_counted(read: Recordings) -> None:
    assert read.transcript[row(read, "MSP-PODCAST_0900_0001")] == ""
    assert read.provenance["missing_transcripts"] == 4 + 3  # of the unknown speakers, and of Test3


def test_no_transcripts_at_all(small: Path) -> None:
    (small / "Transcripts").rename(small / "elsewhere")
    found = read_msp_podcast(small, release="1.11", allow_incomplete=True)
    assert set(found.transcript.tolist()) == {""} and found.provenance["missing_transcripts"] == 10


def test_audio_without_label_and_files_of_a_mac(written: Path, read: Recordings) -> None:
    assert (written / "Audios/MSP-PODCAST_0999_0001.wav").is_file()
    assert "MSP-PODCAST_0999_0001" not in read.utterance_id and read.provenance["audio_without_label"] == 1


def test_one_file_is_stereo(written: Path) -> None:
    shapes = Counter()
    for path in (written / "Audios").glob("MSP*.wav"):
        with wave.open(str(path)) as file:
            shapes[file.getframerate(), file.getnchannels()] += 1
    assert shapes == {(16_000, 1): 199, (44_100, 2): 1}


def test_a_complete_corpus_needs_no_flag(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(msp_podcast_source, "PUBLISHED", {"1.11": TRUTH})
    found = read_msp_podcast(written, release="v1.11")
    assert found.provenance["differences"] == [] and found.provenance["release"] == "1.11"
    monkeypatch.setattr(msp_podcast_source, "PUBLISHED", {"1.11": TRUTH | {"Test2 turns": 33}})
    assert "Test2 turns: 32 here, 33 published" in refused(written, allow_incomplete=False)
    found = read_msp_podcast(written, release="1.11", allow_incomplete=True)
    assert found.provenance["differences"] == ["Test2 turns: 32 here, 33 published"]


def test_release_1_8_is_checked_by_split_and_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_miniature(tmp_path, release="1.8", codes=("A", "N"), repeats=1, speakers=SMALL, oddities=False)
    counts = {f"{split} turns labelled {code}": len(each) for split, each in SMALL.items() for code in "AN"}
    monkeypatch.setattr(msp_podcast_source, "PUBLISHED", {"1.8": counts})
    assert read_msp_podcast(tmp_path, release="1.8").provenance["differences"] == []
    assert PUBLISHED["1.8"]["Train turns labelled N"] == 16_518 and PUBLISHED["1.8"]["Development turns labelled S"] == 302
    assert PUBLISHED["1.8"]["Test1 turns labelled H"] == 3475 and PUBLISHED["1.8"]["Test2 turns labelled A"] == 136
    assert sum(n for key, n in PUBLISHED["1.11"].items() if key != "turns") == PUBLISHED["1.11"]["turns"] == 151_654


def test_other_releases_are_read_and_said_to_be_unchecked(small: Path) -> None:
    found = read_msp_podcast(small, release="1.10")
    (difference,) = found.provenance["differences"]
    assert difference.startswith("release 1.10 was not compared with published counts")
    assert "--release 'latest': expected the number of a release" in refused(small, release="latest")


def test_missing_audio_is_named(small: Path) -> None:
    for number in (0, 1):
        (small / f"Audios/MSP-PODCAST_0002_000{number}.wav").unlink()
    message = refused(small, release="1.10", allow_incomplete=False)
    assert "2 audio files are missing: Audios/MSP-PODCAST_0002_0000.wav, Audios/MSP-PODCAST_0002_0001.wav. " in message
    found = read_msp_podcast(small, release="1.10", allow_incomplete=True)
    assert len(found) == 8 and found.provenance["missing_audio"] == 2 and "2" not in found.speaker
    for path in (small / "Audios").iterdir():
        path.unlink()
    assert "no labelled turn has its audio file, such as Audios/MSP-PODCAST_0001_0000.wav" in refused(small)


def test_folders_that_are_not_the_corpus(small: Path) -> None:
    assert "does not exist" in refused(small / "absent")
    assert "it holds none of Labels, Audios" in refused(small / "Labels")
    (small / "Labels/labels_consensus.csv").unlink()
    assert "there is neither Labels/labels_consensus.csv nor Labels/labels_concensus.csv" in refused(small)


LINE = "MSP-PODCAST_0001_0000.wav,A,1.2,4.0,2.6,1,Male,Train"
BAD_LINES = {
    "path": (LINE.replace("MSP", "../MSP"), "FileName '../MSP-PODCAST_0001_0000.wav' is no file of the corpus"),
    "suffix": (LINE.replace(".wav", ".mp3"), "is no file of the corpus, such as MSP-PODCAST_0001_0008.wav"),
    "code": (LINE.replace(",A,", ",Anger,"), "EmoClass 'Anger' is none of the emotion codes A, S, H"),
    "number": (LINE.replace("4.0", "high"), "EmoVal 'high' is not a number"),
    "split": (LINE.replace("Train", "Trian"), "Split_Set 'Trian' is none of Train, Development, Test, Test1"),
    "ragged": (LINE + ",7", "has 9 values, but the header names 8 columns"),
    "cut off": (LINE[:30], "has 3 values, but the header names 8 columns"),
    "quote": ('"' + LINE, "is not CSV: unexpected end of data"),
    "twice": (f"{LINE}\n{LINE}", "MSP-PODCAST_0001_0000.wav is listed a second time"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_label_lines_that_cannot_be_read(case: str, small: Path) -> None:
    line, message = BAD_LINES[case]
    path = small / "Labels/labels_consensus.csv"
    header, text = path.read_text().split("\n", 1)
    assert text.startswith(LINE)
    path.write_text(f"{header}\n{line}{text.removeprefix(LINE)}")
    number = {"twice": 3, "quote": len(text.splitlines()) + 1}.get(case, 2)
    said = refused(small)
    assert message in said and f"{path}, line {number}: " in said


def test_columns_are_found_by_name(small: Path) -> None:
    path = small / "Labels/labels_consensus.csv"
    expected = read_msp_podcast(small, release="1.11", allow_incomplete=True)
    rows = [line.split(",") for line in path.read_text().split()]
    path.write_text("\ufeff" + "\r\n".join(",".join([*reversed(row), "more"]) for row in rows))
    found = read_msp_podcast(small, release="1.11", allow_incomplete=True)
    for key in ("utterance_id", "emotion", "speaker", "split"):
        np.testing.assert_array_equal(getattr(found, key), getattr(expected, key))
    path.write_text(path.read_text().replace("SpkrID", "Speaker"))
    assert f"{path}, line 1: expected the columns FileName, " in refused(small)
    assert refused(small).endswith("once each; wrong: SpkrID")


def test_the_dummy_data_is_what_its_script_writes(tmp_path: Path) -> None:
    speakers = {"Train": ("1",), "Test1": ("9",)}
    write_miniature(tmp_path, codes=("A", "N"), repeats=1, speakers=speakers, hidden=1, oddities=False)
    assert files(tmp_path) == files(DUMMY_DATA)
    assert len(read_msp_podcast(DUMMY_DATA, release="1.11", allow_incomplete=True)) == 5
