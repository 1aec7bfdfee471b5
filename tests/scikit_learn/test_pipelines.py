"""The sampler in imbalanced-learn's pipelines: it never sees a row that is tested, and folds share their programs."""

from collections import Counter

import numpy as np
import pytest
from imblearn.pipeline import make_pipeline
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedKFold, cross_val_score, cross_validate
from sklearn.preprocessing import StandardScaler

from infoser.lifting import trace_counts
from infoser.sklearn import InfoGANSampler, SpeechEmotionClassifier

SETTINGS = {"steps": 5, "width": 8, "latent_dim": 3, "batch_size": 16, "random_state": 0}
SPEAKERS = np.arange(60) % 6


class Recorder(InfoGANSampler):
    """Remembers what it was given."""

    seen: list = []

    def fit_resample(self, X, y):
        self.seen.append((np.array(X), np.array(y)))
        return super().fit_resample(X, y)


def pipeline(sampler):
    return make_pipeline(StandardScaler(), sampler, LogisticRegression())


def validated(X, y, sampler):
    return cross_validate(
        pipeline(sampler),
        X,
        y,
        groups=SPEAKERS,
        cv=GroupKFold(3),
        scoring="balanced_accuracy",
        return_estimator=True,
        return_indices=True,
        error_score="raise",
    )


def test_the_sampler_is_given_the_training_rows_and_no_others(emotions):
    X, y = emotions
    Recorder.seen = []
    result = validated(X, y, Recorder(ratio=0.5, **SETTINGS))
    assert len(Recorder.seen) == 3  # predicting asks nothing of it
    for (given, of_class), train, test in zip(Recorder.seen, *result["indices"].values(), strict=True):
        np.testing.assert_array_equal(of_class, y[train])
        np.testing.assert_allclose(given, StandardScaler().fit(X[train]).transform(X[train]))
        assert not set(SPEAKERS[train]) & set(SPEAKERS[test])


def test_spoiled_test_rows_change_nothing_that_is_fitted(emotions):
    X, y = emotions
    clean = validated(X, y, InfoGANSampler(ratio=0.5, **SETTINGS))
    for fold, test in enumerate(clean["indices"]["test"]):
        spoiled, labels = X.copy(), y.copy()
        spoiled[test], labels[test] = -7e6, y[test][::-1]
        other = validated(spoiled, labels, InfoGANSampler(ratio=0.5, **SETTINGS))["estimator"][fold]
        own = clean["estimator"][fold]
        np.testing.assert_array_equal(own[-1].coef_, other[-1].coef_)
        np.testing.assert_array_equal(own[1].sample(9, random_state=0)[0], other[1].sample(9, random_state=0)[0])


def test_folds_share_their_programs(emotions):
    before = Counter(trace_counts)
    sampler = InfoGANSampler(**SETTINGS | {"width": 9})
    head = SpeechEmotionClassifier(steps=5, width=9, batch_size=16, random_state=0)
    cross_val_score(make_pipeline(sampler, head), *emotions, cv=StratifiedKFold(5), error_score="raise")
    assert Counter(trace_counts) - before == {
        ("generate", "init"): 1,
        ("generate", "chunk"): 1,
        ("sklearn", "generate"): 1,
        ("classify", "init"): 1,
        ("classify", "chunk"): 1,
        ("sklearn", "read"): 1,
    }


@pytest.mark.parametrize("refit", [True, False])
def test_a_search_over_the_ratio(emotions, refit):
    X, y = emotions
    grid = {"infogansampler__ratio": np.array([0.25, 1.0]), "infogansampler__class_mi_weight": [0, 0.1]}
    search = GridSearchCV(pipeline(InfoGANSampler(**SETTINGS)), grid, cv=2, refit=refit, error_score="raise").fit(X, y)
    assert len(search.cv_results_["mean_test_score"]) == 4
    if refit:
        ratio = search.best_params_["infogansampler__ratio"]
        assert sum(search.best_estimator_[1].sampling_strategy_.values()) == 60 * ratio
