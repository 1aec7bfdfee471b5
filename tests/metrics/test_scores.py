"""Score rows against a hand-computed example, their definitions, and what is refused."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from infoser.metrics.intervals import ua_difference_interval, ua_interval
from infoser.metrics.scores import Predictions, score_rows

# fold a tests rows 0-5, fold b rows 6-9; row 10 is in training only
LABEL = np.array([0, 0, 0, 0, 1, 1, 0, 1, 1, 1, -1])
SPEAKER = np.array(["s1"] * 6 + ["s2"] * 4 + ["s3"])
MASKS = {
    "a": {"all": np.ones(6, bool), "improvised": np.array([1, 1, 0, 0, 1, 0], bool)},
    "b": {"all": np.ones(4, bool), "improvised": np.zeros(4, bool)},
}
PREDICTED = {
    # variant, fold, seed
    ("none", "a", 0): [0, 0, 1, 1, 1, 0],  # recalls 2/4, 1/2
    ("none", "a", 1): [0, 0, 0, 1, 1, 0],  # 3/4, 1/2
    ("none", "b", 0): [0, 1, 0, 0],  # 1, 1/3
    ("none", "b", 1): [1, 1, 1, 0],  # 0, 2/3
    ("mixup", "a", 0): [0, 0, 0, 1, 1, 1],  # 3/4, 1
    ("mixup", "a", 1): [0, 0, 0, 0, 1, 0],  # 1, 1/2
    ("mixup", "b", 0): [0, 1, 1, 0],  # 1, 2/3
    ("mixup", "b", 1): [0, 1, 1, 1],  # 1, 1
}
ROWS = {"a": np.arange(6), "b": np.arange(6, 10)}


def small_runs(cell="", variants=("none", "mixup")):
    return [
        Predictions(variant, cell, "audio", seed, fold, ROWS[fold], np.array(predicted))
        for (variant, fold, seed), predicted in PREDICTED.items()
        if variant in variants
    ]


def score(runs, label=LABEL, speaker=SPEAKER, masks=MASKS, classes=("angry", "sad")):
    return score_rows(
        runs,
        label=label,
        speaker=speaker,
        classes=classes,
        subset_masks=masks,
        protocol="session",
        label_fraction=1.0,
    )


def find(scores, **wanted):
    (row,) = [row for row in scores.rows if all(row[key] == value for key, value in wanted.items())]
    return row


def test_fold_rows_average_seeds():
    row = find(score(small_runs()), variant="none", subset="all", aggregate="a")
    assert row["seeds"] == 2 and row["folds"] == 1 and row["n"] == 6
    assert row["wa"] == pytest.approx((3 / 6 + 4 / 6) / 2)
    assert row["ua"] == pytest.approx((0.5 + 0.625) / 2)
    assert row["ua_std"] == pytest.approx(np.std([0.5, 0.625], ddof=1))
    f1_of_seeds = [(4 / 7 + 2 / 5) / 2, (6 / 8 + 2 / 4) / 2]
    assert row["macro_f1"] == pytest.approx(np.mean(f1_of_seeds))
    assert row["confusion"] == [[5, 3], [2, 2]]
    assert row["recalls"] == pytest.approx({"angry": 5 / 8, "sad": 1 / 2})
    assert row["ua_low"] is row["ua_high"] is row["ua_minus_none"] is row["ua_minus_none_low"] is None
    assert (row["protocol"], row["label_fraction"], row["modality"], row["cell"]) == ("session", 1.0, "audio", "")


def test_mean_averages_folds_and_pooled_averages_seeds():
    scores = score(small_runs())
    none_a, none_b = np.array([0.5, 0.625]), np.array([2 / 3, 1 / 3])
    mean = find(scores, variant="none", subset="all", aggregate="mean")
    assert mean["ua"] == pytest.approx((none_a.mean() + none_b.mean()) / 2)
    assert mean["ua_std"] == pytest.approx(np.std([none_a.mean(), none_b.mean()], ddof=1))
    assert (mean["n"], mean["folds"], mean["seeds"]) == (10, 2, 2)
    assert mean["recalls"] == pytest.approx({"angry": (5 / 8 + 1 / 2) / 2, "sad": (1 / 2 + 1 / 2) / 2})
    pooled = find(scores, variant="none", subset="all", aggregate="pooled")
    # seed 0: angry 3 of 5, sad 2 of 5; seed 1: angry 3 of 5, sad 3 of 5
    assert pooled["ua"] == pytest.approx((0.5 + 0.6) / 2)
    assert pooled["ua_std"] == pytest.approx(np.std([0.5, 0.6], ddof=1))
    assert pooled["wa"] == pytest.approx((5 / 10 + 6 / 10) / 2)
    assert pooled["confusion"] == mean["confusion"] == [[6, 4], [5, 5]]
    assert (pooled["n"], pooled["folds"]) == (10, 2)


def test_differences_are_paired_by_fold_and_seed():
    scores = score(small_runs())
    expected = {
        "a": np.mean([0.875 - 0.5, 0.75 - 0.625]),
        "b": np.mean([5 / 6 - 2 / 3, 1 - 1 / 3]),
        "pooled": np.mean([0.8 - 0.5, 0.9 - 0.6]),  # seed 0: 4/5, 4/5; seed 1: 5/5, 4/5
    }
    expected["mean"] = (expected["a"] + expected["b"]) / 2
    for aggregate, value in expected.items():
        row = find(scores, variant="mixup", subset="all", aggregate=aggregate)
        assert row["ua_minus_none"] == pytest.approx(value), aggregate


def test_a_fold_without_the_subset_has_no_row_and_a_note():
    scores = score(small_runs())
    assert not [row for row in scores.rows if row["subset"] == "improvised" and row["aggregate"] == "b"]
    assert "subset 'improvised' is empty in fold 'b'" in scores.notes
    mean = find(scores, variant="mixup", subset="improvised", aggregate="mean")
    assert (mean["folds"], mean["n"], mean["ua_std"]) == (1, 3, None)
    assert mean["ua"] == find(scores, variant="mixup", subset="improvised", aggregate="pooled")["ua"] == 1.0


def test_few_speakers_are_noted_and_give_no_interval():
    scores = score(small_runs())
    assert any("2 speakers" in note for note in scores.notes)
    assert all(row["ua_low"] is None and row["ua_minus_none_low"] is None for row in scores.rows)


def test_reference_is_the_cells_own_none_else_that_of_the_empty_cell():
    other = [replace(run, cell="c", variant="mixup") for run in small_runs(variants=("none",))]
    borrowed = find(score(small_runs() + other), cell="c", variant="mixup", subset="all", aggregate="pooled")
    assert borrowed["ua_minus_none"] == 0.0
    own = [replace(run, cell="c", variant="none") for run in small_runs(variants=("mixup",))]
    paired = find(score(small_runs() + other + own), cell="c", variant="mixup", subset="all", aggregate="pooled")
    assert paired["ua_minus_none"] == pytest.approx(-0.3)
    alone = find(score(small_runs(variants=("mixup",))), variant="mixup", subset="all", aggregate="mean")
    assert alone["ua_minus_none"] is None


def test_a_class_absent_from_a_folds_truth_is_none_and_ignored():
    masks = {"a": {"all": np.array([1, 1, 1, 1, 0, 0], bool)}, "b": {"all": np.ones(4, bool)}}
    scores = score(small_runs(), masks=masks)
    row = find(scores, variant="none", aggregate="a")
    assert row["recalls"]["sad"] is None and row["ua"] == pytest.approx(5 / 8)
    mean = find(scores, variant="none", aggregate="mean")
    assert mean["recalls"] == pytest.approx({"angry": (5 / 8 + 1 / 2) / 2, "sad": 1 / 2})


def large_runs(n_speakers=10, folds=5, seeds=3, variants=("none", "noise"), modalities=("audio",)):
    rng = np.random.default_rng(0)
    n = 5500
    speaker = rng.integers(0, n_speakers, n)
    label = rng.integers(0, 4, n)
    fold = speaker % folds
    rows = {f"f{index}": np.flatnonzero(fold == index) for index in range(folds)}
    masks = {
        name: {"all": np.ones(len(r), bool), "improvised": rng.random(len(r)) < 0.5, "text_disjoint": r % 3 > 0}
        for name, r in rows.items()
    }
    runs = [
        Predictions(variant, "", modality, seed, name, r, np.where(rng.random(len(r)) < 0.6, label[r], (label[r] + 1) % 4))
        for variant in variants
        for modality in modalities
        for seed in range(seeds)
        for name, r in rows.items()
    ]
    return runs, dict(label=label, speaker=speaker.astype(str), masks=masks, classes=("ang", "hap", "neu", "sad"))


def test_pooled_intervals_are_those_over_speakers():
    runs, corpus = large_runs()
    row = find(score(runs, **corpus), variant="noise", subset="all", aggregate="pooled")
    counts = {variant: np.zeros((3, 10, 4, 4)) for variant in ("none", "noise")}
    for run in runs:
        speakers = corpus["speaker"][run.rows].astype(int)
        np.add.at(counts[run.variant], (run.seed, speakers, corpus["label"][run.rows], run.predicted), 1)
    assert (row["ua_low"], row["ua_high"]) == ua_interval(counts["noise"])
    difference = ua_difference_interval(counts["noise"], counts["none"])
    assert (row["ua_minus_none_low"], row["ua_minus_none_high"]) == difference
    assert row["ua_low"] < row["ua"] < row["ua_high"]


def test_order_of_predictions_and_of_their_rows_changes_nothing():
    runs, corpus = large_runs()
    rng = np.random.default_rng(1)
    shuffled = []
    for index in rng.permutation(len(runs)):
        order = rng.permutation(len(runs[index].rows))
        shuffled.append(replace(runs[index], rows=runs[index].rows[order], predicted=runs[index].predicted[order]))
    assert score(shuffled, **corpus) == score(runs, **corpus)


def test_rows_survive_json():
    runs, corpus = large_runs()
    scores = score(runs, **corpus)
    assert json.loads(json.dumps(scores.rows, allow_nan=False)) == scores.rows


def test_a_whole_evaluation_takes_seconds():
    runs, corpus = large_runs(variants=("none", "noise", "mixup", "smote", "learned"), modalities=("audio", "text", "both"))
    start = time.perf_counter()
    scores = score(runs, **corpus)
    assert time.perf_counter() - start < 5
    assert len(scores.rows) == 5 * 3 * 3 * (5 + 2)


def test_one_seed_and_one_fold_have_no_spread():
    runs = [run for run in small_runs() if run.seed == 0 and run.fold == "a"]
    scores = score(runs)
    assert {row["ua_std"] for row in scores.rows} == {None}
    mean = find(scores, variant="none", subset="all", aggregate="mean")
    assert_allclose([mean["ua"], mean["n"], mean["seeds"], mean["folds"]], [0.5, 6, 1, 1])


def _without(index):
    return lambda runs: runs[:index] + runs[index + 1 :]


def _change(index, **changes):
    return lambda runs: runs[:index] + [replace(runs[index], **changes)] + runs[index + 1 :]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_without(4), "lacks seed"),
        (lambda runs: [run for run in runs if run.variant == "none" or run.seed == 0], "cannot be paired"),
        (lambda runs: [run for run in runs if run.variant == "none" or run.fold == "a"], "cannot be paired"),
        (lambda runs: [*runs, runs[0]], "twice"),
        (_change(4, rows=np.array([0, 1, 2, 3, 4, 10])), "cannot be paired"),
        (_change(0, predicted=np.array([0, 1])), "rows but"),
        (_change(0, predicted=np.array([0, 0, 1, 1, 1, 2])), "outside"),
        (_change(0, fold="c"), "subset masks"),
        (lambda runs: [replace(run, rows=run.rows + 1) for run in runs], "without a label"),
    ],
)
def test_what_cannot_be_scored_is_refused(edit, message):
    with pytest.raises(ValueError, match=message):
        score(edit(small_runs()))


def test_a_mask_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="mask"):
        score(small_runs(), masks={"a": {"all": np.ones(5, bool)}, "b": {"all": np.ones(4, bool)}})
