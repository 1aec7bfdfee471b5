"""Less than a run folder holds, or more that can't be trained: what is there stays usable."""

import json
from pathlib import Path
from typing import Any

import pytest

from infoser import experiment, inspection, prediction, presets, saved_config
from infoser.errors import InfoserError
from infoser.overrides import SETTINGS

FLAGS = ("demo", "--data.no-text", "--variants", "none", "--aligned-variants")
FLAGS += ("--classify.width", 8, "--classify.steps", 4, "--chunk-steps", 2)
BROKEN = ("--grid", "classify.learning-rate=0.003,1e36")


@pytest.fixture(scope="module")
def plain(run_train: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[object, ...]]:
    """A run folder of all folds, and its command."""
    folder = tmp_path_factory.mktemp("plain")
    command = (*FLAGS, "--data-dir", folder / "none", "--run-dir", folder / "run")
    outcome = run_train(*command)
    assert outcome.status == 0, outcome.err
    return folder / "run", command


def test_fewer_folds_than_there_are_are_refused(plain: Any, run_train: Any, run_eval: Any) -> None:
    folder, command = plain
    before = (folder / "config.json").read_bytes()
    outcome = run_train(*command, "--folds", "session1")
    assert outcome.status == 2 and "holds more than is asked for (folds session2, session3" in outcome.err
    assert (folder / "config.json").read_bytes() == before
    assert run_eval("score", folder).status == 0


def test_an_extension_that_can_not_be_trained_is_given_up(plain: Any, run_train: Any, run_eval: Any) -> None:
    folder, command = plain
    outcome = run_train(*command, *BROKEN)
    assert outcome.status == 2 and "not finite" in outcome.err
    assert len(json.loads((folder / "config.json").read_text())["parts"]) == 2
    outcome = run_eval("score", folder)  # of what is there
    assert outcome.status == 0 and outcome.out.splitlines()[-1].startswith("the same as"), outcome.err
    outcome = run_train(*command)
    assert outcome.status == 0, outcome.err
    assert "parts" not in json.loads((folder / "config.json").read_text()) and not (folder / "part2").exists()
    outcome = run_train(*command, "--grid", "classify.learning-rate=0.003,0.001")
    assert outcome.status == 0 and (folder / "part2").is_dir(), outcome.err
    outcome = run_train(*command)
    assert outcome.status == 2 and f"delete {folder / 'part2'} to give up what was last added" in outcome.err


def test_a_moved_corpus_and_another_family_are_remembered(plain: Any, run_train: Any, tmp_path: Path) -> None:
    folder, command = plain
    grid = ("--grid", "classify.learning-rate=0.003,0.001", "--primary", "all")
    outcome = run_train(*(tmp_path / "elsewhere" if one == folder.parent / "none" else one for one in command), *grid)
    assert outcome.status == 0, outcome.err
    config = json.loads((folder / "config.json").read_text())["config"]
    assert config["data_dir"] == str(tmp_path / "elsewhere")


def test_a_fold_that_a_budget_left_is_said_to_be_missing(plain: Any, run_train: Any, tmp_path: Path) -> None:
    command = (*plain[1][:-1], tmp_path / "run")
    assert run_train(*command, "--folds", "session1").status == 0
    outcome = run_train(*command, "--budget", "1s")
    assert outcome.status == 0 and "won't" in outcome.err, outcome.err
    config, corpus = experiment.restore(tmp_path / "run")
    for fold, there in (("session1", True), ("session2", False)):
        request = prediction.Request(tmp_path / "run", (), fold=fold)
        if there:
            assert prediction._model(request, config, corpus).fold.name == fold
        else:
            with pytest.raises(InfoserError, match="has nothing of none in fold 'session2' yet"):
                prediction._model(request, config, corpus)


def test_a_branch_that_was_cut_off_at_its_end_is_told_to_be_finished(plain: Any, run_train: Any) -> None:
    folder, command = plain
    times = folder / "times.jsonl"
    lines = times.read_text().splitlines(keepends=True)
    times.write_text("".join(line for line in lines if not line.startswith('{"what": "branch"')))
    grid = ("--grid", "classify.learning-rate=0.003,0.001")
    for count in (2, 2):  # once for each part, and not again
        assert run_train(*command, *grid).status == 0
        told = [line for line in times.read_text().splitlines() if line.startswith('{"what": "branch"')]
        assert len(told) == count


def test_quality_knows_what_an_ablation_adds() -> None:
    config = presets.parse(["demo", "--variants", "none", "--ablate", "cross_modal"])
    request = inspection.Request(Path("run"), variants=("infogan-paired",))
    assert inspection._wanted(request, config, ["a"], ["none", "infogan-paired"]) == {("a", 0)}


def test_no_grid_is_of_a_setting_that_changes_nothing() -> None:
    inert = {name.replace("_", "-") for name in saved_config.INERT}
    assert not inert & set(SETTINGS)
