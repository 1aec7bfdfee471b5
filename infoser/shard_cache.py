"""A prepared corpus as memory-mapped arrays beside its shards, so that later starts need not decode it again.

The cache of a version folder is its neighbour `.cache-HASH`, named after the hash of the shards: one .npy for each array,
`corpus.json`, `stamps.json` and the list of digests. Where that folder is read-only, as shared corpora are, the cache is in
the user's own cache folder. It is made from shards whose digests were checked, of features that are finite. What is checked
on later loads:

- every file of the version folder, and every array of the cache, still has the size and the times of modification and of
  change (as the file system counts them) that it had when it was checked: then it is believed without being read;
- where that is not so (a copy to another disk, a touch, a flipped bit), its SHA-256 is: of shards, an error names what is
  damaged; a damaged cache is said to be, and made again;
- `corpus.json` and `stamps.json` always by their digests, shapes and types always against `corpus.json`.

So a fault of the disk that leaves those times alone is not seen in the cache. `--data.no-cache` reads the shards, all
digests checked.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from infoser import digests
from infoser.cached_arrays import InFile, NotCached, flush, load
from infoser.host_resources import user_cache_folder
from infoser.shard_records import FRAMES, Filled, InMemory, Opened

_FORMAT = 1
_CORPUS, _STAMPS = "corpus.json", "stamps.json"
_MAPPED = ("audio", "text", *(f"{key}/values" for key in FRAMES))
_NAME = re.compile(r"\.cache-[0-9a-f]{16}")
_MAKING = ".cache-making-"
_LOCK = ".cache-lock"
#: After which a half-made cache is one of a process that is gone: nothing was written to it for so long; and where the file
#: system has locks, so that no other process of this host can be at it (on some, hosts do not see each other's).
_ABANDONED_S, _ABANDONED_LOCKED_S = 24 * 3600.0, 600.0
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_CLOCK_TICK_S = 0.02  # what changes a file later than this bears another time
_BLOCK = 2**16  # rows of text features that are looked at together

Stamps = dict[str, list[int]]


@dataclasses.dataclass(frozen=True)
class Contents:
    """A prepared corpus as its records and descriptions give it.

    Attributes:
      metadata: what the shards say of their origin.
      classes: the emotion names, in label order.
      arrays: as `read_records` gives them.
      checked: whether features and frames are known to be finite, and zero where there is no transcript.
    """

    metadata: dict[str, Any]
    classes: tuple[str, ...]
    arrays: dict[str, np.ndarray]
    checked: bool = False


@dataclasses.dataclass(frozen=True)
class Cache:
    """A cache that is whole.

    Attributes:
      folder: where it is.
      shards: the stamps of the version folder's files when their digests were checked.
      contents: what it holds; features and frames are memory maps.
    """

    folder: Path
    shards: Stamps
    contents: Contents

    def believe(self, shards: Stamps) -> None:
        """Remembers that the files with these stamps were checked."""
        _stamp(self.folder, shards, f"the cache {self.folder} can't be marked as checked")


def stamps(folder: Path) -> Stamps:
    """Size and times of modification and of change, in ns, of every file of a folder."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        now = path.stat()
        found[path.relative_to(folder).as_posix()] = [now.st_size, now.st_mtime_ns, now.st_ctime_ns]
    return found


def find(folder: Path) -> Cache | None:
    """The cache of the shards in the version folder `folder`; None if there is none, or it was damaged and is gone."""
    name = _name(folder)
    for home in (folder.parent, _own_home(folder)):
        if (home / name).is_dir():
            found = _read(home / name)
            if found is not None:
                return found
    return None


def _read(place: Path) -> Cache | None:
    try:
        sealed = json.loads((place / digests.DIGESTS).read_bytes())
        small = {name: (place / name).read_bytes() for name in (_CORPUS, _STAMPS)}
        wrong = next((name for name, text in small.items() if hashlib.sha256(text).hexdigest() != sealed[name]), None)
        if wrong is not None:
            raise ValueError(f"{wrong} is not the one that was written")
        recorded, described = json.loads(small[_STAMPS]), json.loads(small[_CORPUS])
        if described["format"] != _FORMAT:
            raise ValueError("another version of infoser wrote it")
        if recorded["cache"] != _own_stamps(place):
            damaged = digests.damage(place)
            if damaged is not None:
                raise ValueError(f"the SHA-256 of {damaged.name} is not the one recorded")
            _stamp(place, recorded["shards"], f"the cache {place} can't be marked as checked")
        return Cache(place, recorded["shards"], _contents(place, described))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        _say(f"the cache {place} can't be used ({error}): it is made again")
        shutil.rmtree(place, ignore_errors=True)
        return None


def make(folder: Path, shards: Stamps, decode: Callable[[Opened], Contents]) -> Cache | None:
    """Decodes shards into a cache, removes those of other shards, and opens it.

    Args:
      folder: the version folder.
      shards: its stamps, from before its digests were checked.
      decode: reads the records into the arrays that it opens.

    Returns:
      The cache; None where it can't be written, which is said, or its contents are not finite.

    Raises:
      InfoserError: from `decode`.
    """
    home, staging = _home(folder), None
    place = home / _name(folder)
    try:
        with _alone(home) as locked:
            made_meanwhile = find(folder)
            if made_meanwhile is not None:
                return made_meanwhile
            _remove_unfinished(home, _ABANDONED_LOCKED_S if locked else _ABANDONED_S)
            staging = Path(tempfile.mkdtemp(prefix=_MAKING, dir=home))
            staging.chmod(folder.stat().st_mode & 0o777 | stat.S_IRWXU)  # who may read the shards may read it
            _write(staging, shards, decode)
            _publish(staging, place)
    except (OSError, NotCached) as error:
        reason = getattr(error, "strerror", None) or error
        _say(f"no cache of {folder} ({reason}): it is decoded at every start; --data.no-cache does without one")
        return None
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
    _remove_others(place)
    return find(folder)


@contextlib.contextmanager
def _alone(parent: Path) -> Iterator[bool]:
    """Lets one process of all hosts decode at a time, so that the others find its cache; without locks, all of them do.

    Gives whether there are locks.
    """
    locked = True
    with (parent / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"waiting for another process that makes a cache in {parent}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            locked = False
        yield locked


def _write(staging: Path, shards: Stamps, decode: Callable[[Opened], Contents]) -> None:
    files: dict[str, str] = {}
    writing: list[InFile] = []
    needed = 0

    def opened(name: str, shape: tuple[int, ...], dtype: np.dtype) -> Filled:
        if name not in _MAPPED:
            return InMemory(shape, dtype)
        nonlocal needed
        needed += int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if shutil.disk_usage(staging).free < needed:  # better known now than after writing it full
            raise NotCached(os.strerror(errno.ENOSPC))
        files[name] = f"{len(files)}.npy"  # a column may bear any name
        writing.append(InFile(staging / files[name], shape, dtype))
        return writing[-1]

    try:
        contents = decode(opened)
    finally:
        for each in writing:
            each.close()
    _refuse_text_of_nobody(contents.arrays)
    for name, array in contents.arrays.items():
        if name not in files:
            files[name] = f"{len(files)}.npy"
            with (staging / files[name]).open("wb") as file:
                np.save(file, array, allow_pickle=False)
                flush(file)
    arrays = {
        name: {"file": files[name], "dtype": array.dtype.str, "shape": list(array.shape)}
        for name, array in contents.arrays.items()
    }
    described = {"format": _FORMAT, "metadata": contents.metadata, "classes": contents.classes, "arrays": arrays}
    _write_text(staging / _CORPUS, json.dumps(described))
    _seal(staging, shards)
    time.sleep(_CLOCK_TICK_S)


def _refuse_text_of_nobody(arrays: Mapping[str, np.ndarray]) -> None:
    if "has_text" in arrays and "text" in arrays:
        without = np.flatnonzero(~arrays["has_text"])
        for first in range(0, len(without), _BLOCK):
            if arrays["text"][without[first : first + _BLOCK]].any():
                raise NotCached("utterances without a transcript have text features")


def _contents(place: Path, described: Any) -> Contents:
    arrays = {}
    for name, entry in described["arrays"].items():
        array = load(place / entry["file"], mapped=name in _MAPPED)
        if (array.dtype.str, list(array.shape)) != (entry["dtype"], entry["shape"]):
            raise ValueError(f"{entry['file']} is {array.dtype} of shape {array.shape}")
        arrays[name] = array
    return Contents(described["metadata"], tuple(described["classes"]), arrays, checked=True)


def _name(folder: Path) -> str:
    return f".cache-{digests.fingerprint(folder)[:16]}"


def _own_home(folder: Path) -> Path:
    """Where the cache is kept if not beside the shards: a folder of the user's for each folder of versions."""
    place = hashlib.sha256(os.fsencode(folder.parent.resolve())).hexdigest()[:16]
    return user_cache_folder() / "infoser" / "corpora" / place


def _home(folder: Path) -> Path:
    """The folder in which a cache can be made: that of the versions, or the user's own where that is read-only."""
    try:
        (folder.parent / _LOCK).open("a").close()
    except OSError as error:
        own = _own_home(folder)
        if error.errno in _READ_ONLY:
            with contextlib.suppress(OSError):  # else it is said of the folder of versions that it takes none
                own.mkdir(mode=0o700, parents=True, exist_ok=True)
                _say(f"{folder.parent} is read-only: the cache is made in {own} (XDG_CACHE_HOME names another place)")
                return own
    return folder.parent


def _own_stamps(place: Path) -> Stamps:
    return {name: stamp for name, stamp in stamps(place).items() if name not in (_STAMPS, digests.DIGESTS)}


def _seal(place: Path, shards: Stamps) -> None:
    _write_text(place / _STAMPS, json.dumps({"shards": shards, "cache": _own_stamps(place)}))
    digests.seal(place)


def _stamp(place: Path, shards: Stamps, otherwise: str) -> None:
    """Seals a cache anew that was found to be whole."""
    try:
        _seal(place, shards)
    except OSError as error:
        _say(f"{otherwise} ({error.strerror or error}): its digests are checked at every start")


def _publish(staging: Path, place: Path) -> None:
    """Moves a cache to its place in one step; where another process was quicker, its cache stays."""
    try:
        staging.rename(place)
    except OSError:
        if not place.is_dir():
            raise


def _remove_others(place: Path) -> None:
    """Removes the caches of shards that are no more."""
    for other in sorted(place.parent.glob(".cache-*")):
        if _NAME.fullmatch(other.name) and other != place:
            shutil.rmtree(other, ignore_errors=True)
            _say(f"removed {other}, the cache of other shards")


def _remove_unfinished(parent: Path, quiet_s: float) -> None:
    """Removes what killed processes left of their caches, before another takes as much of the disk again."""
    for other in sorted(parent.glob(f"{_MAKING}*")):
        try:
            written_at = max(path.stat().st_mtime for path in (other, *other.iterdir()))
        except FileNotFoundError:  # it is being moved to its place, or removed
            continue
        if time.time() - written_at > quiet_s:
            shutil.rmtree(other, ignore_errors=True)
            _say(f"removed {other}, a cache that was never finished")


def _write_text(path: Path, text: str) -> None:
    """Writes a small file atomically."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w") as file:
        file.write(text)
        flush(file)
    temporary.replace(path)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
