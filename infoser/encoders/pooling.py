"""From an utterance's frames to one vector. Frames hold no padding, so none can leak in."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from infoser.errors import InfoserError


def _mean(frames: np.ndarray) -> np.ndarray:
    return frames.mean(axis=0, dtype=np.float64)


def _mean_and_std(frames: np.ndarray) -> np.ndarray:
    return np.concatenate([_mean(frames), frames.std(axis=0, dtype=np.float64)])


def _first(frames: np.ndarray) -> np.ndarray:
    return frames[0]


def _max(frames: np.ndarray) -> np.ndarray:
    return frames.max(axis=0)


_POOL: dict[str, Callable[[np.ndarray], np.ndarray]] = {"mean": _mean, "mean+std": _mean_and_std, "first": _first, "max": _max}
POOLINGS: tuple[str, ...] = tuple(_POOL)


def pool(frames: Float[np.ndarray, "frames dim"], kind: str) -> Float[np.ndarray, " pooled"]:
    """One float32 vector for a sequence of frames.

    Args:
      frames: at least one.
      kind: `mean`; `mean+std`, the mean and then the standard deviation over frames (0 for a single frame); `first`;
        or `max`, of each dimension.

    Raises:
      InfoserError: for an unknown kind, or no frame.
    """
    _check(kind)
    if not len(frames):
        raise InfoserError("an utterance without a frame can't be pooled")
    return _POOL[kind](frames).astype(np.float32)


def pooled_dim(dim: int, kind: str) -> int:
    """The width that frames of width `dim` have after pooling; raises InfoserError for an unknown kind."""
    _check(kind)
    return 2 * dim if kind == "mean+std" else dim


def _check(kind: str) -> None:
    if kind not in _POOL:
        raise InfoserError(f"unknown pooling {kind!r}: choose one of {', '.join(POOLINGS)}")
