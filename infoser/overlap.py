"""What two corpora have in common that they should not: utterances, and names of speakers."""

import hashlib
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool

from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.leakage import Fold
from infoser.links import is_nameless

#: Features below which two recordings may well have the same ones.
FEWEST_FEATURES = 8


def check_unseen(corpus: Corpus, fold: Fold, target: Corpus, kept: Bool[np.ndarray, " rows"]) -> None:
    """Refuses utterances that a model was trained on: by id, and by features that are the same to the last bit.

    Args:
      corpus: what the model was trained on, in the fold's training part.
      fold: the model's.
      target: the corpus that is to be scored.
      kept: which of its rows are.

    Raises:
      InfoserError: with their number and an example.
    """
    seen, what = _seen(corpus, fold.train, target, np.flatnonzero(kept))
    if len(seen):
        raise InfoserError(
            f"{len(seen):,} of the {int(kept.sum()):,} utterances of {target.name!r} that would be scored, such as "
            f"{str(target.utterance_id[seen[0]])!r}, have the {what} of utterances of {corpus.name!r} that the models of fold "
            f"{fold.name!r} trained on: scores on them would mean nothing; leave them out of the corpus, or give other "
            "recordings ids of their own"
        )


def check_apart(first: Corpus, other: Corpus) -> None:
    """Refuses corpora that have utterances in common; raises as `check_unseen` does."""
    seen, what = _seen(first, np.arange(len(first)), other, np.arange(len(other)))
    if len(seen):
        raise InfoserError(
            f"{len(seen):,} of the {len(other):,} utterances of {other.name!r}, such as {str(other.utterance_id[seen[0]])!r}, "
            f"have the {what} of utterances of {first.name!r}: a model would be tested on what it was trained on; leave them "
            "out of one of the corpora, or give other recordings ids of their own"
        )


def _seen(corpus: Corpus, trained: np.ndarray, target: Corpus, asked: np.ndarray) -> tuple[np.ndarray, str]:
    """Which of the target's rows are among those trained on, and by what they are known."""
    by_id = asked[np.isin(target.utterance_id[asked], corpus.utterance_id[trained])]
    if len(by_id) or target.audio.shape[1] < FEWEST_FEATURES:
        return by_id, "ids"
    known = set(_digests(corpus, trained)) - {b""}
    return asked[[one in known for one in _digests(target, asked)]], "audio features, to the last bit,"


def _digests(corpus: Corpus, rows: np.ndarray) -> Iterator[bytes]:
    """A digest of each row's audio features; b'' for a row of one value throughout, which is nobody's own."""
    for row in rows:
        values = np.ascontiguousarray(corpus.audio[row], np.float32)
        yield b"" if (values == values[0]).all() else hashlib.blake2b(values.tobytes(), digest_size=16).digest()


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
