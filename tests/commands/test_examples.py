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

from infoser.report import embeddings, style

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
        note = 'for one in "$@"; do printf \'%s\\037\' "$one"; done >> asked\necho >> asked\n'
        program.write_text(f"#!/bin/sh\n{note}{pop}exit $status\n")
        program.chmod(0o755)
        return program.parent

    return stub


def asked(folder: Path) -> list[list[str]]:
    """What the stub was asked: the arguments of each call."""
    return [line.split("\x1f")[:-1] for line in (folder / "asked").read_text().split("\n")[:-1]]


def lines(folder: Path) -> list[str]:
    return [" ".join(arguments) for arguments in asked(folder)]


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
    assert asked(tmp_path) == [[f"{ROOT}/train.py", "iemocap", "--run-dir", "a folder"]] * starts


@pytest.mark.parametrize("script", ["run_an_ablation.sh", "restore_and_evaluate.sh"])
def test_without_arguments_a_script_says_how_it_is_used(start: Any, stub: Any, tmp_path: Path, script: str) -> None:
    status, out, err = ended(start(script, path=stub()))
    assert status == 2 and err.startswith("usage: bash ") and out == (tmp_path / "asked").read_text() == ""


@pytest.fixture
def in_this_process(run_train: Any, run_eval: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Any]]:
    """in_this_process(): runs what the stub was asked, whose scripts are compiled here already; the outcomes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(style, "_PNG_DPI", 40)
    monkeypatch.setattr(embeddings, "MOST_ROWS", 40)

    def run() -> list[Any]:
        commands = {f"{ROOT}/train.py": run_train, f"{ROOT}/eval.py": run_eval}
        outcomes = [commands[script](*argv) for script, *argv in asked(tmp_path)]
        assert all(outcome.status == 0 for outcome in outcomes), outcomes
        return outcomes

    return run


def test_an_ablation_ends_in_one_table_and_a_page(start: Any, stub: Any, in_this_process: Any, tmp_path: Path) -> None:
    flags = (*SMALL, "--data.no-text", "--variants", "none", "noise", "--grid", "augment.noise-scale=0.1,0.5")
    assert ended(start("run_an_ablation.sh", "run", *flags, path=stub(0, 0), ABLATIONS="ratio"))[0] == 0
    assert len(in_this_process()) == 2
    with (tmp_path / "run" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    ratios = {f"generate.ratio={ratio}" for ratio in (0.1, 0.25, 0.5, 2)}
    assert {row["cell"] for row in rows if row["variant"] == "noise"} == {"", "augment.noise-scale=0.1", *ratios}
    assert (tmp_path / "run" / "table.tex").is_file()
    assert (tmp_path / "run" / "report" / "index.html").read_text().count("<table") > 3


def test_an_ablation_that_fails_makes_no_page(start: Any, stub: Any, tmp_path: Path) -> None:
    assert ended(start("run_an_ablation.sh", "run", "iemocap", path=stub(143)))[0] == 143
    assert lines(tmp_path) == [f"{ROOT}/train.py iemocap --ablate mutual_information cross_modal ratio --run-dir run"]


def test_a_run_folder_from_elsewhere_is_restored_and_evaluated(
    start: Any, stub: Any, in_this_process: Any, demo: Any, tmp_path: Path
) -> None:
    shutil.copytree(demo.folder, tmp_path / "a run")
    quality = "--variants noise --folds session2 --repeats 2 --no-information"
    generate = "--variant noise --fold session2 --per-class 3 --format parquet"
    script = start("restore_and_evaluate.sh", "a run", path=stub(0, 0, 0, 0), QUALITY=quality, GENERATE=generate)
    assert ended(script)[0] == 0
    scored, *others = in_this_process()
    assert "the same as a run/results.json, to the last digit" in scored.out and len(others) == 3
    assert json.loads((tmp_path / "a run" / "panel.json").read_text())["rows"]
    assert (tmp_path / "a run" / "report" / "index.html").is_file()
    assert list((tmp_path / "a run" / "synthetic").glob("*.parquet"))


def test_recordings_are_predicted_after_that(start: Any, stub: Any, tmp_path: Path) -> None:
    argv = ("runs/mine", "--data-dir", "data", "--", "clip.wav", "o ther.flac")
    assert ended(start("restore_and_evaluate.sh", *argv, path=stub(0, 0, 0, 0)))[0] == 0
    assert lines(tmp_path) == [
        f"{ROOT}/eval.py score runs/mine --data-dir data --details",
        f"{ROOT}/eval.py quality runs/mine --data-dir data",
        f"{ROOT}/eval.py report runs/mine --data-dir data",
        f"{ROOT}/eval.py predict runs/mine clip.wav o ther.flac --data-dir data --json",
    ]
