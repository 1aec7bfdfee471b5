"""Which utterances of a test part are scored apart."""

import hashlib

import numpy as np
from jaxtyping import Bool

from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.leakage import Fold

_EMPTY_HASHES = tuple(hashlib.new(kind, b"", usedforsecurity=False).hexdigest() for kind in ("sha256", "sha1", "md5"))
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def subsets(corpus: Corpus, fold: Fold) -> dict[str, Bool[np.ndarray, " n_test"]]:
    """Masks over `fold.test` of the utterances that are scored apart.

    all: every one. improvised: not scripted, where there is a column 'scripted'. text_disjoint: where there is a column
    'transcript_hash', the utterances whose transcript is in no training row, labelled or not. One without a transcript
    (an empty hash, or the SHA-256, SHA-1 or MD5 of nothing, whole or its first 8 digits or more) has no words to
    recognise: it counts as disjoint.
    """
    masks = {"all": np.ones(len(fold.test), bool)}
    if "scripted" in corpus.columns:
        masks["improvised"] = ~_said_true(corpus)[fold.test]
    if "transcript_hash" in corpus.columns:
        hashes = np.asarray(corpus.columns["transcript_hash"]).astype(str)
        unique, inverse = np.unique(hashes[fold.test], return_inverse=True)
        seen = np.isin(unique, hashes[fold.train]) & ~np.array([_is_empty_hash(str(value)) for value in unique])
        masks["text_disjoint"] = ~seen[inverse]
    return masks


def _said_true(corpus: Corpus) -> Bool[np.ndarray, " rows"]:
    """The column 'scripted' as truth; raises InfoserError for a text that says neither yes nor no."""
    values = np.asarray(corpus.columns["scripted"])
    if values.dtype.kind != "U":
        return values.astype(bool)
    unique, inverse = np.unique(values, return_inverse=True)
    said = [_TRUTH.get(value.strip().casefold()) for value in unique.tolist()]
    if None in said:
        unknown = unique.tolist()[said.index(None)]
        raise InfoserError(
            f"corpus {corpus.name!r}, column 'scripted': {unknown!r} is neither true nor false; write one of "
            f"{', '.join(_TRUTH)}, or name the column otherwise"
        )
    return np.array(said, bool)[inverse]


def _is_empty_hash(value: str) -> bool:
    return not value or (len(value) >= 8 and any(whole.startswith(value.lower()) for whole in _EMPTY_HASHES))
