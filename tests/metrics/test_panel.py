"""The panel: the sizes it draws, what it says of good, shifted and copying generators, classes, and refusals."""

import dataclasses
import json

import numpy as np
import pytest

from infoser.errors import InfoserError
from infoser.metrics.frechet import frechet_distance
from infoser.metrics.kernel_distance import squared_discrepancy
from infoser.metrics.panel import Labelled, PanelOptions, panel, panel_by_class

DIM = 4
QUICK = PanelOptions(repeats=3)
QUICKER = PanelOptions(repeats=2)


def rows(seed, n, shift=0.0):
    return shift + np.random.default_rng(seed).standard_normal((n, DIM))


@pytest.fixture(scope="module")
def fresh():
    """The panel of a generator that draws from the real distribution."""
    return panel(rows(0, 150), rows(1, 121), rows(2, 300), QUICK)


def test_all_samples_have_half_of_the_smallest_source(fresh):
    assert (fresh["rows"], fresh["generated_rows"], fresh["reference_rows"], fresh["train_rows"]) == (60, 150, 121, 300)
    assert (fresh["repeats"], fresh["dimensions"], fresh["pca_components"]) == (3, DIM, 6)
    few = panel(rows(0, 150), rows(1, 120), rows(2, 300), dataclasses.replace(QUICK, most_rows=30, repeats=2))
    assert few["rows"] == 30


def test_samples_are_drawn_from_their_sources_and_the_halves_are_disjoint(monkeypatch):
    seen = []

    def record(draw, train, *others):
        seen.append([{tuple(row) for row in sample} for sample in draw])
        assert len(train) == 300
        return {"nothing": {"value": 0.0}}

    monkeypatch.setattr("infoser.metrics.panel._measures", record)
    sources = rows(0, 150), rows(1, 121), rows(2, 300)
    panel(*sources, QUICK)
    made, real, trained = ({tuple(row) for row in source} for source in sources)
    assert len(seen) == 3
    for generated, reference, fresh, train in seen:
        assert {len(sample) for sample in (generated, reference, fresh, train)} == {60}
        assert generated <= made and reference <= real and fresh <= real and train <= trained
        assert not reference & fresh
    assert seen[0] != seen[1]


def test_a_perfect_generator_is_like_real_rows(fresh):
    measures = fresh["measures"]
    for name in ("frechet", "frechet_pca", "kid", "mmd", "precision", "recall", "density", "coverage"):
        one = measures[name]
        for key in ("real_", "train_", ""):
            assert one[f"{key}low"] <= one[key[:-1] or "value"] <= one[f"{key}high"]
        assert one["low"] < one["real_high"] and one["real_low"] < one["high"]
    assert measures["two_sample_accuracy"]["p"] > 0.01
    assert measures["memorised_auc"]["p"] > 0.01
    assert measures["memorised_copies_share"]["value"] == 0
    assert measures["memorised_nearer_to_train_share"]["value"] == pytest.approx(0.5, abs=0.2)


def test_a_shifted_generator_is_seen_by_every_measure(fresh):
    measures = panel(rows(0, 150, 2.0), rows(1, 121), rows(2, 300), QUICK)["measures"]
    for name in ("frechet", "frechet_pca", "kid", "mmd"):
        assert measures[name]["low"] > measures[name]["real_high"]
    for name in ("precision", "recall", "density", "coverage"):
        assert measures[name]["high"] < measures[name]["real_low"]
    assert measures["two_sample_accuracy"]["p"] < 1e-3
    # Real rows are the same as before: draws depend on the seed and the sizes, not on what is generated.
    assert measures["frechet"]["real"] == fresh["measures"]["frechet"]["real"]


def test_a_copying_generator_is_seen_by_memorisation():
    measures = panel(rows(2, 120), rows(1, 121), rows(2, 120), QUICK)["measures"]
    assert measures["memorised_copies_share"]["value"] == 1
    assert measures["memorised_closer_share"]["value"] == 1
    assert measures["memorised_auc"]["value"] == 1 and measures["memorised_auc"]["p"] < 1e-6
    assert measures["memorised_nearer_to_train_share"]["low"] > 0.5
    assert measures["two_sample_accuracy"]["p"] > 0.01


def test_panels_are_reproducible_and_plain(fresh):
    again = panel(rows(0, 150), rows(1, 121), rows(2, 300), QUICK)
    assert json.dumps(again) == json.dumps(fresh)


def mean_kernel(a, b):
    """E (x.y / d + 1)^3 for x ~ N(a, I) and y ~ N(b, I), from the moments of x.y."""
    d, ab, aa, bb = len(a), a @ b, a @ a, b @ b
    moments = ab, d + aa + bb + ab**2, ab**3 + 3 * ab * (aa + bb) + (3 * d + 6) * ab
    return 1 + 3 * moments[0] / d + 3 * moments[1] / d**2 + moments[2] / d**3


def test_intervals_cover_the_truth(monkeypatch):
    def kid_alone(draw, *others):
        return {"kid": {"value": squared_discrepancy(draw.generated, draw.reference).value}}

    monkeypatch.setattr("infoser.metrics.panel._measures", kid_alone)
    zero, shift = np.zeros(DIM), np.full(DIM, 0.7)
    truth = mean_kernel(zero, zero) + mean_kernel(shift, shift) - 2 * mean_kernel(zero, shift)
    inside, trials = 0, 40
    for seed in range(trials):
        found = panel(rows(3 * seed, 100, 0.7), rows(3 * seed + 1, 100), rows(3 * seed + 2, 100), PanelOptions(level=0.8))
        entry = found["measures"]["kid"]
        inside += entry["low"] <= truth <= entry["high"]
    assert inside / trials == pytest.approx(0.8, abs=0.2)


def labelled(seed, counts, shift=0.0):
    label = np.repeat([-1, 0, 1, 2], counts)
    return Labelled(rows(seed, len(label)) + 3.0 * label[:, None] + shift, label)


def test_classes():
    classes = ("angry", "happy", "sad")
    generated = labelled(0, (30, 100, 100, 10), shift=np.repeat([0, 0, 3.0, 0], (30, 100, 100, 10))[:, None])
    found = panel_by_class(generated, labelled(1, (5, 140, 70, 60)), labelled(2, (0, 200, 200, 200)), classes, QUICKER)
    assert list(found["classes"]) == ["angry", "happy"]
    assert found["left_out"] == {"sad": "10 generated rows; a panel needs 48 of each"}
    # Half of the 100 generated angry rows limits all: 50 of 140 of the reference's, and as many of its 70.
    assert found["overall"]["class_rows"] == {"angry": 50, "happy": 25}
    assert found["overall"]["rows"] == 75
    assert (found["classes"]["angry"]["rows"], found["classes"]["happy"]["rows"]) == (50, 35)
    accuracy = {name: one["measures"]["two_sample_accuracy"] for name, one in found["classes"].items()}
    assert accuracy["angry"]["p"] > 0.01 > accuracy["happy"]["p"]


def test_balanced_classes_alone_are_no_difference():
    # The classes lie far apart: without the reference's frequencies a classifier would tell 175:175 from 300:50.
    generated = labelled(0, (0, 175, 175, 0))
    found = panel_by_class(generated, labelled(1, (0, 300, 50, 0)), labelled(2, (0, 300, 50, 0)), ("a", "b"), QUICKER)
    assert found["overall"]["measures"]["two_sample_accuracy"]["p"] > 0.01
    uneven = panel(generated.rows, *(labelled(seed, (0, 300, 50, 0)).rows for seed in (1, 2)), QUICKER)
    assert uneven["measures"]["two_sample_accuracy"]["p"] < 0.01


def test_frechet_of_the_panel_is_the_measure_of_its_draws():
    generated, reference, train = rows(0, 96), rows(1, 96), rows(2, 96)
    found = panel(generated, reference, train, PanelOptions(repeats=2))
    whole = frechet_distance(generated, reference)
    assert found["measures"]["frechet"]["value"] > whole  # halves are further apart than the whole samples


def test_refusals():
    with pytest.raises(InfoserError, match="real reference rows: 47 rows"):
        panel(rows(0, 60), rows(1, 47), rows(2, 60))
    with pytest.raises(InfoserError, match="1 repeats give no interval"):
        panel(rows(0, 60), rows(1, 60), rows(2, 60), PanelOptions(repeats=1))
    with pytest.raises(InfoserError, match="samples of 10 rows, of 24 needed"):
        panel(rows(0, 60), rows(1, 60), rows(2, 60), PanelOptions(most_rows=10))
    with pytest.raises(InfoserError, match="generated rows: 3, real reference rows: 4"):
        panel(rows(0, 60)[:, :3], rows(1, 60), rows(2, 60))
    few = labelled(0, (100, 10, 10, 10))
    with pytest.raises(InfoserError, match="no class has enough rows .a: 10 generated rows"):
        panel_by_class(few, few, few, ("a", "b"))
