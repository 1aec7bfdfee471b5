"""MSP-IMPROV in miniature, in the corpus' own layout: what is read, what is dodged, what is refused."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from msp_improv import msp_improv_source
from msp_improv.make_dummy_data import DUMMY_DATA, write_miniature
from msp_improv.msp_improv_source import CLASS_MAPS, DEFAULT_CLASSES, PUBLISHED, read_msp_improv
from recorded import corpus_of, files, row

from infoser.errors import InfoserError
from infoser.protocols import make_folds, resolve_protocol
from infoser.recordings import Recordings
from infoser.scored_subsets import subsets

# What `write_miniature` says it writes: 3 sessions x 2 speakers x 4 emotions x 4, one in each scenario, and O and X.
TRUTH = {"turns": 98, "turns labelled O": 1, "turns labelled X": 1} | {f"turns labelled {code}": 24 for code in "AHNS"}
TRUTH |= {f"turns of scenario {each}": number for each, number in {"P": 25, "R": 24, "S": 25, "T": 24}.items()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("msp_improv")
    write_miniature(folder)
    return folder


@pytest.fixture(scope="module")
def read(written: Path) -> Recordings:
    return read_msp_improv(written, allow_incomplete=True)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    write_miniature(tmp_path, sessions=1, codes=("A", "N"), repeats=1)
    return tmp_path


def refused(root: Path, *, allow_incomplete: bool = True) -> str:
    with pytest.raises(InfoserError) as caught:
        read_msp_improv(root, allow_incomplete=allow_incomplete)
    return str(caught.value)


def test_counts_of_the_miniature(read: Recordings) -> None:
    emotions = {"A": 24, "H": 24, "N": 24, "O": 1, "S": 24, "X": 1}
    assert len(read) == 98 and Counter(read.emotion.tolist()) == emotions
    assert read.provenance["counts"]["emotions"] == emotions
    assert read.provenance["counts"]["sessions"] == {"1": 34, "2": 32, "3": 32}
    assert read.provenance["counts"]["speakers"] == {"F01": 17, "F02": 16, "F03": 16, "M01": 17, "M02": 16, "M03": 16}
    assert read.provenance["counts"]["scenarios"] == {"P": 25, "R": 24, "S": 25, "T": 24}
    assert (read.provenance["source"], read.provenance["label_file"]) == ("MSP-IMPROV", "Evaluation.txt")
    assert read.provenance["lines_outside_blocks"] == 0
    assert all(read.path(each).is_file() for each in range(len(read)))


def test_label_file_says_utd_and_audio_msp(read: Recordings) -> None:
    assert read.utterance_id[0] == "MSP-IMPROV-S01H-F01-P-MF01"
    assert read.audio[0] == "Audio/session1/S01H/P/MSP-IMPROV-S01H-F01-P-MF01.wav"


def test_audio_folder_may_be_left_out(tmp_path: Path) -> None:
    write_miniature(tmp_path, sessions=1, codes=("A",), repeats=1, audio_folder=False)
    assert not (tmp_path / "Audio").exists()
    found = read_msp_improv(tmp_path, allow_incomplete=True)
    assert len(found) == 4 and found.audio[0] == "session1/S01H/P/MSP-IMPROV-S01H-F01-P-MF01.wav"


def test_consensus_label_not_the_intended_one(read: Recordings) -> None:
    first = row(read, "MSP-IMPROV-S01H-F01-P-MF01")
    assert (read.emotion[first], read.columns["intended"][first]) == ("A", "H")
    assert not (read.emotion == read.columns["intended"]).any()


def test_spaces_and_nan_among_the_ratings(read: Recordings) -> None:
    columns = {key: read.columns[key][:3] for key in ("activation", "valence", "dominance", "naturalness")}
    np.testing.assert_array_equal(columns["activation"], np.array([1, np.nan, 3], np.float32))  # not turned over
    np.testing.assert_array_equal(columns["valence"], np.array([2.9, 2.9, 2.9], np.float32))
    np.testing.assert_array_equal(columns["dominance"], np.array([3, 3, np.nan], np.float32))
    np.testing.assert_array_equal(columns["naturalness"], np.array([4.2, 4.2, 4.2], np.float32))
    assert all(column.dtype == np.float32 for column in columns.values())


def test_raters_who_appear_twice_are_counted_once(written: Path, read: Recordings) -> None:
    assert (written / "Evaluation.txt").read_text().split("\n\n")[0].count("cd34-p1") == 2
    assert set(read.columns["raters"].tolist()) == {2}


def test_speaker_is_the_field_and_the_letters_are_kept(read: Recordings) -> None:
    first = row(read, "MSP-IMPROV-S01H-M03-S-FM01")
    assert (read.speaker[first], read.session[first], read.columns["pair"][first]) == ("M03", "3", "FM")
    assert read.columns["gender"][first] == "male"
    counts = read.provenance["counts"]["speakers_and_pairs"]
    assert counts == {"F FF": 12, "F FM": 25, "F MF": 12, "M FM": 24, "M MF": 13, "M MM": 12}


def test_transcripts_anywhere_missing_or_empty(read: Recordings) -> None:
    assert read.transcript[:4].tolist() == ["", "", "I am glad, call 2", "I am glad, call 3"]
    assert read.provenance["missing_transcripts"] == 2


def test_transcripts_behind_links_are_found_once(small: Path) -> None:
    before = read_msp_improv(small, allow_incomplete=True)
    (small / "Human_transcriptions").rename(small.parent / "elsewhere")
    (small / "Human_transcriptions").symlink_to(small.parent / "elsewhere")
    (small.parent / "elsewhere" / "round").symlink_to(small)
    np.testing.assert_array_equal(read_msp_improv(small, allow_incomplete=True).transcript, before.transcript)


def test_transcripts_in_latin_1(small: Path) -> None:
    (path,) = small.glob("Human_transcriptions/*/MSP-IMPROV-S01A-M01-P-MF01.txt")
    path.write_bytes("Caf\xe9,\r\n now".encode("latin-1"))
    found = read_msp_improv(small, allow_incomplete=True)
    assert found.transcript[row(found, "MSP-IMPROV-S01A-M01-P-MF01")] == "Café, now"


def test_two_transcripts_of_a_turn_must_agree(small: Path) -> None:
    (path,) = small.glob("Human_transcriptions/*/MSP-IMPROV-S01A-M01-P-MF01.txt")
    other = small / "Audio/session1/UTD-IMPROV-S01A-M01-P-MF01.txt"
    other.write_bytes(path.read_bytes())
    read_msp_improv(small, allow_incomplete=True)
    other.write_text("Something else")
    assert "turn S01A-M01-P-MF01 has two different transcripts: " in refused(small)


def test_read_sentences_are_scripted_and_no_dialogue(read: Recordings) -> None:
    scenario, dialogue = read.columns["scenario"], read.dialogue
    np.testing.assert_array_equal(read.columns["scripted"], scenario == "R")
    assert set(dialogue[scenario == "R"].tolist()) == {""}
    assert dialogue[row(read, "MSP-IMPROV-S01H-F01-P-MF01")] == "session1_S01H"
    assert dialogue[row(read, "MSP-IMPROV-S01H-M01-T-FM01")] == "session1_S01H"


def test_session_folds(read: Recordings) -> None:
    corpus = corpus_of(read, CLASS_MAPS[DEFAULT_CLASSES])
    assert list(CLASS_MAPS) == ["4"] and corpus.classes == ("ang", "hap", "neu", "sad")
    assert np.bincount(corpus.label[corpus.labelled]).tolist() == [24, 24, 24, 24]
    assert resolve_protocol(corpus, "auto") == "session"
    folds = make_folds(corpus, "session", with_dev=True)
    sizes = [("session1", 32, 32, 32), ("session2", 34, 32, 32), ("session3", 32, 32, 32)]
    assert [(fold.name, len(fold.train), len(fold.dev), len(fold.test)) for fold in folds] == sizes
    assert [int(mask.sum()) for mask in subsets(corpus, folds[0]).values()] == [32, 24]


def test_speaker_folds(read: Recordings) -> None:
    folds = make_folds(corpus_of(read, CLASS_MAPS[DEFAULT_CLASSES]), "speaker")
    assert [fold.name for fold in folds] == ["F01", "F02", "F03", "M01", "M02", "M03"]
    assert set(read.speaker[folds[0].train].tolist()) == {"F02", "F03", "M02", "M03"}  # not the partner, M01
    assert len(folds[0].test) == 16


def test_a_complete_corpus_needs_no_flag(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(msp_improv_source, "PUBLISHED", TRUTH)
    assert read_msp_improv(written).provenance["differences"] == []
    monkeypatch.setattr(msp_improv_source, "PUBLISHED", TRUTH | {"turns labelled A": 23})
    message = refused(written, allow_incomplete=False)
    assert "turns labelled A: 24 here, 23 published. " in message and "--allow-incomplete" in message
    found = read_msp_improv(written, allow_incomplete=True)
    assert found.provenance["differences"] == ["turns labelled A: 24 here, 23 published"]


def test_published_counts_are_the_known_ones() -> None:
    labels = [n for key, n in PUBLISHED.items() if "labelled" in key]
    assert sum(labels) == sum(n for key, n in PUBLISHED.items() if "scenario" in key) == PUBLISHED["turns"] == 8438
    assert sum(PUBLISHED[f"turns labelled {code}"] for code in "AHNS") == 7798


def test_missing_audio_is_named(small: Path) -> None:
    name = "Audio/session1/S01H/P/MSP-IMPROV-S01H-F01-P-MF01.wav"
    (small / name).unlink()
    assert f"1 audio file is missing: {name}; " in refused(small, allow_incomplete=False)
    found = read_msp_improv(small, allow_incomplete=True)
    assert len(found) == 5 and found.provenance["missing_audio"] == 1
    assert found.provenance["differences"][0] == f"1 audio file is missing: {name}"
    (small / "Audio").rename(small / "elsewhere")
    assert "no labelled turn has its audio file, such as session1/S01H/P/" in refused(small)


def test_both_spellings_of_the_label_file(small: Path) -> None:
    (small / "Evaluation.txt").rename(small / "Evalution.txt")
    assert read_msp_improv(small, allow_incomplete=True).provenance["label_file"] == "Evalution.txt"
    (small / "Evalution.txt").unlink()
    assert "it holds none of Evaluation.txt, Evalution.txt" in refused(small)
    (small / "Evaluation.txt").touch()
    assert "labels no turn" in refused(small)


def test_folders_that_are_not_the_corpus(small: Path) -> None:
    assert "does not exist" in refused(small / "absent")
    (small.parent / f"{small.name}_outer").mkdir()
    outer = small.parent / f"{small.name}_outer"
    small.rename(outer / "MSP")
    assert f"did you mean {outer / 'MSP'}?" in refused(outer)


LINE = "UTD-IMPROV-S01H-F01-P-MF01.avi; A; A:1.0; V:2.9; D:3.0 ; N:4.2;"
BAD_LINES = {
    "name": (LINE.replace("F01", "F1"), "is no turn of MSP-IMPROV; expected a name such as UTD-IMPROV-S01A"),
    "path in the name": (LINE.replace("S01H", "../S01H"), "is no turn of MSP-IMPROV"),
    "session": (LINE.replace("F01", "F07"), "is no turn of MSP-IMPROV"),
    "scenario": (LINE.replace("-P-", "-Q-"), "is no turn of MSP-IMPROV"),
    "code": (LINE.replace("; A;", "; Angry;"), "'Angry' is none of the emotion codes A, H, S, N, O, X"),
    "number": (LINE.replace("V:2.9", "V:2,9"), "with a number or NaN once each, not 'V:2,9'"),
    "twice rated": (LINE.replace("V:2.9", "A:2.9"), "once each, not 'A:2.9'"),
    "cut off": (LINE[:40], "there is no V: value (valence)"),
    "twice": (f"{LINE}\n\n{LINE}", "line 3: turn S01H-F01-P-MF01 was labelled in line 1 already"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_label_lines_that_cannot_be_read(case: str, small: Path) -> None:
    line, message = BAD_LINES[case]
    path = small / "Evaluation.txt"
    text = path.read_text()
    assert text.startswith(LINE)
    path.write_text(line + text.removeprefix(LINE))
    said = refused(small)
    assert message in said and f"{path}, line {3 if case == 'twice' else 1}: " in said


def test_windows_line_ends_and_lines_of_no_turn(small: Path) -> None:
    path = small / "Evaluation.txt"
    expected = read_msp_improv(small, allow_incomplete=True)
    path.write_bytes(b"% evaluations\r\n\r\n" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\nthe end\r\n")
    found = read_msp_improv(small, allow_incomplete=True)
    np.testing.assert_array_equal(found.utterance_id, expected.utterance_id)
    np.testing.assert_array_equal(found.columns["raters"], expected.columns["raters"])
    assert found.provenance["lines_outside_blocks"] == 2


def test_the_dummy_data_is_what_its_script_writes(tmp_path: Path) -> None:
    write_miniature(tmp_path, sessions=1, codes=("N",), repeats=1)
    assert files(tmp_path) == files(DUMMY_DATA)
    assert len(read_msp_improv(DUMMY_DATA, allow_incomplete=True)) == 4
