"""What this host gives to a process: cores, memory (within what a container or a batch system allows), a folder for caches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

_GROUPS, _MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
#: Where the limit, what is used, and what of that is pages of files is said: in version 2 of control groups, and in version 1.
_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux alone has it
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def user_cache_folder() -> Path:
    """The folder of this user's caches, by the rule of the XDG base directories; it need not exist."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    return Path(named) if os.path.isabs(named) else Path(os.path.expanduser("~"), ".cache")


def available_memory() -> int:
    """Bytes that this process could still take without anything being swapped or killed.

    Pages that only keep files at hand count as available. Of Linux' control groups (a container's, a batch job's) the one
    with the least room counts.
    """
    return min(psutil.virtual_memory().available, *_rooms(_GROUPS, _MEMBERSHIP))


def _rooms(root: Path, membership: Path) -> Iterator[int]:
    """What each control group with a limit that this process is in has left."""
    yield psutil.virtual_memory().total
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # another system than Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base, names = (root / "memory", _V1) if controllers else (root, _V2)
        own = base / path.lstrip("/")
        # In a container the path may be the host's, of which only the root is to be seen.
        for group in dict.fromkeys((own, *own.parents)):
            if group == base or base in group.parents:
                yield from _room(group, *names)


def _room(group: Path, limit: str, usage: str, files: str) -> Iterator[int]:
    try:
        allowed = int((group / limit).read_text())
        used = int((group / usage).read_text())
        said = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        yield max(0, allowed - used + int(said[files]))
    except (OSError, ValueError, KeyError):  # no such group, or `max`: no limit
        return
