"""Records of a prepared corpus, decoded block by block into arrays of the right size: no second copy of the data.

TFDS and array_record are imported inside the functions, so that importing this module costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from infoser.progress import Progress

FRAMES = ("audio_frames", "text_frames")
_READ_AT_ONCE = 256  # records: their features are copied to their place before the next are decoded


@runtime_checkable
class Filled(Protocol):
    """An array of a known size that is filled from its first row to its last."""

    def append(self, block: np.ndarray) -> None:
        """Fills in the next rows."""
        ...

    def finish(self) -> np.ndarray:
        """The whole array; raises ValueError where rows are missing."""
        ...


class InMemory:
    """An array in memory, filled row by row.

    Args:
      shape, dtype: of the whole.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype):
        self._values = np.empty(shape, dtype)
        self._filled = 0

    def append(self, block: np.ndarray) -> None:
        """Fills in the next rows."""
        self._values[self._filled : self._filled + len(block)] = block
        self._filled += len(block)

    def finish(self) -> np.ndarray:
        """The whole array; raises ValueError where rows are missing."""
        if self._filled != len(self._values):
            raise ValueError(f"{self._filled} rows instead of {len(self._values)}")
        return self._values


#: Makes the array of one name, shape and type.
Opened = Callable[[str, tuple[int, ...], np.dtype], Filled]


def in_memory(name: str, shape: tuple[int, ...], dtype: np.dtype) -> Filled:
    """Every array in memory."""
    del name
    return InMemory(shape, dtype)


def record_files(builder: Any) -> list[Path]:
    """The files of records, in row order."""
    return [Path(path) for split in builder.info.splits.values() for path in split.filepaths]


def read_records(builder: Any, opened: Opened = in_memory) -> dict[str, np.ndarray]:
    """Decodes every record of a TFDS builder's folder, in row order.

    Args:
      builder: the builder; its files are believed to be what was written (their digests were checked).
      opened: makes the arrays of numbers; text is always collected in memory.

    Returns:
      The arrays by feature; a column's key is `columns/NAME`, and frames give `NAME/values` and `NAME/count`.

    Raises:
      Exception: of array_record's, protobuf's or NumPy's, when a record is not what the descriptions say.
    """
    from tensorflow_datasets.proto import tf_example_pb2

    total = sum(split.num_examples for split in builder.info.splits.values())
    parts = _parts(builder, total, opened)
    parse = tf_example_pb2.Example.FromString  # pyright: ignore[reportAttributeAccessIssue]  # made when it is imported
    done = 0
    with Progress(f"reading {builder.name}", total, unit="utterances") as progress:
        for block in _read_ahead(_blocks(record_files(builder))):
            examples = [parse(record).features.feature for record in block]
            for part in parts:
                part.add(examples)
            done += len(block)
            progress.update(done)
    arrays = {}
    for part in parts:
        arrays |= part.finish()
    return arrays


def _parts(builder: Any, total: int, opened: Opened) -> list[Any]:
    """What collects the features, one for each."""
    features: Any = builder.info.features
    flat = {key: features[key] for key in features if key != "columns"}
    flat |= {f"columns/{key}": features["columns"][key] for key in (features["columns"] if "columns" in features else {})}
    parts: list[Any] = []
    for key, feature in flat.items():
        dtype = np.dtype(feature.np_dtype)
        if key in FRAMES:
            parts.append(_Sequences(key, feature.shape[1], dtype, builder.info.metadata["frames"][key], opened))
        elif dtype.kind in "OSU":
            parts.append(_Text(key, feature.shape, total))
        else:
            parts.append(_Numbers(key, feature.shape, dtype, total, opened))
    return parts


class _Numbers:
    """Arrays of one shape, kept as raw bytes or as TensorFlow's lists of numbers."""

    def __init__(self, key: str, shape: tuple[int, ...], dtype: np.dtype, total: int, opened: Opened):
        self._key, self._shape, self._dtype = key, tuple(shape), dtype
        self._size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        self._array = opened(key, (total, *self._shape), dtype)

    def add(self, examples: Sequence[Any]) -> None:
        kind = examples[0][self._key].WhichOneof("kind")
        if kind == "bytes_list":
            values = [example[self._key].bytes_list.value[0] for example in examples]
            if any(len(value) != self._size for value in values):
                raise ValueError(f"{self._key} is not of {self._size} bytes")
            block = np.frombuffer(b"".join(values), self._dtype)
        else:
            block = np.array([getattr(example[self._key], kind).value[:] for example in examples]).astype(self._dtype)
        self._array.append(block.reshape(len(examples), *self._shape))

    def finish(self) -> dict[str, np.ndarray]:
        return {self._key: self._array.finish()}


class _Text:
    """Unicode text; the width of the array is that of the longest."""

    def __init__(self, key: str, shape: tuple[int, ...], total: int):
        self._key, self._shape, self._total = key, tuple(shape), total
        self._blocks: list[np.ndarray] = []

    def add(self, examples: Sequence[Any]) -> None:
        values = [example[self._key].bytes_list.value[:] for example in examples]
        block = np.char.decode(np.array(values, dtype="S"), "utf-8")
        self._blocks.append(block.reshape(len(examples), *self._shape))

    def finish(self) -> dict[str, np.ndarray]:
        found = sum(map(len, self._blocks))
        if found != self._total:
            raise ValueError(f"{found} rows instead of {self._total}")
        return {self._key: np.concatenate(self._blocks)}


class _Sequences:
    """Frames of any number per utterance, laid end to end, and how many each has."""

    def __init__(self, key: str, dim: int, dtype: np.dtype, total: int, opened: Opened):
        self._key, self._dim, self._dtype = key, dim, dtype
        self._values = opened(f"{key}/values", (total, dim), dtype)
        self._counts: list[int] = []

    def add(self, examples: Sequence[Any]) -> None:
        values = [example[self._key].bytes_list.value[0] for example in examples]
        width = self._dim * self._dtype.itemsize
        if any(len(value) % width for value in values):
            raise ValueError(f"{self._key} is not made of frames of {width} bytes")
        self._counts += [len(value) // width for value in values]
        for value in values:  # one by one: a block's frames may be a hundred times its utterances
            self._values.append(np.frombuffer(value, self._dtype).reshape(-1, self._dim))

    def finish(self) -> dict[str, np.ndarray]:
        return {f"{self._key}/values": self._values.finish(), f"{self._key}/count": np.array(self._counts, np.int32)}


def _blocks(paths: Sequence[Path]) -> Iterator[list[bytes]]:
    """The records of all files as they were written, some at a time."""
    from array_record.python.array_record_module import ArrayRecordReader

    for path in paths:
        reader = ArrayRecordReader(str(path))
        try:
            total = reader.num_records()
            for first in range(0, total, _READ_AT_ONCE):
                yield reader.read(list(range(first, min(first + _READ_AT_ONCE, total))))
        finally:
            reader.close()


def _read_ahead(blocks: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
    """The same blocks, each read and decompressed while the one before is decoded."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = reader.submit(next, blocks, None)
            yield block
