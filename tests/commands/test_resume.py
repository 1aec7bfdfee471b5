"""Training that is killed in the midst of each stage and started again ends where undisturbed training ends, bit by bit."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reading_events import scalars
from stopped import AFTER_A_CHUNK

# Killed in the midst of a checkpoint: its arrays are there, the list of digests that makes it complete is not yet.
WITHIN_A_CHECKPOINT = """
import os, pathlib, runpy, signal, sys

number, place = getattr(signal, sys.argv[1]), f"{sys.argv[2]}/step_{sys.argv[3]}/digest.json"
replace = pathlib.Path.replace

def replace_or_stop(self, target):
    if pathlib.Path(target).as_posix().endswith(place):
        os.kill(os.getpid(), number)
    return replace(self, target)

pathlib.Path.replace = replace_or_stop
sys.argv = ["train.py", *sys.argv[4:]]
runpy.run_path("train.py", run_name="__main__")
"""

# One run folder goes through all of them, each in a process of its own that goes on where the one before was stopped;
# this process goes on from the last.
STOPS = {
    "align": (AFTER_A_CHUNK, "SIGKILL", "encoder/align", 10),
    "generate": (WITHIN_A_CHECKPOINT, "SIGKILL", "encoder/generate/class_text", 15),
    "classify": (AFTER_A_CHUNK, "SIGKILL", "encoder/classify/audio", 15),
    "terminated": (AFTER_A_CHUNK, "SIGTERM", "encoder/classify/both", 10),
}


@dataclass(frozen=True)
class Stop:
    """What a stopped process left behind: how it ended, and of its group the metrics and checkpoints."""

    status: int
    out: str
    err: str
    metric_steps: list[int]
    checkpoints: set[str]
    unfinished: set[str]
    wrote_results: bool


@pytest.fixture(scope="module")
def stopped(
    demo: Any, in_new_process: Any, run_train: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Stop], Any, Path]:
    """What each stop left behind, the outcome of the command that finished, and the run folder."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    # The aligned space trains the same three stages again.
    command = [*demo.flags, "--aligned-variants", "--checkpoint-every-s", "0", "--run-dir", folder]
    stops = {}
    for name, (driver, signal, group, step) in STOPS.items():
        outcome = in_new_process("-c", driver, signal, group, step, *command)
        assert outcome.status in (-9, 143), (name, outcome.err)
        lines = (folder / group / "metrics.jsonl").read_text().splitlines()
        digests = {path: (path / "digest.json").exists() for path in (folder / group).glob("step_*")}
        stops[name] = Stop(
            status=outcome.status,
            out=outcome.out,
            err=outcome.err,
            metric_steps=sorted({json.loads(line)["step"] for line in lines}),
            checkpoints={path.name for path, complete in digests.items() if complete},
            unfinished={path.name for path, complete in digests.items() if not complete},
            wrote_results=(folder / "results.json").exists(),
        )
    return stops, run_train(*command), folder


@pytest.mark.parametrize("stage", ["align", "classify"])
def test_a_kill_finds_the_checkpoint_of_the_chunk_before(stage: str, stopped: Any) -> None:
    stop, step = stopped[0][stage], STOPS[stage][3]
    assert stop.status == -9 and stop.out == "" and not stop.wrote_results
    assert stop.metric_steps == list(range(5, step + 1, 5))
    assert f"step_{step - 5}" in stop.checkpoints and f"step_{step}" not in stop.checkpoints
    assert stop.unfinished == set()


def test_a_kill_within_a_checkpoint_leaves_the_one_before(stopped: Any) -> None:
    stop = stopped[0]["generate"]
    assert stop.status == -9 and stop.out == "" and not stop.wrote_results
    assert stop.checkpoints == {"step_5", "step_10"} and stop.unfinished == {"step_15"}


def test_terminate_saves_and_says_how_to_go_on(stopped: Any) -> None:
    stop = stopped[0]["terminated"]
    assert stop.status == 143 and stop.out == "" and not stop.wrote_results
    assert "Traceback" not in stop.err
    assert stop.err.splitlines()[-1] == (
        "error: stopped by SIGTERM in encoder/classify/both after step 10 of 20, which is saved; "
        "run the same command again to go on"
    )
    assert stop.checkpoints == {"step_5", "step_10"}


def test_the_command_that_finishes_goes_on_without_a_word(stopped: Any) -> None:
    _, finished, folder = stopped
    assert finished.status == 0, finished.err
    assert "Traceback" not in finished.err and "error" not in finished.err
    assert finished.out.splitlines()[-1].startswith(f"written to {folder}: results.json")


def test_checkpoints_are_those_of_undisturbed_training(
    demo: Any, stopped: Any, checkpoint: Callable[[Path], dict[str, np.ndarray]], groups: Callable[[Path], dict[str, list[str]]]
) -> None:
    _, _, folder = stopped
    undisturbed = {name: runs for name, runs in groups(demo.folder).items() if name.startswith("encoder/")}
    assert groups(folder) == undisturbed and len(undisturbed) == 5
    for group in undisturbed:
        ours, theirs = checkpoint(folder / group), checkpoint(demo.folder / group)
        assert ours.keys() == theirs.keys() and len(ours) > 4
        different = [name for name in ours if ours[name].tobytes() != theirs[name].tobytes()]
        assert different == [], group


def test_metrics_are_those_of_undisturbed_training(demo: Any, stopped: Any) -> None:
    _, _, folder = stopped
    for path in folder.rglob("metrics.jsonl"):
        assert path.read_bytes() == (demo.folder / path.relative_to(folder)).read_bytes(), path.parent.name


def test_events_are_those_of_undisturbed_training(demo: Any, stopped: Any) -> None:
    _, _, folder = stopped
    shown, undisturbed = scalars(folder / "events"), scalars(demo.folder / "events")
    assert shown == {run: steps for run, steps in undisturbed.items() if run.startswith("encoder/")}


def test_results_are_those_of_undisturbed_training(demo: Any, stopped: Any) -> None:
    _, _, folder = stopped
    results = json.loads((folder / "results.json").read_text())
    for part in ("rows", "quality"):
        assert results[part] == [row for row in demo.results[part] if row["cell"] == ""]
