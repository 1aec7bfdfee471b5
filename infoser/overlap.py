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
    which = f"the models of fold {fold.name!r}"
    seen = np.isin(target.utterance_id, corpus.utterance_id[fold.train]) & kept
    what = "ids"
    if not seen.any() and target.audio.shape[1] >= FEWEST_FEATURES:
        known = set(_digests(corpus, fold.train)) - {b""}
        rows = np.flatnonzero(kept)
        seen = np.zeros(len(target), bool)
        seen[rows] = [one in known for one in _digests(target, rows)]
        what = "audio features, to the last bit,"
    if seen.any():
        example = str(target.utterance_id[np.argmax(seen)])
        raise InfoserError(
            f"{int(seen.sum()):,} of the {int(kept.sum()):,} utterances of {target.name!r} that would be scored, such as "
            f"{example!r}, have the {what} of utterances of {corpus.name!r} that {which} trained on: scores on them would mean "
            "nothing; leave them out of the corpus, or give other recordings ids of their own"
        )


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
