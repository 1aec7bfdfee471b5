"""TensorBoard's events of a whole experiment: every run of every group, and what they say is what metrics.jsonl says."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from reading_events import scalars

from infoser import experiment, run_folder
from infoser.execution import count_groups


def as_written(run_dir: Path, stages: dict[str, str]) -> dict[str, list[Any]]:
    """What metrics.jsonl says of each run, in TensorBoard's names and precision."""
    found: dict[str, list[Any]] = {}
    for path in run_dir.rglob("metrics.jsonl"):
        group = path.parent.relative_to(run_dir).as_posix()
        for line in map(json.loads, path.read_text().splitlines()):
            step, run, stage = line.pop("step"), line.pop("run"), stages[group.split("/")[1]]
            terms = {f"{stage}/{term}": float(np.float32(value)) for term, value in line.items()}
            found.setdefault(f"{group}/{run}", []).append((step, terms))
    return found


STAGES = {"align": "align", "generate": "generate", "classify": "classify", "teacher": "classify"}


def test_every_run_of_every_group_has_its_events(demo: Any) -> None:
    shown = scalars(demo.folder / "events")
    assert shown == as_written(demo.folder, STAGES)
    # Runs that share a name would have their steps twice.
    assert len(shown) > 20 and {tuple(step for step, _ in steps) for steps in shown.values()} == {(5, 10, 15, 20)}
    assert {"aligned/classify/audio/session2/seed0/infogan-probe", "aligned/align/session2/seed0/without-part2"} < set(shown)


def test_as_many_groups_are_trained_as_were_announced(demo: Any, groups: Any) -> None:
    config, _ = run_folder.read(demo.folder)
    corpus = experiment.load_corpus(config)
    plans = experiment.plans_of(demo.folder, config, corpus)
    assert count_groups(plans, modalities=3, n_classes=len(corpus.classes)) == len(groups(demo.folder))


def test_a_finished_run_folder_gets_its_events_later(demo: Any, run_train: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(demo.folder, folder)
    shutil.rmtree(folder / "events")
    outcome = run_train(*demo.flags, "--run-dir", folder, "--no-tensorboard")
    assert outcome.status == 0 and not (folder / "events").exists(), outcome.err
    outcome = run_train(*demo.flags, "--run-dir", folder)
    assert outcome.status == 0 and scalars(folder / "events") == scalars(demo.folder / "events"), outcome.err
