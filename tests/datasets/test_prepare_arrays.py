"""`prepare.py arrays`: what goes in comes out, and mistakes are named."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from preparing import prepared, run

from infoser.shards import read_corpus

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data" / "iemocap_features.npz"
TASK = ("ang=ang", "hap+exc=hap,exc", "neu=neu", "sad=sad")

Arrays = dict[str, np.ndarray]
Save = Callable[..., Path]


def refused(capsys: pytest.CaptureFixture[str], source: Path, tmp_path: Path, *flags: str, name: str = "mine") -> str:
    """The one message of a run that must fail and write nothing."""
    assert run(source, tmp_path / "data", *flags, name=name) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1 and "Traceback" not in captured.err
    assert not (tmp_path / "data").exists()
    return captured.err


def test_every_array_comes_back_exactly(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    corpus = prepared(save(arrays), tmp_path, "--classes", *TASK)
    assert corpus.name == "mine"
    assert corpus.classes == ("ang", "hap+exc", "neu", "sad")
    for field in ("utterance_id", "speaker", "dialogue", "split"):
        np.testing.assert_array_equal(getattr(corpus, field), arrays[field])
    assert corpus.session is not None and corpus.session.tolist() == ["1"] * 6 + ["2"] * 6
    assert corpus.label.dtype == np.int32
    np.testing.assert_array_equal(corpus.label, arrays["label"])
    assert corpus.audio.dtype == np.float32
    np.testing.assert_array_equal(corpus.audio, arrays["audio"])
    assert corpus.text is not None and corpus.text.dtype == np.float32
    np.testing.assert_array_equal(corpus.text, arrays["text"].astype(np.float32))

    kept = ("emotion", "label", "flag", "small", "large", "half", "double", "big_endian", "vector", "matrix", "words", "raw")
    assert set(corpus.columns) == set(kept)
    for key in kept:
        expected = np.char.decode(arrays[key], "utf-8") if key == "raw" else arrays[key]
        assert corpus.columns[key].dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
        np.testing.assert_array_equal(corpus.columns[key], expected, err_msg=key)


def test_the_provenance_says_where_it_came_from(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    provenance = prepared(save(arrays), tmp_path, "--classes", *TASK).provenance
    assert provenance["source"] == "source.npz"
    assert provenance["settings"]["classes"] == {"ang": ["ang"], "hap+exc": ["hap", "exc"], "neu": ["neu"], "sad": ["sad"]}
    assert provenance["settings"]["keys"]["text"] == "text"
    assert len(provenance["settings"]["source_sha256"]) == 64
    assert provenance["unlabelled"] == {"fru": 2}
    assert provenance["counts"] == {
        "utterances": 12,
        "labelled": 10,
        "classes": {"ang": 2, "hap+exc": 4, "neu": 2, "sad": 2},
        "speakers": 4,
        "sessions": 2,
    }
    assert provenance["skipped"] == {"label_names": "(4,), names for 'label'", "audio_names": "(4,), names for 'audio'"}
    assert set(provenance["versions"]) == {"infoser", "tensorflow_datasets", "numpy"}
    folder = tmp_path / "data" / "mine" / "1.0.0"
    assert provenance["shards_path"] == str(folder.resolve())
    assert not any(str(tmp_path).encode() in path.read_bytes() for path in folder.iterdir())


def test_the_output_says_what_was_prepared(
    arrays: Arrays, save: Save, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(save(arrays), tmp_path, "--classes", *TASK)
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    assert lines[0] == "mine: 12 utterances, 10 labelled"
    assert "  classes     ang 2, hap+exc 4, neu 2, sad 2" in lines
    assert "  unlabelled  fru 2" in lines
    assert "  skipped     audio_names (4,), names for 'audio'" in lines
    assert lines[-1] == f"next: python train.py corpus --data.name mine --data-dir {tmp_path / 'data'}"


def test_a_corpus_without_text_or_sessions(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    few = {key: arrays[key] for key in ("utterance_id", "audio", "emotion", "speaker")}
    corpus = prepared(save(few), tmp_path)
    assert corpus.text is corpus.session is corpus.dialogue is corpus.split is None
    assert list(corpus.columns) == ["emotion"]
    assert corpus.classes == ("ang", "exc", "fru", "hap", "neu", "sad")
    assert corpus.labelled.all()


def test_other_widths_and_seven_classes(tmp_path: Path, save: Save) -> None:
    rng = np.random.default_rng(0)
    rows = 70
    wide = {
        "utterance_id": np.arange(rows),
        "audio": rng.normal(size=(rows, 768)),
        "text": rng.normal(size=(rows, 768)),
        "label": rng.permutation(np.arange(rows) % 7),
        "label_names": np.array([f"e{6 - i}" for i in range(7)]),
        "speaker": np.arange(rows) % 14,
    }
    corpus = prepared(save(wide), tmp_path)
    assert corpus.audio.shape == (rows, 768) and corpus.text is not None and corpus.text.shape == (rows, 768)
    np.testing.assert_array_equal(corpus.audio, wide["audio"].astype(np.float32))
    assert corpus.classes == ("e6", "e5", "e4", "e3", "e2", "e1", "e0")  # the order of label_names
    np.testing.assert_array_equal(corpus.label, wide["label"])
    assert corpus.utterance_id[11] == "11" and corpus.speaker[15] == "1"


def test_an_empty_emotion_and_label_minus_one_mean_unlabelled(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    by_emotion = arrays | {"emotion": np.where(arrays["emotion"] == "fru", "", arrays["emotion"])}
    corpus = prepared(save(by_emotion), tmp_path)
    assert corpus.classes == ("ang", "exc", "hap", "neu", "sad") and corpus.provenance["unlabelled"] == {"": 2}
    by_label = {key: array for key, array in arrays.items() if key != "emotion"}
    corpus = prepared(save(by_label), tmp_path, name="other")
    np.testing.assert_array_equal(corpus.label, arrays["label"])


def test_emotion_wins_over_label_unless_label_is_asked_for(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    source = save(arrays)
    assert len(prepared(source, tmp_path).classes) == 6
    asked = prepared(source, tmp_path, "--label-key", "label", name="other")
    assert asked.classes == ("ang", "hap+exc", "neu", "sad")
    np.testing.assert_array_equal(asked.columns["emotion"], arrays["emotion"])


def test_another_text_array_leaves_the_first_a_column(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    corpus = prepared(save(arrays), tmp_path, "--text-key", "vector")
    assert corpus.text is not None
    np.testing.assert_array_equal(corpus.text, arrays["vector"].astype(np.float32))
    np.testing.assert_array_equal(corpus.columns["text"], arrays["text"])
    assert "vector" not in corpus.columns


def test_names_of_an_axis_are_no_column_however_many(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    square = arrays | {"audio": np.ones((12, 12)), "audio_names": np.array([f"f{i}" for i in range(12)])}
    corpus = prepared(save(square), tmp_path)
    assert "audio_names" not in corpus.columns and "audio_names" in corpus.provenance["skipped"]


def test_what_cannot_be_a_column_is_skipped_with_a_reason(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    odd = {
        "complex": np.ones(12, np.complex64),
        "when": np.zeros(12, "datetime64[s]"),
        "a/b": np.ones(12),
        "scalar": np.float32(1),
        "no_width": np.ones((12, 0)),
    }
    skipped = prepared(save(arrays | odd), tmp_path).provenance["skipped"]
    assert skipped["complex"] == "(12,), dtype complex64"
    assert skipped["when"] == "(12,), dtype datetime64[s]"
    assert skipped["a/b"] == "(12,), '/' in its name"
    assert skipped["scalar"] == "(), not one row per utterance"
    assert skipped["no_width"] == "(12, 0), empty"


def with_value(array: np.ndarray, row: int, value: object) -> np.ndarray:
    changed = array.copy()
    changed[row] = value
    return changed


BAD_ARRAYS = {
    "missing id": (lambda a: {"utterance_id": None}, "no array 'utterance_id' for --utterance-id-key; the arrays are: audio"),
    "missing labels": (lambda a: {"emotion": None, "label": None}, "neither an 'emotion' nor a 'label' array"),
    "missing names": (lambda a: {"emotion": None, "label_names": None}, "--label-names-key"),
    "repeated id": (lambda a: {"utterance_id": with_value(a["utterance_id"], 5, a["utterance_id"][2])}, "(rows 2 and 5)"),
    "empty speaker": (lambda a: {"speaker": with_value(a["speaker"], 7, "")}, "'speaker' is empty for utterance 'utt_é"),
    "empty session": (lambda a: {"session": np.array(["1"] * 11 + [" "])}, "'session' is empty for utterance 'utt_é"),
    "not a number": (lambda a: {"audio": with_value(a["audio"], 4, np.nan)}, "(row 4) is NaN or infinite"),
    "too large": (lambda a: {"audio": with_value(a["audio"].astype(float), 4, 1e300)}, "(row 4) is NaN or infinite"),
    "short audio": (lambda a: {"audio": a["audio"][:11]}, "'audio' has 11 rows, but there are 12 utterance ids"),
    "short emotion": (lambda a: {"emotion": a["emotion"][:11]}, "'emotion' has 11 rows"),
    "flat audio": (lambda a: {"audio": a["audio"][:, 0]}, "has shape (12,), but audio needs (utterances, features)"),
    "frames": (lambda a: {"audio": np.ones((12, 5, 4))}, "average the frames"),
    "wide speaker": (lambda a: {"speaker": a["words"]}, "has shape (12, 2), but speaker needs (utterances,)"),
    "text as words": (lambda a: {"text": a["words"]}, "features must be numbers"),
    "float session": (lambda a: {"session": a["double"]}, "'session' has dtype float64; expected strings or integers"),
    "float label": (lambda a: {"emotion": None, "label": a["half"]}, "'label' has dtype float16; expected integers"),
    "label too large": (lambda a: {"emotion": None, "label": with_value(a["label"], 3, 4)}, "label 4 of utterance 'utt_é"),
    "label too small": (lambda a: {"emotion": None, "label": with_value(a["label"], 3, -2)}, "label -2 of utterance 'utt_é"),
    "name without rows": (
        lambda a: {"emotion": None, "label_names": np.append(a["label_names"], "joy")},
        "class 'joy' would have no utterance",
    ),
    "repeated name": (lambda a: {"emotion": None, "label_names": np.array(["x", "y", "x", "z"])}, "'x' is empty or occurs"),
    "no label at all": (lambda a: {"emotion": np.full(12, "")}, "labels no utterance"),
    "spaced emotion": (lambda a: {"emotion": with_value(a["emotion"].astype("U9"), 0, "ang ")}, "class name 'ang ' has spaces"),
    "not UTF-8": (lambda a: {"speaker": np.array([b"\xff"] * 12)}, "not UTF-8"),
    "objects": (lambda a: {"notes": np.array([{}] * 12, dtype=object)}, "'notes' in"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_mistakes_in_the_file(
    case: str, arrays: Arrays, save: Save, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, message = BAD_ARRAYS[case]
    changed = {key: array for key, array in (arrays | change(arrays)).items() if array is not None}
    assert message in refused(capsys, save(changed), tmp_path)


BAD_FLAGS = {
    "missing key": (("--text-key", "tekst"), "no array 'tekst' for --text-key; the arrays are: utterance_id (12,), audio"),
    "both features": (("--text-key", "audio"), "both name 'audio'"),
    "unknown code": (("--classes", "ang=ang", "joy=joy"), "class 'joy' would have no utterance for 'joy'"),
    "code twice": (("--classes", "ang=ang", "high=hap,ang"), "emotion 'ang' is in class 'ang' and again in 'high'"),
    "class twice": (("--classes", "ang=ang", "ang=hap"), "class 'ang' is given twice"),
    "no equals": (("--classes", "ang"), "expected class=code,code"),
    "no code": (("--classes", "ang=ang,"), "expected class=code,code"),
    "no classes": (("--classes",), "--classes needs at least one"),
    "flag twice": (("--classes", "a=ang", "--classes", "b=hap"), "--classes is given twice"),
    "flag twice, spelt otherwise": (("--text_key=text", "--text-key", "text"), "--text-key is given twice"),
}


@pytest.mark.parametrize("case", BAD_FLAGS)
def test_mistakes_in_the_flags(
    case: str, arrays: Arrays, save: Save, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags, message = BAD_FLAGS[case]
    assert message in refused(capsys, save(arrays), tmp_path, *flags)


@pytest.mark.parametrize("name", ["../up", "a/b", "1st", "", "a b", ".hidden", "é"])
def test_names_that_are_no_folder_are_refused(
    name: str, arrays: Arrays, save: Save, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "cannot name a corpus" in refused(capsys, save(arrays), tmp_path, name=name)


def test_sources_that_are_no_npz(arrays: Arrays, save: Save, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "does not exist" in refused(capsys, tmp_path / "absent.npz", tmp_path)
    assert "is not a file" in refused(capsys, tmp_path, tmp_path)
    (tmp_path / "text.npz").write_text("not an archive")
    assert "is not an .npz file" in refused(capsys, tmp_path / "text.npz", tmp_path)
    np.save(tmp_path / "one.npy", arrays["audio"])
    assert "is not an .npz file" in refused(capsys, tmp_path / "one.npy", tmp_path)
    damaged = bytearray(save(arrays).read_bytes())
    damaged[damaged.index(arrays["audio"].tobytes()) + 5] ^= 1
    (tmp_path / "damaged.npz").write_bytes(damaged)
    assert "is damaged at array 'audio'" in refused(capsys, tmp_path / "damaged.npz", tmp_path)


def test_iemocap_has_the_four_class_task_by_default(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    corpus = prepared(save(arrays), tmp_path, name="iemocap")
    assert corpus.classes == tuple(arrays["label_names"])
    np.testing.assert_array_equal(corpus.label, arrays["label"])
    without = {key: array for key, array in arrays.items() if key != "emotion"}
    assert prepared(save(without), tmp_path, "--overwrite", name="iemocap").classes == tuple(arrays["label_names"])


def test_the_command_from_the_shell(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "datasets/prepare.py", "arrays", "--source", str(save(arrays))]
    command += ["--data-dir", str(tmp_path / "data"), "--name"]
    good = subprocess.run([*command, "mine"], cwd=ROOT, capture_output=True, text=True)
    # On a slow machine there is progress.
    assert good.returncode == 0 and all(line.startswith("writing mine: ") for line in good.stderr.splitlines()), good.stderr
    assert len(read_corpus(tmp_path / "data", "mine")) == 12
    bad = subprocess.run([*command, "m/ne"], cwd=ROOT, capture_output=True, text=True)
    assert bad.returncode == 2 and bad.stdout == "" and bad.stderr.startswith("error: 'm/ne' cannot name a corpus")


@pytest.mark.skipif(not REAL.exists(), reason="the licensed IEMOCAP features are not in ../shared/data")
def test_real_iemocap_features(tmp_path: Path) -> None:
    corpus = prepared(REAL, tmp_path, name="iemocap")
    assert len(corpus) == 10_039 and int(corpus.labelled.sum()) == 5_531
    assert corpus.classes == ("ang", "hap+exc", "neu", "sad")
    assert np.bincount(corpus.label[corpus.labelled]).tolist() == [1103, 1636, 1708, 1084]
    assert len(set(corpus.speaker.tolist())) == 10
    assert corpus.session is not None and sorted(set(corpus.session.tolist())) == ["1", "2", "3", "4", "5"]
    with np.load(REAL, allow_pickle=False) as source:
        np.testing.assert_array_equal(corpus.label, source["label"])
        np.testing.assert_array_equal(corpus.audio, source["audio"])
        np.testing.assert_array_equal(corpus.text, source["text"].astype(np.float32))
        for key, column in corpus.columns.items():
            np.testing.assert_array_equal(column, source[key], err_msg=key)
