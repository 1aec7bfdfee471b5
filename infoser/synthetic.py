"""Synthetic utterances in a corpus: which rows they are, and which utterances they were made from.

A synthetic row has the column `synthetic` true, and in `made_from` the name of a set of utterances: those that whatever made it
was trained on. The sets themselves, as hashes of utterance ids, are in the corpus' provenance. Such rows may be trained on; no
fold is tested on them, and none trains on rows that were made from what it holds out (see `synthetic_folds`).
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt64

from infoser.corpus import Corpus
from infoser.errors import InfoserError

#: Columns of a corpus: whether a row is synthetic; the name of the set of utterances that it was made from ('' for none).
SYNTHETIC, MADE_FROM = "synthetic", "made_from"
#: Arrays of an .npz beside those columns: `made_from_NAME` for each set, and what the export says of itself.
METADATA = "metadata"
_SET = "made_from_"
_CORPUS = "corpus"  # the column of joined corpora by which folds may hold one of them out


def mask(corpus: Corpus) -> Bool[np.ndarray, " rows"] | None:
    """(N,) which rows are synthetic; None where none is."""
    column = corpus.columns.get(SYNTHETIC)
    if column is None or column.dtype != bool or column.ndim != 1 or not column.any():
        return None
    return np.asarray(column)


def id_hashes(utterance_id: Iterable[str]) -> UInt64[np.ndarray, " rows"]:
    """The first 64 bits of the SHA-256 of each utterance id, in their order."""
    digests = (hashlib.sha256(str(one).encode()).digest()[:8] for one in utterance_id)
    return np.fromiter((int.from_bytes(digest, "big") for digest in digests), np.uint64)


def set_name(hashes: UInt64[np.ndarray, " ids"]) -> str:
    """The name of a set of utterances: 16 hexadecimal digits of the SHA-256 of their sorted hashes."""
    return hashlib.sha256(np.unique(hashes).astype("<u8").tobytes()).hexdigest()[:16]


def encoded(hashes: UInt64[np.ndarray, " ids"]) -> str:
    """A set of utterances as text, for a corpus' provenance."""
    return base64.b64encode(np.unique(hashes).astype("<u8").tobytes()).decode()


def sets(corpus: Corpus) -> dict[str, UInt64[np.ndarray, " ids"]]:
    """The sets of utterances that the corpus' synthetic rows were made from, by name.

    Raises:
      InfoserError: if one that a row names is missing or damaged.
    """
    rows = mask(corpus)
    if rows is None:
        return {}
    found, known = {}, corpus.provenance.get(MADE_FROM, {})
    for name in _named(corpus.columns.get(MADE_FROM), rows, f"corpus {corpus.name!r}"):
        try:
            found[name] = np.frombuffer(base64.b64decode(known[name], validate=True), "<u8").astype(np.uint64)
        except (KeyError, TypeError, ValueError, binascii.Error):
            found[name] = np.zeros(0, np.uint64)
        if set_name(found[name]) != name:
            raise InfoserError(
                f"corpus {corpus.name!r}: what its synthetic rows were made from (set {name}) is missing or damaged, so that "
                "nobody could tell whether they leak; prepare it again"
            )
    return found


def real_part(corpus: Corpus) -> Corpus:
    """Who spoke where, and what is labelled, of the rows that are not synthetic, without features; or the corpus.

    Raises:
      InfoserError: if there are only synthetic rows.
    """
    rows = mask(corpus)
    if rows is None:
        return corpus
    kept = np.flatnonzero(~rows)
    if not len(kept):
        raise InfoserError(
            f"corpus {corpus.name!r} has synthetic rows only: there is nothing to test on. Join them with real utterances: "
            "datasets/prepare.py arrays --source REAL.npz --synthetic EXPORT.npz"
        )
    grouped: dict[str, Any] = {name: getattr(corpus, name) for name in ("session", "dialogue", "split")}
    return dataclasses.replace(
        corpus,
        utterance_id=corpus.utterance_id[kept],
        audio=np.zeros((len(kept), 1), np.float32),
        text=None,
        has_text=None,
        audio_frames=None,
        text_frames=None,
        label=corpus.label[kept],
        speaker=corpus.speaker[kept],
        columns={key: values[kept] for key, values in corpus.columns.items() if key == _CORPUS},
        **{name: None if values is None else values[kept] for name, values in grouped.items()},
    )


@dataclass(frozen=True)
class Marks:
    """What the arrays of an .npz say of synthetic rows.

    Attributes:
      rows: (N,) which rows are synthetic.
      made_from: the sets that they were made from, by name, as `encoded` writes them.
      metadata: what an export says of itself; {} where there is nothing.
      used: keys of the arrays that are no columns.
    """

    rows: np.ndarray
    made_from: dict[str, str]
    metadata: dict[str, Any]
    used: tuple[str, ...]

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """The classes of an export, each with the emotion that stands for it; {} where nothing is said."""
        return {name: (code,) for name, code in self.metadata.get("classes", {}).items()}

    @property
    def members(self) -> dict[str, tuple[str, ...]]:
        """The classes of an export, each with all the emotions that counted as it where it was made."""
        return self.classes | {name: tuple(codes) for name, codes in self.metadata.get("members", {}).items()}


def read_marks(arrays: Mapping[str, np.ndarray], count: int, where: object) -> Marks | None:
    """The marks of synthetic rows among the arrays of an .npz of `count` rows; None where there is no such array.

    Raises:
      InfoserError: if they are there, and not what an export writes: nobody could then tell whether such rows leak.
    """
    if SYNTHETIC not in arrays:
        return None
    rows = arrays[SYNTHETIC]
    if rows.dtype != bool or rows.shape != (count,):
        raise InfoserError(
            f"array {SYNTHETIC!r} in {where} is {rows.dtype} of shape {rows.shape}; it says which rows are synthetic, by one "
            "bool for each: make it bool, or give the array another name"
        )
    used = [key for key in arrays if key == METADATA or key.startswith(_SET)]
    if rows.any() and MADE_FROM not in arrays:
        raise InfoserError(
            f"{where} has synthetic rows, but no array {MADE_FROM!r} that says what each was made from; copy it from the "
            "export, with '' for real rows (and for synthetic ones that were made from no utterance at all)"
        )
    named = _named(arrays[MADE_FROM], rows, where) if rows.any() else []
    made_from = {}
    for name in named:
        hashes = arrays.get(_SET + name)
        if hashes is None or hashes.dtype != np.uint64 or hashes.ndim != 1 or set_name(hashes) != name:
            state = "has no" if hashes is None else "has a damaged"
            owners = int((arrays[MADE_FROM] == name).sum())
            raise InfoserError(
                f"{where} {state} array {_SET + name!r}: it lists the utterances that {owners:,} "
                "synthetic rows were made from, without which nobody could tell whether they leak; copy it from the export"
            )
        made_from[name] = encoded(hashes)
    return Marks(rows, made_from, _metadata(arrays, where), tuple(used))


def as_arrays(made_from: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays that `read_marks` reads beside the columns."""
    sets_ = {_SET + name: np.unique(hashes) for name, hashes in made_from.items()}
    return {**sets_, METADATA: np.array(json.dumps(metadata))}


def _named(made_from: np.ndarray | None, rows: np.ndarray, where: object) -> list[str]:
    """The sets that synthetic rows name."""
    if made_from is None or made_from.dtype.kind != "U" or made_from.shape != rows.shape:
        raise InfoserError(f"{where}: {MADE_FROM!r} has to be one string for each row")
    return [name for name in np.unique(made_from[rows]).tolist() if name]


def _metadata(arrays: Mapping[str, np.ndarray], where: object) -> dict[str, Any]:
    found = arrays.get(METADATA)
    if found is None or found.ndim or found.dtype.kind != "U":
        return {}
    try:
        values = json.loads(str(found))
        classes = values.get("classes", {})
        if not all(isinstance(one, str) for pair in classes.items() for one in pair):
            raise TypeError("its classes are no names")
        members = values.get("members", {})
        if not all(isinstance(one, str) for name, codes in members.items() for one in (name, *codes)):
            raise TypeError("the members of its classes are no names")
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise InfoserError(f"array {METADATA!r} in {where} is not what an export writes: {error}") from error
    return values
