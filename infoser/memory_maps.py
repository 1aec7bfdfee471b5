"""Memory maps: arrays in files, of which only what is being read should count as memory in use."""

import mmap

import numpy as np


def release(array: np.ndarray | None) -> None:
    """Lets go of the pages of an array's file that were read so far; they stay in the system's cache. No map: no effect.

    Pages of a map count as this process' memory until the system needs them elsewhere; a process that reads a corpus
    larger than its memory would seem to grow to the size of the corpus.
    """
    mapped = array
    while mapped is not None and not isinstance(mapped, mmap.mmap):
        mapped = getattr(mapped, "base", None)
    if mapped is not None and hasattr(mapped, "madvise"):  # not on Windows
        mapped.madvise(mmap.MADV_DONTNEED)


def is_mapped(array: np.ndarray | None) -> bool:
    """Whether an array lies in a file."""
    base = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    return base is not None
