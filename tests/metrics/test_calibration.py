"""Reliability bins and their sums against closed forms."""

import numpy as np
import pytest

from infoser.metrics.calibration import reliability


def test_a_classifier_that_is_always_right_and_sure_is_calibrated():
    found = reliability(np.eye(3)[[0, 1, 2, 0]], np.array([0, 1, 2, 0]))
    assert (found.ece, found.nll, found.brier) == (0, 0, 0)
    assert found.count.tolist() == [0] * 14 + [4]


def test_a_classifier_that_is_always_wrong_and_sure_could_not_be_worse():
    found = reliability(np.array([[1.0, 0.0]] * 3), np.array([1, 1, 1]))
    assert (found.ece, found.brier) == (1, 2)
    assert found.nll == pytest.approx(-np.log(np.finfo(np.float32).tiny))  # finite, whatever was rounded to nothing


def test_the_error_is_the_mean_gap_of_the_bins():
    # Ten predictions at 0.8, six of them right; ten at 0.6, nine right: (|0.6 - 0.8| + |0.9 - 0.6|) / 2.
    probability = np.array([[0.8, 0.2]] * 10 + [[0.6, 0.4]] * 10)
    label = np.array([0] * 6 + [1] * 4 + [0] * 9 + [1])
    found = reliability(probability, label, bins=10)
    assert found.ece == pytest.approx(0.25)
    assert found.nll == pytest.approx(-(6 * np.log(0.8) + 4 * np.log(0.2) + 9 * np.log(0.6) + np.log(0.4)) / 20)
    assert found.brier == pytest.approx((6 * 0.08 + 4 * 1.28 + 9 * 0.32 + 0.72) / 20)
    filled = found.count > 0
    assert found.confidence[filled].tolist() == pytest.approx([0.6, 0.8])
    assert np.isnan(found.accuracy[~filled]).all()


def test_labels_drawn_from_the_probabilities_are_calibrated():
    rng = np.random.default_rng(0)
    probability = rng.dirichlet(np.ones(4), 40_000)
    label = (probability.cumsum(axis=1) < rng.random((len(probability), 1))).sum(axis=1).clip(max=3)
    assert reliability(probability, label).ece < 0.01


@pytest.mark.parametrize("bins", [1, 2, 15])
def test_every_prediction_is_in_the_bin_that_its_confidence_says(bins):
    probability = np.random.default_rng(1).dirichlet(np.ones(3), 200)
    found = reliability(probability, np.zeros(200, int), bins)
    confidence = probability.max(axis=1)
    expected = [((confidence > low) & (confidence <= high)).sum() for low, high in zip(found.low, found.high, strict=True)]
    assert found.count.tolist() == expected and found.count.sum() == 200


def test_nothing_has_no_reliability():
    with pytest.raises(ValueError, match="no predictions"):
        reliability(np.zeros((0, 2)), np.zeros(0, int))
