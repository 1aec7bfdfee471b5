"""Which cells make a curve, and what loss terms a run folder has."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infoser.errors import InfoserError
from infoser.report import curves, sources, style


def test_cells_are_overrides_by_key():
    assert curves.overrides("") == {}
    found = curves.overrides("generate.ratio=0.25 generate.text-mi-weight=0 space=aligned")
    assert found == {"generate.ratio": "0.25", "generate.text-mi-weight": "0", "space": "aligned"}


def test_a_curve_has_the_configurations_own_value_too(run: Path):
    found = curves.studied(sources.read(run))
    assert found == {
        "generate.ratio": {"": {0.25: "generate.ratio=0.25", 0.5: "generate.ratio=0.5", 1.0: ""}},
        "label-fraction": {"": {0.1: "label-fraction=0.1", 1.0: ""}},
    }


def test_a_grid_has_a_curve_for_each_value_of_the_other_settings(make_run: Any, tmp_path: Path):
    cells = [f"generate.ratio={ratio} space={space}" for ratio in (0.5, 2) for space in ("aligned", "joined")]
    found = curves.studied(sources.read(make_run(tmp_path / "run", cells=cells, modalities=("audio",))))
    assert found == {
        "generate.ratio": {
            f"space={space}": {0.5: f"generate.ratio=0.5 space={space}", 2.0: f"generate.ratio=2 space={space}"}
            for space in ("aligned", "joined")
        }
    }


def test_the_table_of_a_curve_has_its_points(run: Path):
    found = sources.read(run)
    with style.styled():
        picture, table = curves.response(found, "generate.ratio", "", {0.25: "generate.ratio=0.25", 1.0: ""})
    assert {row["value"] for row in table.rows} == {0.25, 1.0} and len(table.rows) == 2 * 2 * 3
    for row in table.rows:
        (own,) = found.pick(
            cell={0.25: "generate.ratio=0.25", 1.0: ""}[row["value"]],
            variant=row["variant"],
            modality=row["modality"],
            aggregate="pooled",
        )
        assert row["ua"] == own["ua"]
    assert "1: " in picture.alt


@pytest.mark.parametrize(
    ("values", "scale"),
    [((0.0, 0.05, 1.0), "symlog"), ((0.05, 1.0), "log"), ((0.0, 1.0), "linear"), ((-1.0, 0.1, 1.0), "linear")],
)
def test_values_that_span_much_are_apart(run: Path, values: tuple[float, ...], scale: str):
    with style.styled():
        picture, _ = curves.response(sources.read(run), "generate.ratio", "", dict.fromkeys(values, ""))
    assert {axis.get_xscale() for axis in picture.figure.axes} == {scale}


def test_a_modality_that_has_no_row_in_the_cells_of_a_curve_has_no_panel(run: Path):
    found = sources.read(run)
    cells = {0.25: "generate.ratio=0.25", 1.0: ""}
    assert {row["modality"] for row in found.rows} == {"audio", "text", "both"}
    rows = [row for row in found.rows if row["modality"] != "text" or row["cell"] not in cells.values()]
    less = dataclasses.replace(found, results={**found.results, "rows": rows})
    with style.styled():
        picture, _ = curves.response(less, "generate.ratio", "", cells)
    assert [axis.get_title(loc="left") for axis in picture.figure.axes] == ["audio", "both"]


def test_a_term_that_is_0_throughout_has_no_panel(run: Path):
    curve = sources.read(run).curves[0]
    shape = next(iter(curve.terms.values())).shape
    nothing = dataclasses.replace(curve, terms={**curve.terms, "generated": np.zeros(shape)})
    with style.styled():
        picture = curves.training(nothing, 0)
        assert curves.training(dataclasses.replace(curve, terms={"generated": np.zeros(shape)}), 0) is None
    assert picture is not None
    titles = [axis.get_title(loc="left") for axis in picture.figure.axes]
    assert titles == [term for term in curve.terms if term != "generated"] and titles


def test_loss_terms_are_read_run_by_run(tmp_path: Path, make_run: Any):
    run = make_run(tmp_path / "run", modalities=("audio",), folds=("a/b", "c"))
    (curve,) = sources.read(run).curves
    assert curve.group == "encoder/classify/audio" and curve.steps.tolist() == [5, 10, 15]
    assert set(curve.runs) == {(fold, seed, v) for fold in ("a/b", "c") for seed in (0, 1) for v in ("none", "infogan")}
    assert all(values.shape == (8, 3) and np.isfinite(values).all() for values in curve.terms.values())
    with style.styled():
        assert curves.training(curve, 0) is not None


def test_a_half_written_last_line_is_passed_over_but_no_other(tmp_path: Path, make_run: Any):
    run = make_run(tmp_path / "run", modalities=("audio",))
    path = run / "encoder" / "classify" / "audio" / "metrics.jsonl"
    whole = path.read_text()
    path.write_text(whole + '{"step": 20, "ru')
    assert sources.read(run).curves[0].steps.tolist() == [5, 10, 15]
    path.write_text('{"step": 20, "ru\n' + whole)
    with pytest.raises(InfoserError, match="line 1"):
        sources.read(run)
