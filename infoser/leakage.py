"""Folds, and the proof that they leak nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from infoser import synthetic
from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.links import LINKS, components, link_codes

#: What tables call their aggregates, and run folders the final model.
RESERVED = ("mean", "pooled", "ensemble", "final")


@dataclass(frozen=True)
class Fold:
    """One division of a corpus into training, dev and test rows.

    Attributes:
      name: 'session1' for the session '1', else the session's, speaker's or test split's own name, or 'fold1' etc.
      train: (n,) int64 sorted rows whose features may be trained on, labelled and unlabelled.
      test: (n,) int64 sorted labelled rows.
      dev: (n,) int64 sorted labelled rows; empty where the protocol gives the training part whole.
      notes: what a reader of the scores has to know, such as rows left out and why, with counts.
      outer: of an inner fold, the folds that something is chosen for on it: it sees no label that one of them may not.
    """

    name: str
    train: Int64[np.ndarray, " n_train"]
    test: Int64[np.ndarray, " n_test"]
    dev: Int64[np.ndarray, " n_dev"]
    notes: tuple[str, ...] = ()
    outer: tuple["Fold", ...] = ()


def kept_apart(
    corpus: Corpus, codes: Mapping[str, np.ndarray], protocol: str, keep_partner: bool, partner_allowed: bool = False
) -> tuple[str, ...]:
    """The columns of which two parts of a fold may have no value in common."""
    if protocol == "official" or (protocol == "speaker" and (keep_partner or partner_allowed)):
        return ("speaker",)
    if protocol == "kfold" and len(np.unique(components(len(corpus), codes, LINKS)[corpus.labelled])) < 2:
        return ("speaker", "dialogue")
    return LINKS


def check_folds(corpus: Corpus, folds: Sequence[Fold], *, protocol: str, keep_partner: bool = False) -> None:
    """Proves that the folds leak nothing: no row is used twice, and nothing crosses that the protocol keeps apart.

    Speakers never cross training, dev and test. Sessions and dialogues do not either, but for these: 'official' answers
    for its own division; under 'speaker' the dev part may be the test speaker's partner, and with `keep_partner` the
    partner is trained on; under 'kfold' sessions cross where they would tie all labelled rows together.
    `protocol` is a resolved name, not 'auto'.

    Raises:
      InfoserError: naming the fold and what crosses, or a name that no fold can have.
    """
    codes = link_codes(corpus)
    between_training = kept_apart(corpus, codes, protocol, keep_partner)
    between_held_out = kept_apart(corpus, codes, protocol, keep_partner, partner_allowed=True)
    pairs = {
        ("training", "test"): between_training,
        ("training", "dev"): between_training,
        ("dev", "test"): between_held_out,
    }
    if len({fold.name for fold in folds}) < len(folds):
        raise InfoserError(f"two folds have the same name: {', '.join(fold.name for fold in folds)}")
    taken = [fold.name for fold in folds if fold.name in RESERVED]
    if taken:
        raise InfoserError(
            f"a fold can't be called {taken[0]!r}: tables name something else so; rename the session, speaker, split or corpus"
        )
    if folds and _repeats(np.concatenate([fold.test for fold in folds])):
        raise InfoserError("an utterance is in the test parts of two folds")
    made = synthetic.mask(corpus)
    sets = synthetic.sets(corpus)
    for fold in folds:
        parts = {"training": fold.train, "dev": fold.dev, "test": fold.test}
        rows = np.concatenate(list(parts.values()))
        if _repeats(rows) or (len(rows) and (rows.min() < 0 or rows.max() >= len(corpus))):
            raise InfoserError(f"fold {fold.name!r}: an utterance is in two parts, or not in the corpus")
        if any((np.diff(part) < 0).any() for part in parts.values()):
            raise InfoserError(f"fold {fold.name!r}: the rows of a part are not sorted")
        if not corpus.labelled[np.concatenate([fold.dev, fold.test])].all():
            raise InfoserError(f"fold {fold.name!r}: an utterance of the dev or test part has no label")
        _check_synthetic(corpus, fold, made, sets)
        for (first, second), columns in pairs.items():
            for column in (column for column in columns if column in codes):
                crossing = np.intersect1d(codes[column][parts[first]], codes[column][parts[second]])
                crossing = crossing[crossing >= 0]
                if len(crossing):
                    example = str(getattr(corpus, column)[np.argmax(codes[column] == crossing[0])])
                    raise InfoserError(
                        f"fold {fold.name!r}: {column} {example!r} is in both the {first} and the {second} part "
                        f"({len(crossing)} such); a protocol that divides by {column}, or kfold, keeps them apart"
                    )


def _check_synthetic(corpus: Corpus, fold: Fold, made: np.ndarray | None, sets: Mapping[str, np.ndarray]) -> None:
    """Refuses a fold that tests on synthetic rows, or trains on rows that were made from what it tests or selects on."""
    if made is None:
        return
    held_out = np.concatenate([fold.dev, fold.test])
    if made[held_out].any():
        raise InfoserError(f"fold {fold.name!r}: a synthetic row is in the dev or test part")
    hashes = synthetic.id_hashes(corpus.utterance_id[held_out])
    for name in np.unique(corpus.columns[synthetic.MADE_FROM][fold.train[made[fold.train]]]).tolist():
        if name and np.isin(hashes, sets[name]).any():
            raise InfoserError(f"fold {fold.name!r}: trains on synthetic rows that were made from its dev or test part")


def _repeats(rows: np.ndarray) -> bool:
    return len(np.unique(rows)) < len(rows)
