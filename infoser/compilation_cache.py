"""Compiled programs kept between processes, so that the second start of the same experiment need not compile again.

JAX keeps them: the key of a program is a hash of the program itself, of the compiler's version and options and of the devices,
so a program that is found is the one that would have been compiled, and results are the same to the last bit. What is set
here is where they are and how much of the disk they take. JAX's own settings come first: JAX_COMPILATION_CACHE_DIR names
another folder, JAX_ENABLE_COMPILATION_CACHE=0 does without. And how chunks of steps are compiled on a CPU.
"""

from __future__ import annotations

import functools
import gc
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax

from infoser.host_resources import user_cache_folder

#: What the programs may take, in bytes; the ones that were used least recently go first.
LARGEST = 2**30
#: Programs that compile faster than this, in seconds, are not kept: reading them costs as much.
_QUICK_S = 0.05
_SUFFIX = "-cache"  # of JAX's files
_MAPS, _MOST_MAPS = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")

#: Of the compiler for CPUs: a loop's arrays are copied only where the order of what reads and writes them demands it. By
#: default moments are copied in each step, whose old values two other results are computed from.
_FEWER_COPIES: dict[str, str | bool] = {"xla_cpu_copy_insertion_use_region_analysis": True}

_refused: set[Path] = set()  # folders of which it was said that they can't be used
_compiled: dict[Any, Any] = {}  # by function and types of its arguments


def keep_compiled() -> Path | None:
    """Keeps compiled programs in the user's cache folder, from the next program on that this process compiles.

    Returns:
      The folder; None where nothing is changed: JAX was told of another, or to keep nothing, or the folder can't be written,
      which is said once.
    """
    config: Any = jax.config  # its options are attributes that type checkers can't see
    if config.jax_compilation_cache_dir or not config.jax_enable_compilation_cache:
        return None
    folder = user_cache_folder() / "infoser" / "compiled"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # who can write there can have this user run any program
        with tempfile.TemporaryFile(dir=folder):
            pass
        _trim(folder)
    except OSError as error:
        if folder not in _refused:
            _refused.add(folder)
            print(f"compiled programs are not kept: {folder}: {error.strerror or error}", file=sys.stderr, flush=True)
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _QUICK_S)
    return folder


def cpu_options() -> dict[str, str | bool]:
    """The options of the compiler that `with_fewer_copies` sets; none on other devices and where it does not know them."""
    return _FEWER_COPIES if jax.default_backend() == "cpu" and _knows_options() else {}


class Compiled:
    """A jitted or pmapped function of positional arguments, compiled with `cpu_options` once for each of their structures.

    It computes the same numbers to the last bit as without those options (`tests/test_compilation_cache.py`).
    """

    def __init__(self, function: Any):
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        """What the function returns."""
        key = self._key(arguments)
        program = _compiled.get(key)
        if isinstance(program, _Beginning):
            try:
                program = program.program.result()
            except Exception:  # such as memory that two programs were compiled in together: once more, in this thread
                program = None
        if program is None:
            program = self._function.lower(*arguments).compile(cpu_options())
        _compiled[key] = program
        return program(*arguments)

    def prepare(self, *arguments: Any) -> Any:
        """Begins to compile for such arguments, arrays or their shapes, in a thread: the calling one goes on at once.

        Returns:
          The shapes of what it is going to return, taken for strongly typed; None where it was compiled before.
        """
        key = self._key(arguments)
        if key not in _compiled:
            lowered = self._function.lower(*arguments)
            shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), lowered.out_info)
            _compiled[key] = _Beginning(_threads().submit(lowered.compile, cpu_options()), shapes)
        begun = _compiled[key]
        return begun.shapes if isinstance(begun, _Beginning) else None

    def _key(self, arguments: Any) -> Any:
        leaves, tree = jax.tree.flatten(arguments)
        return self._function, tree, tuple(map(_type, leaves))


class _Beginning(NamedTuple):
    """A program that a thread compiles, and the shapes of what it returns."""

    program: Future[Any]
    shapes: Any


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(2, thread_name_prefix="compiler")


def _type(leaf: Any) -> Any:
    """The type that a program is compiled for, of an array, a number or the shape of an array."""
    if not isinstance(leaf, jax.ShapeDtypeStruct):
        leaf = jax.typeof(leaf)
    return leaf.shape, leaf.dtype, leaf.weak_type


def with_fewer_copies(function: Any) -> Callable[..., Any]:
    """The function `Compiled`, where `cpu_options` has any; else itself."""
    return Compiled(function) if cpu_options() else function


@functools.cache
def _knows_options() -> bool:
    try:
        jax.jit(lambda: 0).lower().compile(dict(_FEWER_COPIES))
    except jax.errors.JaxRuntimeError:
        return False
    return True


def forget_if_many(share: float = 0.4) -> bool:
    """Forgets this process' compiled programs where they have come near the number of memory maps that a process may have.

    Each takes some dozens, and a process that goes beyond the number dies without a word. What is still needed is compiled
    again, or read from the folder of kept programs. Only Linux has such a bound, and tells how far it is.

    Args:
      share: of the number, from which on they are forgotten.

    Returns:
      Whether they were forgotten.
    """
    try:
        with _MAPS.open() as file:
            if sum(1 for _ in file) < share * int(_MOST_MAPS.read_text()):
                return False
    except (OSError, ValueError):
        return False
    _compiled.clear()
    jax.clear_caches()
    gc.collect()
    return True


def _trim(folder: Path) -> None:
    """Deletes the programs that were used least recently, until the rest fits; JAX's own bound needs another package."""
    found = []
    for path in folder.glob(f"*{_SUFFIX}"):
        try:
            stat = path.stat()
        except FileNotFoundError:  # another process was quicker
            continue
        found.append((max(stat.st_atime_ns, stat.st_mtime_ns), stat.st_size, path))
    size = sum(each for _, each, _ in found)
    for _, each, path in sorted(found):
        if size <= LARGEST:
            return
        path.unlink(missing_ok=True)
        size -= each
