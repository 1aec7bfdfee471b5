"""Which cells make a curve, and what loss terms a run folder has."""

import dataclasses
import json
import shutil
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
            subset="all",
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


def _levels(figure: Any) -> list[tuple[float, tuple[float, float] | None]]:
    """Of each panel the height of its horizontal line of none, and its band."""
    found = []
    for axis in figure.axes:
        (line,) = (one for one in axis.lines if one.get_label() == "none")
        heights = set(np.asarray(line.get_ydata(), float).tolist())
        assert len(heights) == 1 and list(line.get_xdata()) == [0, 1]  # all of the axis' width
        bands = [np.concatenate([one.get_path().vertices]) for one in axis.patches]
        corners = [one.get_patch_transform().transform(at)[:, 1] for one, at in zip(axis.patches, bands, strict=True)]
        found.append((heights.pop(), (corners[0].min(), corners[0].max()) if corners else None))
    return found


def _without(found: sources.Sources, *cells: str) -> sources.Sources:
    """The same without the rows of none in these cells."""
    rows = [row for row in found.rows if row["variant"] != "none" or row["cell"] not in cells]
    return dataclasses.replace(found, results={**found.results, "rows": rows})


@pytest.mark.parametrize("own", [True, False], ids=["with the own value", "without"])
def test_none_with_a_single_value_is_a_line_across(run: Path, own: bool):
    cells = {0.25: "generate.ratio=0.25", 0.5: "generate.ratio=0.5"} | ({1.0: ""} if own else {})
    less = _without(sources.read(run), "generate.ratio=0.25", "generate.ratio=0.5")
    with style.styled():
        picture, _ = curves.response(less, "generate.ratio", "", cells)
    for (height, band), modality in zip(_levels(picture.figure), ("audio", "text", "both"), strict=True):
        (row,) = less.pick(variant="none", cell="", modality=modality, subset="all", aggregate="pooled")
        assert height == 100 * row["ua"]
        assert row["ua_low"] is not None and band == pytest.approx((100 * row["ua_low"], 100 * row["ua_high"]))
    assert "Dotted: none" in picture.caption
    assert [one.get_text() for one in picture.figure.legends[0].get_texts()].count("none") == 1


def test_none_of_another_base_cell_is_drawn_too(make_run: Any, tmp_path: Path):
    base, other = "space=joined", {0.25: "generate.ratio=0.25 space=joined", 0.5: "generate.ratio=0.5 space=joined"}
    run = make_run(tmp_path / "run", cells=(base, *other.values()), modalities=("audio",), space="joined")
    found = _without(sources.read(run), *other.values())
    assert found.base == base
    (row,) = found.pick(variant="none", cell=base, subset="all", aggregate="pooled")
    with style.styled():
        for cells in (other, {**other, 1.0: base}):
            picture, _ = curves.response(found, "generate.ratio", "space=joined", cells)
            assert [height for height, _ in _levels(picture.figure)] == [100 * row["ua"]]


def test_none_with_several_values_is_a_curve(run: Path):
    with style.styled():
        picture, _ = curves.response(sources.read(run), "label-fraction", "", {0.1: "label-fraction=0.1", 1.0: ""})
    for axis in picture.figure.axes:
        (line,) = (one for one in axis.lines if one.get_label() == "none")
        assert list(line.get_xdata()) == [0.1, 1.0]
    assert "Dotted" not in picture.caption


def test_parts_of_a_group_are_one_curve(run: Path, tmp_path: Path):
    shutil.copytree(run, tmp_path / "run")
    (whole, *_) = sources.read(run).curves
    path = tmp_path / "run" / whole.group / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    folds = [fold for fold, _, _ in whole.runs]
    for number, of_part in enumerate(([folds[0]], sorted({*folds} - {folds[0]})), start=1):
        part = path.parent / f"part{number}of2" / "metrics.jsonl"
        part.parent.mkdir()
        part.write_text("".join(line for line in lines if json.loads(line)["run"].split("/")[0] in of_part))
    path.unlink()
    found = sources.read(tmp_path / "run").curves
    assert [curve.group for curve in found] == [curve.group for curve in sources.read(run).curves]
    assert sorted(found[0].runs) == sorted(whole.runs) and found[0].steps.tolist() == whole.steps.tolist()
    for term, values in whole.terms.items():
        order = [list(found[0].runs).index(one) for one in whole.runs]
        np.testing.assert_array_equal(found[0].terms[term][order], values)


def test_of_many_variants_the_first_are_drawn_and_the_rest_is_said(run: Path):
    curve = sources.read(run).curves[0]
    runs = [("session1", 0, f"infogan {number}") for number in range(40)]
    values = np.ones((len(runs), len(curve.steps)))
    with style.styled():
        picture = curves.training(dataclasses.replace(curve, terms={"a": values}, runs=runs), 0)
    assert picture is not None
    assert [one.get_text() for one in picture.figure.legends[0].get_texts()] == [f"infogan {number}" for number in range(10)]
    assert f"30 further variants are in the metrics.jsonl of {curve.group}." in picture.caption


def test_legends_of_training_curves_have_whole_names(run: Path):
    settings = "generate.adversarial-weight=0.5 generate.information-weight=0.25 generate.text-mi-weight=0.125 space=joined"
    variants = ["none", *(f"infogan generate.ratio={one}" for one in (0.05, 0.1, 0.25, 0.5, 2, 4)), f"infogan {settings}"]
    variants += [f"infogan {settings} stages.{key}=0.{key * 90}" for key in "12"]
    curve = sources.read(run).curves[0]
    values = np.ones((len(variants), len(curve.steps)))
    runs = [("session1", 0, variant) for variant in variants]
    with style.styled():
        picture = curves.training(dataclasses.replace(curve, terms=dict.fromkeys("abc", values), runs=runs), 0)
        assert picture is not None
        picture.figure.draw_without_rendering()
    (legend,) = picture.figure.legends
    texts = [one.get_text() for one in legend.get_texts()]
    assert len(set(texts)) == len(variants)
    for name, said in zip(variants, texts, strict=True):
        assert "".join(said.split()) == "".join(name.split()) and max(map(len, said.split("\n"))) <= 60
    box, whole = legend.get_window_extent(), picture.figure.bbox
    assert box.x0 >= 0 and box.x1 <= whole.x1 and box.y1 <= whole.y1
    # The panels keep their room below it.
    assert all(axis.get_window_extent().height > 0.9 * picture.figure.dpi for axis in picture.figure.axes)


def test_a_training_of_a_single_chunk_is_a_point_that_can_be_seen(run: Path):
    curve = sources.read(run).curves[0]
    markers = {}
    for count in (1, len(curve.steps)):
        terms = {"a": np.ones((len(curve.runs), count))}
        with style.styled():
            picture = curves.training(dataclasses.replace(curve, steps=curve.steps[:count], terms=terms), 0)
            assert picture is not None
            markers[count] = {line.get_marker() for line in picture.figure.axes[0].lines}
    assert len(curve.steps) > 1 and markers[len(curve.steps)] <= {"None", None}
    assert not markers[1] & {"None", None, ""}


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
