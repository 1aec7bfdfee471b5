"""The other corpus of a cross-corpus score: read from its shards, and its rows appended to the run's corpus."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from infoser import shards
from infoser.corpora import concatenate
from infoser.corpus import UNLABELLED, Corpus
from infoser.errors import InfoserError
from infoser.leakage import Fold
from infoser.scored_subsets import subsets
from infoser.shared_classes import SharedClasses


@dataclass(frozen=True)
class Target:
    """What is scored of another corpus.

    Attributes:
      scored: the rows whose class the run's corpus has too.
      label: (rows,) index into the run's classes.
      shared: how its classes stand to the run's.
      by_fold: the same rows for each fold, with features as its models read them.
    """

    scored: Corpus
    label: Int[np.ndarray, " rows"]
    shared: SharedClasses
    by_fold: Mapping[str, Corpus]


def read_target(folder: Path) -> Corpus:
    """The corpus of DATA_DIR/NAME or DATA_DIR/NAME/CONFIG; raises InfoserError where there is none, or several."""
    folder = Path(str(folder).rstrip("/"))
    configs = shards.list_configs(folder.parent, folder.name)
    if not configs and folder.name in shards.list_configs(folder.parent.parent, folder.parent.name):
        return shards.read_corpus(folder.parent.parent, folder.parent.name, folder.name, cache=True)
    if len(configs) > 1:
        raise InfoserError(
            f"corpus {folder.name!r} in {folder.parent} was prepared in several ways: {', '.join(configs)}; name one: "
            f"--corpus {folder / configs[0]}"
        )
    return shards.read_corpus(folder.parent, folder.name, cache=True)


def modality_notes(corpus: Corpus, target: Corpus, *, text: bool) -> list[str]:
    """What is read of which corpus, in sentences; `text` says whether heads that read text are asked."""
    if not text:
        return ["text is left out: heads on audio are scored alone"] if corpus.text is not None else []
    if corpus.text is None and target.text is not None:
        return [f"the run reads no text: that of {target.name} is not used"]
    if corpus.text is not None and target.text is None:
        return [f"{target.name} has no text: heads on audio are scored alone"]
    missing = int((~target.with_text).sum()) if target.text is not None else 0
    if not missing:
        return []
    return [
        f"{missing:,} of {len(target):,} utterances of {target.name} have no transcript: what reads text is scored on the rest"
    ]


def appended(corpus: Corpus, folds: Sequence[Fold], target: Target) -> tuple[Corpus, list[Fold]]:
    """The corpus with the target's rows after its own, and the folds with those as their test part."""
    blocks = list({id(one): one for one in target.by_fold.values()}.values())
    n_rows, parts, asked = len(target.scored), [corpus], []
    for number, block in enumerate(blocks):
        names = np.array([f"{block.name}, scored as block {number}: {one}" for one in block.utterance_id])
        unlabelled = np.full(n_rows, UNLABELLED, np.int32)
        parts.append(dataclasses.replace(block, utterance_id=names, label=unlabelled, classes=corpus.classes))
    extended = concatenate(parts, name=corpus.name, classes=corpus.classes, provenance=corpus.provenance)
    for fold in folds:
        number = next(i for i, block in enumerate(blocks) if block is target.by_fold[fold.name])
        asked.append(dataclasses.replace(fold, test=len(corpus) + number * n_rows + np.arange(n_rows)))
    return extended, asked


def subset_masks(extended: Corpus, folds: Sequence[Fold], asked: Sequence[Fold]) -> dict[str, np.ndarray]:
    """Masks over the scored rows, the same for all models: disjoint is a text that none of them was trained beside."""
    trained = np.unique(np.concatenate([fold.train for fold in folds]))
    return subsets(extended, dataclasses.replace(asked[0], train=trained))
