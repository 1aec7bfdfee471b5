"""IEMOCAP in miniature, in the corpus' own layout: what is read, what is dodged, what is refused."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from iemocap import iemocap_source
from iemocap.iemocap_source import CLASS_MAPS, DEFAULT_CLASSES, PUBLISHED, read_iemocap
from iemocap.make_dummy_data import DUMMY_DATA, write_miniature
from recorded import corpus_of, files, row

from infoser.errors import InfoserError
from infoser.links import speaker_clusters
from infoser.protocols import make_folds, resolve_protocol
from infoser.recordings import Recordings
from infoser.scored_subsets import subsets

REAL = Path(__file__).parents[3] / "shared" / "data" / "iemocap_features.npz"
IMPRO = "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
SAID = "Session1/dialog/transcriptions/Ses01F_impro01.txt"

# What `write_miniature` says it writes: 3 sessions x 2 speakers x 6 emotions x 2, and two turns more.
TRUTH = {"turns": 74, "4-class turns, improvised": 24 + 6, "4-class turns, scripted": 24 + 6}
TRUTH |= {f"turns labelled {code}": 12 for code in ("ang", "exc", "fru", "hap", "neu", "sad")}
TRUTH |= {"turns labelled xxx": 1, "turns labelled oth": 1, "turns labelled dis": 0}
TRUTH |= {f"4-class turns, speaker Ses0{n}{letter}": 10 for n in (1, 2, 3) for letter in "FM"}
TRUTH |= {
    f"4-class turns, session {n}, {name}": 8 if "+" in name else 4 for n in (1, 2, 3) for name in ("neu", "hap+exc", "sad")
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("iemocap")
    write_miniature(folder)
    return folder


@pytest.fixture(scope="module")
def read(written: Path) -> Recordings:
    return read_iemocap(written, allow_incomplete=True)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    write_miniature(tmp_path, sessions=1, codes=("ang", "neu"), repeats=2)
    return tmp_path


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_bytes().decode("latin-1")
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode("latin-1"))


def refused(root: Path, *, allow_incomplete: bool = True) -> str:
    with pytest.raises(InfoserError) as caught:
        read_iemocap(root, allow_incomplete=allow_incomplete)
    return str(caught.value)


def test_counts_of_the_miniature(read: Recordings) -> None:
    emotions = {"ang": 12, "exc": 12, "fru": 12, "hap": 12, "neu": 12, "oth": 1, "sad": 12, "xxx": 1}
    assert len(read) == 74 and Counter(read.emotion.tolist()) == emotions
    assert Counter(read.session.tolist()) == {"1": 26, "2": 24, "3": 24}
    assert read.provenance["counts"]["emotions"] == emotions
    speakers = {"Ses01F": 13, "Ses01M": 13, "Ses02F": 12, "Ses02M": 12, "Ses03F": 12, "Ses03M": 12}
    assert read.provenance["counts"]["speakers"] == speakers
    assert (read.provenance["source"], read.provenance["release"]) == ("IEMOCAP", "full release")
    assert read.start_s is None and read.end_s is None and read.split is None
    assert all(read.path(each).is_file() for each in range(len(read)))


def test_first_turn_in_full(read: Recordings) -> None:
    first = row(read, "Ses01F_impro01_F000")
    assert first == 0
    assert read.audio[0] == "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav"
    assert (read.emotion[0], read.session[0], read.dialogue[0]) == ("ang", "1", "Ses01F_impro01")
    expected: dict[str, object] = {"valence": 1.0, "activation": 5.0, "dominance": 2.5}
    expected |= {"dialogue_start_s": 6.0, "dialogue_end_s": 6.5, "scripted": False, "gender": "female"}
    assert {key: column[0] for key, column in read.columns.items()} == expected
    assert all(read.columns[key].dtype == np.float32 for key in ("valence", "activation", "dominance", "dialogue_start_s"))


def test_speaker_is_of_the_last_token_not_of_the_dialogue(read: Recordings) -> None:
    for utterance, speaker in (
        ("Ses01F_impro01_M000", "Ses01M"),
        ("Ses01M_script01_1b_F000", "Ses01F"),
        ("Ses03M_script01_1b_M001", "Ses03M"),
    ):
        found = row(read, utterance)
        assert read.speaker[found] == speaker
        assert read.columns["gender"][found] == {"F": "female", "M": "male"}[speaker[-1]]


def test_consensus_label_not_a_single_rater(read: Recordings) -> None:
    # Every turn has a rater who heard surprise and a self-report of anger.
    assert "sur" not in read.emotion and (read.emotion == "ang").sum() == 12


def test_emotions_outside_the_task_keep_their_code(read: Recordings) -> None:
    assert read.emotion[row(read, "Ses01F_impro01_F006")] == "xxx"
    assert read.emotion[row(read, "Ses01M_script01_1b_M006")] == "oth"


def test_scripted_turns_are_told_apart(read: Recordings) -> None:
    scripted = read.columns["scripted"]
    assert scripted.dtype == bool and scripted.sum() == 37
    assert set(read.dialogue[scripted].tolist()) == {"Ses01M_script01_1b", "Ses02M_script01_1b", "Ses03M_script01_1b"}


def test_transcripts_are_latin_1_with_one_missing_in_each_session(read: Recordings) -> None:
    assert read.transcript[row(read, "Ses01F_impro01_M000")] == "I am furious, call 1 at the caf\xe9\x85 [LAUGHTER]"
    missing = read.utterance_id[read.transcript == ""].tolist()
    assert missing == ["Ses01M_script01_1b_F000", "Ses02M_script01_1b_F000", "Ses03M_script01_1b_F000"]
    assert read.provenance["missing_transcripts"] == 3


def test_transcript_lines_without_id_or_label_are_counted(read: Recordings) -> None:
    # 'M: Yeah.' and an _FXX0 or _MXX0 line after every turn
    assert read.provenance["transcript_lines_without_id"] == 74
    assert read.provenance["transcripts_without_label"] == 74
    assert read.provenance["transcripts_repeated"] == 0
    assert not any("XX" in utterance for utterance in read.utterance_id.tolist())


def test_files_of_a_mac_are_skipped(written: Path, read: Recordings) -> None:
    assert (written / "Session1/dialog/EmoEvaluation/._Ses01F_impro01.txt").is_file()
    assert "Ses01F_impro01_F900" not in read.utterance_id


def test_single_raters_folders_are_not_read(small: Path) -> None:
    before = len(read_iemocap(small, allow_incomplete=True))
    folder = small / "Session1/dialog/EmoEvaluation/Self-evaluation"
    folder.mkdir()
    (folder / "Ses01F_impro01.txt").write_bytes((small / IMPRO).read_bytes())
    assert len(read_iemocap(small, allow_incomplete=True)) == before


def test_session_folds(read: Recordings) -> None:
    corpus = corpus_of(read, CLASS_MAPS[DEFAULT_CLASSES])
    assert corpus.classes == ("ang", "hap+exc", "neu", "sad")
    assert np.bincount(corpus.label[corpus.labelled]).tolist() == [12, 24, 12, 12]
    assert resolve_protocol(corpus, "auto") == "session"
    folds = make_folds(corpus, "session", with_dev=True)
    assert [(fold.name, len(fold.train), len(fold.dev), len(fold.test)) for fold in folds] == [
        ("session1", 24, 20, 20),
        ("session2", 26, 20, 20),
        ("session3", 24, 20, 20),
    ]
    assert set(read.speaker[folds[0].test].tolist()) == {"Ses01F", "Ses01M"}
    assert [int(mask.sum()) for mask in subsets(corpus, folds[0]).values()] == [20, 10]


def test_speaker_folds_leave_the_partner_out(read: Recordings) -> None:
    corpus = corpus_of(read, CLASS_MAPS["6"])
    assert corpus.classes == ("ang", "exc", "fru", "hap", "neu", "sad")
    folds = make_folds(corpus, "speaker")
    assert [fold.name for fold in folds] == ["Ses01F", "Ses01M", "Ses02F", "Ses02M", "Ses03F", "Ses03M"]
    assert set(read.speaker[folds[1].test].tolist()) == {"Ses01M"} and len(folds[1].test) == 12
    assert set(read.session[folds[1].train].tolist()) == {"2", "3"} and len(folds[1].train) == 48
    assert set(speaker_clusters(corpus).tolist()) == {f"speaker Ses0{n}{letter}" for n in (1, 2, 3) for letter in "FM"}


def test_a_complete_corpus_needs_no_flag(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iemocap_source, "PUBLISHED", TRUTH)
    monkeypatch.setattr(iemocap_source, "SESSIONS", ("1", "2", "3"))
    assert read_iemocap(written).provenance["differences"] == []


def test_counts_that_differ_are_refused_or_recorded(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iemocap_source, "PUBLISHED", TRUTH | {"turns": 75, "turns labelled xxx": 2})
    monkeypatch.setattr(iemocap_source, "SESSIONS", ("1", "2", "3"))
    message = refused(written, allow_incomplete=False)
    assert "turns: 74 here, 75 published; turns labelled xxx: 1 here, 2 published" in message
    assert "--allow-incomplete" in message and str(written) in message
    differences = read_iemocap(written, allow_incomplete=True).provenance["differences"]
    assert differences == ["turns: 74 here, 75 published", "turns labelled xxx: 1 here, 2 published"]


def test_published_counts_are_the_known_ones() -> None:
    codes = {key.removeprefix("turns labelled "): n for key, n in PUBLISHED.items() if key.startswith("turns labelled ")}
    assert sum(codes.values()) == PUBLISHED["turns"] == 10_039
    four = sum(codes[code] for code in ("ang", "hap", "exc", "neu", "sad"))
    assert four == 5531 == PUBLISHED["4-class turns, improvised"] + PUBLISHED["4-class turns, scripted"]
    assert sum(n for key, n in PUBLISHED.items() if "speaker" in key) == four
    assert sum(n for key, n in PUBLISHED.items() if ", session" in key) == four
    assert PUBLISHED["4-class turns, speaker Ses01F"] == 528 and PUBLISHED["4-class turns, session 5, hap+exc"] == 442


def test_missing_files_are_named(small: Path) -> None:
    gone = [f"Ses01F_impro01_{letter}000" for letter in "FM"]
    for name in gone:
        (small / f"Session1/sentences/wav/Ses01F_impro01/{name}.wav").unlink()
    message = refused(small, allow_incomplete=False)
    assert "no label file in Session2/dialog/EmoEvaluation" in message
    assert "2 audio files are missing: Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav, " in message
    found = read_iemocap(small, allow_incomplete=True)
    silent = ", ".join(f"Session{number}/dialog/transcriptions" for number in range(2, 6))
    assert f"no transcript file in {silent}" in found.provenance["differences"]
    assert not set(gone) & set(found.utterance_id.tolist())
    assert len(found) == 8 and found.provenance["missing_audio"] == 2
    assert found.provenance["transcripts_without_label"] == 10  # not those of turns without audio


def test_no_audio_at_all(small: Path) -> None:
    (small / "Session1/sentences/wav").rename(small / "elsewhere")
    assert "no labelled turn has its audio file, such as Session1/sentences/wav/" in refused(small)


def test_folders_that_are_not_the_corpus(small: Path, tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "absent")
    (tmp_path / "file").touch()
    assert "is not a folder" in refused(tmp_path / "file")
    assert "it holds none of Session1, Session2" in refused(small / "Session1")
    outer = tmp_path / "outer"
    outer.mkdir()
    (tmp_path / "Session1").rename(outer / "Session1")
    assert f"did you mean {outer}?" in refused(tmp_path)


LINE = "[6.0000 - 6.5000]\tSes01F_impro01_F000\tang\t[1.0000, 5.0000, 2.5000]"
BAD_LINES = {
    "no tabs": (LINE.replace("\t", " "), "line 3: expected '[start - end]', id, emotion"),
    "id": (LINE.replace("F000", "X000"), "line 3: expected '[start - end]'"),
    "path as id": (LINE.replace("Ses01F_impro01_F000", "Ses01F_impro/../../x_F000"), "line 3: expected '[start"),
    "session": (LINE.replace("Ses01F", "Ses02F"), "is of session 2, not 1"),
    "code": (LINE.replace("ang", "joy"), "'joy' is none of the emotion codes ang, hap"),
    "number": (LINE.replace("5.0000,", "5.0.0,"), "activation '5.0.0' is not a number"),
    "time": (LINE.replace("6.0000", "6.0.0"), "start '6.0.0' is not a number"),
    "cut off": (LINE[:40], "line 3: expected '[start - end]'"),
    "twice": (LINE + "\n" + LINE, "are labelled in two files of EmoEvaluation: Ses01F_impro01_F000"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_label_lines_that_cannot_be_read(case: str, small: Path) -> None:
    line, message = BAD_LINES[case]
    changed(small / IMPRO, LINE, line)
    said = refused(small)
    assert message in said and (case == "twice" or f"{small / IMPRO}, line 3" in said)


def test_windows_line_ends_and_a_second_text(small: Path) -> None:
    expected = read_iemocap(small, allow_incomplete=True)
    for path in (small / IMPRO, small / SAID):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    with (small / SAID).open("ab") as file:
        file.write(b"Ses01F_impro01_F000 [006.0000-006.5000]: Something else.\n")
    found = read_iemocap(small, allow_incomplete=True)
    np.testing.assert_array_equal(found.transcript, expected.transcript)
    np.testing.assert_array_equal(found.utterance_id, expected.utterance_id)
    assert found.provenance["transcripts_repeated"] == 1


def test_the_dummy_data_is_what_its_script_writes(tmp_path: Path) -> None:
    write_miniature(tmp_path, sessions=1, codes=("neu",), repeats=1)
    assert files(tmp_path) == files(DUMMY_DATA)
    assert len(read_iemocap(DUMMY_DATA, allow_incomplete=True)) == 4


@pytest.mark.skipif(not REAL.exists(), reason="the licensed IEMOCAP features are not in ../shared/data")
def test_the_real_annotations_pass_every_count(tmp_path: Path) -> None:
    with np.load(REAL, allow_pickle=False) as source:
        keys = ("utterance_id", "emotion", "session", "dialogue", "speaker", "scripted", "valence_arousal_dominance")
        real = {key: source[key] for key in (*keys, "start_end_s")}
    labels: dict[Path, list[str]] = {}
    for each in range(len(real["utterance_id"])):
        utterance, dialogue, folder = real["utterance_id"][each], real["dialogue"][each], f"Session{real['session'][each]}"
        start, end = real["start_end_s"][each]
        ratings = ", ".join(f"{value:.4f}" for value in real["valence_arousal_dominance"][each])
        line = f"[{start:.4f} - {end:.4f}]\t{utterance}\t{real['emotion'][each]}\t[{ratings}]"
        labels.setdefault(tmp_path / folder / f"dialog/EmoEvaluation/{dialogue}.txt", []).append(line)
        wav = tmp_path / folder / "sentences/wav" / dialogue / f"{utterance}.wav"
        wav.parent.mkdir(parents=True, exist_ok=True)
        wav.touch()
    for path, lines in labels.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join(lines), encoding="latin-1")
        spoken = path.parents[1] / "transcriptions" / path.name
        spoken.parent.mkdir(exist_ok=True)
        spoken.touch()  # words are not among the real annotations
    found = read_iemocap(tmp_path)  # complete: no difference is allowed
    assert found.provenance["differences"] == [] and len(found) == 10_039
    order = np.argsort(real["utterance_id"])
    ours = np.argsort(found.utterance_id)
    for key in ("utterance_id", "emotion", "dialogue", "speaker"):
        np.testing.assert_array_equal(getattr(found, key)[ours], real[key][order], err_msg=key)
    np.testing.assert_array_equal(found.columns["scripted"][ours], real["scripted"][order])
    assert [len(fold.test) for fold in make_folds(corpus_of(found, CLASS_MAPS[DEFAULT_CLASSES]), "session")] == [
        1085,
        1023,
        1151,
        1031,
        1241,
    ]
