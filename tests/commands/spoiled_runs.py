"""Ways to spoil a run folder: its configuration, its checkpoints, its results."""

import dataclasses
import json
import shutil
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from wrong_inputs import one_of

from infoser import digests
from infoser.saved_config import INERT, LATER

GROUP = Path("encoder", "classify", "audio")
STEP = GROUP / "step_20"
#: Takes a run folder and spoils it.
Spoil = Callable[[Path], object]


@dataclasses.dataclass(frozen=True)
class Spoiled:
    """What was done to a run folder, in words; and does it."""

    said: tuple[Any, ...]
    spoil: Spoil = dataclasses.field(repr=False)


def spoiled(*said: Any, by: Spoil) -> Spoiled:
    return Spoiled(said, by)


def leaves(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(values, dict):
        for key, value in values.items():
            yield from leaves(value, (*path, key))


def edited(path: tuple[Any, ...], edit: Callable[[Any, Any], Any]) -> Spoil:
    def spoil(run: Path) -> None:
        contents = {"": json.loads((run / "config.json").read_text())}
        inner: Any = contents
        *outer, last = ("", *path)
        for key in outer:
            inner = inner[key]
        edit(inner, last)
        (run / "config.json").write_text(json.dumps(contents[""]))

    return spoil


JSON = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(0, 9) | st.just("none"), max_size=2),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=1),
)


def edited_settings(contents: dict[str, Any]) -> st.SearchStrategy[Spoiled]:
    """Any setting taken away, added, or given any other value."""
    paths = [path for path in leaves(contents) if path]

    def value_of(path: tuple[Any, ...]) -> Any:
        value: Any = contents
        for key in path:
            value = value[key]
        return value

    def other(path: tuple[Any, ...]) -> st.SearchStrategy[Spoiled]:
        values = JSON.filter(lambda value: value is not None) if path == ("fingerprint",) else JSON
        if path[-1] in INERT:  # such a setting may have another value, if only it is one
            values = st.none() | st.lists(st.none()) | st.floats(max_value=-1)
        before = json.dumps(value_of(path))
        return values.filter(lambda value: json.dumps(value) != before).map(
            lambda value: spoiled(path, value, by=edited(path, lambda inner, key: inner.__setitem__(key, value)))
        )

    def without(path: tuple[Any, ...]) -> Spoiled:
        return spoiled("without", path, by=edited(path, lambda inner, key: inner.pop(key)))

    def beside(drawn: tuple[tuple[Any, ...], str]) -> Spoiled:
        path, name = drawn
        return spoiled("beside", path, name, by=edited(path, lambda inner, _: inner.__setitem__(name, 1)))

    inside = [path for path in paths if path[0] == "config" and len(path) > 1]
    names = st.text(string.ascii_lowercase, min_size=1, max_size=6)
    return st.one_of(
        one_of(paths).flatmap(other),
        # What earlier versions did not write may be missing: it takes its default.
        one_of([path for path in paths if path != ("fingerprint",) and path[-1] not in LATER]).map(without),
        st.tuples(one_of(inside), names).map(beside),
    )


def cut(name: Path | str, share: float) -> Spoiled:
    """The file ends early, at a share of its length."""

    def spoil(run: Path) -> None:
        contents = (run / name).read_bytes()
        (run / name).write_bytes(contents[: int(share * len(contents))])

    return spoiled("cut", str(name), share, by=spoil)


def holding(name: Path | str, contents: bytes) -> Spoiled:
    return spoiled("holding", str(name), contents[:20], by=lambda run: (run / name).write_bytes(contents))


def a_folder(name: Path | str) -> Spoiled:
    return spoiled("a folder", str(name), by=lambda run: ((run / name).unlink(), (run / name).mkdir()))


SHARE = st.floats(0, 0.99)
NO_OBJECT = one_of([b"", b"[]", b"{}", b"null", b'"run"', b"5", b"\xff\xfe", b"[" * 100_000, b"{'a': 1}", b"NaN", b"\0"])


def damaged_files(whole: Path) -> st.SearchStrategy[Spoiled]:
    """Any file of the newest checkpoint gone, cut, longer, or with a bit flipped; a foreign one; its list edited."""
    names = [path.relative_to(whole) for path in sorted((whole / STEP).rglob("*")) if path.is_file() and path.stat().st_size]
    of_list = STEP / digests.DIGESTS
    others = [name for name in names if name != of_list]

    def flip(run: Path, name: Path, share: float) -> None:
        contents = bytearray((run / name).read_bytes())
        contents[int(share * len(contents))] ^= 1
        (run / name).write_bytes(contents)

    def edit(run: Path, change: Callable[[dict[str, Any], str], object], number: int) -> None:
        listed = json.loads((run / of_list).read_text())
        change(listed, sorted(listed)[number % len(listed)])
        (run / of_list).write_text(json.dumps(listed))

    changes: dict[str, Callable[[dict[str, Any], str], object]] = {
        "taken off": lambda listed, name: listed.pop(name),
        "renamed": lambda listed, name: listed.__setitem__(f"{name}x", listed.pop(name)),
        "other digest": lambda listed, name: listed.__setitem__(name, "0" * 64),
        "no digest": lambda listed, name: listed.__setitem__(name, None),
        "all gone": lambda listed, _: listed.clear(),
        "outside": lambda listed, _: listed.__setitem__("../step_15/digest.json", "0" * 64),
    }
    return st.one_of(
        one_of(others).map(lambda name: spoiled("gone", str(name), by=lambda run: (run / name).unlink())),
        st.tuples(one_of(names), SHARE).map(lambda drawn: cut(*drawn)),
        st.tuples(one_of(names), st.binary(min_size=1, max_size=9)).map(
            lambda drawn: spoiled("longer", *map(str, drawn), by=lambda run: append(run / drawn[0], b"\n!" + drawn[1]))
        ),
        st.tuples(one_of(others), SHARE).map(
            lambda drawn: spoiled("flipped", *map(str, drawn), by=lambda run: flip(run, *drawn))
        ),
        st.tuples(one_of(sorted(changes)), st.integers(0, 9)).map(
            lambda drawn: spoiled(*drawn, by=lambda run: edit(run, changes[drawn[0]], drawn[1]))
        ),
        st.binary(max_size=9).map(
            lambda drawn: spoiled("foreign", drawn, by=lambda run: (run / STEP / "state" / "x").write_bytes(drawn))
        ),
        NO_OBJECT.map(lambda text: holding(of_list, text)),
    )


def append(path: Path, contents: bytes) -> None:
    with path.open("ab") as file:
        file.write(contents)


def forged(*said: Any, by: Callable[[Path], object]) -> Spoiled:
    """The newest checkpoint changed, and its list of digests written anew."""
    return spoiled(*said, by=lambda run: (by(run / STEP / "trained_on.npz"), digests.seal(run / STEP)))


def ids(path: Path, **changes: Any) -> None:
    with np.load(path, allow_pickle=False) as saved:
        contents = dict(saved) | changes
    np.savez(path, allow_pickle=True, **{key: array for key, array in contents.items() if array is not None})


FORGED = st.one_of(
    SHARE.map(lambda share: forged("cut", share, by=lambda path: path.write_bytes(path.read_bytes()[: int(share * 8000)]))),
    st.binary(max_size=30).map(lambda contents: forged(contents, by=lambda path: path.write_bytes(contents))),
    one_of(
        [
            forged("gone", by=lambda path: path.unlink()),
            forged("no folds", by=lambda path: ids(path, folds=None)),
            forged("no ids", by=lambda path: ids(path, fold0=None)),
            forged("another fold", by=lambda path: ids(path, folds=np.array(["session3"]))),
            forged("one fold in no list", by=lambda path: ids(path, folds=np.array("session2"))),
            forged("no steps", by=lambda path: ids(path, step=np.array(["twenty"]))),
            forged("objects", by=lambda path: ids(path, fold0=np.array([{}], dtype=object))),
            forged("other ids", by=lambda path: ids(path, fold0=np.zeros(3, np.uint64))),
        ]
    ),
)


def edited_results(drawn: tuple[str, int, str, Any]) -> Spoiled:
    part, number, key, value = drawn

    def spoil(run: Path) -> None:
        results = json.loads((run / "results.json").read_text())
        row = results[part][number % len(results[part])]
        row[key] = value
        (run / "results.json").write_text(json.dumps(results))

    return spoiled(*drawn, by=spoil)


def without_rows(run: Path) -> None:
    (run / "results.json").write_text(json.dumps(json.loads((run / "results.json").read_text()) | {"rows": []}))


def unfinished(*said: Any, by: Spoil) -> Spoiled:
    """Without the last checkpoint, so that training would go on."""
    return spoiled(*said, by=lambda run: (shutil.rmtree(run / STEP), by(run)))


def put_before(path: Path, text: str) -> None:
    path.write_text(text + path.read_text())
