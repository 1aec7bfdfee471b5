"""The long-form table: overrides as columns, and p-values that hold together over the named family."""

from typing import Any

import pytest

from infoser import presets, results
from infoser.cells import sweep
from infoser.metrics.intervals import holm
from infoser.metrics.scores import Scores

FLAGS = ("--variants", "none", "noise", "--grid", "generate.row-weight=1", "--ablate", "ratio", "label_fraction")
ARMS = [
    ("", "none"),
    ("", "noise"),
    ("generate.ratio=2", "noise"),
    ("label-fraction=0.1", "none"),
    ("label-fraction=0.1", "noise"),
]
P = {("", "noise"): 0.02, ("generate.ratio=2", "noise"): 0.01, ("label-fraction=0.1", "noise"): None}


def table(*flags: str) -> dict[tuple[str, ...], dict[str, Any]]:
    config = presets.parse(["demo", *FLAGS, *flags, "--aligned-variants"])
    key = ("cell", "variant", "modality", "subset", "aggregate")
    rows = [
        dict(zip(key, (*arm, modality, subset, aggregate), strict=True)) | {"ua": 0.5, "recalls": {}, "confusion": []}
        for arm in ARMS
        for modality in ("audio", "text")
        for subset in ("all", "improvised")
        for aggregate in ("mean", "pooled")
    ]
    p_values = {
        (variant, cell, modality, subset): P[cell, variant]
        for cell, variant in P
        for modality in ("audio", "text")
        for subset in ("all", "improvised")
    }
    made = results.long_table(rows, Scores(rows, [], p_values), sweep(config), config)
    assert len(made) == len(rows) and len({tuple(row) for row in made}) == 1
    return {tuple(row[name] for name in key): row for row in made}


def test_settings_that_do_not_concern_none_share_its_learning_curve() -> None:
    config = presets.parse(
        ["demo", "--variants", "none", "noise", "--grid", "label-fraction=1,0.25,0.1", "--grid", "generate.ratio=1,2"]
        + ["--grid", "classify.width=32,64", "--classify.width", "32"]
    )
    curves = {"classify.width=32": {1.0: 0.7, 0.25: 0.6, 0.1: 0.5}, "classify.width=64": {1.0: 0.8, 0.25: 0.6, 0.1: 0.4}}
    found = sweep(config)
    rows = []
    for cell, variant in found.arms:
        own = cell.split(" ") if cell else []
        at = next((float(one.partition("=")[2]) for one in own if one.startswith("label-fraction")), 1.0)
        width = next((one for one in own if one.startswith("classify.width")), "classify.width=32")
        gain = {"ua_minus_none": 0.0 if at == 1 else 0.1, "ua_minus_none_low": None, "ua_minus_none_high": None}
        rows.append(
            {"cell": cell, "variant": variant, "modality": "audio", "subset": "all", "aggregate": "pooled"}
            | {"ua": curves[width][at], "recalls": {}, "confusion": []}
            | (gain if variant == "noise" else {"ua_minus_none": None})
        )
    made = {
        row["cell"]: row for row in results.long_table(rows, Scores(rows, [], {}), found, config) if row["variant"] == "noise"
    }
    assert any("generate.ratio=2" in cell and "label-fraction=0.1" in cell for cell in made)
    for cell, row in made.items():
        wide = "classify.width=64" in cell
        # Half a point of the narrow curve is one step of it, of the wide one half a step (in ln f).
        expected = {1.0: 1.0, 0.25: 4.0 ** (0.5 if wide else 1.0), 0.1: 2.5 ** (0.5 if wide else 1.0)}
        assert row["label_multiplier"] == pytest.approx(expected[row["label-fraction"]]), cell
        assert row["label_multiplier_bound"] == ""


def test_overrides_are_columns_and_base_values_are_filled_in() -> None:
    made = table()
    columns = {arm: made[*arm, "audio", "all", "mean"] for arm in ARMS}
    assert {arm: row["generate.ratio"] for arm, row in columns.items()} == {
        arm: 2.0 if "ratio" in arm[0] else 1.0 for arm in ARMS
    }
    assert {arm: row["label-fraction"] for arm, row in columns.items()} == {
        arm: 0.1 if "label" in arm[0] else 1.0 for arm in ARMS
    }


@pytest.mark.parametrize("primary, arms", [("all", list(P)), ("ratio", list(P)[:2]), ("label_fraction", [*list(P)[::2]])])
def test_holm_is_over_the_family_that_is_named(primary: str, arms: list[tuple[str, str]]) -> None:
    made = table("--primary", primary)
    members = {key for key, row in made.items() if row["family"]}
    assert members == {(*arm, modality, "all", "pooled") for arm in arms for modality in ("audio", "text")}
    import numpy as np

    ordered = [key for key in made if key in members]
    # A difference without a p-value is one of those that were looked at.
    expected = holm(np.array([P[key[0], key[1]] or 1.0 for key in ordered]))
    for key, adjusted in zip(ordered, expected, strict=True):
        known = P[key[0], key[1]] is not None
        assert made[key]["ua_minus_none_p_holm"] == (pytest.approx(adjusted) if known else None)
        assert made[key]["family"] == primary and made[key]["family_size"] == len(members)
    for key, row in made.items():
        if key not in members:
            assert row["ua_minus_none_p_holm"] is None and row["family_size"] is None
        if key[4] == "mean" or key[1] == "none":
            assert row["ua_minus_none_p"] is None
        else:
            assert row["ua_minus_none_p"] == P[key[0], key[1]]
