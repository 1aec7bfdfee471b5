"""The two-sample test: uniform p-values where the samples are of one distribution, and power where they are not."""

import numpy as np
import pytest
from scipy import stats

from infoser.errors import InfoserError
from infoser.metrics.two_sample import CLASSIFIERS, classifier_two_sample_test, common_p_value


def test_p_values_are_uniform_under_the_null():
    rng = np.random.default_rng(0)
    rows, tested, smoothed = 40, 40, []
    for seed in range(120):
        found = classifier_two_sample_test(*rng.standard_normal((2, rows, 3)), seeds=(seed,))
        right = round(found.accuracy * tested)
        assert found.p_value == pytest.approx(stats.binom.sf(right - 1, tested, 0.5))
        # The count has steps; a uniform share of the last one makes the p-value continuous.
        smoothed.append(found.p_value - rng.uniform() * stats.binom.pmf(right, tested, 0.5))
    assert stats.kstest(smoothed, "uniform").pvalue > 0.001


def test_several_splits_hold_their_size():
    rng = np.random.default_rng(1)
    found = [classifier_two_sample_test(*rng.standard_normal((2, 40, 3)), seeds=range(4)).p_value for _ in range(20)]
    for level in (0.05, 0.2, 0.5):
        rejected = sum(p <= level for p in found)
        assert stats.binom.sf(rejected - 1, len(found), level) > 0.001


def difference(kind, rng, rows=200, dim=6):
    real, made = rng.standard_normal((2, rows, dim))
    if kind == "mean":
        made[:, 0] += 1.5
    elif kind == "spread":
        made *= 0.7
    elif kind == "correlation":  # the same marginals
        made[:, 1] = 0.9 * made[:, 0] + np.sqrt(1 - 0.81) * made[:, 1]
    else:  # the same mean and covariance
        made = np.sign(made) * np.sqrt(0.9) + np.sqrt(0.1) * rng.standard_normal(made.shape)
        real, made = real[:, :2], made[:, :2]
    return real, made


@pytest.mark.parametrize("kind", ["mean", "spread", "correlation", "clusters"])
def test_power(kind):
    found = classifier_two_sample_test(*difference(kind, np.random.default_rng(2)), seeds=range(3))
    assert found.p_value < 0.001
    assert found.accuracy > 0.6


def test_known_shift_reaches_the_best_accuracy():
    # Means 2 apart with unit noise: no rule is right more often than Phi(1).
    rng = np.random.default_rng(3)
    real, made = rng.standard_normal((2, 1000, 2))
    made[:, 0] += 2
    found = classifier_two_sample_test(real, made, seeds=range(3))
    assert found.accuracy == pytest.approx(stats.norm.cdf(1), abs=0.03)


def test_same_seeds_same_answer_and_sizes_are_evened():
    rng = np.random.default_rng(4)
    real, made = rng.standard_normal((90, 3)), rng.standard_normal((40, 3))
    found = classifier_two_sample_test(real, made, seeds=(3, 5))
    assert found == classifier_two_sample_test(real, made, seeds=(3, 5))
    assert found.accuracy == np.mean(found.accuracies)
    assert set(found.chosen) <= set(CLASSIFIERS)
    assert all((accuracy * 40).is_integer() for accuracy in found.accuracies)


def test_units_and_constant_features_do_not_matter():
    real, made = difference("mean", np.random.default_rng(5), rows=60)
    expected = classifier_two_sample_test(real, made, seeds=(0,))
    padded = [np.concatenate([1000 + 1e-3 * rows, np.full((60, 1), 5.0)], axis=1) for rows in (real, made)]
    assert classifier_two_sample_test(*padded, seeds=(0,)).accuracy == pytest.approx(expected.accuracy, abs=0.07)


def test_common_p_value():
    assert common_p_value([0.03]) == 0.03
    assert common_p_value([0.01, 0.3, 0.02]) == pytest.approx(0.04)
    assert common_p_value([0.4, 0.9]) == 1.0


def test_refusals():
    with pytest.raises(InfoserError, match="two-sample test: 11 rows"):
        classifier_two_sample_test(np.zeros((20, 2)), np.zeros((11, 2)))
    with pytest.raises(InfoserError, match="no seeds"):
        classifier_two_sample_test(np.zeros((20, 2)), np.zeros((20, 2)), seeds=())
