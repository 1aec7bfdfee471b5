"""Arrays of a cache that are written row by row into .npy files, and read as memory maps."""

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np


class NotCached(Exception):
    """The file system, or the contents, would not have a cache."""


class InFile:
    """An array in a .npy file, written row by row; refusals of the disk are raised as `NotCached`."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype):
        self._path, self._left = path, shape[0]
        try:
            self._file = path.open("wb")
            header: Any = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(self._file, header)
        except OSError as error:
            raise NotCached(error.strerror or str(error)) from error

    def append(self, block: np.ndarray) -> None:
        """Writes the next rows; raises NotCached for values that are not finite."""
        if not np.isfinite(block).all():
            raise NotCached("features are not finite")
        self._left -= len(block)
        try:
            self._file.write(np.ascontiguousarray(block).data)
        except OSError as error:
            raise NotCached(error.strerror or str(error)) from error

    def finish(self) -> np.ndarray:
        """The whole array as a memory map; raises ValueError if rows are missing."""
        if self._left:
            raise ValueError(f"{self._left} rows are missing")
        try:
            flush(self._file)
            self._file.close()
        except OSError as error:  # a network's disk may only now say that it is full
            raise NotCached(error.strerror or str(error)) from error
        return load(self._path, mapped=True)

    def close(self) -> None:
        """Gives the file up, if it is not finished."""
        with contextlib.suppress(OSError):
            self._file.close()


def load(path: Path, *, mapped: bool) -> np.ndarray:
    """The array of a file, never of a pickle; `mapped` as a memory map."""
    return np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)


def flush(file: Any) -> None:
    """Has the disk take what was written; raises OSError where it does not."""
    file.flush()
    os.fsync(file.fileno())
