"""An .npz that can't be prepared ends in one message and leaves the data folder as it was; unusual ones are prepared."""

import dataclasses
import io
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from wrong_inputs import AT_LEAST, for_every, one_of, refusal, snapshot

from infoser.shards import read_corpus

sys.path.insert(0, str(Path(__file__).parents[2] / "datasets"))

from arrays.make_dummy_data import dummy_arrays  # noqa: E402  # pyright: ignore[reportMissingImports]

ARRAYS = dummy_arrays()
ROWS = len(ARRAYS["utterance_id"])
LABELS = {"label": np.arange(ROWS) % 3, "label_names": np.array(["low", "middle", "high"])}
LABELLED = {key: array for key, array in ARRAYS.items() if key != "emotion"} | LABELS
PER_ROW = ("audio", "text", "emotion", "speaker", "session", "dialogue")
STRINGS = ("utterance_id", "emotion", "speaker", "dialogue")


@dataclasses.dataclass(frozen=True)
class Source:
    """What an .npz holds, the flags to prepare it with, and in words what was done to it."""

    said: tuple[Any, ...]
    contents: bytes = dataclasses.field(repr=False)
    flags: tuple[str, ...] = ()


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=True, **{key: array for key, array in arrays.items() if array is not None})
    return file.getvalue()


def source(*said: Any, of: Any = ARRAYS, flags: Any = (), **changes: Any) -> Source:
    return Source((*said, *flags), npz(of | changes), flags)


def with_value(array: np.ndarray, row: int, value: Any) -> np.ndarray:
    changed = np.array(array, copy=True)
    changed[row] = value
    return changed


def with_word(key: str, row: int, word: str) -> np.ndarray:
    return with_value(ARRAYS[key].astype("U20"), row, word)


def with_character(key: str, row: int, code: int) -> np.ndarray:
    """Strings with a number in one of them that need not be a character."""
    changed = ARRAYS[key].astype("<U20")
    changed.view("<u4").reshape(ROWS, 20)[row, 1] = code
    return changed


def member(key: str, contents: Callable[[bytes], bytes], *, twice: bool = False) -> bytes:
    """The archive, rightly written, with other contents of one member; `twice` leaves the old ones in front."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(npz(ARRAYS))) as old, zipfile.ZipFile(written, "w") as new:
        for name in old.namelist():
            spoiled = name == f"{key}.npy"
            if not spoiled or twice:
                new.writestr(name, old.read(name))
            if spoiled:  # without its ending it is the same array to numpy
                new.writestr(key if twice else name, contents(old.read(name)))
    return written.getvalue()


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def shaped(shape: str) -> bytes:
    return header("{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + "}\n")


def in_archive(offset_of_local: int, offset_of_central: int, value: int) -> bytes:
    """The archive with a number of every member's entries changed."""
    changed = bytearray(npz(ARRAYS))
    for mark, offset in ((b"PK\x03\x04", offset_of_local), (b"PK\x01\x02", offset_of_central)):
        start = -1
        while (start := changed.find(mark, start + 1)) >= 0:
            changed[start + offset] = value
    return bytes(changed)


row, key = st.integers(0, ROWS - 1), one_of(tuple(ARRAYS)[:-1])
WRONG: dict[str, st.SearchStrategy[Source]] = {
    "a missing array": one_of(["utterance_id", "audio", "speaker", "emotion"]).map(
        lambda key: source("without", key, **{key: None})
    ),
    "missing rows": st.tuples(one_of(PER_ROW), st.integers(0, ROWS - 1)).map(
        lambda drawn: source("cut", *drawn, **{drawn[0]: ARRAYS[drawn[0]][: drawn[1]]})
    ),
    "rows too many": st.tuples(one_of(PER_ROW), st.integers(1, ROWS)).map(
        lambda drawn: (
            source("longer", *drawn, **{drawn[0]: np.resize(ARRAYS[drawn[0]], (ROWS + drawn[1],))})
            if ARRAYS[drawn[0]].ndim == 1
            else source("longer", *drawn, **{drawn[0]: np.concatenate([ARRAYS[drawn[0]], ARRAYS[drawn[0]][: drawn[1]]])})
        )
    ),
    "types of annotations": st.tuples(
        one_of(["utterance_id", "speaker", "session", "dialogue", "emotion"]), one_of(["f8", "f2", "?", "c16", "M8[s]", "V4"])
    ).map(lambda drawn: source("of type", *drawn, **{drawn[0]: np.zeros(ROWS, drawn[1])})),
    "types of features": st.tuples(one_of(["audio", "text"]), one_of(["U3", "S3", "?", "c8", "M8[s]", "V2"])).map(
        lambda drawn: source("of type", *drawn, **{drawn[0]: np.zeros((ROWS, 3), drawn[1])})
    ),
    "types of labels": one_of(["f4", "?", "c8", "U1"]).map(
        lambda kind: source("of type", kind, of=LABELLED, label=LABELS["label"].astype(kind))
    ),
    "pickled objects": (key | st.just("note")).map(
        lambda key: source("objects", key, **{key: np.array([{}, *range(ROWS - 1)], dtype=object)})
    ),
    "not finite": st.tuples(one_of(["audio", "text"]), row, one_of([np.nan, np.inf, -np.inf, 1e39, -1e300])).map(
        lambda drawn: source(*drawn, **{drawn[0]: with_value(ARRAYS[drawn[0]].astype(float), *drawn[1:])})
    ),
    "an id twice": st.lists(row, min_size=2, max_size=2, unique=True).map(
        lambda rows: source(
            "again", *rows, utterance_id=with_value(ARRAYS["utterance_id"], rows[0], ARRAYS["utterance_id"][rows[1]])
        )
    ),
    "empty": st.tuples(one_of(["utterance_id", "speaker", "session"]), row, one_of(["", " ", "\t"])).map(
        lambda drawn: source(*drawn, **{drawn[0]: with_word(*drawn)})
    ),
    "labels out of range": st.tuples(row, st.integers(3, 127) | st.integers(-128, -2)).map(
        lambda drawn: source(*drawn, of=LABELLED, label=with_value(LABELS["label"].astype(np.int8), *drawn))
    ),
    "names of labels": one_of(
        [["a", "b", "a"], ["a", "", "b"], ["a", "b"], [], ["a", "b", "c", "d"], ["a", " b", "c"], ["a\r", "b", "c"]]
    ).map(lambda names: source(*names, of=LABELLED, label_names=np.array(names, "U3"))),
    "dimensions": st.tuples(one_of(["utterance_id", *PER_ROW]), st.integers(-2, 1)).map(
        lambda drawn: source(
            *drawn,
            **{
                drawn[0]: ARRAYS[drawn[0]][..., None]
                if drawn[1] == 1
                else ARRAYS[drawn[0]].reshape(-1)[0]
                if drawn[1]
                else np.zeros((ROWS, 0))
            },
        )
    ),
    "no rows": st.just(Source(("no rows",), npz({key: array[:0] for key, array in ARRAYS.items()}))),
    "no Unicode": st.tuples(one_of(STRINGS), row, st.integers(0xD800, 0xDFFF) | st.integers(0x110000, 0x7FFFFFFF)).map(
        lambda drawn: source(*drawn, **{drawn[0]: with_character(*drawn)})
    ),
    "no UTF-8": st.tuples(one_of([*STRINGS, "note"]), st.binary(min_size=1, max_size=4)).map(
        lambda drawn: source(*drawn, **{drawn[0]: np.array([b"\xff" + drawn[1]] * ROWS)})
    ),
    "names of classes": st.tuples(row, one_of(["ang\nry", "ang\rry", " angry", "angry ", "\tcalm"])).map(
        lambda drawn: source(*drawn, emotion=with_word("emotion", *drawn))
    ),
    "flags": one_of(
        [
            ("--classes",),
            ("--classes", "a=angry", "b=joy"),
            ("--classes", "a=angry", "b=calm,angry"),
            ("--classes", "a=angry", "a=calm"),
            ("--classes", "angry"),
            ("--classes", "=angry"),
            ("--classes", "a="),
            ("--classes", "a=angry,"),
            ("--classes", " a=angry"),
            ("--audio-key", "sound"),
            ("--text-key", "audio"),
            ("--text-key", "speaker"),
            ("--speaker-key", "audio"),
            ("--label-key", "session"),
            ("--split-key", "duration_s"),
            ("--name", "other"),
        ]
    ).map(lambda flags: source(flags=flags)),
    "a cut archive": st.integers(0, len(npz(ARRAYS)) - 1).map(lambda size: Source(("cut", size), npz(ARRAYS)[:size])),
    "no archive": st.binary(max_size=200).map(lambda contents: Source((contents,), contents)),
    "a flipped bit": st.tuples(one_of(["audio", "text", "session"]), st.integers(0, 7), row).map(
        lambda drawn: Source(("flipped", *drawn), flipped(*drawn))
    ),
    "a broken member": st.one_of(
        st.integers(6, 500).map(lambda size: Source(("member cut", size), member("audio", lambda whole: whole[:size]))),
        st.integers(0, 5).map(lambda size: Source(("member cut", size), member("duration_s", lambda whole: whole[:size]))),
        one_of(["(1000000000000, 5), ", "(-24, 5), ", f"({10**30}, 5), ", "(24, 5, ", "((24, 5)), 'x': 1", "'24'"]).map(
            lambda shape: Source(("shape", shape), member("audio", lambda whole: shaped(shape)))
        ),
        one_of(["[1]\n", "{'descr':\n", "\0\n", "(" * 900, "{}"]).map(
            lambda text: Source(("header", text), member("audio", lambda whole: header(text)))
        ),
        st.just(Source(("twice",), member("audio", lambda whole: whole, twice=True))),
    ),
    "an archive of another kind": one_of([(6, 8, 1), (8, 10, 99), (8, 10, 9)]).map(
        lambda drawn: Source(drawn, in_archive(*drawn))
    ),
}


#: Distinct wrong inputs of each kind, at least; all there are of some.
NEEDED = dict.fromkeys(WRONG, 5) | {"no rows": 1, "an archive of another kind": 3, "a missing array": 4, "types of labels": 4}
NEEDED |= {"flags": 16, "a broken member": 14, "names of labels": 7}


def flipped(key: str, bit: int, place: int) -> bytes:
    contents = bytearray(npz(ARRAYS))
    contents[contents.index(ARRAYS[key].tobytes()) + place] ^= 1 << bit
    return bytes(contents)


@pytest.fixture(scope="module")
def data_dir(run_prepare: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds a corpus that those of the tests would replace."""
    folder = tmp_path_factory.mktemp("wrong-arrays")
    (folder / "source.npz").write_bytes(npz(ARRAYS))
    argv = ("arrays", "--source", folder / "source.npz", "--name", "mine", "--data-dir", folder / "data")
    assert run_prepare(*argv).status == 0
    return folder / "data"


@pytest.mark.parametrize("kind", WRONG)
def test_arrays_that_cannot_be_prepared(kind: str, data_dir: Path, run_prepare: Any, tmp_path: Path) -> None:
    before, path = snapshot(data_dir), tmp_path / "source.npz"

    def check(case: Source) -> None:
        path.write_bytes(case.contents)
        flags = ("--source", path, "--name", "mine", "--overwrite", *case.flags)
        refusal(run_prepare("arrays", *flags, "--data-dir", data_dir))
        refusal(run_prepare("arrays", *flags, "--data-dir", tmp_path / "new"))
        assert snapshot(data_dir) == before and list(tmp_path.iterdir()) == [path]
        assert path.read_bytes() == case.contents

    for_every(WRONG[kind], check, examples=2 * NEEDED[kind], at_least=NEEDED[kind])


def test_as_many_are_given_as_are_counted_on() -> None:
    assert sum(NEEDED.values()) == AT_LEAST["arrays"]


@st.composite
def unusual(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """A legal corpus in an unusual shape."""
    rows, classes = draw(st.integers(1, 20)), draw(st.integers(1, 7))
    number = draw(one_of(["f4", "f2", "f8", ">f4", ">f8", "i1", "u2", "i8", "g"]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))

    def features() -> np.ndarray:
        made = rng.integers(0, 100, (rows, draw(st.integers(1, 9)))).astype(number)
        return np.asfortranarray(made) if draw(st.booleans()) else made

    def names(values: np.ndarray) -> np.ndarray:
        kinds = {
            "int": values,
            "str": values.astype(str),
            "bytes": values.astype("S"),
            "word": np.char.add("é ", values.astype(str)),
        }
        return kinds[draw(one_of(sorted(kinds)))]

    arrays = {"utterance_id": names(rng.permutation(rows)), "audio": features(), "speaker": names(np.arange(rows) // 2)}
    if draw(st.booleans()):
        arrays["text"] = features()
    for key in draw(st.sets(one_of(["session", "dialogue", "split"]))):
        arrays[key] = names(np.arange(rows) // 3)
    codes = np.arange(rows) % min(classes, rows)
    if draw(st.booleans()):
        arrays["emotion"] = with_value(names(codes).astype(str), draw(st.integers(1, rows)) % rows, "0")
    else:
        arrays |= {"label": codes.astype(draw(one_of(["i1", "u8", "i8"]))), "label_names": names(np.unique(codes))}
    for place, kind in enumerate(draw(st.lists(one_of(["f8", "?", "U3", "S2", "c8", "M8[s]", "u8", "V3", "g"]), max_size=4))):
        shape = draw(one_of([(rows,), (rows, 2), (rows, 2, 3), (rows + 1,), ()]))
        arrays[draw(one_of(["extra", "a b", "a/b", "columns", "é", "audio_names"])) + str(place)] = np.zeros(shape, kind)
    return arrays


def test_unusual_arrays_are_prepared(run_prepare: Any, tmp_path: Path) -> None:
    data_dir, path = tmp_path / "data", tmp_path / "source.npz"

    def check(arrays: dict[str, np.ndarray]) -> None:
        path.write_bytes(npz(arrays))
        outcome = run_prepare("arrays", "--source", path, "--name", "mine", "--overwrite", "--data-dir", data_dir)
        assert outcome.status == 0 and outcome.err == "", outcome.err
        corpus = read_corpus(data_dir, "mine")
        np.testing.assert_array_equal(corpus.audio, arrays["audio"].astype(np.float32))
        assert (corpus.text is None) == ("text" not in arrays)
        assert (corpus.session is None) == ("session" not in arrays)
        ids = arrays["utterance_id"]
        assert (
            corpus.utterance_id.tolist()
            == (np.char.decode(ids, "utf-8") if ids.dtype.kind == "S" else ids.astype(str)).tolist()
        )
        assert corpus.labelled.all()

    for_every(unusual(), check, examples=40, at_least=30)
