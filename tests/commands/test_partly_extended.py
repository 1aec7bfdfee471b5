"""An extension that a budget cuts short takes nothing from the tables, and leaves the final refit to another time."""

import json
from pathlib import Path
from typing import Any

FLAGS = ("demo", "--data.no-text", "--folds", "session2", "--variants", "none", "infogan-notext", "--aligned-variants")
FLAGS += ("--grid", "generate.ratio=1,2")
FLAGS += ("--generate.width", 8, "--generate.steps", 4, "--generate.critic-steps", 1, "--generate.loss", "hinge")
FLAGS += ("--classify.width", 8, "--classify.steps", 4, "--chunk-steps", 2)
STAGES = ("align", "generate", "classify")
TABLES = ("scores.csv", "quality.csv", "table.md", "table.tex", "predictions.parquet")


def test_an_extension_that_is_cut_short_and_gone_on_with(run_train: Any, run_eval: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = (*FLAGS, "--data-dir", tmp_path / "none", "--run-dir", folder)
    outcome = run_train(*command)
    assert outcome.status == 0, outcome.err
    before = {name: (folder / name).read_bytes() for name in TABLES}
    # A second for a step of a head: of a seed the base cell takes 12, two heads and a probe; the other 8, a head and a probe.
    times = [{"what": stage, "runs": 1, "steps": 10, "seconds": 10.0 * (stage == "classify")} for stage in STAGES]
    times = [one | {"first_chunk_steps": 5, "first_chunk_s": one["seconds"] / 2} for one in times]
    finished = {"what": "branch", "folder": "encoder", "heads": 3, "seconds": 0.0}
    (folder / "times.jsonl").write_text("".join(json.dumps(one) + "\n" for one in (*times, finished)))
    more = (*command, "--seeds", 0, 1, "--final", "--budget")
    outcome = run_train(*more, "15s")
    assert outcome.status == 0, outcome.err
    assert "budget 15s: base configuration × seed 1: will be finished\n" in outcome.err
    assert "budget 15s: generate.ratio=2 × seed 1: won't\n" in outcome.err
    assert "budget 15s: final refit of none × seeds 0, 1: won't\n" in outcome.err
    assert "of 2 cells" not in outcome.err and "; and the final refit of none × seeds 0, 1; run the same command" in outcome.err
    assert {name: (folder / name).read_bytes() for name in TABLES} == before
    note = "trained, but not in the tables yet: none, infogan-notext on seed 1; for that, the same command has to train "
    assert f"{note}infogan-notext (generate.ratio=2) on seed 1" in json.loads((folder / "results.json").read_text())["notes"]
    assert not (folder / "final").exists()
    outcome = run_eval("score", folder)
    assert outcome.status == 0 and outcome.out.splitlines()[-1].startswith("the same as"), outcome.err
    outcome = run_train(*more, "9h")
    assert outcome.status == 0, outcome.err
    assert "final refit of none × seeds 0, 1: will be finished" in outcome.err and "left;" not in outcome.err
    found = json.loads((folder / "results.json").read_text())
    assert {row["seeds"] for row in found["rows"]} == {2} and {row["cell"] for row in found["rows"]} == {"", "generate.ratio=2"}
    assert not any("not in the tables" in note for note in found["notes"])
    assert json.loads((folder / "final" / "variant.json").read_text()) == {"variant": "none", "seeds": {"none": [0, 1]}}
    outcome = run_train(*more, "1s")  # all is there
    assert outcome.status == 0 and "won't" not in outcome.err and " left" not in outcome.err, outcome.err
