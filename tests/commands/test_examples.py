"""The worked scripts do what they say: on several hosts, as an ablation, and with a run folder from elsewhere."""

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "infoser" / "examples"
COMPILING = ("jax_compilation_cache_dir", "jax_disable_most_optimizations", "jax_enable_compilation_cache")
COMPILING += ("jax_persistent_cache_min_compile_time_secs", "jax_persistent_cache_min_entry_size_bytes")
SMALL = ("demo", "--folds", "session2", "--aligned-variants", "--chunk-steps", "5")
SMALL += ("--classify.width", "16", "--classify.steps", "10", "--generate.width", "16", "--generate.steps", "10")


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """start(script, *argv, path=folder, **environment): starts a script from elsewhere, with this Python or the folder's."""

    def start(script: str, *argv: object, path: Path | None = None, **environment: object) -> subprocess.Popen[str]:
        options = {name.upper(): jax.config.values[name] for name in COMPILING} | environment
        options = {"JAX_NUM_CPU_DEVICES": jax.local_device_count()} | options
        own = os.environ | {name: str(value) for name, value in options.items()}
        own["PATH"] = os.pathsep.join([str(path or Path(sys.executable).parent), os.environ["PATH"]])
        command = ["bash", EXAMPLES / script, *map(str, argv)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=tmp_path, env=own, **pipes)

    return start


@pytest.fixture
def stub(tmp_path: Path) -> Callable[..., Path]:
    """stub(*statuses): a folder with a `python` that notes what it is asked, and ends with one status after the other."""

    def stub(*statuses: int) -> Path:
        (tmp_path / "left").write_text("".join(f"{one}\n" for one in statuses))
        (tmp_path / "asked").touch()
        (tmp_path / "bin").mkdir(exist_ok=True)
        program = tmp_path / "bin" / "python"
        pop = "status=$(head -n 1 left)\ntail -n +2 left > rest\nmv rest left\n"
        program.write_text(f'#!/bin/sh\necho "$*" >> asked\n{pop}exit $status\n')
        program.chmod(0o755)
        return program.parent

    return stub


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=200)
    return process.returncode, out, err


def test_every_script_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.sh")} == {
        "train_on_a_pod.sh",
        "run_an_ablation.sh",
        "restore_and_evaluate.sh",
    }


def test_a_pod_trains_one_experiment(start: Any, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = (
        *SMALL,
        "--data.no-text",
        "--variants",
        "none",
        "--run-dir",
        tmp_path / "run",
        "--hosts.coordinator",
        f"127.0.0.1:{port}",
    )
    flags += ("--hosts.count", 2, "--hosts.index")
    hosts = [start("train_on_a_pod.sh", *flags, index, JAX_NUM_CPU_DEVICES=1) for index in range(2)]
    outcomes = [ended(host) for host in hosts]
    assert [status for status, _, _ in outcomes] == [0, 0], outcomes
    assert ["written to" in out for _, out, _ in outcomes] == [True, False]
    assert json.loads((tmp_path / "run" / "results.json").read_text())["rows"]


@pytest.mark.parametrize(
    ("statuses", "status", "starts"),
    [([0], 0, 1), ([75, 137, 0], 0, 3), ([2], 2, 1), ([75, 143], 143, 2), ([75] * 9, 75, 4)],
)
def test_a_pod_starts_again_when_a_host_is_lost(
    start: Any, stub: Any, tmp_path: Path, statuses: list[int], status: int, starts: int
) -> None:
    process = start("train_on_a_pod.sh", "iemocap", "--run-dir", "a folder", path=stub(*statuses), TRIES=4)
    assert ended(process)[0] == status
    assert (tmp_path / "asked").read_text().splitlines() == [f"{ROOT}/train.py iemocap --run-dir a folder"] * starts


@pytest.mark.parametrize("script", ["run_an_ablation.sh", "restore_and_evaluate.sh"])
def test_without_arguments_a_script_says_how_it_is_used(start: Any, stub: Any, tmp_path: Path, script: str) -> None:
    status, out, err = ended(start(script, path=stub()))
    assert status == 2 and err.startswith("usage: bash ") and out == (tmp_path / "asked").read_text() == ""


def test_an_ablation_ends_in_one_table_and_a_page(start: Any, tmp_path: Path) -> None:
    flags = (*SMALL, "--data.no-text", "--variants", "none", "noise", "--grid", "augment.noise-scale=0.1,0.5")
    status, out, err = ended(start("run_an_ablation.sh", "run", *flags, ABLATIONS="ratio"))
    assert status == 0, err
    with (tmp_path / "run" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    ratios = {f"generate.ratio={ratio}" for ratio in (0.1, 0.25, 0.5, 2)}
    assert {row["cell"] for row in rows if row["variant"] == "noise"} == {"", "augment.noise-scale=0.1", *ratios}
    assert (tmp_path / "run" / "table.tex").is_file()
    assert (tmp_path / "run" / "report" / "index.html").read_text().count("<table") > 3


def test_an_ablation_that_fails_makes_no_page(start: Any, stub: Any, tmp_path: Path) -> None:
    assert ended(start("run_an_ablation.sh", "run", "iemocap", path=stub(143)))[0] == 143
    assert (tmp_path / "asked").read_text().splitlines() == [
        f"{ROOT}/train.py iemocap --ablate mutual_information cross_modal ratio --run-dir run"
    ]


def test_a_run_folder_from_elsewhere_is_restored_and_evaluated(start: Any, demo: Any, tmp_path: Path) -> None:
    shutil.copytree(demo.folder, tmp_path / "a run")
    quality = "--variants noise --folds session2 --repeats 2 --no-information"
    generate = "--variant noise --fold session2 --per-class 3 --format parquet"
    status, out, err = ended(start("restore_and_evaluate.sh", "a run", QUALITY=quality, GENERATE=generate))
    assert status == 0, err
    assert "the same as a run/results.json, to the last digit" in out
    assert json.loads((tmp_path / "a run" / "panel.json").read_text())["rows"]
    assert (tmp_path / "a run" / "report" / "index.html").is_file()
    assert list((tmp_path / "a run" / "synthetic").glob("*.parquet"))


def test_recordings_are_predicted_after_that(start: Any, stub: Any, tmp_path: Path) -> None:
    argv = ("runs/mine", "--data-dir", "data", "--", "clip.wav", "o ther.flac")
    assert ended(start("restore_and_evaluate.sh", *argv, path=stub(0, 0, 0, 0)))[0] == 0
    assert (tmp_path / "asked").read_text().splitlines() == [
        f"{ROOT}/eval.py score runs/mine --data-dir data --details",
        f"{ROOT}/eval.py quality runs/mine --data-dir data",
        f"{ROOT}/eval.py report runs/mine --data-dir data",
        f"{ROOT}/eval.py predict runs/mine clip.wav o ther.flac --data-dir data --json",
    ]
