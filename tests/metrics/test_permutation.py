"""Shuffled nulls: the statistics of permuted labels one by one, uniform p-values where nothing is shared, and power."""

import numpy as np
import pytest
from scipy import special, stats

from infoser.metrics.classification import confusion_matrix, unweighted_average_recall
from infoser.metrics.generation import class_information_lower_bound
from infoser.metrics.permutation import (
    mean_over_folds,
    p_value,
    permuted_information,
    permuted_labels,
    permuted_recall,
)

LABEL = np.array([0] * 7 + [2] * 4 + [3] * 2)  # class 1 does not occur


def said(generator, rows=13):
    return special.log_softmax(generator.standard_normal((rows, 5)), axis=1)


def test_every_permutation_has_the_same_counts_and_another_order():
    permuted = permuted_labels(LABEL, np.random.default_rng(0), 50)
    assert permuted.shape == (50, len(LABEL))
    np.testing.assert_array_equal(np.sort(permuted, axis=1), np.tile(LABEL, (50, 1)))
    assert len(np.unique(permuted, axis=0)) > 45


def test_statistics_are_those_of_each_permutation():
    generator = np.random.default_rng(1)
    log_probability, permuted = said(generator), permuted_labels(LABEL, generator, 20)
    predicted = log_probability.argmax(axis=1)
    information = permuted_information(log_probability, permuted)
    recall = permuted_recall(predicted, permuted, 5)
    for one, nats, ua in zip(permuted, information, recall, strict=True):
        assert nats == pytest.approx(class_information_lower_bound(log_probability, one), abs=1e-12)
        assert ua == pytest.approx(float(unweighted_average_recall(confusion_matrix(one, predicted, 5))), abs=1e-12)


def test_p_values_are_uniform_where_labels_say_nothing():
    generator = np.random.default_rng(2)
    label = np.repeat([0, 1, 2], 10)
    found = []
    for _ in range(300):
        log_probability = said(generator, 30)
        null = permuted_information(log_probability, permuted_labels(label, generator, 99))
        found.append(p_value(class_information_lower_bound(log_probability, label), null))
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_a_p_value_counts_the_observation_and_ties():
    null = np.array([0.0, 1.0, 1.0, 2.0])
    assert p_value(3.0, null) == 1 / 5
    assert p_value(1.0, null) == 4 / 5
    assert p_value(-1.0, null) == 1.0


def test_what_is_known_is_told_from_the_null():
    generator = np.random.default_rng(3)
    knowing = special.log_softmax(said(generator) + 2.0 * np.eye(5)[LABEL], axis=1)
    null = permuted_information(knowing, permuted_labels(LABEL, generator))
    assert p_value(class_information_lower_bound(knowing, LABEL), null) < 0.01


def test_nulls_are_averaged_as_estimates_are():
    combined = mean_over_folds([[np.array([1.0, 2.0]), np.array([3.0, 4.0])], [np.array([6.0, 0.0])]])
    np.testing.assert_array_equal(combined, [4.0, 1.5])
