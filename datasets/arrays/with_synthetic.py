"""Synthetic rows of exports, added to a corpus of real utterances."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arrays.npz_source import HAS_TEXT, load_arrays
from infoser import digests
from infoser.corpus import Corpus
from infoser.encoders.identity import describe
from infoser.errors import InfoserError
from infoser.synthetic import MADE_FROM, Marks, read_marks

_GROUPS = ("session", "dialogue", "split")


def with_synthetic(corpus: Corpus, exports: Sequence[Path]) -> Corpus:
    """The corpus, and after its rows the synthetic ones of exports; real rows of an export are left out.

    A synthetic row's class is the one that takes in its emotion; rows of other emotions are left out. A column that only one
    side has is '', NaN, False or −1 for the other side's rows (0 where it has no sign); the provenance says what was filled in.

    Args:
      corpus: of real utterances, from `read_arrays`.
      exports: .npz files of `eval.py generate`.

    Raises:
      InfoserError: for a file that is no export, features of other widths, or none of whose rows fits the classes.
    """
    if exports and (corpus.audio_frames is not None or corpus.text_frames is not None):
        skipped = {
            **corpus.provenance.get("skipped", {}),
            "frames": "synthetic rows have none: all are read by their pooled features",
        }
        provenance = {key: value for key, value in corpus.provenance.items() if key != "frames"} | {"skipped": skipped}
        corpus = dataclasses.replace(corpus, audio_frames=None, text_frames=None, provenance=provenance)
    for export in exports:
        arrays, _ = load_arrays(export)
        marks = None if "utterance_id" not in arrays else read_marks(arrays, len(arrays["utterance_id"]), export)
        if marks is None or not marks.rows.any():
            raise InfoserError(f"{export} has no synthetic rows: it is no .npz that eval.py generate wrote")
        corpus = _joined(corpus, arrays, marks, export)
    return corpus


def _joined(corpus: Corpus, arrays: Mapping[str, np.ndarray], marks: Marks, export: Path) -> Corpus:
    missing = [key for key in ("audio", "emotion") if key not in arrays]
    if missing:
        raise InfoserError(f"{export} has no array {missing[0]!r}: it is no .npz that eval.py generate wrote")
    audio = arrays["audio"]
    if audio.ndim != 2 or audio.shape[1] != corpus.audio.shape[1]:
        raise InfoserError(
            f"{export} has audio features of shape {audio.shape} and corpus {corpus.name!r} has {corpus.audio.shape[1]} of "
            "each utterance: they are of other encoders; export from a run on this corpus' encoders"
        )
    _check_encoders(corpus, arrays, marks, export)
    settings = corpus.provenance["settings"]
    classes = settings.get("classes") or {name: [name] for name in corpus.classes}
    label_of = {code: label for label, codes in enumerate(classes.values()) for code in codes}
    for name, codes in marks.members.items():
        into = {label_of[code] for code in codes if code in label_of}
        if len(into) > 1:
            raise InfoserError(
                f"{export}: its rows of class {name!r} may be any of {', '.join(codes)}, which are different classes of corpus "
                f"{corpus.name!r}; make them one with --classes {name}={','.join(codes)} and the others as they are"
            )
    label = np.array([label_of.get(code, -1) for code in arrays["emotion"].tolist()], np.int32)
    rows = np.flatnonzero(marks.rows & (label >= 0))
    if not len(rows):
        raise InfoserError(
            f"{export}: none of its emotions ({', '.join(np.unique(arrays['emotion']).tolist())}) is one of corpus "
            f"{corpus.name!r} ({', '.join(label_of)}); say with --classes which emotions make up which class"
        )
    skipped = dict(corpus.provenance.get("skipped", {}))
    left = {"real rows": ~marks.rows, "synthetic rows of other emotions": marks.rows & (label < 0)}
    for what, which in left.items():
        if which.any():
            skipped[f"{export.name}: {what}"] = f"{int(which.sum()):,}, left out"
    text, has_text = _text(corpus, arrays, rows, export, skipped)
    grouped: dict[str, Any] = {}
    for name in _GROUPS:
        values = getattr(corpus, name)
        grouped[name] = None if values is None else np.concatenate([values, np.full(len(rows), "")])
    digest = digests.of_file(export)
    named = set(arrays[MADE_FROM][rows].tolist())
    made_from = {name: ids for name, ids in marks.made_from.items() if name in named}
    provenance = {
        **corpus.provenance,
        "settings": {**settings, "synthetic_sha256": [*settings.get("synthetic_sha256", []), digest]},
        "skipped": skipped,
        MADE_FROM: {**corpus.provenance.get(MADE_FROM, {}), **made_from},
        "exports": [*corpus.provenance.get("exports", []), marks.metadata],
    }
    used = {*marks.used, HAS_TEXT, "utterance_id", "audio", "text", "speaker", *_GROUPS}
    added = {
        key: array[rows] for key, array in arrays.items() if key not in used and len(array.shape) and len(array) == len(label)
    }
    filled = dict(corpus.provenance.get("filled", {}))
    columns = _columns(corpus, added, len(rows), skipped, filled)
    provenance["filled"] = filled
    return dataclasses.replace(
        corpus,
        utterance_id=np.concatenate([corpus.utterance_id, arrays["utterance_id"][rows]]),
        audio=np.concatenate([corpus.audio, audio[rows].astype(np.float32)]),
        text=text,
        has_text=has_text,
        label=np.concatenate([corpus.label, label[rows]]),
        speaker=np.concatenate([corpus.speaker, np.full(len(rows), "")]),
        columns=columns,
        provenance=provenance,
        **grouped,
    )


def _check_encoders(corpus: Corpus, arrays: Mapping[str, np.ndarray], marks: Marks, export: Path) -> None:
    """Refuses an export of other encoders than the corpus', where both sides know theirs."""
    settings, told = corpus.provenance["settings"], marks.metadata.get("encoders")
    if settings.get("kind") != "recordings" or not isinstance(told, Mapping):
        return
    for modality in ("audio", "text"):
        own, other = settings[modality] and describe(settings[modality]), told.get(modality)
        if own and other and _apart_from_name(own) != _apart_from_name(other) and modality in arrays:
            raise InfoserError(
                f"{export}: its {modality} features are those of another encoder ({other}) than corpus {corpus.name!r} has "
                f"({own}); export from a run on this corpus' encoders{'' if modality == 'audio' else ', or with --no-text'}"
            )


def _apart_from_name(described: str) -> str:
    """A description of an encoder without its name, where the digest of its weights says more."""
    return described.partition(", ")[2] if "(sha256 " in described else described


def _text(
    corpus: Corpus, arrays: Mapping[str, np.ndarray], rows: np.ndarray, export: Path, skipped: dict[str, str]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Text features of all rows, and which have them; zeros for synthetic rows without."""
    given = arrays.get("text")
    if corpus.text is None:
        if given is not None:
            skipped[f"{export.name}: text"] = f"{given.shape}, the corpus has no text features"
        return None, None
    width = corpus.text.shape[1]
    if given is not None and (given.ndim != 2 or given.shape[1] != width):
        raise InfoserError(
            f"{export} has text features of shape {given.shape} and corpus {corpus.name!r} has {width} of each utterance: they "
            "are of other encoders; export with --no-text"
        )
    there = np.zeros(len(rows), bool) if given is None else arrays.get(HAS_TEXT, np.ones(len(given), bool))[rows]
    added = np.zeros((len(rows), width), np.float32) if given is None else given[rows].astype(np.float32)
    has_text = np.concatenate([corpus.with_text, there])
    return np.concatenate([corpus.text, added]), None if has_text.all() else has_text


def _columns(
    corpus: Corpus, added: Mapping[str, np.ndarray], count: int, skipped: dict[str, str], filled: dict[str, str]
) -> dict[str, np.ndarray]:
    """Columns of both sides; `filled` learns what real annotations synthetic rows have for want of their own."""
    columns: dict[str, np.ndarray] = {}
    for key in dict.fromkeys((*corpus.columns, *added)):
        before, after = corpus.columns.get(key), added.get(key)
        if before is None:
            before = _nothing(added[key], len(corpus))
        if after is None:
            after = _nothing(before, count)
            filled[key] = f"is {str(after.flat[0])!r} for synthetic rows that have none"
        if before.shape[1:] != after.shape[1:] or before.dtype.kind != after.dtype.kind:
            skipped[key] = f"{before.dtype} {before.shape[1:]} of real rows, {after.dtype} {after.shape[1:]} of synthetic ones"
        else:
            columns[key] = np.concatenate([before, after])
    return columns


def _nothing(like: np.ndarray, count: int) -> np.ndarray:
    """What says, as well as the type can, that rows have no value."""
    value = {"U": "", "f": np.nan, "i": -1}.get(like.dtype.kind, 0)
    return np.full((count, *like.shape[1:]), value, like.dtype)
