"""What a process may still take: of the host, and of the control groups of containers and batch jobs."""

import os
from pathlib import Path

import psutil
import pytest

from infoser import host_resources, parallel

GIB = 2**30


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(host_resources, "_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(host_resources, "_MEMBERSHIP", tmp_path / "membership")
    available = psutil.virtual_memory()._replace(available=20 * GIB, total=24 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: available)
    return tmp_path / "cgroup"


def write(folder: Path, **contents: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name.replace("memory_", "memory.")).write_text(f"{content}\n")


def version_2(folder: Path, limit: object, usage: int, files: int) -> None:
    write(folder, memory_max=limit, memory_current=usage, memory_stat=f"anon 7\ninactive_file {files}\nslab 3")


def test_without_control_groups_the_host_counts(groups: Path) -> None:
    assert host_resources.available_memory() == 20 * GIB
    groups.with_name("membership").write_text("0::/nowhere\n")
    assert host_resources.available_memory() == 20 * GIB


def test_the_group_with_the_least_room_counts(groups: Path) -> None:
    groups.with_name("membership").write_text("0::/job/step\n")
    version_2(groups / "job/step", "max", 2 * GIB, GIB)
    assert host_resources.available_memory() == 20 * GIB
    version_2(groups / "job", 8 * GIB, 3 * GIB, GIB)  # of the three a cached file's one can go
    assert host_resources.available_memory() == 6 * GIB
    version_2(groups / "job/step", 4 * GIB, 5 * GIB, 0)  # lowered below what is used
    assert host_resources.available_memory() == 0
    version_2(groups / "elsewhere", 1, 0, 0)
    version_2(groups / "job/step", 64 * GIB, 0, 0)
    assert host_resources.available_memory() == 6 * GIB


def test_a_container_sees_its_own_group_as_the_root(groups: Path) -> None:
    groups.with_name("membership").write_text("0::/docker/of-the-host\n")
    version_2(groups, 8 * GIB, GIB, 0)
    assert host_resources.available_memory() == 7 * GIB


def test_version_1_of_control_groups(groups: Path) -> None:
    groups.with_name("membership").write_text("5:cpu,cpuacct:/job\n4:memory:/job\n0::/job\n")
    limits = {"memory_limit_in_bytes": 3 * GIB, "memory_usage_in_bytes": 2 * GIB}
    write(groups / "memory/job", **limits, memory_stat=f"total_inactive_file {GIB // 2}")
    assert host_resources.available_memory() == 1.5 * GIB


def test_a_default_budget_is_a_quarter_of_it_and_never_next_to_nothing(groups: Path) -> None:
    assert parallel.default_budget() == 5 * GIB // 8  # on eight devices
    groups.with_name("membership").write_text("0::/\n")
    version_2(groups, 8 * GIB, 8 * GIB, 0)
    assert parallel.default_budget() == 2**28 // 8


def test_cores_where_the_system_knows_no_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    if hasattr(os, "sched_getaffinity"):
        assert host_resources.cores() == len(os.sched_getaffinity(0))
        monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert host_resources.cores() == 6
