"""The commands, in this process and in new ones, and one small demo experiment that most tests here look at."""

import contextlib
import dataclasses
import functools
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from infoser.commandline import run_command

ROOT = Path(__file__).parents[2]
# Compiling is nearly all that such small runs cost, so no program is compiled twice: other processes read what this one
# compiled, and the compiler does not optimise. Names and values are those of JAX's options, for both.
COMPILING: dict[str, Any] = {
    "jax_compilation_cache_dir": tempfile.mkdtemp(prefix="infoser-compiled-"),
    "jax_disable_most_optimizations": True,
    "jax_enable_compilation_cache": True,
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """Sets JAX's options for the tests of this folder, with all their fixtures, and takes them back afterwards."""
    before = {name: jax.config.values[name] for name in COMPILING}
    _set_options(COMPILING)
    try:
        return (yield)
    finally:
        _set_options(before)


def pytest_sessionfinish() -> None:
    shutil.rmtree(COMPILING["jax_compilation_cache_dir"], ignore_errors=True)


def _set_options(values: dict[str, Any]) -> None:
    for name, value in values.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # it looks at its folder only once


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str


Command = Callable[..., Outcome]


@functools.cache
def _script(name: str) -> Any:
    """The script as a module: neither the project's root nor `datasets` is a package."""
    path = ROOT / name
    if str(path.parent) not in sys.path and path.parent != ROOT:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _in_process(name: str, *argv: object) -> Outcome:
    # Files of bytes like a process' own, since what is drawn depends on a file's encoding.
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    module = _script(name)
    command = module.prepare if hasattr(module, "prepare") else module.main
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = run_command(command, [str(one) for one in argv])
        except SystemExit as stop:  # the parser's own way to refuse
            status = stop.code if isinstance(stop.code, int) else 1
    return Outcome(status, *(file.detach().getvalue().decode() for file in (out, err)))


@pytest.fixture(scope="session")
def run_train() -> Command:
    """run_train(*argv): train.py in this process."""
    return functools.partial(_in_process, "train.py")


@pytest.fixture(scope="session")
def run_eval() -> Command:
    """run_eval(*argv): eval.py in this process."""
    return functools.partial(_in_process, "eval.py")


@pytest.fixture(scope="session")
def run_prepare() -> Command:
    """run_prepare(*argv): datasets/prepare.py in this process."""
    return functools.partial(_in_process, "datasets/prepare.py")


@pytest.fixture(scope="session")
def in_new_process() -> Command:
    """in_new_process(*argv): Python with these arguments, from the project's root, on as many devices as this process."""
    # Arrays are equal to the last digit on equally many devices.
    options = COMPILING | {"jax_num_cpu_devices": jax.local_device_count()}
    environment = os.environ | {name.upper(): str(value) for name, value in options.items()}

    def run(*argv: object) -> Outcome:
        command = [sys.executable, *(str(one) for one in argv)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


TINY = ("--chunk-steps", 5, "--align.width", 16, "--generate.width", 16, "--classify.width", 16)
TINY += ("--align.steps", 20, "--generate.steps", 20, "--classify.steps", 20, "--align.cross-fits", 2)


@pytest.fixture(scope="session")
def tiny() -> tuple[object, ...]:
    """Flags that make every stage as small as it can be and still be trained in several chunks."""
    return TINY


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A finished experiment.

    Attributes:
      folder: its run folder; not to be written to.
      flags: the command line without --run-dir.
      outcome: of the training command.
    """

    folder: Path
    flags: tuple[object, ...]
    outcome: Outcome

    @property
    def results(self) -> dict[str, Any]:
        return json.loads((self.folder / "results.json").read_text())


@pytest.fixture(scope="session")
def demo(run_train: Command, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """The demo preset on two of its five folds, in both spaces."""
    folder = tmp_path_factory.mktemp("demo")
    flags = ("demo", "--data-dir", folder / "no-data", "--folds", "session2", "session4", *TINY)
    outcome = run_train(*flags, "--run-dir", folder / "run")
    assert outcome.status == 0, outcome.err
    return Experiment(folder / "run", flags, outcome)


def _checkpoint(folder: Path) -> dict[str, np.ndarray]:
    from orbax.checkpoint import v1 as ocp

    (newest,) = sorted(folder.glob("step_*"), key=lambda step: int(step.name.removeprefix("step_")))[-1:]
    leaves = jax.tree_util.tree_flatten_with_path(ocp.load(newest.absolute() / "state"))[0]
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


@pytest.fixture(scope="session")
def checkpoint() -> Callable[[Path], dict[str, np.ndarray]]:
    """checkpoint(folder): the arrays of a group's newest checkpoint by their path in the state, runs on axis 0."""
    return _checkpoint


def _groups(run_dir: Path) -> dict[str, list[str]]:
    """The groups below a run folder by name, and the names of their runs in the order of axis 0."""
    groups = {}
    for path in sorted(run_dir.rglob("metrics.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        groups[path.parent.relative_to(run_dir).as_posix()] = [
            line["run"] for line in lines if line["step"] == lines[0]["step"]
        ]
    return groups


@pytest.fixture(scope="session")
def groups() -> Callable[[Path], dict[str, list[str]]]:
    """groups(run_dir): the groups' folders, and the names of their runs in the order of axis 0 of their checkpoints."""
    return _groups
