"""What ties utterances together: a speaker, a session or a dialogue in common.

A name that says nothing ties no utterances: an empty one, and a speaker called 'Unknown'. Nor does a session or
dialogue column with one value throughout.
"""

import re
from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Bool, Int, Shaped

from infoser.corpus import Corpus

LINKS = ("speaker", "session", "dialogue")


def link_codes(corpus: Corpus) -> dict[str, Int[np.ndarray, " n"]]:
    """The (N,) codes of each of speaker, session and dialogue that ties utterances.

    Codes are in natural order of the names; a nameless row has -1.
    """
    codes = {}
    for column in LINKS:
        values = getattr(corpus, column)
        if values is None:
            continue
        unique, inverse = np.unique(np.asarray(values).astype(str), return_inverse=True)
        if len(unique) < 2 and column != "speaker":
            continue
        code_of = np.empty(len(unique), np.int64)
        code_of[sorted(range(len(unique)), key=lambda i: natural_order(str(unique[i])))] = np.arange(len(unique))
        code_of[[is_nameless(str(value), column) for value in unique]] = -1
        codes[column] = code_of[inverse]
    return codes


def natural_order(name: str) -> list[str | int]:
    """A sorting key by which 'session10' comes after 'session9'."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", name)]


def is_nameless(value: str, column: str) -> bool:
    """Whether this value of a column names nobody and nothing."""
    name = value.strip().casefold()
    return not name or (column == "speaker" and name == "unknown")


def sharing(
    rows: Bool[np.ndarray, " n"], codes: Mapping[str, Int[np.ndarray, " n"]], columns: Iterable[str]
) -> Bool[np.ndarray, " n"]:
    """The rows outside `rows` that have a value of one of the columns in common with a row inside."""
    shared = np.zeros(len(rows), bool)
    for column in (column for column in columns if column in codes):
        shared |= np.isin(codes[column], codes[column][rows & (codes[column] >= 0)])
    return shared & ~rows


def components(n_rows: int, codes: Mapping[str, Int[np.ndarray, " n"]], columns: Iterable[str]) -> Int[np.ndarray, " n"]:
    """(N,) the connected component of each row, a common value of a column being an edge; numbered from 0."""
    from scipy.sparse import csr_array  # SciPy takes 0.3 s to import, which the first step need not wait for
    from scipy.sparse.csgraph import connected_components

    component = np.arange(n_rows)
    for column in (column for column in columns if column in codes):
        named = codes[column] >= 0
        ends = component[named], n_rows + codes[column][named]
        size = n_rows + int(codes[column].max(initial=0)) + 1
        graph = csr_array((np.ones(len(ends[0])), ends), shape=(size, size))
        component = connected_components(graph, directed=False)[1][component]
        component = np.unique(component, return_inverse=True)[1]
    # numbered by first row, so that the numbering does not depend on the order of the columns
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def is_nested(inner: Int[np.ndarray, " n"], outer: Int[np.ndarray, " n"]) -> bool:
    """Whether every named value of `inner` goes with one named value of `outer` only."""
    known = (inner >= 0) & (outer >= 0)
    pairs = np.unique(np.stack([inner[known], outer[known]]), axis=1)
    return len(np.unique(pairs[0])) == pairs.shape[1]


def speaker_clusters(corpus: Corpus) -> Shaped[np.ndarray, " n"]:
    """(N,) what an interval over speakers should resample: the speaker, and for a nameless one the source recording.

    The recording is the dialogue, else the session; an utterance without either is a cluster of its own.
    """
    clusters = np.array([f"utterance {name}" for name in corpus.utterance_id])
    for column in ("session", "dialogue", "speaker"):
        values = getattr(corpus, column)
        if values is not None:
            names = np.asarray(values).astype(str)
            unique, inverse = np.unique(names, return_inverse=True)
            named = ~np.array([is_nameless(str(value), column) for value in unique])[inverse]
            clusters = np.where(named, np.char.add(f"{column} ", names), clusters)
    return clusters
