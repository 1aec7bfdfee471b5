"""Classification metrics against scikit-learn and small hand-made confusions."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, recall_score
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix

from infoser.metrics.classification import (
    class_recalls,
    confusion_matrix,
    macro_f1,
    unweighted_average_recall,
    weighted_accuracy,
)

FEW = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def predictions(draw):
    n_classes = draw(st.integers(2, 6))
    classes = st.integers(0, n_classes - 1)
    pairs = draw(st.lists(st.tuples(classes, classes), min_size=1, max_size=60))
    label, predicted = np.array(pairs).T
    return n_classes, label, predicted


@FEW
@given(predictions())
def test_metrics_equal_scikit_learn(case):
    n_classes, label, predicted = case
    confusion = confusion_matrix(label, predicted, n_classes)
    present = np.unique(label)
    assert_array_equal(confusion, sklearn_confusion_matrix(label, predicted, labels=range(n_classes)))
    assert_allclose(weighted_accuracy(confusion), accuracy_score(label, predicted))
    with warnings.catch_warnings():
        # scikit-learn warns of predicted classes that are absent from the truth, which is what is being tested
        warnings.simplefilter("ignore", UserWarning)
        assert_allclose(unweighted_average_recall(confusion), balanced_accuracy_score(label, predicted))
    f1 = f1_score(label, predicted, labels=present, average="macro", zero_division=0)  # pyright: ignore[reportArgumentType]
    assert_allclose(macro_f1(confusion), f1)
    recalls = class_recalls(confusion)
    by_class = recall_score(label, predicted, labels=present, average=None)  # pyright: ignore[reportArgumentType]
    assert_allclose(recalls[present], by_class)
    assert np.isnan(np.delete(recalls, present)).all()


@FEW
@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_a_stack_is_its_members(seed, n_classes):
    stack = np.random.default_rng(seed).integers(0, 4, size=(2, 3, n_classes, n_classes))
    for metric in (class_recalls, weighted_accuracy, unweighted_average_recall, macro_f1):
        one_by_one = [[metric(stack[i, j]) for j in range(3)] for i in range(2)]
        assert_array_equal(metric(stack), np.array(one_by_one))


def test_absent_class_takes_no_part_in_the_means():
    confusion = np.array([[3, 1, 0], [0, 0, 0], [1, 0, 1]])
    assert_allclose(class_recalls(confusion), [0.75, np.nan, 0.5])
    assert weighted_accuracy(confusion) == pytest.approx(4 / 6)
    assert unweighted_average_recall(confusion) == pytest.approx((0.75 + 0.5) / 2)
    assert macro_f1(confusion) == pytest.approx((6 / 8 + 2 / 3) / 2)


def test_nothing_to_score_is_nan():
    nothing = np.zeros((3, 3), int)
    assert all(np.isnan(metric(nothing)) for metric in (weighted_accuracy, unweighted_average_recall, macro_f1))


@pytest.mark.parametrize(("label", "predicted"), [([0, 1], [0]), ([0, 3], [0, 1]), ([0, -1], [0, 1]), ([0, 1], [0, 3])])
def test_impossible_predictions_are_refused(label, predicted):
    with pytest.raises(ValueError):
        confusion_matrix(np.array(label), np.array(predicted), 3)
