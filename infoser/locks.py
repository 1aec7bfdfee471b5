"""Locks between processes: held by at most one, and ended with it, however it ends."""

import errno
import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infoser.errors import InfoserError

_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}


@contextmanager
def held(path: Path, busy: str) -> Iterator[None]:
    """Holds the lock file `path`, making it if need be; of a file system without locks, as some clusters have, it is said.

    Raises:
      InfoserError: saying `busy`, if another process holds it.
      OSError: if the file can't be written.
    """
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InfoserError(busy) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            print(
                f"the file system of {path.parent} has no locks ({error.strerror}): see that no other process works there",
                file=sys.stderr,
                flush=True,
            )
        yield
