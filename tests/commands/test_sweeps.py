"""Ablations by the command: trained once, extended, killed and gone on with, and told in one table."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet
from stopped import AFTER_A_CHUNK

FLAGS = ("demo", "--data.no-text", "--folds", "session2", "--variants", "none", "noise", "infogan-notext", "--aligned-variants")
FLAGS += ("--generate.width", 8, "--generate.steps", 10, "--generate.critic-steps", 1, "--generate.loss", "hinge")
FLAGS += ("--classify.width", 8, "--classify.steps", 10, "--chunk-steps", 5)
SWEEP = ("--grid", "generate.ratio=0.5,1", "--grid", "generate.class-mi-weight=0,0.1")
MORE = ("--grid", "generate.ratio=0.5,1,2", "--grid", "generate.class-mi-weight=0,0.1")
CELLS = ("generate.class-mi-weight=0", "generate.class-mi-weight=0 generate.ratio=0.5", "generate.ratio=0.5")


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def trained(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file of a checkpoint, with its inode and time of writing."""
    stats = {path.relative_to(folder).as_posix(): path.stat() for path in folder.rglob("step_*/**/*") if path.is_file()}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


@pytest.fixture(scope="module")
def plain(run_train: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain") / "run"
    outcome = run_train(*FLAGS, "--data-dir", folder / "none", "--run-dir", folder)
    assert outcome.status == 0, outcome.err
    return folder


@pytest.fixture(scope="module")
def swept(run_train: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("swept") / "run"
    outcome = run_train(*FLAGS, *SWEEP, "--data-dir", folder / "none", "--run-dir", folder)
    assert outcome.status == 0, outcome.err
    return folder, outcome


def test_cells_train_together_and_a_generator_once(
    swept: Any, plain: Path, groups: Callable[[Path], dict[str, list[str]]], checkpoint: Callable[[Path], Any]
) -> None:
    folder, outcome = swept
    assert outcome.err.startswith("demo: 1 folds (session) × 1 seeds, 4 cells: 0 aligners, 2 generators, 7 heads")
    found = groups(folder)
    assert set(found) == set(groups(plain)) == {"encoder/generate/class", "encoder/classify/audio"}
    names = [f"session2/seed0/infogan-notext{cell}" for cell in ("", " generate.class-mi-weight=0")]
    assert found["encoder/generate/class"] == names
    heads = found["encoder/classify/audio"]
    assert len(heads) == len(set(heads)) == 5 + 2 * (1 + 1 + 2)
    # The base configuration comes to what it comes to alone.
    assert [row for row in results(folder)["rows"] if not row["cell"]] == results(plain)["rows"]
    ours, theirs = (checkpoint(one / "encoder/generate/class") for one in (folder, plain))
    assert all(np.array_equal(ours[name][:1], theirs[name]) for name in theirs)


def test_rows_are_paired_with_none_of_the_base_cell(swept: Any) -> None:
    rows = results(swept[0])["rows"]
    assert {(row["cell"], row["variant"]) for row in rows} == {
        ("", "none"),
        ("", "noise"),
        ("", "infogan-notext"),
        (CELLS[0], "infogan-notext"),
        *((cell, "infogan-notext") for cell in CELLS[1:]),
        (CELLS[2], "noise"),
    }
    none = {(row["subset"], row["aggregate"]): row["ua"] for row in rows if row["variant"] == "none"}
    for row in rows:
        if row["variant"] != "none":
            assert row["ua_minus_none"] == pytest.approx(row["ua"] - none[row["subset"], row["aggregate"]])
    quality = results(swept[0])["quality"]
    assert len({row["trtr_ua"] for row in quality}) == 1
    assert all((row["trts_ua"] is None) == (row["variant"] == "real") for row in quality)


def test_one_table_in_every_format(swept: Any) -> None:
    folder, _ = swept
    rows = results(folder)["rows"]
    table = parquet.read_table(folder / "scores.parquet")
    assert json.loads(table.schema.metadata[b"infoser"])["corpus"]["name"] == "demo"
    found = table.to_pylist()
    for long, row in zip(found, rows, strict=True):
        assert {key: json.loads(long[key]) if key in ("recalls", "confusion") else long[key] for key in row} == row
        assert long["generate.ratio"] == (0.5 if "ratio=0.5" in row["cell"] else 1.0)
        assert long["generate.class-mi-weight"] == (0.0 if "weight=0" in row["cell"] else 0.1)
    with (folder / "scores.csv").open(newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert list(written[0]) == table.column_names
    for line, long in zip(written, found, strict=True):
        assert line == {key: "" if value is None else str(value) for key, value in long.items()}
    for name in ("table.md", "table.tex"):
        text = (folder / name).read_text()
        assert "unweighted average recall" in text and "session2" in text and "N = " in text
        assert text.count("generate.ratio=0.5") == 3


def test_extended_killed_and_gone_on_with(
    swept: Any, run_train: Any, run_eval: Any, in_new_process: Any, groups: Any, checkpoint: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(swept[0], folder)
    before = trained(folder)
    more = (*FLAGS, *MORE, "--seeds", 0, 1, "--data-dir", tmp_path / "none", "--run-dir")
    outcome = in_new_process("-c", AFTER_A_CHUNK, "SIGKILL", "part3/encoder/classify/audio", 5, *more, folder)
    assert outcome.status == -9, outcome.err
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(swept[0], undisturbed)
    for one in (folder, undisturbed):
        outcome = run_train(*more, one)
        assert outcome.status == 0, outcome.err
    assert {name: stat for name, stat in trained(folder).items() if not name.startswith("part")} == before
    for name in ("results.json", "scores.csv", "scores.parquet", "table.md", "table.tex"):
        texts = [(one / name).read_bytes().replace(str(one).encode(), b"") for one in (folder, undisturbed)]
        assert texts[0] == texts[1], name
    found = groups(folder)
    # New cells of the seed that was there need no generator that is there; the new seed trains all.
    assert [name for name in found if name.startswith("part2/")] == ["part2/encoder/classify/audio"]
    assert len(found["part3/encoder/generate/class"]) == 2
    assert all("/seed1/" in run for name, runs in found.items() if name.startswith("part3/") for run in runs)
    rows = results(folder)["rows"]
    assert {row["seeds"] for row in rows} == {2}
    outcome = run_eval("score", folder)
    assert outcome.status == 0 and outcome.out.splitlines()[-1].startswith("the same as"), outcome.err
    outcome = run_train(*FLAGS, *SWEEP, "--data-dir", tmp_path / "none", "--run-dir", folder)
    assert (
        outcome.status == 2
        and "holds more than is asked for (seeds 1; variants infogan-notext (generate.ratio=2)" not in outcome.out
    )
    assert outcome.err.startswith(f"error: {folder} holds more than is asked for (seeds 1; variants ")


def test_a_budget_says_what_it_will_finish_and_goes_on(plain: Path, run_train: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(plain, folder)
    command = (*FLAGS, *SWEEP, "--data-dir", tmp_path / "none", "--run-dir", folder, "--budget")
    rows = results(plain)["rows"]
    # A slow machine's times: a second for a step of a head.
    taken = {"what": "classify", "runs": 1, "steps": 10, "seconds": 10.0, "first_chunk_steps": 5, "first_chunk_s": 5.0}
    (folder / "times.jsonl").write_text(json.dumps(taken) + "\n")
    outcome = run_train(*command, "1s")
    assert outcome.status == 0, outcome.err
    for cell in CELLS:
        assert f"budget 1s: {cell} × seed 0: won't" in outcome.err
    assert "4 of 7 variants × cells × seeds × folds are left, of 3 cells: " in outcome.err
    assert results(folder)["rows"] == rows
    outcome = run_train(*command, "9h")
    assert outcome.status == 0, outcome.err
    assert (
        all(f"budget 9h: {cell} × seed 0: will be finished" in outcome.err for cell in CELLS) and "are left" not in outcome.err
    )
    assert [row for row in results(folder)["rows"] if not row["cell"]] == rows


def test_parts_that_were_changed_are_refused(swept: Any, run_train: Any, run_eval: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(swept[0], folder)
    contents = json.loads((folder / "config.json").read_text())
    contents["parts"][0]["arms"].pop()
    (folder / "config.json").write_text(json.dumps(contents))
    for outcome in (
        run_eval("score", folder),
        run_train(*FLAGS, *SWEEP, "--data-dir", tmp_path / "none", "--run-dir", folder),
    ):
        assert outcome.status == 2 and "was changed since training" in outcome.err
