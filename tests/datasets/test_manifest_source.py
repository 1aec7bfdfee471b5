"""Manifests of recordings in every format: what is read, and every mistake named by its line and column."""

import builtins
import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from manifest.make_dummy_data import DUMMY_DATA, write_miniature
from manifest.manifest_source import CLASS_MAPS, DEFAULT_CLASSES, read_manifest
from recorded import corpus_of, files

from infoser.errors import InfoserError
from infoser.protocols import make_folds
from infoser.recordings import Recordings

NEMO = Path(__file__).parents[3] / "shared" / "data" / "nemo_subset" / "manifest.csv"
HEADER = "utterance_id,audio,emotion,speaker"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("manifest")


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """A folder with two audio files, a.wav and deep/b.wav."""
    (tmp_path / "deep").mkdir()
    for name in ("a.wav", "deep/b.wav"):
        (tmp_path / name).touch()
    return tmp_path


def write(folder: Path, text: str | bytes, name: str = "list.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows(*lines: str, header: str = HEADER) -> str:
    return "\n".join([header, *lines]) + "\n"


def refused(path: Path) -> str:
    with pytest.raises(InfoserError) as caught:
        read_manifest(path, name="mine")
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_the_miniature_in_every_format(suffix: str, folder: Path) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    read = read_manifest(write_miniature(folder, suffix=suffix), name="mine")
    assert len(read) == 36 and Counter(read.emotion.tolist()) == {"anger": 12, "joy": 12, "calm": 12}
    assert read.utterance_id[:3].tolist() == ["s1a_anger_0", "s1a_joy_0", "s1a_calm_0"]
    assert (read.audio[0], read.speaker[0], read.transcript[0]) == ("audio/s1a_anger_0.wav", "s1a", "")
    assert read.transcript[1] == "Says “joy”, 0 time(s)" and read.session[-1] == "room 3"
    assert read.dialogue is None and read.split is None
    np.testing.assert_array_equal(read.start_s, [*[np.nan] * 34, 0, 0.5])
    np.testing.assert_array_equal(read.end_s, [*[np.nan] * 34, 0.5, np.nan])
    assert set(read.columns) == {"gender", "age", "score"}
    assert read.columns["age"].dtype == np.int64 and read.columns["age"][-1] == 23
    assert read.columns["score"].dtype == np.float64 and read.columns["score"][[0, 3]].tolist() == [0.5, 0.75]
    assert read.columns["gender"].dtype.kind == "U"
    assert read.provenance["counts"]["emotions"] == {"anger": 12, "calm": 12, "joy": 12}
    assert (read.provenance["missing_transcripts"], read.provenance["manifest"]) == (1, f"manifest{suffix}")
    assert read.provenance["source"] == "manifest" and len(read.provenance["manifest_sha256"]) == 64


def test_folds_of_the_miniature(folder: Path) -> None:
    read = read_manifest(write_miniature(folder), name="mine")
    assert CLASS_MAPS == {} and DEFAULT_CLASSES not in CLASS_MAPS
    corpus = corpus_of(read, [f"{emotion}={emotion}" for emotion in sorted(set(read.emotion.tolist()))])
    folds = make_folds(corpus, "auto")
    assert [(fold.name, len(fold.train), len(fold.test)) for fold in folds] == [
        ("room 1", 24, 12),
        ("room 2", 24, 12),
        ("room 3", 24, 12),
    ]


def test_only_the_needed_columns(audio: Path) -> None:
    read = read_manifest(write(audio, rows("u1,a.wav,joy,ann", "u2,deep\\b.wav,calm,bob")), name="mine")
    assert read.root == audio and read.audio.tolist() == ["a.wav", "deep/b.wav"]
    assert read.transcript is None and read.start_s is None and read.session is None and dict(read.columns) == {}
    assert read.provenance["missing_transcripts"] == 2


def test_an_empty_emotion_is_no_label(audio: Path) -> None:
    read = read_manifest(write(audio, rows("u1,a.wav,,ann", "u2,deep/b.wav,calm,bob")), name="mine")
    assert read.emotion.tolist() == ["", "calm"] and read.provenance["counts"]["emotions"] == {"": 1, "calm": 1}


def test_marks_line_ends_quotes_and_order(audio: Path) -> None:
    text = "speaker, emotion ,transcript,audio,utterance_id\r\n"
    text += 'ann,joy,"Ca va,\r\n""oui""?",a.wav,u1\r\n\r\nbob,calm,,deep/b.wav,u2\r\n'
    for data in (text.encode(), b"\xef\xbb\xbf" + text.encode()):
        read = read_manifest(write(audio, data), name="mine")
        assert read.utterance_id.tolist() == ["u1", "u2"]
        assert read.transcript.tolist() == ['Ca va,\r\n"oui"?', ""]


COLUMN_TYPES = {
    "integers": ("7,-3", np.int64, [7, -3]),
    "integers, one missing": ("7,", np.float64, [7, np.nan]),
    "numbers": ("7,.5e1", np.float64, [7, 5]),
    "names of digits": ("007,3", str, ["007", "3"]),
    "64 bits": ("9223372036854775807,1", np.int64, [9223372036854775807, 1]),
    "more than 64 bits": ("9223372036854775808,1", str, ["9223372036854775808", "1"]),
    "more than 53 bits, one missing": ("9007199254740993,", str, ["9007199254740993", ""]),
    "truth": ("TRUE,False", bool, [True, False]),
    "truth, one missing": ("true,", str, ["true", ""]),
    "text": ("7,seven", str, ["7", "seven"]),
    "underscores": ("1_0,2", str, ["1_0", "2"]),
    "nothing": (",", str, ["", ""]),
}


@pytest.mark.parametrize("case", COLUMN_TYPES)
def test_types_of_other_columns(case: str, audio: Path) -> None:
    cells, kind, expected = COLUMN_TYPES[case]
    first, second = cells.split(",")
    text = rows(f"u1,a.wav,joy,ann,{first}", f"u2,a.wav,calm,bob,{second}", header=f"{HEADER},extra")
    column = read_manifest(write(audio, text), name="mine").columns["extra"]
    np.testing.assert_array_equal(column, np.array(expected, kind))
    assert column.dtype == np.dtype(kind) or (kind is str and column.dtype.kind == "U")


def test_json_keeps_the_types_it_says(audio: Path) -> None:
    base = {"audio": "a.wav", "emotion": "joy", "speaker": 12}
    objects = [
        base | {"utterance_id": "u1", "code": "7", "flag": True, "score": 1, "start_s": 0, "end_s": 1.5},
        base | {"utterance_id": "u2", "code": "8", "flag": False, "score": 2.5, "note": "late", "transcript": None},
    ]
    read = read_manifest(write(audio, "\n".join(map(json.dumps, objects)), "list.jsonl"), name="mine")
    assert read.speaker.tolist() == ["12", "12"] and read.transcript is None
    assert read.columns["code"].tolist() == ["7", "8"] and read.columns["flag"].tolist() == [True, False]
    assert read.columns["score"].tolist() == [1.0, 2.5] and read.columns["note"].tolist() == ["", "late"]
    np.testing.assert_array_equal(read.end_s, [1.5, np.nan])


GOOD = "u1,a.wav,joy,ann"
BAD_TABLES = {
    "no column": (
        rows("u1,a.wav,joy", header="utterance_id,audio,emotion"),
        "there is no column 'speaker'; the columns are: utt",
    ),
    "other case": (
        rows(GOOD + ",hello", header=HEADER + ",Transcript"),
        "column 'Transcript' would not be taken for 'transcript'; write it small, or rename it",
    ),
    "spaces around a session": (
        rows(GOOD + ",1 ", header=HEADER + ",session"),
        "line 2, column 'session': '1 ' has spaces or line breaks around it; remove them",
    ),
    "marked as synthetic": (rows(GOOD + ",true", header=HEADER + ",synthetic"), "column 'synthetic' bears a name that"),
    "no rows": (HEADER + "\n", "lists no utterance"),
    "nothing": ("", "there is no column 'utterance_id'; the columns are: none"),
    "header twice": (rows(GOOD + ",x", header=HEADER + ",audio"), "line 1: the header names column 'audio' twice"),
    "header without name": (rows(GOOD + ",x", header=HEADER + ","), "line 1: the header has a column without a name"),
    "slash in header": (rows(GOOD + ",x", header=HEADER + ",a/b"), "column 'a/b' has a '/' in its name; rename it"),
    "taken": (rows(GOOD + ",x", header=HEADER + ",audio_file"), "column 'audio_file' bears a name that encoding needs"),
    "too many": (rows(GOOD, GOOD + ",x"), "line 3: has 5 values, but the header names 4 columns"),
    "too few": (rows(GOOD, "u2"), "line 3: has 1 value, but the header names 4 columns"),
    "line after a long cell": (rows('u1,a.wav,joy,"a\nb"', "u2"), "line 4: has 1 value"),
    "quote": (rows('u1,a.wav,"joy"x,ann'), "line 2: ',' expected after '\"'; quotes within a quoted value are doubled"),
    "open quote": (rows('u1,"a.wav,joy,ann'), "line 2: unexpected end of data"),
    "empty speaker": (rows(GOOD, "u2,a.wav,joy,"), "line 3, column 'speaker': is empty, but every utterance needs one"),
    "blank speaker": (rows("u1,a.wav,joy, "), "line 2, column 'speaker': is empty"),
    "empty id": (rows(",a.wav,joy,ann"), "line 2, column 'utterance_id': is empty"),
    "empty audio": (rows("u1,,joy,ann"), "line 2, column 'audio': is empty"),
    "spaces": (rows("u1,a.wav,joy ,ann"), "line 2, column 'emotion': 'joy ' has spaces or line breaks around it"),
    "NUL": (rows("u1\0,a.wav,joy,ann"), "line 2, column 'utterance_id': 'u1\\x00' has a character that can't be written"),
    "twice": (rows(GOOD, "u2,a.wav,joy,ann", GOOD), "line 4, column 'utterance_id': 'u1' stands in line 2 already"),
    "absent file": (rows(GOOD, "u2,c.wav,joy,ann"), "line 3, column 'audio': 'c.wav' does not exist in "),
    "absent files": (rows("u1,c.wav,joy,ann", "u2,c.wav,joy,ann"), " (2 such utterances)"),
    "folder": (rows("u1,deep,joy,ann"), "line 2, column 'audio': 'deep' is not a file in "),
    "absolute": (rows("u1,/etc/passwd,joy,ann"), "line 2, column 'audio': '/etc/passwd' is empty or leaves its folder"),
    "upwards": (rows("u1,deep/../a.wav,joy,ann"), "is empty or leaves its folder; give a path relative to it, without '..'"),
    "upwards, Windows": (rows("u1,..\\a.wav,joy,ann"), "leaves its folder"),
    "drive": (rows("u1,C:\\a.wav,joy,ann"), "leaves its folder"),
    "home": (rows("u1,~/a.wav,joy,ann"), "leaves its folder"),
    "long name": (rows(f"u1,{'a' * 300}.wav,joy,ann"), "line 2, column 'audio': 'aaa"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_mistakes_in_a_csv(case: str, audio: Path) -> None:
    text, message = BAD_TABLES[case]
    path = write(audio, text)
    said = refused(path)
    assert message in said and said.startswith(str(path)) and "\n" not in said


BAD_TIMES = {
    "words": ("soon,2", "line 2, column 'start_s': 'soon' is not a number of seconds"),
    "negative": ("-1,2", "line 2, column 'start_s': '-1' is not a number of seconds"),
    "infinite": ("0,inf", "line 2, column 'end_s': 'inf' is not a number of seconds"),
    "huge": ("0,1e999", "line 2, column 'end_s': '1e999' is not a number of seconds"),
    "comma": ('"1,5",2', "line 2, column 'start_s': '1,5' is not a number of seconds"),
    "nan": ("nan,2", "line 2, column 'start_s': 'nan' is not a number of seconds"),
    "reversed": ("2.5,2", "line 2, column 'end_s': 2 s is not after start_s, 2.5 s"),
    "nothing between": ("2,2.0", "line 2, column 'end_s': 2 s is not after start_s, 2 s"),
    "ends at the start": (",0", "line 2, column 'end_s': 0 s is not after start_s, 0 s"),
}


@pytest.mark.parametrize("case", BAD_TIMES)
def test_mistakes_in_times(case: str, audio: Path) -> None:
    times, message = BAD_TIMES[case]
    assert message in refused(write(audio, rows(f"{GOOD},{times}", header=f"{HEADER},start_s,end_s")))


def test_only_ends_are_known(audio: Path) -> None:
    read = read_manifest(write(audio, rows(GOOD + ",1.5", header=HEADER + ",end_s")), name="mine")
    np.testing.assert_array_equal(read.start_s, [np.nan])
    np.testing.assert_array_equal(read.end_s, [1.5])


OBJECT = {"utterance_id": "u1", "audio": "a.wav", "emotion": "joy", "speaker": "ann"}
BAD_JSON = {
    "no object": ("[1, 2]", 'line 2: expected an object such as {"utterance_id": …}, not [1, 2]'),
    "no JSON": ("{'a': 1}", "line 2: is not JSON: Expecting property name"),
    "deep": ("[" * 100_000, "line 2: is not JSON"),
    "nested": (json.dumps(OBJECT | {"utterance_id": "u2", "x": {"y": 1}}), "line 2, column 'x': expected text, a number"),
    "list": (json.dumps(OBJECT | {"utterance_id": ["u2"]}), "line 2, column 'utterance_id': expected text"),
    "type": (json.dumps(OBJECT | {"speaker": 7}), "line 2, column 'speaker': is a number, but text in line 1; give all"),
    "name twice": ('{"audio": "a.wav", "audio": "b.wav"}', "line 2: names 'audio' twice"),
    "lacking": (json.dumps({"utterance_id": "u2", "audio": "a.wav", "emotion": "joy"}), "line 2, column 'speaker': is empty"),
    "half a pair": (json.dumps(OBJECT | {"utterance_id": "u\ud800"}), "line 2, column 'utterance_id': 'u\\ud800' has a char"),
    "half a pair in a name": (json.dumps(OBJECT | {"\ud800": 1}), "has a character in its name that can't be written"),
    "empty name": (json.dumps(OBJECT | {"": 1}), "has a column without a name"),
}


@pytest.mark.parametrize("case", BAD_JSON)
def test_mistakes_in_json_lines(case: str, audio: Path) -> None:
    line, message = BAD_JSON[case]
    path = write(audio, f"{json.dumps(OBJECT)}\n{line}\n", "list.jsonl")
    said = refused(path)
    assert message in said and said.startswith(str(path))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ([1 << 70, 2], "column 'x': an integer has too many digits for a number; quote it as text"),
        ([(1 << 53) + 1, 0.5], "column 'x': an integer has too many digits for a number"),
        ([True, None], "line 2, column 'x': is empty in a column of true and false"),
    ],
)
def test_columns_that_json_cannot_type(extra: list[Any], message: str, audio: Path) -> None:
    lines = [json.dumps(OBJECT | {"utterance_id": f"u{index}", "x": value}) for index, value in enumerate(extra)]
    assert message in refused(write(audio, "\n".join(lines), "list.jsonl"))


def test_wrong_encodings(audio: Path) -> None:
    latin = write(audio, rows(GOOD, "u2,a.wav,gl\xfccklich,ann").encode("latin-1"))
    assert refused(latin) == f"{latin}, line 3: is not UTF-8 (invalid start byte); save the file as UTF-8"
    assert "is UTF-16; save it as UTF-8" in refused(write(audio, rows(GOOD).encode("utf-16")))


def test_files_that_are_no_manifest(audio: Path) -> None:
    assert "does not exist" in refused(audio / "absent.csv")
    (audio / "folder.csv").mkdir()
    assert "is not a file" in refused(audio / "folder.csv")
    assert "manifests are .csv, .tsv, .jsonl, .parquet files, not .xlsx" in refused(write(audio, "", "list.xlsx"))
    assert "not files without a suffix" in refused(write(audio, "", "list"))
    pytest.importorskip("pyarrow")
    assert "is no Parquet file, or damaged" in refused(write(audio, rows(GOOD), "list.parquet"))


def test_links_out_of_the_folder_are_refused(audio: Path) -> None:
    inner = audio / "inner"
    inner.mkdir()
    (inner / "here.wav").touch()
    (inner / "good.wav").symlink_to("here.wav")
    (inner / "out.wav").symlink_to(audio / "a.wav")
    (inner / "deep").symlink_to(audio / "deep")
    (inner / "loop.wav").symlink_to("loop.wav")
    assert read_manifest(write(inner, rows("u1,good.wav,joy,ann")), name="mine").audio.tolist() == ["good.wav"]
    for path in ("out.wav", "deep/b.wav"):
        message = refused(write(inner, rows(f"u1,{path},joy,ann")))
        assert f"line 2, column 'audio': '{path}' leads out of {inner.resolve()}, to " in message
    assert "line 2, column 'audio': 'loop.wav'" in refused(write(inner, rows("u1,loop.wav,joy,ann")))
    (audio / "linked").symlink_to(inner)  # the manifest's own folder may be a link
    write(inner, rows("u1,good.wav,joy,ann"))
    assert len(read_manifest(audio / "linked" / "list.csv", name="mine")) == 1


def test_parquet_types(audio: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    base = {"utterance_id": ["u1", "u2"], "audio": ["a.wav"] * 2, "speaker": [1, 2], "flag": [True, False]}
    table = pa.table(base | {"emotion": pa.array(["joy", "calm"]).dictionary_encode(), "void": pa.nulls(2)})
    pa.parquet.write_table(table, audio / "list.parquet")
    read = read_manifest(audio / "list.parquet", name="mine")
    assert read.emotion.tolist() == ["joy", "calm"] and read.speaker.tolist() == ["1", "2"]
    assert read.columns["flag"].tolist() == [True, False] and read.columns["void"].tolist() == ["", ""]
    pa.parquet.write_table(table.append_column("vector", pa.array([[1], [2]])), audio / "list.parquet")
    assert "column 'vector': has type list<" in refused(audio / "list.parquet")
    pa.parquet.write_table(table.set_column(0, "utterance_id", pa.array(["u1", None])), audio / "list.parquet")
    assert "row 2, column 'utterance_id': is empty" in refused(audio / "list.parquet")
    pa.parquet.write_table(table.set_column(2, "speaker", pa.array([1.5, 2.0])), audio / "list.parquet")
    assert "row 1, column 'speaker': expected text, not 1.5" in refused(audio / "list.parquet")


def test_parquet_without_pyarrow(audio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "reading Parquet needs pyarrow; install it (pip install pyarrow)" in refused(write(audio, "", "list.parquet"))


def test_a_quote_that_takes_in_lines_of_a_tsv_is_found(audio: Path) -> None:
    text = HEADER.replace(",", "\t") + "\ttranscript\n"
    text += "".join(f"{GOOD}\t{{said}}\n".replace(",", "\t").replace("{said}", said) for said in ('"Hi', 'there"'))
    message = refused(write(audio, text, "list.tsv"))
    assert "line 2: a quote opens a value that ends in line 3, with tabs and line breaks" in message


WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)


@example(texts=["four\rfive", "one\u2028two\x85three"], suffix=".jsonl")
@given(texts=st.lists(WORDS, min_size=1, max_size=5), suffix=st.sampled_from([".csv", ".tsv", ".jsonl"]))
@settings(derandomize=True, deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_transcript_survives(texts: list[str], suffix: str, audio: Path) -> None:
    """Whatever was said comes back as it was, with its quotes, separators and line ends."""
    assume(suffix != ".tsv" or not any("\t" in text and ("\r" in text or "\n" in text) for text in texts))  # refused
    path = audio / f"list{suffix}"
    objects = [OBJECT | {"utterance_id": f"u{index}", "transcript": text} for index, text in enumerate(texts)]
    with path.open("w", encoding="utf-8", newline="") as file:
        if suffix == ".jsonl":
            file.writelines(json.dumps(each, ensure_ascii=index % 2 == 0) + "\n" for index, each in enumerate(objects))
        else:
            writer = csv.DictWriter(file, list(objects[0]), delimiter="\t" if suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(objects)
    read = read_manifest(path, name="mine")
    said = [""] * len(texts) if read.transcript is None else read.transcript.tolist()
    assert said == texts if any(text.strip() for text in texts) else read.transcript is None
    assert read.provenance["missing_transcripts"] == sum(not text.strip() for text in texts)


def test_the_dummy_data_is_what_its_script_writes(tmp_path: Path) -> None:
    write_miniature(tmp_path, sessions=1, emotions=("anger", "joy"), repeats=1)
    assert files(tmp_path) == files(DUMMY_DATA)
    assert len(read_manifest(DUMMY_DATA / "manifest.csv", name="mine")) == 4


@pytest.fixture(scope="module")
def nemo() -> Recordings:
    if not NEMO.exists():
        pytest.skip("the nEMO recordings are not in ../shared/data")
    return read_manifest(NEMO, name="nemo")


def test_real_recordings(nemo: Recordings) -> None:
    assert len(nemo) == 500 and len(set(nemo.speaker.tolist())) == 9
    emotions = {"anger": 84, "fear": 82, "happiness": 85, "neutral": 90, "sadness": 85, "surprised": 74}
    assert Counter(nemo.emotion.tolist()) == emotions
    assert nemo.transcript[0] == "Lubię czytać przed snem." and nemo.provenance["missing_transcripts"] == 0
    assert {key: column.dtype.kind for key, column in nemo.columns.items()} == {"gender": "U", "age": "i"}
    assert all(nemo.path(each).suffix == ".flac" for each in range(500))
    folds = make_folds(corpus_of(nemo, [f"{each}={each}" for each in emotions]), "auto")
    assert [fold.name for fold in folds] == ["EB0", "IC0", "KD0", "KS0", "MK0", "MP0", "SM0", "TP0", "WR0"]
    assert [len(fold.test) for fold in folds] == [60, 60, 60, 60, 50, 30, 60, 60, 60]
