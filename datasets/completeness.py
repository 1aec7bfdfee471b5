"""What the corpus parsers share: reading text, listing what is missing, and comparing counts with published ones."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from infoser.errors import InfoserError

SHOWN = 5  # names in a message before the rest is only counted


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many there are in all where that is more."""
    shown = ", ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown}, … ({len(names):,} in all)"


def compare_counts(counts: Mapping[str, int], published: Mapping[str, int]) -> list[str]:
    """A sentence for every published count that `counts` differs from; what `counts` lacks counts as 0."""
    return [
        f"{what}: {counts.get(what, 0):,} here, {number:,} published"
        for what, number in published.items()
        if counts.get(what, 0) != number
    ]


def settle(corpus: str, root: Path, differences: Sequence[str], allow_incomplete: bool) -> list[str]:
    """The differences, for the provenance of a corpus that may be incomplete.

    Raises:
      InfoserError: where there are differences that were not allowed; it names them.
    """
    if differences and not allow_incomplete:
        shown = "; ".join(differences[:SHOWN])
        rest = f"; and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise InfoserError(
            f"{corpus} in {root} is not the published corpus: {shown}{rest}. Complete the folder, or give --allow-incomplete: "
            "what is there is then prepared, and the differences are recorded"
        )
    return list(differences)


def missing_audio(paths: Sequence[str]) -> list[str]:
    """A sentence that says which audio files are missing; none where none is."""
    if not paths:
        return []
    return [f"{len(paths):,} audio {'file is' if len(paths) == 1 else 'files are'} missing: {listed(paths)}"]


def check_folder(corpus: str, root: Path, expected: Iterable[str], flag: str = "--corpus-dir") -> None:
    """Refuses a root that has none of the expected files and folders; says which of its folders has them.

    Raises:
      InfoserError: for a root that can't be the corpus.
    """
    expected = tuple(expected)
    if not root.is_dir():
        raise InfoserError(f"{flag} {root} {'is not a folder' if root.exists() else 'does not exist'}")
    if any((root / name).exists() for name in expected):
        return
    inside = [each.name for each in sorted(root.iterdir()) if any((each / name).exists() for name in expected)]
    hint = f"; did you mean {root / inside[0]}?" if inside else ""
    raise InfoserError(f"{flag} {root} is not {corpus}: it holds none of {listed(expected)}{hint}")


def is_hidden(path: Path) -> bool:
    """Whether a file is no part of the corpus: `._x` files, which macOS leaves beside each file x, and other dot files."""
    return path.name.startswith(".")


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a mark at its start, else in Latin-1.

    Raises:
      InfoserError: for a file that can't be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InfoserError(f"{path} can't be read: {error.strerror or error}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def tally(*columns: Sequence[str]) -> dict[str, int]:
    """How many rows have each value, or each combination of values joined by a space; sorted."""
    return dict(sorted(Counter(" ".join(values) for values in zip(*columns, strict=True)).items()))


def strings(values: Iterable[str]) -> np.ndarray:
    """(N,) unicode."""
    return np.array(list(values), dtype=np.str_)


def floats(values: Iterable[float]) -> np.ndarray:
    """(N,) float32."""
    return np.array(list(values), dtype=np.float32)
