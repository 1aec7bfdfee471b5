"""Features on their way to the shards: written batch by batch, so that an extraction that was cut off goes on."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

_JOURNAL, _POOLED, _FRAMES = "journal.jsonl", "pooled.f32", "frames.f32"


class FeatureStore:
    """One modality's features of N utterances, in files: a row of `width` numbers each, and its frames if they are kept.

    A batch counts once its line is in the journal; the line carries a digest, which is checked when the store is opened
    again. What follows the first line that does not hold is encoded anew.

    Args:
      folder: where the files lie; made if need be.
      rows: N.
      width: of a pooled row.
      frame_dim: width of a frame; None where frames are not kept.
      holds: of a line whose features are those that were written, whether they are still wanted.

    Attributes:
      entries: the journal: for each finished batch its rows, and what was said of them.
    """

    def __init__(
        self,
        folder: Path,
        rows: int,
        width: int,
        frame_dim: int | None,
        holds: Callable[[Mapping[str, Any]], bool] = lambda _: True,
    ):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._frame_dim, self._holds = folder, frame_dim, holds
        path = folder / _POOLED
        mode: Any = "r+" if path.is_file() and path.stat().st_size == rows * width * 4 else "w+"
        self._pooled = np.memmap(path, np.float32, mode, shape=(rows, width))
        (folder / _FRAMES).touch()
        self.entries: list[dict[str, Any]] = self._sound_entries() if mode == "r+" else []
        self._journal = (folder / _JOURNAL).open("w")
        for entry in self.entries:
            self._journal.write(json.dumps(entry) + "\n")
        self._journal.flush()
        self._frames = (folder / _FRAMES).open("r+b")
        self._frames.truncate(self._end())
        self._frames.seek(self._end())

    def __enter__(self) -> "FeatureStore":
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()
        self._frames.close()

    def write(
        self,
        rows: Sequence[int],
        pooled: Sequence[Float[np.ndarray, " width"]],
        frames: Sequence[Float[np.ndarray, "_ dim"]],
        said: Mapping[str, Any],
    ) -> None:
        """Adds a batch.

        Args:
          rows: the utterances' rows.
          pooled: their features.
          frames: their frames; kept if the store keeps them.
          said: what else the journal is to remember of the batch, as plain JSON values.
        """
        for row, features in zip(rows, pooled, strict=True):
            self._pooled[row] = features
        self._pooled.flush()
        counts = []
        if self._frame_dim is not None:
            counts = [len(one) for one in frames]
            for one in frames:
                self._frames.write(np.ascontiguousarray(one, np.float32).tobytes())
            self._frames.flush()
            os.fsync(self._frames.fileno())
        start = self._end()
        entry = {"rows": [int(row) for row in rows], "counts": counts, "said": dict(said)}
        entry["end"] = start + sum(counts) * (self._frame_dim or 0) * 4
        entry["sha256"] = self._digest(entry, start)
        self.entries.append(entry)
        self._journal.write(json.dumps(entry) + "\n")
        self._journal.flush()
        os.fsync(self._journal.fileno())

    def times(self) -> Int[np.ndarray, " rows"]:
        """How often each row was written."""
        written = [row for entry in self.entries for row in entry["rows"]]
        return np.bincount(np.array(written, np.int64), minlength=len(self._pooled))

    def pooled(self) -> Float[np.ndarray, "rows width"]:
        """The features; zeros for rows that were not written. A memory map."""
        return self._pooled

    def frames(
        self,
    ) -> tuple[Float[np.ndarray, "frames dim"], Int[np.ndarray, " rows"], Int[np.ndarray, " rows"]] | None:
        """All frames one after the other (a memory map), and where each utterance's start and how many they are.

        None where frames are not kept, or there are none.
        """
        if self._frame_dim is None or not self._end():
            return None
        start, count = np.zeros(len(self._pooled), np.int64), np.zeros(len(self._pooled), np.int32)
        position = 0
        for entry in self.entries:
            for row, frames in zip(entry["rows"], entry["counts"], strict=True):
                start[row], count[row] = position, frames
                position += frames
        return np.memmap(self._folder / _FRAMES, np.float32, "r", shape=(position, self._frame_dim)), start, count

    def _end(self) -> int:
        return self.entries[-1]["end"] if self.entries else 0

    def _digest(self, entry: Mapping[str, Any], start: int) -> str:
        digest = hashlib.sha256(json.dumps([entry["rows"], entry["counts"], entry["said"]], sort_keys=True).encode())
        digest.update(np.ascontiguousarray(self._pooled[entry["rows"]]).tobytes())
        with (self._folder / _FRAMES).open("rb") as file:
            file.seek(start)
            left = entry["end"] - start
            while left and (part := file.read(min(left, 1 << 24))):
                digest.update(part)
                left -= len(part)
        return digest.hexdigest()

    def _sound_entries(self) -> list[dict[str, Any]]:
        """The journal's lines up to the first that is cut off, not wanted, or without the features that were written."""
        entries: list[dict[str, Any]] = []
        start = 0
        try:
            for line in (self._folder / _JOURNAL).read_text().splitlines():
                entry = json.loads(line)
                if entry["sha256"] != self._digest(entry, start) or not self._holds(entry):
                    break
                entries.append(entry)
                start = entry["end"]
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            pass
        return entries
