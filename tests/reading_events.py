"""Reads event files back, by TensorBoard's own messages and its checksums."""

import struct
from pathlib import Path
from typing import Any

from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore


def masked(data: bytes) -> int:
    """The checksum of the TFRecord format, written out."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events(path: Path) -> list[Any]:
    """All events of a file; a damaged or cut-off record is an error."""
    data, found = path.read_bytes(), []
    while data:
        (length, check), data = struct.unpack("<QI", data[:12]), data[12:]
        assert check == masked(struct.pack("<Q", length))
        message, (check,), data = data[:length], struct.unpack("<I", data[length : length + 4]), data[length + 4 :]
        assert check == masked(message) and len(message) == length
        found.append(Event.FromString(message))
    return found


def scalars(root: Path) -> dict[str, list[tuple[int, dict[str, float]]]]:
    """For each run below a folder (as TensorBoard calls it) its steps in the order of the files, with the values by tag."""
    found: dict[str, list[tuple[int, dict[str, float]]]] = {}
    for path in sorted(path for path in root.rglob("*tfevents*") if path.is_file()):
        steps = found.setdefault(path.parent.relative_to(root).as_posix(), [])
        for event in events(path):
            if event.summary.value:
                steps.append((event.step, {value.tag: value.simple_value for value in event.summary.value}))
    return found
