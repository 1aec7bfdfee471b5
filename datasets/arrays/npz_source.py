"""From an .npz of utterance-level arrays to a checked `Corpus`: which array is what, which emotion is which class."""

import tokenize
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infoser import digests
from infoser.class_map import count_unlabelled, map_labels, parse_class_map
from infoser.corpus import UNLABELLED, Corpus
from infoser.errors import InfoserError
from infoser.synthetic import MADE_FROM, Marks, read_marks

REQUIRED = ("utterance_id", "audio", "speaker")
OPTIONAL = ("text", "label", "label_names", "emotion", "session", "dialogue", "split")
ROLES = (*REQUIRED, *OPTIONAL)

# The 4-class task that most IEMOCAP results are given for; excitement counts as happiness.
HAS_TEXT = "has_text"
DEFAULT_CLASSES = {"iemocap": ("ang=ang", "hap+exc=hap,exc", "neu=neu", "sad=sad")}


def read_arrays(source: Path, *, name: str, keys: Mapping[str, str | None], classes: Sequence[str] = ()) -> Corpus:
    """Reads a corpus from `source`.

    Args:
      source: an .npz without pickled objects, one row per utterance in every array that counts.
      name: the corpus' name.
      keys: by role (one of `ROLES`), the array that plays it; None or absent means the array named like the role.
      classes: `class=code,code…` each; () makes every emotion a class, unless `name` is in `DEFAULT_CLASSES`.

    Returns:
      The corpus. Its provenance holds `source` (file name), `settings` (all that decides the result), `unlabelled`
      (utterances per emotion outside the classes) and `skipped` (why an array was left out); with synthetic rows, also the
      sets of utterances that they were `made_from`.

    Raises:
      InfoserError: for whatever in the file or the arguments stands against that.
    """
    arrays, foreign = load_arrays(source)
    chosen = _resolve(arrays, keys)
    ids = _strings(arrays, chosen["utterance_id"])
    for role, key in chosen.items():
        if role != "label_names" and len(arrays[key]) != len(ids):
            raise InfoserError(
                f"array {key!r} has {len(arrays[key])} rows, but there are {len(ids)} utterance ids in "
                f"{chosen['utterance_id']!r}; every array needs one row per utterance"
            )
    groups: dict[str, Any] = {
        role: _strings(arrays, chosen[role]) for role in ("speaker", "session", "dialogue", "split") if role in chosen
    }
    marks = read_marks(arrays, len(ids), source)
    spoken = slice(None) if marks is None else ~marks.rows  # nobody spoke a synthetic row
    for role, values in {"utterance_id": ids, **groups}.items():
        if role in ("utterance_id", "speaker", "session"):
            which = slice(None) if role == "utterance_id" else spoken
            _refuse_empty(chosen[role], values[which], ids[which])
    codes, order = _emotion_codes(arrays, chosen, ids)
    if not classes and "emotion" in chosen:
        classes = DEFAULT_CLASSES.get(name, ())
    class_map = parse_class_map(classes) if classes else _said_classes(marks, order) or {code: (code,) for code in order}
    label = map_labels(codes, class_map, f"array {chosen.get('emotion') or chosen['label']!r}")
    has_text = _has_text(arrays, len(ids), with_text="text" in chosen)
    no_columns = {HAS_TEXT} if has_text is not None else set()
    columns, skipped = _columns(arrays, chosen, len(ids), no_columns | set(() if marks is None else marks.used))
    source_hash = digests.of_file(source)
    return Corpus(
        name=name,
        utterance_id=ids,
        audio=_features(arrays, chosen["audio"]),
        text=_features(arrays, chosen["text"]) if "text" in chosen else None,
        has_text=None if has_text is None or has_text.all() else has_text,
        label=label,
        classes=tuple(class_map),
        columns=columns,
        provenance={
            "source": source.name,
            "settings": {
                "kind": "arrays",
                "source_sha256": source_hash,
                "keys": chosen,
                "classes": {each: list(members) for each, members in class_map.items()},
            },
            "unlabelled": count_unlabelled(codes, label),
            "skipped": skipped | foreign,
            **({MADE_FROM: marks.made_from} if marks is not None and marks.made_from else {}),
            **({"export": marks.metadata} if marks is not None and marks.metadata else {}),
        },
        **groups,
    )


def load_arrays(source: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """All arrays by their keys, read without pickle; and why other members of the archive are left out.

    Raises:
      InfoserError: if it is no .npz, damaged, or holds pickled objects.
    """
    if not source.is_file():
        raise InfoserError(f"source {source} {'is not a file' if source.exists() else 'does not exist'}")
    if not zipfile.is_zipfile(source):
        raise InfoserError(f"{source} is not an .npz file; write one with numpy.savez")
    arrays, foreign, key = {}, {}, ""
    try:
        with source.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            for key in file.files:
                if key in arrays or key in foreign:
                    raise InfoserError(f"{source} has two arrays {key!r}; write it anew with numpy.savez")
                array = file[key]
                if isinstance(array, np.ndarray):
                    arrays[key] = array
                elif f"{key}.npy" in file.zip.namelist():  # it comes out as bytes if it does not begin like an array
                    raise ValueError("it does not begin as a .npy does")
                else:
                    foreign[key] = "not an array"
    except (ValueError, RuntimeError, OverflowError, MemoryError, tokenize.TokenError) as error:
        if "allow_pickle" in str(error):
            raise InfoserError(
                f"array {key!r} in {source} holds pickled Python objects, which are not read because they can run code; "
                "save it with a plain dtype (strings as array.astype(str))"
            ) from error
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InfoserError(f"array {key!r} in {source} cannot be read: {reason}") from error
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
        raise InfoserError(f"{source} is damaged at array {key!r}: {error}") from error
    return arrays, foreign


def _resolve(arrays: Mapping[str, np.ndarray], keys: Mapping[str, str | None]) -> dict[str, str]:
    """The array key of every role that an array plays."""
    available = ", ".join(f"{key} {array.shape}" for key, array in arrays.items()) or "none"
    chosen: dict[str, str] = {}
    for role in ROLES:
        key = keys.get(role) or role
        if key in arrays:
            chosen[role] = key
        elif keys.get(role) or role in REQUIRED:
            flag = f"--{role.replace('_', '-')}-key"
            raise InfoserError(f"no array {key!r} for {flag}; the arrays are: {available}")
    if keys.get("label") and not keys.get("emotion"):
        chosen.pop("emotion", None)  # a labelling that was asked for by name is not overruled by an array that lies about
    if "emotion" not in chosen and "label" not in chosen:
        raise InfoserError(f"neither an 'emotion' nor a 'label' array (--emotion-key, --label-key); arrays: {available}")
    if "emotion" not in chosen and "label_names" not in chosen:
        raise InfoserError(
            f"array {chosen['label']!r} needs the names of its labels (--label-names-key); the arrays are: {available}"
        )
    if chosen.get("text") == chosen["audio"]:
        raise InfoserError(f"--audio-key and --text-key both name {chosen['audio']!r}")
    for role, key in chosen.items():
        _check_ndim(role, key, arrays[key])
    return chosen


def _check_ndim(role: str, key: str, array: np.ndarray) -> None:
    ndim = 2 if role in ("audio", "text") else 1
    if array.ndim == ndim:
        return
    expected = "(utterances, features)" if ndim == 2 else "one value per label" if role == "label_names" else "(utterances,)"
    pool = "; average the frames of an utterance first" if ndim == 2 and array.ndim == 3 else ""
    raise InfoserError(f"array {key!r} has shape {array.shape}, but {role} needs {expected}{pool}")


def _strings(arrays: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    array = arrays[key]
    if array.dtype.kind == "S":
        try:
            return np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            raise InfoserError(f"array {key!r} holds bytes that are not UTF-8 text: {error}") from error
    if array.dtype.kind in "iu":
        return array.astype(str)
    if array.dtype.kind != "U":
        raise InfoserError(f"array {key!r} has dtype {array.dtype}; expected strings or integers")
    return _checked_text(array, key)


def _checked_text(array: np.ndarray, key: str) -> np.ndarray:
    """The strings, if they can be written down: an .npz may hold numbers in them that are no characters."""
    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    if native.size and native.dtype.itemsize:
        codes = native.reshape(-1).view(np.uint32).reshape(len(native), -1)
        wrong = ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))).any(axis=1)
        if wrong.any():
            raise InfoserError(f"array {key!r} holds what is no Unicode text in row {int(np.argmax(wrong))}")
    return native


def _refuse_empty(key: str, values: np.ndarray, ids: np.ndarray) -> None:
    empty = np.char.strip(values) == ""
    if empty.any():
        row = int(np.argmax(empty))
        raise InfoserError(
            f"array {key!r} is empty for utterance {str(ids[row])!r} (row {row}; {int(empty.sum())} such utterances)"
        )


def _features(arrays: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    if arrays[key].dtype.kind not in "fiu":
        raise InfoserError(f"array {key!r} has dtype {arrays[key].dtype}; features must be numbers")
    with np.errstate(over="ignore"):  # a float64 too large for float32 becomes infinite, which the corpus refuses by name
        return np.ascontiguousarray(arrays[key], dtype=np.float32)


def _emotion_codes(
    arrays: Mapping[str, np.ndarray], chosen: Mapping[str, str], ids: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Each utterance's emotion ('' for none), and all emotions in the order in which they become classes."""
    if "emotion" in chosen:
        codes = _strings(arrays, chosen["emotion"])
        return codes, [code for code in np.unique(codes).tolist() if code]
    label, names = arrays[chosen["label"]], _strings(arrays, chosen["label_names"])
    if label.dtype.kind not in "iu":
        raise InfoserError(f"array {chosen['label']!r} has dtype {label.dtype}; expected integers")
    repeated = [name for name, count in Counter(names.tolist()).items() if count > 1 or not name]
    if repeated:
        raise InfoserError(f"array {chosen['label_names']!r}: name {repeated[0]!r} is empty or occurs twice")
    wrong = (label < UNLABELLED) | (label >= len(names))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InfoserError(
            f"array {chosen['label']!r}: label {label[row]} of utterance {str(ids[row])!r} (row {row}) is not one of the "
            f"{len(names)} in {chosen['label_names']!r} ({UNLABELLED} means unlabelled)"
        )
    return np.append(names, "")[label], names.tolist()


def _said_classes(marks: Marks | None, order: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The classes that an export says it has, in its order; none where the emotions are others."""
    said = {} if marks is None else marks.classes
    return said if {code for codes in said.values() for code in codes} == set(order) else {}


def _has_text(arrays: Mapping[str, np.ndarray], rows: int, *, with_text: bool) -> np.ndarray | None:
    """(N,) which utterances have text features; None where all have, or nothing is said of it."""
    found = arrays.get(HAS_TEXT)
    if found is None or not with_text:
        return None
    if found.dtype != bool or found.shape != (rows,):
        raise InfoserError(
            f"array {HAS_TEXT!r} is {found.dtype} of shape {found.shape}; it says which utterances have text features, by one "
            "bool for each: make it bool, or give the array another name"
        )
    return found


def _columns(
    arrays: Mapping[str, np.ndarray], chosen: Mapping[str, str], rows: int, no_columns: Collection[str]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """All arrays that play no role but have a value per utterance; and why the others are left out, with their shapes.

    The source of the labels stays a column too: it alone tells the emotions outside the classes apart.
    """
    used = {key for role, key in chosen.items() if role not in ("emotion", "label")}
    columns, skipped = {}, {}
    for key, array in arrays.items():
        if key in no_columns:
            continue
        described = key.removesuffix("_names")
        if key in used and key != chosen.get("label_names"):
            continue
        if key == chosen.get("label_names") or (described != key and described in arrays and array.ndim == 1):
            why = f"names for {described!r}"  # whatever its length: with as many names as utterances it is no column either
        elif array.ndim == 0 or len(array) != rows:
            why = "not one row per utterance"
        elif array.size == 0:
            why = "empty"
        elif "/" in key or not key:
            why = "'/' in its name"
        elif array.dtype.kind in "SU":
            columns[key] = _strings(arrays, key)
            continue
        elif array.dtype.kind in "biuf" and array.dtype.itemsize <= 8:
            columns[key] = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
            continue
        else:
            why = f"dtype {array.dtype}"
        skipped[key] = f"{array.shape}, {why}"
    return columns, skipped
