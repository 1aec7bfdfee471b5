"""Digests of a folder's files and of values: written once they are complete, checked before they are believed."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

#: The file that lists the SHA-256 of all others in its folder; a folder without it is not complete.
DIGESTS = "digest.json"
_THREADS = 8


def seal(folder: Path) -> None:
    """Writes the list; from here on the folder counts as complete."""
    temporary = folder / f".{DIGESTS}.tmp"
    temporary.unlink(missing_ok=True)
    text = json.dumps(_digests(folder), indent=0, sort_keys=True)
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / DIGESTS)


def damage(folder: Path) -> Path | None:
    """The first file of a sealed folder that is not what it was when it was sealed; None if all are."""
    try:
        recorded = json.loads((folder / DIGESTS).read_bytes())
        digests = {str(name): str(digest) for name, digest in recorded.items()}
    except (OSError, ValueError, AttributeError, RecursionError):
        return folder / DIGESTS
    present = _digests(folder)
    for name in sorted(digests.keys() | present.keys()):
        if digests.get(name) != present.get(name):
            return folder / name
    return None


def fingerprint(folder: Path) -> str:
    """One hash for all contents of a sealed folder."""
    return hashlib.sha256((folder / DIGESTS).read_bytes()).hexdigest()


def of_values(values: Any) -> str:
    """16 hexadecimal digits of plain JSON values, kept beside them in a file that others may edit."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def _digests(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != DIGESTS)
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:  # hashing lets other threads run
        return {
            path.relative_to(folder).as_posix(): digest for path, digest in zip(paths, pool.map(of_file, paths), strict=True)
        }


def of_file(path: Path) -> str:
    """The SHA-256 of a file's contents; raises OSError where it can't be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
