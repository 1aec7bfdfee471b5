"""Training on two hosts: a killed host, a signal to one, and going on with other devices end where one host ends."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
# What this folder's tests set, so that other processes read what this one compiled.
COMPILING = ("jax_compilation_cache_dir", "jax_disable_most_optimizations")
COMPILING += ("jax_persistent_cache_min_compile_time_secs", "jax_persistent_cache_min_entry_size_bytes")
FLAGS = ("demo", "--data.no-text", "--folds", "session2", "session4", "--variants", "none", "infogan-notext")
FLAGS += ("--aligned-variants", "--chunk-steps", "5", "--generate.width", "16", "--classify.width", "16")
FLAGS += ("--generate.steps", "20", "--classify.steps", "20", "--checkpoint-every-s", "0")
GENERATE, CLASSIFY = "encoder/generate/class", "encoder/classify/audio"

# train.py in which host 1, never host 0, sends itself a signal when a group has got to a step, after the chunk of compiled
# steps and before its checkpoint.
SIGNAL_TO_HOST_1 = """
import os, runpy, signal, sys
from infoser import hosts, trainer

number, group, step = getattr(signal, sys.argv[1]), sys.argv[2], int(sys.argv[3])
write = trainer.Metrics.write

def write_and_stop(self, done, means):
    write(self, done, means)
    if (self._group.name, done) == (group, step) and hosts.index() == 1:
        os.kill(os.getpid(), number)

trainer.Metrics.write = write_and_stop
sys.argv = ["train.py", *sys.argv[4:]]
runpy.run_path("train.py", run_name="__main__")
"""


def start(*argv: object, devices: int, count: int = 1) -> list[tuple[int, str, str]]:
    """Runs Python with these arguments on so many hosts; status, output and errors of each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {name: jax.config.values[name] for name in COMPILING} | {"jax_num_cpu_devices": devices}
    environment = os.environ | {name.upper(): str(value) for name, value in options.items()}
    environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    flags = ("--hosts.coordinator", f"127.0.0.1:{port}", "--hosts.count", count, "--hosts.silence-s", 4)
    processes = [
        subprocess.Popen(
            [sys.executable, *map(str, (*argv, *((*flags, "--hosts.index", index) if count > 1 else ())))],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(count)
    ]
    try:
        said = [process.communicate(timeout=200) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *each) for process, each in zip(processes, said, strict=True)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[object, ...]]:
    """The run folder of one process with eight devices, compiled like the others, and the flags that it was trained with."""
    folder = tmp_path_factory.mktemp("alone")
    flags = (*FLAGS, "--data-dir", folder / "no-data")
    ((status, _, err),) = start("train.py", *flags, "--run-dir", folder / "run", devices=8)
    assert status == 0, err
    return folder / "run", flags


@pytest.fixture(scope="module")
def disturbed(alone: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run folder that two hosts began, and how each start ended: by a kill, by a signal, and on one host with two devices."""
    folder, flags = tmp_path_factory.mktemp("disturbed") / "run", alone[1]
    command, outcomes = (*flags, "--run-dir", folder), {}
    for number, group, step in (("SIGKILL", GENERATE, 15), ("SIGTERM", CLASSIFY, 10)):
        outcomes[number] = start("-c", SIGNAL_TO_HOST_1, number, group, step, *command, devices=4, count=2)
        outcomes[f"steps after {number}"] = sorted(path.parent.name for path in (folder / group).glob("step_*/digest.json"))
    outcomes["resumed"] = start("train.py", *command, devices=2)
    return folder, outcomes


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def test_a_killed_host_ends_the_other_which_says_how_to_go_on(disturbed: Any) -> None:
    (status, out, err), (killed, _, _) = disturbed[1]["SIGKILL"]
    assert (status, killed) == (75, -9)
    assert err.splitlines()[-1] == (
        "error: no sign of life from host 1 for 4 s; what was saved last stands: start the same command on all hosts again, on "
        "fewer, or on one without --hosts, to go on"
    )
    assert "written to" not in out
    # A peer that is killed before the hosts agree on a checkpoint costs the steps since the last one.
    assert disturbed[1]["steps after SIGKILL"] == ["step_10", "step_5"]


def test_a_signal_to_one_host_saves_and_ends_both(disturbed: Any) -> None:
    said = "error: stopped by SIGTERM in encoder/classify/audio after step 10 of 20, which is saved; run the same command again"
    for status, out, err in disturbed[1]["SIGTERM"]:
        assert status == 143 and "written to" not in out
        assert err.splitlines()[-1] == f"{said} to go on"
    assert disturbed[1]["steps after SIGTERM"] == ["step_10", "step_5"]


def test_one_host_speaks(disturbed: Any) -> None:
    (_, _, err), (_, _, other_err) = disturbed[1]["SIGTERM"]
    assert "demo: 2 folds" in err and "demo: 2 folds" not in other_err
    assert len(other_err.splitlines()) == 1


def test_other_devices_go_on_to_the_same_results(alone: Any, disturbed: Any) -> None:
    folder, outcomes = disturbed
    ((status, out, err),) = outcomes["resumed"]
    assert status == 0, err
    assert "written to" in out
    ours, theirs = results(folder), results(alone[0])
    assert ours["rows"] == theirs["rows"]
    assert ours["provenance"] == theirs["provenance"] | {"devices": "2 × cpu"}


def test_checkpoints_of_two_hosts_are_those_of_one(
    alone: Any, disturbed: Any, checkpoint: Callable[[Path], dict[str, np.ndarray]]
) -> None:
    # The generators: two hosts with four devices each saved their last step, before one host with two went on.
    ours, theirs = checkpoint(disturbed[0] / GENERATE), checkpoint(alone[0] / GENERATE)
    assert ours.keys() == theirs.keys() and len(ours) > 4
    assert [name for name in ours if ours[name].tobytes() != theirs[name].tobytes()] == []


def test_two_hosts_choose_what_one_does(run_train: Any, tmp_path: Path) -> None:
    candidates = ("--candidates", "none", "noise", "--none-candidates", "none", "none classify.dropout=0")
    flags = ("demo", "--data.no-text", "--folds", "session2", "--variants", "none", "--aligned-variants", "--select", "dev")
    flags += (*candidates, "--classify.width", "8", "--classify.steps", "20", "--chunk-steps", "20", "--data-dir", tmp_path)
    for status, _, err in start("train.py", *flags, "--run-dir", tmp_path / "two", devices=4, count=2):
        assert status == 0, err
    outcome = run_train(*flags, "--run-dir", tmp_path / "one")
    assert outcome.status == 0, outcome.err
    ours, theirs = results(tmp_path / "two"), results(tmp_path / "one")
    assert ours["selection"] == theirs["selection"] and ours["rows"] == theirs["rows"]


def test_two_hosts_stream_and_divide_every_batch_as_one_does(
    run_train: Any, tmp_path: Path, checkpoint: Callable[[Path], dict[str, np.ndarray]]
) -> None:
    data = ("corpus", "--data.name", "demo", "--data-dir", tmp_path / "data")
    flags = (*data, "--data.no-text", "--folds", "session2", "--variants", "none", "infogan-notext", "--aligned-variants")
    flags += ("--parallel", "data", "--resident-gib", "1e-5", "--generate.width", "16", "--classify.width", "16")
    flags += ("--chunk-steps", "10", "--generate.steps", "10", "--classify.steps", "10")
    prepared = subprocess.run(
        [sys.executable, "datasets/prepare.py", "demo", "--data-dir", tmp_path / "data"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert prepared.returncode == 0, prepared.stderr
    for index, (status, _, err) in enumerate(start("train.py", *flags, "--run-dir", tmp_path / "two", devices=4, count=2)):
        assert status == 0, err
        assert index or "they are streamed" in err
    outcome = run_train(*flags, "--run-dir", tmp_path / "one")
    assert outcome.status == 0 and "they are streamed" in outcome.err, outcome.err
    for group in (GENERATE, CLASSIFY):
        ours, theirs = checkpoint(tmp_path / "two" / group), checkpoint(tmp_path / "one" / group)
        assert ours.keys() == theirs.keys() and len(ours) > 4
        for name, leaf in theirs.items():  # sums over devices go in another order between hosts
            np.testing.assert_allclose(ours[name], leaf, rtol=1e-4, atol=1e-5, err_msg=name)
    ours, theirs = results(tmp_path / "two"), results(tmp_path / "one")
    assert ours["provenance"] == theirs["provenance"] | {"devices": "8 × cpu on 2 hosts"}
    told = ("variant", "cell", "modality", "subset", "aggregate", "n")
    assert [[row[name] for name in told] for row in ours["rows"]] == [[row[name] for name in told] for row in theirs["rows"]]
