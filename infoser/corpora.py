"""Several corpora together: what has to agree, their rows laid end to end, and their features standardised apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int

from infoser import synthetic
from infoser.corpus import Corpus, Frames
from infoser.encoders.identity import describe, differing
from infoser.errors import InfoserError
from infoser.fold_view import standardisation
from infoser.frame_table import FrameMoments
from infoser.links import is_nameless

Standard = Literal["corpus", "speaker"]
#: Utterances of a speaker below which statistics of their own would say too little.
FEWEST_OF_SPEAKER = 10


def check_alike(first: Corpus, other: Corpus) -> list[str]:
    """Refuses corpora whose features the same heads can't read; text is compared where both have it.

    Returns:
      Notes on what can't be known.

    Raises:
      InfoserError: for other encoders, or features of other widths.
    """
    notes, names = [], f"corpora {first.name!r} and {other.name!r}"
    settings = [corpus.provenance.get("settings", {}) for corpus in (first, other)]
    kinds = [each.get("kind") for each in settings]
    for modality in ("audio", "text"):
        features = [getattr(corpus, modality) for corpus in (first, other)]
        if any(one is None for one in features):
            continue
        if kinds == ["recordings", "recordings"]:
            _check_encoders(modality, names, *(each[modality] for each in settings))
        widths = [one.shape[1] for one in features]
        if widths[0] != widths[1]:
            instead = "" if modality == "audio" else " (or leave text out: --no-text, in training --data.no-text)"
            raise InfoserError(
                f"{names} have {modality} features of different widths, {widths[0]} and {widths[1]}: they are not those of one "
                f"encoder, and the same heads can't read both; prepare both with the same {modality} encoder, layer and "
                f"pooling{instead}"
            )
    if kinds != ["recordings", "recordings"]:
        notes.append(
            f"{names}: where features were made elsewhere, only their widths are compared; that they come from the same "
            "encoders is for you to know"
        )
    return notes


def _check_encoders(modality: str, names: str, first: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    if different := differing(first, other, free=("frames",)):
        key = different[0]
        raise InfoserError(
            f"{names} were encoded with different {modality} encoders: {describe(first)}; and {describe(other)} ({key}: "
            f"{first.get(key)!r} and {other.get(key)!r}); prepare both with the same {modality} encoder, layer and pooling"
        )


def check_frames_alike(corpus: Corpus, target: Corpus) -> None:
    """Refuses a target without the frames that aligners of the corpus read; raises InfoserError."""
    for modality in ("audio", "text"):
        own, others = (getattr(one, f"{modality}_frames") for one in (corpus, target))
        if own is None or (modality == "text" and target.text is None):
            continue
        if others is None:
            raise InfoserError(
                f"the aligners of the run read {modality} frames of {corpus.name!r}, and corpus {target.name!r} has none; "
                "prepare it with --frames"
            )
        if own.values.shape[1] != others.values.shape[1]:
            raise InfoserError(
                f"corpora {corpus.name!r} and {target.name!r} have {modality} frames of different widths, "
                f"{own.values.shape[1]} and {others.values.shape[1]}; prepare both with the same {modality} encoder and layer"
            )


def concatenate(parts: Sequence[Corpus], *, name: str, classes: Sequence[str], provenance: Mapping[str, Any]) -> Corpus:
    """The rows of several corpora, one corpus after the other.

    Labels are taken as indices into `classes`. Where some corpora have text features, the rows of the others are without
    a transcript; where some have frames, the others must have them too, or none keeps them. Sessions, dialogues and splits
    are '' for the rows of a corpus that has none. Columns are kept that all have, and the marks of synthetic rows.

    Raises:
      InfoserError: if an utterance id is in two of them, or widths differ.
    """
    for modality in ("audio", "text"):
        widths = {part.name: features.shape[1] for part in parts if (features := getattr(part, modality)) is not None}
        if len(set(widths.values())) > 1:
            said = ", ".join(f"{width} in {own!r}" for own, width in widths.items())
            raise InfoserError(f"{modality} features of different widths ({said}) can't be put together")
    with_text = next((part for part in parts if part.text is not None), None)
    text = has_text = None
    if with_text is not None and with_text.text is not None:
        width = with_text.text.shape[1]
        text = _stacked([np.zeros((len(part), width), np.float32) if part.text is None else part.text for part in parts])
        has_text = np.concatenate([part.with_text for part in parts])
        has_text = None if has_text.all() else has_text
    optional: dict[str, Any] = {}
    for key in ("session", "dialogue", "split"):
        values = [getattr(part, key) for part in parts]
        if any(each is not None for each in values):
            filled = [np.full(len(part), "") if one is None else one for part, one in zip(parts, values, strict=True)]
            optional[key] = np.concatenate([each.astype(str) for each in filled])
    return Corpus(
        name=name,
        utterance_id=np.concatenate([part.utterance_id for part in parts]),
        audio=_stacked([part.audio for part in parts]),
        text=text,
        label=np.concatenate([part.label for part in parts]),
        classes=tuple(classes),
        speaker=np.concatenate([part.speaker for part in parts]),
        columns=_common_columns(parts),
        provenance=provenance,
        has_text=has_text,
        audio_frames=_joined_frames(parts, "audio_frames"),
        text_frames=None if text is None else _joined_frames(parts, "text_frames"),
        **optional,
    )


def _stacked(features: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([each.astype(np.float32, copy=False) for each in features])


def _common_columns(parts: Sequence[Corpus]) -> dict[str, np.ndarray]:
    """Columns that all corpora have, in one kind and shape of values; and which rows are synthetic, wherever some are."""
    found = {}
    if any(synthetic.mask(part) is not None for part in parts):
        parts = [_marked(part) for part in parts]
    for key in parts[0].columns:
        values = [part.columns.get(key) for part in parts]
        alike = {None if each is None else (each.dtype.kind, each.shape[1:]) for each in values}
        if len(alike) == 1 and None not in alike:
            found[key] = np.concatenate([each for each in values if each is not None])
    return found


def _marked(corpus: Corpus) -> Corpus:
    """The corpus with the columns that mark synthetic rows, also where it has none."""
    if synthetic.mask(corpus) is not None:
        return corpus
    unmarked = {synthetic.SYNTHETIC: np.zeros(len(corpus), bool), synthetic.MADE_FROM: np.full(len(corpus), "")}
    return dataclasses.replace(corpus, columns={**corpus.columns, **unmarked})


def _joined_frames(parts: Sequence[Corpus], key: str) -> Frames | None:
    """The frames of all corpora; a corpus without text has none of text, and no frames of it."""
    given: list[Frames | None] = [getattr(part, key) for part in parts]
    present = [each for each in given if each is not None]
    if not present or any(
        frames is None and not (key == "text_frames" and part.text is None) for frames, part in zip(given, parts, strict=True)
    ):
        return None
    dtype = np.result_type(*(each.values.dtype for each in present))
    start, begin = [], 0
    for frames, part in zip(given, parts, strict=True):
        start.append(np.full(len(part), begin) if frames is None else np.asarray(frames.start) + begin)
        begin += 0 if frames is None else len(frames.values)
    count = [np.zeros(len(part), np.int32) if one is None else one.count for one, part in zip(given, parts, strict=True)]
    return Frames(
        np.concatenate([each.values.astype(dtype, copy=False) for each in present]),
        np.concatenate(start).astype(np.int64),
        np.concatenate(count).astype(np.int32),
    )


def rows_of(corpus: Corpus, rows: Int[np.ndarray, " kept"] | Bool[np.ndarray, " all"]) -> Corpus:
    """The corpus of some of its rows."""
    rows = np.flatnonzero(rows) if rows.dtype == bool else rows
    changed: dict[str, Any] = {"columns": {key: values[rows] for key, values in corpus.columns.items()}}
    for key in ("utterance_id", "audio", "text", "label", "speaker", "session", "dialogue", "split", "has_text"):
        values = getattr(corpus, key)
        changed[key] = None if values is None else np.asarray(values[rows])
    for key in ("audio_frames", "text_frames"):
        frames = getattr(corpus, key)
        changed[key] = None if frames is None else Frames(frames.values, frames.start[rows], frames.count[rows])
    if changed["has_text"] is not None and not changed["has_text"].any():  # a corpus may not have text that no row has
        changed |= {"text": None, "has_text": None, "text_frames": None}
    return dataclasses.replace(corpus, **changed)


def named_apart(corpus: Corpus) -> Corpus:
    """The corpus with its name before those of its speakers, sessions and dialogues; nameless ones stay nameless."""
    changed: dict[str, Any] = {}
    for key in ("speaker", "session", "dialogue"):
        values = getattr(corpus, key)
        if values is not None:
            unique, inverse = np.unique(np.asarray(values).astype(str), return_inverse=True)
            named = [one if is_nameless(one, key) else f"{corpus.name}:{one}" for one in unique.tolist()]
            changed[key] = np.array(named)[inverse]
    return dataclasses.replace(corpus, **changed)


def standardised(corpus: Corpus, by: Standard) -> tuple[Corpus, list[str]]:
    """Features and frames with mean 0 and standard deviation 1 over the corpus, or over each speaker.

    Labels are not looked at. Text is standardised over rows that have it; the others keep their zeros. Rows of nameless
    speakers, and of those with fewer than FEWEST_OF_SPEAKER utterances, take the statistics of the corpus.

    Returns:
      The corpus, and what a reader has to know.
    """
    everyone = np.arange(len(corpus))
    groups, notes = [everyone], []
    if by == "speaker":
        names, member, size = np.unique(np.asarray(corpus.speaker).astype(str), return_inverse=True, return_counts=True)
        own = np.array([not is_nameless(name, "speaker") for name in names.tolist()]) & (size >= FEWEST_OF_SPEAKER)
        groups = [np.flatnonzero(member == one) for one in np.flatnonzero(own)]
        rest = np.flatnonzero(~own[member])
        if len(rest):
            groups.append(rest)
            notes.append(
                f"{len(rest):,} utterances of {corpus.name} are of unknown speakers, or of such with fewer than "
                f"{FEWEST_OF_SPEAKER}: they are standardised by the whole corpus' statistics"
            )
    moments = {key: FrameMoments.of(frames) for key, frames in _frames(corpus).items()}
    whole = by == "speaker" and bool(notes)
    changed = _empty_like(corpus)
    for number, rows in enumerate(groups):
        over = everyone if whole and number == len(groups) - 1 else rows
        _transform(corpus, changed, rows, _statistics(corpus, moments, over))
    return _replaced(corpus, changed), notes


def brought_to(corpus: Corpus, like: Corpus, rows: Int[np.ndarray, " rows"]) -> Corpus:
    """A standardised corpus, moved and scaled such that the statistics of `rows` of another corpus undo it again.

    What standardises by those statistics then reads the standardised features.
    """
    moments = {key: FrameMoments.of(frames) for key, frames in _frames(like).items()}
    changed = _empty_like(corpus)
    statistics = _statistics(like, moments, rows)
    inverse = {key: (-mean * scale, 1 / scale) for key, (mean, scale) in statistics.items() if key in changed}
    _transform(corpus, changed, np.arange(len(corpus)), inverse)
    return _replaced(corpus, changed)


def _frames(corpus: Corpus) -> dict[str, Frames]:
    named = {"audio_frames": corpus.audio_frames, "text_frames": corpus.text_frames}
    return {key: frames for key, frames in named.items() if frames is not None}


def _statistics(
    corpus: Corpus, moments: Mapping[str, FrameMoments], rows: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean and reciprocal standard deviation of each kind of features over rows that have it."""
    with_text = rows[corpus.with_text[rows]]
    found = {"audio": standardisation(corpus.audio, rows)}
    if corpus.text is not None and len(with_text):
        found["text"] = standardisation(corpus.text, with_text)
    for key, each in moments.items():
        of = rows if key == "audio_frames" else with_text
        if len(of):
            statistics = each.statistics(of)
            found[key] = (np.asarray(statistics.mean, np.float64), np.asarray(statistics.scale, np.float64))
    return found


def _empty_like(corpus: Corpus) -> dict[str, np.ndarray]:
    changed = {"audio": np.zeros(corpus.audio.shape, np.float32)}
    if corpus.text is not None:
        changed["text"] = np.zeros(corpus.text.shape, np.float32)
    return changed | {key: np.zeros(frames.values.shape, frames.values.dtype) for key, frames in _frames(corpus).items()}


def _transform(
    corpus: Corpus, changed: dict[str, Any], rows: np.ndarray, statistics: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    """Writes (x − mean) · scale of `rows` into `changed`; rows without text keep their zeros."""
    with_text = rows[corpus.with_text[rows]]
    for key, (mean, scale) in statistics.items():
        of = rows if key.startswith("audio") else with_text
        if key in ("audio", "text"):
            changed[key][of] = (getattr(corpus, key)[of] - mean) * scale
            continue
        frames = _frames(corpus)[key]
        for row in of:
            place = slice(frames.start[row], frames.start[row] + frames.count[row])
            changed[key][place] = (frames.values[place] - mean) * scale


def _replaced(corpus: Corpus, changed: Mapping[str, np.ndarray]) -> Corpus:
    frames = {key: dataclasses.replace(each, values=changed[key]) for key, each in _frames(corpus).items()}
    plain = {key: changed[key] for key in ("audio", "text") if key in changed}
    return dataclasses.replace(corpus, **plain, **frames)
