"""What two corpora have in common that they should not: utterances, and names of speakers."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool

from infoser import synthetic
from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.leakage import Fold
from infoser.links import is_nameless

#: Features below which two recordings may well have the same ones.
FEWEST_FEATURES = 8
_NOBODY = ""


def check_unseen(corpus: Corpus, folds: Sequence[Fold], target: Corpus, kept: Bool[np.ndarray, " rows"]) -> None:
    """Refuses utterances that a model was trained on: by id, and by audio features that are the same to the last bit.

    Those, too, that synthetic rows which it was trained on were made from.

    Args:
      corpus: what the models were trained on, each in its fold's training part.
      folds: the models'.
      target: the corpus that is to be scored.
      kept: which of its rows are.

    Raises:
      InfoserError: with their number and an example.
    """
    asked = np.flatnonzero(kept)
    for what, known, own in _marks(corpus, target, asked):
        for fold in folds:
            seen = asked[np.isin(own, known[fold.train]) & (own != _NOBODY)]
            if len(seen):
                raise InfoserError(
                    f"{len(seen):,} of the {len(asked):,} utterances of {target.name!r} that would be scored, such as "
                    f"{str(target.utterance_id[seen[0]])!r}, have the {what} of utterances of {corpus.name!r} that the models "
                    f"of fold {fold.name!r} trained on: scores on them would mean nothing; leave them out of the corpus, or "
                    "give other recordings ids of their own"
                )
    _check_not_made_from(corpus, folds, target, asked)


def _check_not_made_from(corpus: Corpus, folds: Sequence[Fold], target: Corpus, asked: np.ndarray) -> None:
    made = synthetic.mask(corpus)
    if made is None:
        return
    sets, named = synthetic.sets(corpus), np.asarray(corpus.columns[synthetic.MADE_FROM])
    hashes = synthetic.id_hashes(target.utterance_id[asked])
    for fold in folds:
        trained = fold.train[made[fold.train]]
        behind = [sets[name] for name in np.unique(named[trained]).tolist() if name]
        seen = asked[np.isin(hashes, np.concatenate(behind))] if behind else asked[:0]
        if len(seen):
            raise InfoserError(
                f"{len(seen):,} of the {len(asked):,} utterances of {target.name!r} that would be scored, such as "
                f"{str(target.utterance_id[seen[0]])!r}, are among those that synthetic rows of {corpus.name!r} were made "
                f"from, which the models of fold {fold.name!r} trained on: scores on them would mean nothing"
            )


def check_apart(first: Corpus, other: Corpus) -> None:
    """Refuses corpora that have utterances in common; raises as `check_unseen` does."""
    for what, known, own in _marks(first, other, np.arange(len(other))):
        seen = np.flatnonzero(np.isin(own, known) & (own != _NOBODY))
        if len(seen):
            raise InfoserError(
                f"{len(seen):,} of the {len(other):,} utterances of {other.name!r}, such as "
                f"{str(other.utterance_id[seen[0]])!r}, have the {what} of utterances of {first.name!r}: a model would be "
                "tested on what it was trained on; leave them out of one of the corpora, or give other recordings other ids"
            )


def _marks(corpus: Corpus, target: Corpus, asked: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """By what utterances are known again: its name, and the marks of the corpus' rows and of those asked of the target."""
    yield "ids", corpus.utterance_id, target.utterance_id[asked]
    if target.audio.shape[1] >= FEWEST_FEATURES:
        marks = (_digests(corpus, np.arange(len(corpus))), _digests(target, asked))
        yield "audio features, to the last bit,", *marks


def _digests(corpus: Corpus, rows: np.ndarray) -> np.ndarray:
    """A digest of each row's audio features; _NOBODY for a row of one value throughout, which is nobody's own."""
    found = []
    for row in rows:
        values = np.ascontiguousarray(corpus.audio[row], np.float32)
        blank = bool((values == values[0]).all())
        found.append(_NOBODY if blank else hashlib.blake2b(values.tobytes(), digest_size=16).hexdigest())
    return np.array(found, "U32")


def speakers_of_one_name(corpus: Corpus, target: Corpus) -> list[str]:
    """A note where speakers of both corpora have the same name."""
    both = sorted(set(np.unique(corpus.speaker).tolist()) & set(np.unique(target.speaker).tolist()))
    both = [name for name in both if not is_nameless(str(name), "speaker")]
    if not both:
        return []
    return [
        f"{len(both)} speakers of {target.name} have names that speakers of {corpus.name} have too, such as {both[0]!r}: they "
        "are taken for other people; if they are the same, these scores are not speaker-independent"
    ]
