"""The checks that scikit-learn and imbalanced-learn have for estimators; none is declared to fail."""

import doctest
import importlib

import pytest
from imblearn.utils import estimator_checks as of_imblearn
from sklearn.utils import estimator_checks as of_sklearn

from infoser.sklearn import InfoGANSampler, SpeechEmotionClassifier

ESTIMATORS = (
    InfoGANSampler(steps=5, width=8, latent_dim=4, batch_size=16, loss="hinge", critic_steps=1, random_state=0),
    SpeechEmotionClassifier(steps=40, width=32, batch_size=32),
)
# What `parametrize_with_checks` of both does, but for the generator that it hands to pytest, which warns.
CHECKS = [
    pytest.param(*pair, id=f"{library.__name__.split('.')[0]}-{type(estimator).__name__}-{number}-{pair[1].func.__name__}")
    for library in (of_imblearn, of_sklearn)
    for estimator in ESTIMATORS
    for number, pair in enumerate(library.estimator_checks_generator(estimator, expected_failed_checks={}, mark="xfail"))
]


@pytest.mark.parametrize("estimator, check", CHECKS)
def test_check(estimator, check):
    assert check(estimator) is None


def test_there_are_checks_of_both():
    assert len(CHECKS) > 80 and {one.id.split("-")[0] for one in CHECKS} == {"imblearn", "sklearn"}


@pytest.mark.parametrize("name", ["sampler", "classifier"])
def test_examples_of_docstrings_run(name):
    failed, tried = doctest.testmod(importlib.import_module(f"infoser.sklearn.{name}"))
    assert tried >= 6 and not failed
