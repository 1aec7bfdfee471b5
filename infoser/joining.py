"""The corpora of one experiment, made one: their classes intersected, their speakers told apart, their rows end to end."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from infoser import shards
from infoser.class_map import parse_class_map
from infoser.config import Config
from infoser.corpora import check_alike, concatenate, named_apart, standardised
from infoser.corpus import UNLABELLED, Corpus
from infoser.errors import InfoserError
from infoser.overlap import check_apart
from infoser.shared_classes import SharedClasses, separated, share_classes
from infoser.synthetic import MADE_FROM

#: Key of the provenance of several corpora: for each its name, role (train or test), hash and counts.
CORPORA = "corpora"
#: Key of what has to be said of their joining.
NOTES = "joining_notes"
#: The column that names each row's corpus.
COLUMN = "corpus"


def names_others(config: Config) -> bool:
    """Whether settings name further corpora."""
    return bool(config.data.train_with or config.data.test_corpus)


def join(first: Corpus, config: Config) -> Corpus:
    """The first corpus with those that settings name beside it.

    Classes are those that all share; rows outside them stay, unlabelled. Speakers, sessions and dialogues carry their
    corpus' name. A column `corpus` names each row's, and `provenance[CORPORA]` says which is for what.

    Raises:
      InfoserError: for a corpus that is not there, features of different encoders or widths, utterances that two of them
        have, or fewer than two shared classes.
    """
    asked = [*config.data.train_with, *((config.data.test_corpus,) if config.data.test_corpus else ())]
    others = [_read(config, name) for name in asked]
    parts, notes = [first, *others], []
    for number, other in enumerate(others, start=1):
        for earlier in parts[:number]:
            notes += check_alike(earlier, other)
            check_apart(earlier, other)
    notes += _frames_notes(parts)
    shared = [share_classes(first.classes, other, own, "--data.classes") for other, own in _maps(config, others)]
    classes = [name for name in first.classes if all(name in each.members for each in shared)]
    if len(classes) < 2:
        raise InfoserError(
            f"{', '.join(part.name for part in parts)} all share {', '.join(classes) or 'no class'}: two classes are needed; "
            "say which of their classes count as which with --data.classes"
        )
    index = np.array([*(classes.index(name) if name in classes else UNLABELLED for name in first.classes), UNLABELLED])
    labels = [index[first.label], *(index[each.label] for each in shared)]
    notes += _class_notes(first, labels[0], others, shared, classes)
    for number, part in enumerate(parts):
        part = dataclasses.replace(part, label=labels[number].astype(np.int32), classes=tuple(classes))
        if config.data.normalise != "training":
            part, said = standardised(part, config.data.normalise)
            notes += said
        column = np.full(len(part), part.name)
        parts[number] = dataclasses.replace(named_apart(part), columns={**part.columns, COLUMN: column})
    return concatenate(
        parts,
        name="+".join(part.name for part in parts),
        classes=classes,
        provenance=_provenance(parts, config, list(dict.fromkeys(notes))),
    )


def found_configs(config: Config, corpus: Corpus) -> dict[str, Any]:
    """The names of the further corpora with the configs that were found, so that others, prepared later, leave no doubt."""
    if not names_others(config):
        return {}
    found = {each["name"]: f"{each['name']}/{each['config']}" for each in corpus.provenance[CORPORA] if each["config"]}

    def known(name: str) -> str:
        return found.get(name.partition("/")[0], name)

    test = config.data.test_corpus
    return {"train_with": tuple(map(known, config.data.train_with)), "test_corpus": test and known(test)}


def _read(config: Config, name: str) -> Corpus:
    plain, _, encoders = name.partition("/")
    try:
        corpus = shards.read_corpus(config.data_dir, plain, encoders, cache=config.data.cache)
    except InfoserError as error:
        if "choose one with --data.config" in str(error):
            configs = ", ".join(f"{plain}/{each}" for each in shards.list_configs(config.data_dir, plain))
            raise InfoserError(f"corpus {plain!r} was prepared in several ways; name one of {configs}") from error
        raise
    return corpus if config.data.text else corpus.without_text()


def _frames_notes(parts: Sequence[Corpus]) -> list[str]:
    said = []
    for key in ("audio_frames", "text_frames"):
        without = [
            part.name for part in parts if getattr(part, key) is None and (key == "audio_frames" or part.text is not None)
        ]
        if without and any(getattr(part, key) is not None for part in parts):
            said.append(f"{key.replace('_', ' ')} are not read: {', '.join(without)} has none")
    return said


def _maps(config: Config, others: Sequence[Corpus]) -> list[tuple[Corpus, list[str]]]:
    """Each further corpus with the part of the class map that is about its classes; of a single one all of it.

    Of several, one that has none of a class' codes may have it by its own name.
    """
    items = separated(config.data.classes)
    if not items or len(others) == 1:
        return [(other, items) for other in others]
    class_map, parts = parse_class_map(items), []
    for name, codes in class_map.items():
        nowhere = [code for code in codes if not any(code in other.classes for other in others)]
        if nowhere:
            raise InfoserError(
                f"--data.classes {name}=…: none of {', '.join(other.name for other in others)} has a class {nowhere[0]!r}"
            )
    for other in others:
        own = {name: [code for code in codes if code in other.classes] for name, codes in class_map.items()}
        own = {name: codes or [name] * (name in other.classes) for name, codes in own.items()}
        parts.append((other, [f"{name}={','.join(codes)}" for name, codes in own.items() if codes]))
    return parts


def _class_notes(
    first: Corpus, label: np.ndarray, others: Sequence[Corpus], shared: Sequence[SharedClasses], classes: Sequence[str]
) -> list[str]:
    """Which classes are shared, and which rows have no label for want of one."""
    said = []
    for other, each in zip(others, shared, strict=True):
        named = "; ".join(f"{name} is {', '.join(each.members[name])}" for name in classes)
        said.append(f"classes shared with {other.name}: {named}")
        said += each.notes(first.name, other.name)[:1]
    lost = first.labelled & (label < 0)
    if lost.any():
        counts = np.bincount(first.label[lost], minlength=len(first.classes))
        which = ", ".join(f"{count:,} {name}" for name, count in zip(first.classes, counts.tolist(), strict=True) if count)
        said.append(f"rows of {first.name} that are unlabelled here, their class not being shared: {which}")
    return said


def _provenance(parts: Sequence[Corpus], config: Config, notes: list[str]) -> dict[str, Any]:
    """Of the first corpus, with one hash for the shards of all."""
    test = config.data.test_corpus.partition("/")[0]
    corpora = [
        {
            "name": part.name,
            "role": "test" if part.name == test else "train",
            "config": part.provenance.get("shards_config", ""),
            "shards_hash": part.provenance.get("shards_hash"),
            "utterances": len(part),
            "labelled": int(part.labelled.sum()),
        }
        for part in parts
    ]
    roles = {"train": "trained and tested on" if not test else "trained on", "test": "tested on"}
    sizes = (
        f"{roles[each['role']]} {each['name']}: {each['utterances']:,} utterances, {each['labelled']:,} labelled"
        for each in corpora
    )
    made_from = {name: ids for part in parts for name, ids in part.provenance.get(MADE_FROM, {}).items()}
    hashes = " ".join(str(each["shards_hash"]) for each in corpora)
    return {
        **parts[0].provenance,
        "shards_hash": hashlib.sha256(hashes.encode()).hexdigest(),
        "shards_path": " and ".join(str(part.provenance.get("shards_path", "hand")) for part in parts),
        **({MADE_FROM: made_from} if made_from else {}),
        CORPORA: corpora,
        NOTES: ["; ".join(sizes), *notes],
    }
