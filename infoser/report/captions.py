"""What captions say alike: the fold rule, and of how many rows the numbers are."""

from __future__ import annotations

from collections.abc import Iterable

from infoser.report.cells import count
from infoser.report.sources import Row, Sources


def fold_rule(sources: Sources) -> str:
    """The rule of the folds, how many they are, and the seeds of each."""
    provenance = sources.results["provenance"]
    return f"Folds: {provenance['protocol']} ({len(provenance['folds'])}) × {count(len(sources.seeds), 'seed')}"


def n_of(sizes: Iterable[float | int], what: str = "test utterances") -> str:
    """N, or the N of several rows."""
    known = sorted({round(size) for size in sizes}) or [0]
    said = f"{known[0]:,} to {known[-1]:,}" if len(known) > 2 else " or ".join(f"{size:,}" for size in reversed(known))
    return f"N = {said} {what}"


def n_of_rows(rows: Iterable[Row]) -> str:
    """The N of score rows."""
    return n_of(row["n"] for row in rows)


def n_pooled(sources: Sources) -> str:
    """The N of what is scored on all utterances, all folds together."""
    return n_of_rows(sources.pick(subset="all", aggregate="pooled"))
