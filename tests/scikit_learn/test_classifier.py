"""SpeechEmotionClassifier: its variants, what it hands the head, and what it refuses."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from infoser.sklearn import SpeechEmotionClassifier, chain

SETTINGS = {"steps": 100, "width": 16, "batch_size": 16, "weight_decay": 0.01, "random_state": 0}
GENERATE = {"steps": 5, "width": 8, "latent_dim": 3, "batch_size": 16, "loss": "hinge", "critic_steps": 1, "noise_levels": 4}
ALIGN = {"steps": 5, "width": 8, "representation_dim": 3, "batch_size": 16}


def classifier(variant="none", **changes) -> SpeechEmotionClassifier:
    return SpeechEmotionClassifier(variant, **(SETTINGS | {"generate": GENERATE, "align": ALIGN} | changes))


@pytest.mark.parametrize(
    "variant, text_columns, stages",
    [
        ("none", 0, ["classify"]),
        ("natural", 0, ["classify"]),
        ("focal", 0, ["classify"]),
        ("logit-adjust", 0, ["classify"]),
        ("oversample", 0, ["classify"]),
        ("noise", 0, ["classify"]),
        ("mixup", 0, ["classify"]),
        ("smote", 0, ["classify"]),
        ("class-gaussian", 0, ["classify"]),
        ("infogan-notext", 0, ["classify", "generate"]),
        ("infogan-unconditional", 0, ["classify", "generate"]),
        ("diffusion-notext", 0, ["classify", "generate"]),
        ("none", 1, ["classify"]),
        ("infogan", 1, ["align", "classify", "generate"]),
        ("infogan-wrong-text", 1, ["align", "classify", "generate"]),
        ("infogan-paired", 1, ["classify", "generate"]),
    ],
)
def test_every_kind_of_variant(emotions, variant, text_columns, stages):
    X, y = emotions
    # Rows of a generator of five steps are of no class: they count little here.
    fitted = classifier(variant, text_columns=text_columns, ratio=0.5, row_weight=0.05, steps=200).fit(X, y)
    assert fitted.score(X, y) > 0.9
    assert sorted(fitted.losses_) == stages
    plain = variant in ("none", "natural", "focal", "logit-adjust")
    assert fitted.n_added_ == (0 if plain else 30)
    probability = fitted.predict_proba(X)
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(fitted.classes_[probability.argmax(axis=1)], fitted.predict(X))
    np.testing.assert_array_equal(clone(fitted).fit(X, y).predict_proba(X), probability)


def heads_run(monkeypatch, X, y, variant, **changes):
    """What the head of a variant is trained on, without training it."""
    taken = []

    class EnoughError(Exception):
        pass

    def train(stage, shared, run, seed):
        taken.append(run)
        raise EnoughError

    monkeypatch.setattr(chain.training, "train", train)
    with pytest.raises(EnoughError):
        classifier(variant, **changes).fit(X, y)
    return taken[0]


@pytest.mark.parametrize(
    "variant, numbers",
    [
        ("none", {}),
        ("natural", {"by_prior": 1}),
        ("focal", {"focal_gamma": 2}),
        ("logit-adjust", {"by_prior": 1, "logit_adjustment": 1}),
        ("noise", {"generated_weight": 0.5 * 0.4}),
    ],
)
def test_numbers_of_the_head(monkeypatch, emotions, variant, numbers):
    own = {"real_weight": 1, "generated_weight": 0, "by_prior": 0, "focal_gamma": 0, "logit_adjustment": 0, "curriculum": 1}
    own |= {"learning_rate": 3e-3, "dropout": 0.5, "input_dropout": 0, "label_smoothing": 0, "ema_decay": 0.99}
    own |= {"audio_scaling_power": 1, "text_scaling_power": 1, "block_scaling": 0}
    own |= {"weight_decay": 0.1 * 4000 / 60}  # one of 0.1 for 4,000 rows
    run = heads_run(monkeypatch, *emotions, variant, ratio=0.5, row_weight=0.4, weight_decay=0.1)
    assert run.numbers == pytest.approx(own | numbers, rel=1e-6)
    assert run.generated.count == (30 if variant == "noise" else 0)


def test_weight_decay_of_many_rows_is_what_was_asked_for(monkeypatch):
    X = np.random.default_rng(0).normal(size=(5000, 2))
    assert heads_run(monkeypatch, X, np.arange(5000) % 2, "none", weight_decay=1.0).numbers["weight_decay"] == 1.0


def test_added_rows_are_limited_and_that_is_said(monkeypatch, emotions):
    with pytest.warns(UserWarning, match="limited to 20 of 60"):
        run = heads_run(monkeypatch, *emotions, "noise", generate={"pool_limit": 20})
    assert run.generated.count == 20


def test_data_frames_and_categories(emotions):
    X, y = emotions
    frame = pd.DataFrame(X, columns=["pitch", "shimmer", "rate", "level"])
    fitted = classifier().fit(frame, pd.Series(y, dtype="category"))
    assert fitted.feature_names_in_.tolist() == frame.columns.tolist()
    assert fitted.classes_.tolist() == ["angry", "neutral", "sad"]
    # A frame lies in memory column by column: products of another layout are rounded otherwise.
    np.testing.assert_allclose(fitted.predict_proba(frame), classifier().fit(X, y).predict_proba(X), rtol=1e-5)


def test_text_is_not_read_as_audio(emotions):
    """Without the aligner's condition and without added rows, the head reads all columns either way."""
    X, y = emotions
    both, audio = (classifier(text_columns=columns).fit(X, y).predict_proba(X) for columns in (2, 0))
    np.testing.assert_allclose(both, audio, atol=1e-5)


@pytest.mark.parametrize(
    "variant, changes, message",
    [
        ("gan", {}, "variant 'gan' is no variant; choose from none, natural"),
        ("teacher", {}, "needs the speakers"),
        ("infogan", {}, "variant 'infogan' needs text features"),
        ("none", {"text_columns": 4}, "of the 4 columns of X at least one must be audio"),
        ("none", {"text_columns": -1}, "text_columns -1"),
        ("none", {"learning_rate": 0}, "learning_rate 0: must lie in"),
        ("none", {"ratio": -1}, "ratio -1: must lie in"),
        ("noise", {"augment": {"noise_scale": -1.0}}, "augment: noise_scale -1: must lie in"),
        ("noise", {"augment": {"noise": 1.0}}, "augment: noise: AugmentConfig has no such setting; it has noise_scale"),
        ("infogan-notext", {"generate": {"ratio": 1.0}}, "ratio is a parameter of its own"),
        ("infogan-notext", {"generate": {"keep_by": "teacher"}}, "keep_by is a setting of train.py only"),
        ("infogan-notext", {"generate": {"pack": 3}}, "pack 3: must divide"),
        ("infogan", {"align": {"batch_size": 1}}, "align: batch_size must be at least 2"),
        ("none", {"learning_rate": 1e30}, "is not finite"),
    ],
)
def test_refusals(emotions, variant, changes, message):
    with pytest.raises(ValueError, match=message):
        classifier(variant, **changes).fit(*emotions)


def test_a_single_class(emotions):
    with pytest.raises(ValueError, match="one class only, 'sad'"):
        classifier().fit(emotions[0], np.full(60, "sad"))


def test_a_fit_that_fails_leaves_what_was_fitted(emotions, monkeypatch):
    def fail(*_, **__):
        raise ValueError("not finite")

    X, y = emotions
    own = classifier()
    with monkeypatch.context() as patch:
        patch.setattr(chain, "fit", fail)
        with pytest.raises(ValueError, match="not finite"):
            own.fit(X, y)
        with pytest.raises(NotFittedError):
            own.predict(X)
    before = own.fit(X, y).predict_proba(X)
    with monkeypatch.context() as patch:
        patch.setattr(chain, "fit", fail)
        with pytest.raises(ValueError, match="not finite"):
            own.fit(X + 5, np.where(y == "sad", "blue", "red"))
    np.testing.assert_array_equal(own.predict_proba(X), before)
    assert "sad" in own.classes_
