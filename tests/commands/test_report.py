"""`eval.py report` on a run folder as training leaves it: the page, its files, and older folders."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infoser import prediction_table
from infoser.report import embeddings, style


@pytest.fixture(scope="module")
def reported(demo: Any, run_eval: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("report") / "run"
    shutil.copytree(demo.folder, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embeddings, "MOST_ROWS", 40)
        patch.setattr(style, "_PNG_DPI", 40)
        outcome = run_eval("report", folder)
    return folder, outcome


def test_the_command_makes_page_tables_and_figures(reported: tuple[Path, Any]):
    folder, outcome = reported
    assert outcome.status == 0, outcome.err
    assert outcome.out == f"written: {folder / 'report' / 'index.html'}\n"
    names = {path.name for path in (folder / "report" / "figures").iterdir()}
    for name in ("ua", "pca-noise", "tsne-infogan", "confusion-both", "reliability-text", "information"):
        assert {f"{name}.png", f"{name}.pdf"} <= names
    assert (folder / "report" / "tables" / "headline.md").read_text().count("| none |") == 6


def test_predictions_are_those_that_were_scored(demo: Any):
    for cell in ("", "space=aligned"):
        rows = prediction_table.read(demo.folder, cell)
        names = prediction_table.class_names(rows)
        probability = prediction_table.probabilities(rows)
        np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-5)
        label = np.array([names.index(one) for one in rows.column("label").to_pylist()])
        for score in demo.results["rows"]:
            if (score["cell"], score["subset"], score["aggregate"]) != (cell, "all", "pooled"):
                continue
            own = np.array(rows.column("variant").to_pylist()) == score["variant"]
            own &= np.array(rows.column("modality").to_pylist()) == score["modality"]
            assert (probability[own].argmax(axis=1) == label[own]).mean() == pytest.approx(score["wa"])


@pytest.mark.usefixtures("figures_on_the_page_only")
def test_a_run_folder_without_predictions_has_its_heads_asked(reported: tuple[Path, Any], run_eval: Any, tmp_path: Path):
    folder = tmp_path / "run"
    shutil.copytree(reported[0], folder)
    (folder / "predictions.parquet").unlink()
    outcome = run_eval("report", folder, "--no-embeddings", "--out", tmp_path / "elsewhere")
    assert outcome.status == 0, outcome.err
    before, after = ((one / "tables" / "worst.csv").read_text() for one in (folder / "report", tmp_path / "elsewhere"))
    assert before == after
    assert "left out by --no-embeddings" in (tmp_path / "elsewhere" / "index.html").read_text()


def test_what_is_missing_is_said_in_one_line(run_eval: Any, tmp_path: Path, demo: Any):
    for folder, message in ((tmp_path / "none", "is not a run folder"), (tmp_path / "half", "training has not finished")):
        if folder.name == "half":
            folder.mkdir()
            shutil.copy(demo.folder / "config.json", folder)
        outcome = run_eval("report", folder)
        assert outcome.status == 2 and message in outcome.err and outcome.err.count("\n") == 1


def test_settings_and_notes_are_on_the_page(reported: tuple[Path, Any]):
    page = (reported[0] / "report" / "index.html").read_text()
    assert "--generate.steps" in page and json.loads((reported[0] / "results.json").read_text())["notes"][0][:40] in page
    assert "eval.py quality" in page  # how to get the panel that is not there
