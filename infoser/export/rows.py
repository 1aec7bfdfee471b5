"""What is exported: rows as a corpus, each with where it comes from, and what is said of them all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import infoser
from infoser import run_folder, synthetic
from infoser.corpus import Corpus
from infoser.encoders.identity import describe
from infoser.errors import InfoserError
from infoser.export.drawing import Drawn, draw
from infoser.export.source import Request, Source
from infoser.saved_config import fingerprint, to_json
from infoser.variants import GENERATORS

FORMAT = 1
#: What every id of a synthetic row begins with.
PREFIX = "synthetic-"
_IN_REAL = ("session", "dialogue", "split")
_GENERATORS_SETTINGS, _CONTROLS_SETTINGS = "generate", "augment"


@dataclass(frozen=True)
class Export:
    """Rows to be written.

    Attributes:
      corpus: the rows, in the encoders' units: synthetic ones first, then the real ones that were asked for. Its columns hold
        the mark, the condition, the source and the scores of each row, and its `emotion`, in the codes of the source corpus.
      made_from: the sets of utterances that synthetic rows were made from, as hashes of their ids, by name.
      metadata: plain JSON values on the whole.
    """

    corpus: Corpus
    made_from: Mapping[str, np.ndarray]
    metadata: Mapping[str, Any]

    @property
    def synthetic(self) -> np.ndarray:
        """(N,) bool."""
        return np.asarray(self.corpus.columns[synthetic.SYNTHETIC])


def make(source: Source, request: Request) -> Export:
    """Draws the rows and says all there is to say of them.

    Raises:
      InfoserError: as `draw`, and if a row is not finite.
    """
    drawn = draw(source, request)
    corpus, count = source.corpus, len(drawn.target)
    trained_on = _made_from(source)
    name = synthetic.set_name(trained_on)
    label = drawn.target.argmax(axis=1)
    codes = _codes(corpus)
    digest = _digest(source, request)
    ids = np.array([f"{PREFIX}{source.variant}-{digest}-{place:06d}" for place in drawn.position.tolist()])
    _refuse_taken(ids, corpus)
    columns: dict[str, np.ndarray] = {
        "emotion": np.array(codes)[label],
        synthetic.SYNTHETIC: np.ones(count, bool),
        synthetic.MADE_FROM: np.full(count, name),
        "made_by": np.full(count, _made_by(source, request)),
        "condition": np.append(corpus.classes, "")[drawn.condition],
        "text_from": np.where(drawn.text_from < 0, "", corpus.utterance_id[drawn.text_from]),
        "text_generated": np.full(count, drawn.text is not None),
    }
    if drawn.score is not None:
        columns["discriminator_score"] = drawn.score.astype(np.float32)
    if drawn.log_q is not None:
        columns["recogniser_log_probability"] = drawn.log_q.astype(np.float32)
    if drawn.soft:
        columns["label_probability"] = drawn.target.astype(np.float32)
    text, has_text = _text(source, request, drawn)
    grouped: dict[str, Any] = {each: np.full(count, "") for each in _IN_REAL if getattr(corpus, each) is not None}
    rows = Corpus(
        name=f"{corpus.name.replace('+', '-')}_synthetic",  # of several corpora: a name that shards may have
        utterance_id=ids,
        audio=drawn.audio,
        text=text,
        has_text=has_text,
        label=label.astype(np.int32),
        classes=corpus.classes,
        speaker=np.full(count, ""),
        columns=columns,
        **grouped,
    )
    metadata = _metadata(source, request, drawn, codes, name, len(trained_on))
    if request.with_real:
        rows = _with_real(source, request, rows, codes)
    made_from = {name: trained_on}
    provenance = {
        "source": f"rows of {request.folder.name}",
        "settings": {
            "kind": "export",
            **metadata,
            "classes": dict(zip(corpus.classes, ([code] for code in codes), strict=True)),
        },
        "unlabelled": {} if rows.labelled.all() else {"": int((~rows.labelled).sum())},
        "skipped": {},
        synthetic.MADE_FROM: {key: synthetic.encoded(hashes) for key, hashes in made_from.items()},
    }
    metadata["rows"] = {"synthetic": count, "real": len(rows) - count}
    return Export(dataclasses.replace(rows, provenance=provenance), made_from, metadata)


def _made_from(source: Source) -> np.ndarray:
    """Hashes of the ids of all utterances that the rows were made from: of synthetic ones, those behind them."""
    corpus, train = source.corpus, source.fold.train
    made = synthetic.mask(corpus)
    hashes = [synthetic.id_hashes(corpus.utterance_id[train])]
    if made is not None:
        named = set(corpus.columns[synthetic.MADE_FROM][train[made[train]]].tolist())
        hashes += [ids for name, ids in synthetic.sets(corpus).items() if name in named]
    return np.unique(np.concatenate(hashes))


def _codes(corpus: Corpus) -> list[str]:
    """The emotion that stands for each class: the first that the corpus counts as it, so that its own class map takes it in."""
    return [members[0] for members in _members(corpus)]


def _members(corpus: Corpus) -> list[list[str]]:
    """The emotions that the corpus counts as each class."""
    known = corpus.provenance.get("settings", {}).get("classes") or {}
    members = (known.get(name) or [name] for name in corpus.classes)
    return [[each] if isinstance(each, str) else [str(code) for code in each] for each in members]


def _made_by(source: Source, request: Request) -> str:
    model = "final" if source.final else source.fold.name
    return "/".join(
        part
        for part in (
            request.folder.resolve().name,
            source.cell,
            source.variant,
            model,
            f"seed{source.unit.seed}",
            f"draw{request.draw_seed}",
        )
        if part
    )


def _digest(source: Source, request: Request) -> str:
    """Tells the rows of one model and drawing from those of all others; of a control, which draws others for another number,
    those of each number.
    """
    told = [_run_fingerprint(request), source.corpus.provenance.get("shards_hash"), source.corpus.name, source.cell]
    told += [source.variant, source.fold.name, source.final, source.unit.seed, request.draw_seed]
    told += [] if source.variant in GENERATORS else [request.per_class, request.count, request.with_text]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]


def _refuse_taken(ids: np.ndarray, corpus: Corpus) -> None:
    taken = np.intersect1d(ids, corpus.utterance_id)
    if len(taken):
        raise InfoserError(f"corpus {corpus.name!r} has an utterance {str(taken[0])!r} already; draw others with --draw-seed")


def _text(source: Source, request: Request, drawn: Drawn) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Text features and which rows have them: made, lent where that is asked for, or none."""
    if not request.with_text:
        return None, None
    if drawn.text is not None:
        return drawn.text, None
    if request.lend_text and source.corpus.text is not None and (drawn.text_from >= 0).all():
        return source.corpus.text[drawn.text_from], None
    return None, None


def _with_real(source: Source, request: Request, rows: Corpus, codes: list[str]) -> Corpus:
    """The synthetic rows, and after them the training rows of the model with the labels that it could see."""
    corpus, train = source.corpus, source.fold.train
    made = synthetic.mask(corpus)
    train = train if made is None else train[~made[train]]
    label = source.unit.label[train]
    count = len(train)
    columns = {}
    for key, column in rows.columns.items():
        if key == "emotion":
            real = np.append(codes, "")[label]
        elif column.dtype == bool:
            real = np.zeros(count, bool)
        elif column.dtype.kind == "U":
            real = np.full(count, "")
        else:
            real = np.full((count, *column.shape[1:]), np.nan, column.dtype)
        columns[key] = np.concatenate([column, real])
    text, has_text = None, None
    if request.with_text and corpus.text is not None:
        own = np.zeros((len(rows), corpus.text.shape[1]), np.float32) if rows.text is None else rows.text
        text = np.concatenate([own, corpus.text[train]])
        has_text = np.concatenate([rows.with_text, corpus.with_text[train]])
        text, has_text = (text, None if has_text.all() else has_text) if has_text.any() else (None, None)
    grouped: dict[str, Any] = {}
    for each in _IN_REAL:
        values = getattr(corpus, each)
        grouped[each] = None if values is None else np.concatenate([getattr(rows, each), values[train]])
    return dataclasses.replace(
        rows,
        utterance_id=np.concatenate([rows.utterance_id, corpus.utterance_id[train]]),
        audio=np.concatenate([rows.audio, corpus.audio[train]]),
        text=text,
        has_text=has_text,
        label=np.concatenate([rows.label, label.astype(np.int32)]),
        speaker=np.concatenate([rows.speaker, corpus.speaker[train]]),
        columns=columns,
        **grouped,
    )


def _metadata(source: Source, request: Request, drawn: Drawn, codes: list[str], set_name: str, set_size: int) -> dict[str, Any]:
    """What is said of the whole, as plain JSON values."""
    corpus, config = source.corpus, source.config
    count = np.bincount(drawn.target.argmax(axis=1), minlength=len(corpus.classes)).tolist()
    settings = corpus.provenance.get("settings", {})
    stage = _GENERATORS_SETTINGS if source.variant in GENERATORS else _CONTROLS_SETTINGS
    quality, why = _quality(source, request)
    return {
        "format": FORMAT,
        "synthetic": True,
        "infoser": infoser.__version__,
        "run": request.folder.resolve().name,
        "config_fingerprint": _run_fingerprint(request),
        "cell": source.cell,
        "space": config.space,
        "variant": source.variant,
        "model": "final" if source.final else "fold",
        "fold": source.fold.name,
        "seed": source.unit.seed,
        "draw_seed": request.draw_seed,
        "corpus": {"name": corpus.name, "shards_hash": corpus.provenance.get("shards_hash"), "utterances": len(corpus)},
        "encoders": {
            modality: describe(settings[modality])
            for modality in ("audio", "text")
            if settings.get("kind") == "recordings" and settings[modality]
        },
        "audio_dim": corpus.audio.shape[1],
        "text": _text_state(request, drawn),
        "classes": dict(zip(corpus.classes, codes, strict=True)),
        "members": dict(zip(corpus.classes, _members(corpus), strict=True)),
        "counts": dict(zip(corpus.classes, count, strict=True)),
        "labels": "soft" if drawn.soft else "hard",
        "made_from": {"set": set_name, "utterances": set_size},
        "settings": to_json(config)[stage],
        "quality": quality,
        "quality_note": why,
    }


def _run_fingerprint(request: Request) -> str:
    """The fingerprint that the run folder's config.json and results.json carry: of the whole run, not of its part."""
    return fingerprint(run_folder.read(request.folder)[0])


def _text_state(request: Request, drawn: Drawn) -> str:
    """What the rows' text is."""
    if drawn.text is not None:
        return "generated with the audio"
    if (drawn.text_from < 0).any():
        return "none"
    features = "its features are here" if request.lend_text else "its features are not here"
    what = "the audio was made from" if drawn.given_text else "goes with the audio"
    return f"that of the real utterance in text_from, which {what}; {features}"


def _quality(source: Source, request: Request) -> tuple[dict[str, Any] | None, str]:
    """The quality row of the run's results for this variant, and what it is of."""
    try:
        rows = json.loads((request.folder / run_folder.RESULTS).read_text())["quality"]
        (row,) = [
            each for each in rows if (each["variant"], each["cell"], each["modality"]) == (source.variant, source.cell, "audio")
        ]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None, f"the run folder's {run_folder.RESULTS} has no quality row of this variant"
    return row, "of the run's models of all folds and seeds, on audio" + (
        "; nothing is left to measure the final model on" if source.final else ""
    )
