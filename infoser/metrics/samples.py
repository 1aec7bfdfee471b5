"""What the measures that compare two samples share: rows checked and cut into blocks, and one way to draw them."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, Int, Num

from infoser.errors import InfoserError

#: Numbers of a block of pairwise values that stand in memory at once: 32 MiB of float64.
BLOCK_SIZE = 2**22


def checked(rows: Num[np.ndarray, "rows dim"], name: str, least: int = 2) -> Float[np.ndarray, "rows dim"]:
    """The rows in float64.

    Args:
      rows: a sample.
      name: what the message calls it.
      least: how many rows the measure needs.

    Raises:
      InfoserError: for fewer rows, rows without features, or values that are not finite.
    """
    values = np.asarray(rows, np.float64)
    if len(values) < least or not values.shape[1]:
        raise InfoserError(f"{name}: {len(values)} rows of {values.shape[1]} features; at least {least} of one are needed")
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        raise InfoserError(
            f"{name}: {int((~finite).sum())} of {len(values)} rows hold NaN or infinity (the first is row "
            f"{int(finite.argmin())}); leave them out, or find out why they were made"
        )
    return values


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of `rows` such that a block of (slice, columns) has about `BLOCK_SIZE` numbers."""
    step = max(1, BLOCK_SIZE // max(1, columns))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def block_reductions(
    first: Float[np.ndarray, "n dim"],
    second: Float[np.ndarray, "m dim"],
    pairwise: Callable[[np.ndarray, np.ndarray], np.ndarray],
    *reductions: Callable[[slice, np.ndarray], None],
) -> None:
    """Calls every reduction with pairwise(first, second) in turn for blocks of rows of `first`."""
    for rows in blocks(len(first), len(second)):
        values = pairwise(first[rows], second)
        for reduction in reductions:
            reduction(rows, values)


def squared_distances(first: Float[np.ndarray, "n dim"], second: Float[np.ndarray, "m dim"]) -> Float[np.ndarray, "n m"]:
    """|x - y|^2 of all pairs, by |x|^2 + |y|^2 - 2 x.y: right to about 1e-15 of the largest |x|^2, and never negative."""
    from sklearn.metrics.pairwise import euclidean_distances  # takes a second to import, which training need not wait for

    return euclidean_distances(first, second, squared=True)


def drawn(rows: int, size: int, generator: np.random.Generator) -> Int[np.ndarray, " size"]:
    """Positions of `size` of the rows without replacement, in random order."""
    return generator.permutation(rows)[:size]
