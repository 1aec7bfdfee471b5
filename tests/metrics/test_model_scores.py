"""Scores of several models on the same utterances, against what each of them scores alone."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose

from infoser.metrics.model_scores import Posterior, restricted, score_models

RNG = np.random.default_rng(0)
N, CLASSES = 60, ("a", "b", "c")
LABEL = RNG.integers(0, 3, N)
SPEAKER = np.array([f"s{row % 6}" for row in range(N)])
MASKS = {"all": np.ones(N, bool), "improvised": np.arange(N) % 4 < 2}


def posterior(variant: str, fold: str, seed: int) -> Posterior:
    rng = np.random.default_rng([len(variant), ord(fold[0]), seed])
    logits = 1.2 * np.eye(3)[LABEL] + rng.normal(size=(N, 3))
    return Posterior(variant, "", "audio", seed, fold, restricted(logits, np.arange(3)))


POSTERIORS = [posterior(*one) for one in [(v, f, s) for v in ("none", "noise") for f in "xyz" for s in (0, 1)]]
SETTINGS = {"label": LABEL, "speaker": SPEAKER, "classes": CLASSES, "masks": MASKS, "protocol": "p", "label_fraction": 1.0}


def recalls(predicted: np.ndarray, mask: np.ndarray) -> float:
    return float(np.mean([(predicted[mask & (LABEL == one)] == one).mean() for one in range(3)]))


@pytest.fixture(scope="module")
def rows():
    return {(row["variant"], row["subset"], row["aggregate"]): row for row in score_models(POSTERIORS, **SETTINGS).rows}


def test_rows_are_of_each_fold_their_mean_and_their_ensemble(rows):
    aggregates = {"x", "y", "z", "mean", "ensemble"}
    assert set(rows) == {(v, s, a) for v in ("none", "noise") for s in MASKS for a in aggregates}


@pytest.mark.parametrize("subset", MASKS)
@pytest.mark.parametrize("variant", ["none", "noise"])
def test_mean_and_ensemble_by_hand(rows, variant, subset):
    mask = MASKS[subset]
    own = [each for each in POSTERIORS if each.variant == variant]
    mean, ensemble = rows[variant, subset, "mean"], rows[variant, subset, "ensemble"]
    assert_allclose(mean["ua"], np.mean([recalls(each.probability.argmax(axis=1), mask) for each in own]))
    together = [np.mean([each.probability for each in own if each.seed == seed], axis=0).argmax(axis=1) for seed in (0, 1)]
    assert_allclose(ensemble["ua"], np.mean([recalls(each, mask) for each in together]))
    for row in (mean, ensemble):
        assert row["n"] == mask.sum() and (row["folds"], row["seeds"]) == (3, 2)
        assert row["ua_low"] < row["ua"] < row["ua_high"]
        assert (row["ua_minus_none"] is None) == (variant == "none")
    assert np.sum(mean["confusion"]) == 6 * mask.sum()
    assert_allclose(np.mean(list(mean["recalls"].values())), mean["ua"])


def test_the_mean_s_difference_lies_in_its_interval(rows):
    row = rows["noise", "all", "mean"]
    assert_allclose(row["ua_minus_none"], row["ua"] - rows["none", "all", "mean"]["ua"])
    assert row["ua_minus_none_low"] < row["ua_minus_none"] < row["ua_minus_none_high"]


def test_the_reference_of_a_cell_without_one_is_the_base_cell_s():
    moved = [dataclasses.replace(one, cell="space=joined" + " more" * (one.variant == "noise")) for one in POSTERIORS]
    for base, compared in (("space=joined", True), ("", False)):
        found = [row for row in score_models(moved, **SETTINGS, base_cell=base).rows if row["variant"] == "noise"]
        assert found and all((row["ua_minus_none"] is not None) == compared for row in found)


def test_one_model_has_no_ensemble():
    scores = score_models([posterior("none", "final", 0)], **SETTINGS)
    assert [row["aggregate"] for row in scores.rows if row["subset"] == "all"] == ["final", "mean"]


def test_four_speakers_give_no_interval_and_that_is_said():
    scores = score_models(POSTERIORS, **(SETTINGS | {"speaker": np.array([f"s{row % 4}" for row in range(N)])}))
    assert all(row["ua_low"] is None for row in scores.rows)
    assert "no intervals on subset 'all': 4 speakers, and they need 5" in scores.notes


def test_posteriors_over_some_classes():
    logs = np.log(np.array([[0.5, 0.3, 0.2], [0.98, 0.01, 0.01]], np.float32))
    assert_allclose(restricted(logs, np.array([1, 2])), [[0.6, 0.4], [0.5, 0.5]], atol=1e-6)
