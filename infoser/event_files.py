"""TensorBoard's event files: the loss terms of every run by step, as metrics.jsonl has them.

Every run has a folder, by which TensorBoard calls it. Its file is opened for each chunk of steps and closed again: hundreds of
runs train together, and a process may have only so many open files. A group that goes on from a checkpoint has its files made
anew from the lines of metrics.jsonl that are kept, so that no step is there twice or missing (the time of those events is then
that of the restart, which TensorBoard shows only when asked for wall time).
"""

from __future__ import annotations

import hashlib
import re
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from infoser.errors import can_be_written

_PREFIX = "events.out.tfevents."  # by which TensorBoard knows the files
_FORMAT = "brain.Event:2"
_NOT_IN_A_NAME = re.compile(r'[\x00-\x1f\x7f-\x9f\ud800-\udfff/\\:*?"<>|%]')
_LONGEST_NAME = 100  # bytes; file systems allow 255


class Means(NamedTuple):
    """The means of a run's loss terms over the chunk of steps that ends with `step`."""

    step: int
    run: str
    terms: Mapping[str, float]


class EventFiles:
    """The event files of one group of runs.

    Args:
      folder: the group's folder of event files.
      runs: by a run's name, what its folder is called by: the fold, the seed, the variant.
      stage: the name of what is trained; tags are `stage/term`.
    """

    def __init__(self, folder: Path, runs: Mapping[str, Sequence[str]], stage: str):
        self._stage = stage
        self._folders = _folders(folder, runs)
        self._files = {run: self._newest(run) for run in runs}

    def older_than(self, metrics: Path) -> bool:
        """Whether some run has no file, or one that was written before these metrics."""
        if not metrics.is_file():
            return False
        written = metrics.stat().st_mtime_ns
        return any(not file.is_file() or file.stat().st_mtime_ns < written for file in self._files.values())

    def rewrite(self, known: Iterable[Means]) -> None:
        """Makes all files anew, from what is known so far; files of before are deleted.

        Raises:
          InfoserError: if the file system refuses.
        """
        records: dict[str, list[bytes]] = {run: [] for run in self._files}
        for means in known:
            if means.run in records:
                records[means.run].append(self._record(means))
        for run, own in records.items():
            folder = self._folders[run]
            with can_be_written(folder):
                old = list(folder.glob(_PREFIX + "*"))
                # Under a name of its own: a TensorBoard that is reading the old file goes on to the next.
                self._files[run] = folder / f"{_PREFIX}{_number(self._files[run]) + bool(old):06d}"
                if own or old:
                    folder.mkdir(parents=True, exist_ok=True)
                    unfinished = folder / ".unfinished"
                    unfinished.write_bytes(b"".join((_head(), *own)))
                    unfinished.replace(self._files[run])
                for path in old:
                    path.unlink()

    def append(self, chunk: Iterable[Means]) -> None:
        """Adds a chunk of steps.

        Raises:
          InfoserError: if the file system refuses.
        """
        for means in chunk:
            path = self._files[means.run]
            with can_be_written(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("ab") as file:
                    file.write((b"" if file.tell() else _head()) + self._record(means))

    def _newest(self, run: str) -> Path:
        folder = self._folders[run]
        return max(folder.glob(_PREFIX + "*"), key=_number, default=folder / f"{_PREFIX}{0:06d}")

    def _record(self, means: Means) -> bytes:
        event, summary = _messages()
        scalars = {f"{self._stage}/{term}": value for term, value in means.terms.items()}
        values = [summary.Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        return _framed(event.Event(wall_time=time.time(), step=means.step, summary=summary.Summary(value=values)))


def _head() -> bytes:
    """What a file begins with: its format, and that whatever was read of the run before is void."""
    event, _ = _messages()
    now, start = time.time(), event.SessionLog(status=event.SessionLog.START)
    form = event.Event(wall_time=now, file_version=_FORMAT)
    return _framed(form) + _framed(event.Event(wall_time=now, step=0, session_log=start))


def _messages() -> tuple[Any, Any]:
    """The modules of TensorBoard's messages: events and their summaries. Whatever trains nothing imports neither."""
    from tensorboardX.proto import event_pb2, summary_pb2

    return event_pb2, summary_pb2


def _framed(message: Any) -> bytes:
    """A record of the TFRecord format: the length, its checksum, the message, its checksum (little-endian)."""
    from tensorboardX.record_writer import masked_crc32c

    data = message.SerializeToString()
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))


def _number(path: Path) -> int:
    number = path.name.removeprefix(_PREFIX).split(".")[0]
    return int(number) if number.isascii() and number.isdigit() else 0


def _folders(root: Path, runs: Mapping[str, Sequence[str]]) -> dict[str, Path]:
    """A folder below `root` for each run, whatever folds are called; no two are the same where case does not count."""
    found: dict[str, Path] = {}
    taken: set[str] = set()
    for run, parts in runs.items():
        folder = root.joinpath(*map(_as_name, parts))
        if str(folder).casefold() in taken:
            folder = folder.with_name(f"{folder.name}-{_digest(run)}")
        taken.add(str(folder).casefold())
        found[run] = folder
    return found


def _as_name(part: str) -> str:
    """A file name that reads like `part`: what file systems refuse is replaced, and a digest keeps it apart from others."""
    name = _NOT_IN_A_NAME.sub("_", part)
    if not name or name.startswith(".") or name.endswith((".", " ")):
        name = f"_{name.rstrip('. ')}"
    if len(name.encode()) > _LONGEST_NAME:
        name = name.encode()[:_LONGEST_NAME].decode(errors="ignore")
    return name if name == part else f"{name}-{_digest(part)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
