"""Locks between processes: held by at most one, and ended with it, however it ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infoser.errors import InfoserError


@contextmanager
def held(path: Path, busy: str) -> Iterator[None]:
    """Holds the lock file `path`, making it if need be.

    Raises:
      InfoserError: saying `busy`, if another process holds it.
      OSError: if the file can't be written.
    """
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InfoserError(busy) from None
        yield
