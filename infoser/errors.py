"""The one exception that user mistakes raise: commands print its message and exit with a non-zero status."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InfoserError(Exception):
    """A mistake that the user can mend; the message says what is wrong, where, and what to do."""

    #: The exit status of a command that ends with it.
    status = 2
    #: Whether all hosts of a run raise it at the same place, so that none need be told.
    agreed = False


@contextmanager
def can_be_written(path: Path) -> Iterator[None]:
    """Turns a refusal of the file system (full, read-only, not a folder) into a message that names the file."""
    try:
        yield
    except OSError as error:
        raise InfoserError(
            f"{path} can't be written: {error.strerror or error}; mend that (free space, permissions) and run the same command "
            "again: it goes on from the last checkpoint"
        ) from error
