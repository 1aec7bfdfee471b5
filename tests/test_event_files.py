"""TensorBoard's event files: what is written is read back, once, whatever runs are called and however often it starts anew."""

import os
import resource
from pathlib import Path

import numpy as np
import pytest
from reading_events import events, scalars

from infoser.errors import InfoserError
from infoser.event_files import EventFiles, Means

RUNS = {"s1/seed0/none": ("s1", "seed0", "none"), "s1/seed1/none": ("s1", "seed1", "none")}


def files(root: Path, runs: dict[str, tuple[str, ...]] | None = None) -> EventFiles:
    return EventFiles(root / "encoder/classify/audio", RUNS if runs is None else runs, "classify")


def chunk(step: int, runs: dict[str, tuple[str, ...]] | None = None) -> list[Means]:
    return [Means(step, run, {"loss": step + number / 4}) for number, run in enumerate(RUNS if runs is None else runs)]


def test_every_run_has_its_terms_by_step(tmp_path: Path) -> None:
    made = files(tmp_path)
    made.rewrite([])
    assert not list(tmp_path.iterdir())
    for step in (5, 10):
        made.append(chunk(step))
    assert scalars(tmp_path) == {
        f"encoder/classify/audio/s1/seed{number}/none": [(step, {"classify/loss": step + number / 4}) for step in (5, 10)]
        for number in range(2)
    }


def test_a_file_begins_as_tensorboard_wants_it(tmp_path: Path) -> None:
    files(tmp_path).append(chunk(5))
    for path in tmp_path.rglob("events.*"):
        form, start, values = events(path)
        assert form.file_version == "brain.Event:2"
        # All that was read of this run before, in a file that is gone, is void.
        assert start.session_log.status == start.session_log.START and start.step == 0
        assert 0 < form.wall_time <= values.wall_time


def test_going_on_has_no_step_twice_or_missing(tmp_path: Path) -> None:
    made = files(tmp_path)
    for step in (5, 10, 15):
        made.append(chunk(step))
    first = {path.name for path in tmp_path.rglob("events.*")}
    again = files(tmp_path)
    again.rewrite([*chunk(5), *chunk(10), Means(10, "of another time", {"loss": 1.0})])
    again.append(chunk(15))
    assert [[step for step, _ in steps] for steps in scalars(tmp_path).values()] == [[5, 10, 15]] * 2
    # A TensorBoard that had read the old file finds a new one, by name, and no other.
    second = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert len(second) == 2 and min(second) > max(first)


@pytest.mark.parametrize("cut", [1, 20])
def test_a_half_written_record_is_gone_after_going_on(tmp_path: Path, cut: int) -> None:
    files(tmp_path).append(chunk(5))
    for path in tmp_path.rglob("events.*"):
        os.truncate(path, path.stat().st_size - cut)
    again = files(tmp_path)
    again.rewrite(chunk(5))
    assert [[step for step, _ in steps] for steps in scalars(tmp_path).values()] == [[5]] * 2


def test_files_that_lag_behind_the_metrics_are_told(tmp_path: Path) -> None:
    metrics, made = tmp_path / "metrics.jsonl", files(tmp_path / "events")
    assert not made.older_than(metrics)  # nothing to write them from
    metrics.write_text("…")
    assert made.older_than(metrics)
    made.append(chunk(5))
    assert not made.older_than(metrics) and not files(tmp_path / "events").older_than(metrics)
    later = metrics.stat().st_mtime_ns + 10**10
    os.utime(metrics, ns=(later, later))
    assert made.older_than(metrics)


HOSTILE = [
    "..",
    ".",
    "",
    "/etc/passwd",
    "../../up",
    "a/b",
    "a_b",
    "A_B",
    "c:\\d",
    "nul\0",
    "line\nbreak",
    "x" * 10_000,
    "é" * 90,
]
HOSTILE += ["step_10", "emoji 🎭", "שלום", "a%2Fb", ".hidden", "trailing. ", "\ud800", "events.out.tfevents.000000"]


def test_folders_stay_below_the_root_and_apart(tmp_path: Path) -> None:
    root = tmp_path / "root"
    runs = {f"{number}": (fold, "seed0") for number, fold in enumerate(HOSTILE)}
    for step in (5, 10):
        files(root, runs).append(chunk(step, runs))
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
    read = scalars(root / "encoder/classify/audio")
    assert len(read) == len(HOSTILE) and all(name.count("/") == 1 and "/seed0" in name for name in read)
    assert sorted(steps[0][1]["classify/loss"] for steps in read.values()) == [5 + number / 4 for number in range(len(HOSTILE))]
    assert {"step_10/seed0", "emoji 🎭/seed0", "שלום/seed0", "a_b/seed0"} < set(read)


def test_folders_differ_where_case_does_not_count(tmp_path: Path) -> None:
    runs = {"f/seed0": ("f", "seed0"), "F/seed0": ("F", "seed0")}
    files(tmp_path, runs).append(chunk(5, runs))
    folders = [name.casefold() for name in scalars(tmp_path)]
    assert len(folders) == len(set(folders)) == 2


def test_many_runs_need_few_open_files(tmp_path: Path) -> None:
    runs = {f"s/seed{number}": ("s", f"seed{number}") for number in range(200)}
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    made = files(tmp_path, runs)
    made.append([])
    in_use = max(map(int, os.listdir("/proc/self/fd"))) if Path("/proc/self/fd").exists() else 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 20, allowed[1]))
    try:
        made.append(chunk(5, runs))
        files(tmp_path, runs).rewrite(chunk(5, runs))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, allowed)
    assert len(scalars(tmp_path)) == 200


def test_what_is_no_number_is_shown_as_such(tmp_path: Path) -> None:
    files(tmp_path).append([Means(5, "s1/seed0/none", {"loss": float("nan"), "other": float("inf")})])
    ((_, values),) = scalars(tmp_path)["encoder/classify/audio/s1/seed0/none"]
    assert np.isnan(values["classify/loss"]) and values["classify/other"] == np.inf


@pytest.mark.parametrize("write", [lambda made: made.append(chunk(5)), lambda made: made.rewrite(chunk(5))])
def test_a_refusal_of_the_file_system_is_one_line(tmp_path: Path, write) -> None:
    (tmp_path / "encoder").write_text("a file where a folder should be")
    with pytest.raises(InfoserError, match="encoder.* can't be written: .*; mend that"):
        write(files(tmp_path))
