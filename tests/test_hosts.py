"""Several hosts, as processes of one machine: they compute what one computes, and when one ends the others do."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import jax
import numpy as np
import one_of_hosts
import pytest

from infoser import hosts
from infoser.config import Hosts
from infoser.errors import InfoserError
from infoser.hosts import how_to_connect
from infoser.presets import parse

SCRIPT = Path(one_of_hosts.__file__)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(what: str, devices: int = 1, folder: Path = Path()) -> list[subprocess.Popen]:
    """Two hosts that do something together."""
    port, environment = free_port(), os.environ | {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
    return [
        subprocess.Popen(
            [sys.executable, SCRIPT, *map(str, (port, 2, index, devices, what, folder))],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=SCRIPT.parents[1],
        )
        for index in range(2)
    ]


def ends(processes: list[subprocess.Popen]) -> list[tuple[int, str, str]]:
    """Status, output and errors of each; none may take longer than the minute that is promised, and its own start."""
    try:
        said = [process.communicate(timeout=100) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *each) for process, each in zip(processes, said, strict=True)]


@pytest.fixture(scope="module")
def computed(corpus: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[int, str, str]]]:
    folder = tmp_path_factory.mktemp("computed")
    np.savez(
        folder / "corpus.npz", **{name: getattr(corpus, name) for name in ("audio", "text", "condition", "label", "train")}
    )
    return folder, ends(start("compute", 4, folder))


def saved(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def leaves(tree: Any) -> dict[str, np.ndarray]:
    return {jax.tree_util.keystr(where): np.asarray(leaf) for where, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def distance(one: dict[str, np.ndarray], other: dict[str, np.ndarray], but: Collection[str] = ()) -> float:
    """The largest relative L2 norm of a leaf's difference, `but` those named."""
    assert one.keys() == other.keys()
    pairs = [(one[name].astype(float), other[name].astype(float)) for name in one.keys() - set(but)]
    return max(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30) for a, b in pairs)


def test_hosts_end_well(computed: Any) -> None:
    for status, out, err in computed[1]:
        assert status == 0, err
        assert "computed True 8 × cpu on 2 hosts" in out


@pytest.mark.parametrize("case", one_of_hosts.CASES)
def test_gradients_of_two_hosts_are_those_of_one(case: str, computed: Any, corpus: Any) -> None:
    folder, _ = computed
    whole = leaves(one_of_hosts.gradients(corpus, case, divided=False))
    eight = leaves(one_of_hosts.gradients(corpus, case, divided=True))
    largest = max(np.linalg.norm(leaf) for leaf in whole.values())
    # What a critic adds to all of x's scores does not move InfoNCE: its gradient is zero but for rounding.
    nothing = {name for name, leaf in whole.items() if "critic" in name and np.linalg.norm(leaf) < 1e-12 * largest}
    assert len(nothing) == (3 if case == "align" else 0)
    for index in range(2):
        parted = saved(folder / f"{case}.{index}.npz")
        assert distance(parted, whole, but=nothing) <= 1e-11
        assert distance(parted, eight, but=nothing) <= 1e-11
        assert all(np.abs(parted[name]).max() <= 1e-11 * largest for name in nothing)


@pytest.mark.parametrize("mode", ["runs", "data"])
def test_training_on_two_hosts_is_training_on_one(mode: str, computed: Any, quadratic: Any) -> None:
    folder, _ = computed
    expected = leaves(one_of_hosts.trained(mode, quadratic))
    for index in range(2):
        found = saved(folder / f"{mode}.{index}.npz")
        if mode == "runs":  # no sum goes over devices
            assert {name for name in expected if found[name].tobytes() != expected[name].tobytes()} == set()
        assert distance(found, expected) <= 1e-6


@pytest.fixture(scope="module")
def ended() -> dict[str, list[tuple[int, str, str]]]:
    """How both hosts ended, whichever of them was killed or went wrong."""
    started = {what: start(what) for what in ("kill 0", "kill 1", "error 0", "differ")}
    return {what: ends(processes) for what, processes in started.items()}


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_host_ends_the_other(killed: int, ended: Any) -> None:
    results = ended[f"kill {killed}"]
    assert results[killed][0] == -9
    status, _, err = results[1 - killed]
    assert status == hosts.LOST
    last = err.splitlines()[-1]
    assert last.startswith("error: ") and last.endswith("on fewer, or on one without --hosts, to go on")
    assert ("no sign of life from host 1 for 4 s" in last) == (killed == 1)


def test_an_error_on_one_host_ends_the_other(ended: Any) -> None:
    (status, _, err), (other_status, _, other_err) = ended["error 0"]
    assert (status, other_status) == (2, 2)
    assert err.splitlines()[-1] == "error: the disk is full"
    assert other_err.splitlines()[-1] == "error: host 0 ended: the disk is full"


def test_hosts_with_other_settings_are_refused(ended: Any) -> None:
    (status, _, err), (other_status, _, other_err) = ended["differ"]
    refused = "host 1 has other settings than host 0: those of 1 here, those of 0 there; give all the same"
    assert (status, other_status) == (2, 2)
    assert err.splitlines()[-1] == f"error: host 1 ended: {refused}"
    assert other_err.splitlines()[-1] == f"error: {refused}"


def test_a_host_that_waits_in_vain_says_so() -> None:
    flags = Hosts(f"127.0.0.1:{free_port()}", 2, 1, wait_s=1.0)
    code = f"from infoser import hosts; from infoser.config import Hosts\nwith hosts.connected({flags}): pass"
    begun = time.monotonic()
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=SCRIPT.parents[1], timeout=100)
    assert time.monotonic() - begun < 60
    assert outcome.returncode == 2
    assert outcome.stderr.splitlines()[-1].startswith("error: not all hosts came together within 1 s (--hosts.wait-s)")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--hosts.count", "2"), "belong together"),
        (("--hosts.coordinator", "a:1", "--hosts.index", "0"), "belong together"),
        (("--hosts.coordinator", "a:1", "--hosts.count", "2", "--hosts.index", "2"), "--hosts.index 2: of 2 hosts"),
        (("--hosts.coordinator", "a:1", "--hosts.count", "2", "--hosts.index", "-2"), "--hosts.index -2: of 2 hosts"),
        (("--hosts.coordinator", "a:1", "--hosts.count", "-1", "--hosts.index", "0"), "--hosts.count -1: must be at least 1"),
        (("--hosts.coordinator", "a", "--hosts.count", "2", "--hosts.index", "0"), "give HOST:PORT"),
        (("--hosts.coordinator", "a:99999", "--hosts.count", "2", "--hosts.index", "0"), "from 1 to 65535"),
        (("--hosts.silence-s", "46"), r"--hosts.silence-s 46: must lie in \[2, 45\]"),
        (("--hosts.wait-s", "0"), r"--hosts.wait-s 0: must lie in \[1, 86400\)"),
    ],
)
def test_flags_that_no_host_could_use_are_refused(flags: tuple[str, ...], said: str) -> None:
    with pytest.raises(InfoserError, match=said):
        parse(["demo", *flags])


def test_how_hosts_find_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Hosts()
    assert how_to_connect(nothing, {}) is None
    assert how_to_connect(nothing, {"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "8"}) is None  # a script without srun
    flags = how_to_connect(Hosts("a:1", 3, 2), {"SLURM_STEP_NUM_TASKS": "2"})
    assert flags is not None and (flags["num_processes"], flags["process_id"]) == (3, 2)
    # A task of several on its node: JAX gives it its GPU. One that sees its own alone, or has the node to itself: all it sees.
    for environment, devices in (
        ({"SLURM_STEP_TASKS_PER_NODE": "4(x2)", "SLURM_GPUS_ON_NODE": "4"}, None),
        ({"SLURM_STEP_TASKS_PER_NODE": "4(x2)", "CUDA_VISIBLE_DEVICES": "3"}, [0]),
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x2)", "SLURM_GPUS_ON_NODE": "4"}, [0, 1, 2, 3]),
        ({"SLURM_STEP_TASKS_PER_NODE": "1,1", "CUDA_VISIBLE_DEVICES": "0,1"}, [0, 1]),
        ({"SLURM_STEP_TASKS_PER_NODE": "12(x2)", "SLURM_GPUS_ON_NODE": "4"}, None),
        ({}, None),
    ):
        found = how_to_connect(nothing, environment | {"SLURM_STEP_NUM_TASKS": "8"})
        assert found == {"cluster_detection_method": "slurm", "local_device_ids": devices}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "libtpu" or None)
    assert how_to_connect(nothing, {"TPU_WORKER_HOSTNAMES": "a,b"}) == {}
    assert how_to_connect(nothing, {"TPU_WORKER_HOSTNAMES": "a,b", "JAX_PLATFORMS": "cpu"}) is None


def test_alone_nothing_is_exchanged() -> None:
    with hosts.connected(Hosts()):
        assert (hosts.count(), hosts.index(), hosts.primary()) == (1, 0, True)
        assert hosts.meet("anything", 1.0)
        hosts.check_same("anything", "")
