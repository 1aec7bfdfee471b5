"""InfoGANSampler: which rows it adds, in which containers and units, and what it refuses."""

import pickle
import zlib

import jax
import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from infoser.config import GenerateConfig, numbers
from infoser.lifting import NEVER
from infoser.sklearn import InfoGANSampler, generators, tables, training
from infoser.sklearn.sampler import _bounds
from infoser.stages.generate import Generate, GenerateRun

SETTINGS = {"steps": 5, "width": 8, "latent_dim": 3, "batch_size": 16, "random_state": 0}


def sampler(**changes) -> InfoGANSampler:
    return InfoGANSampler(**(SETTINGS | changes))


def added(X, y, **changes):
    """The rows that are added, and their classes."""
    X_resampled, y_resampled = sampler(**changes).fit_resample(X, y)
    return X_resampled[len(X) :], y_resampled[len(y) :]


def counts(y) -> dict:
    return dict(zip(*(part.tolist() for part in np.unique(y, return_counts=True)), strict=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_given_rows_come_first_and_stay_as_they_are(emotions, dtype):
    X, y = emotions[0].astype(dtype), emotions[1]
    X_resampled, y_resampled = sampler().fit_resample(X, y)
    assert X_resampled.dtype == dtype and y_resampled.dtype == y.dtype
    np.testing.assert_array_equal(X_resampled[:60], X)
    np.testing.assert_array_equal(y_resampled[:60], y)
    assert counts(y_resampled) == {"angry": 36, "neutral": 36, "sad": 36}


@pytest.mark.parametrize(
    "settings, wanted",
    [
        ({"ratio": 0.5}, {"angry": 10, "neutral": 10, "sad": 10}),
        ({"ratio": 1}, {"angry": 20, "neutral": 20, "sad": 20}),
        ({"ratio": np.float64(0.5), "fill": "prior"}, {"angry": 3, "neutral": 9, "sad": 18}),
        ({"ratio": 0.2, "fill": "minority"}, {"angry": 12}),
        ({"sampling_strategy": "minority"}, {"angry": 30}),
        ({"sampling_strategy": {"sad": 40, "angry": 7}}, {"angry": 1, "sad": 4}),
        ({"sampling_strategy": lambda y: {"neutral": 20}}, {"neutral": 2}),
    ],
)
def test_how_many_rows_of_which_class(emotions, settings, wanted):
    own = sampler(**settings)
    _, y_resampled = own.fit_resample(*emotions)
    assert counts(y_resampled[60:]) == wanted
    assert own.sampling_strategy_ == wanted


def test_nothing_is_added_where_classes_are_equal(emotions):
    X, y = emotions[0][:60], np.arange(60) % 3
    own = sampler()
    np.testing.assert_array_equal(own.fit_resample(X, y)[0], X)
    assert own.sample(3)[1].tolist() == [0, 1, 2]


def test_random_state(emotions):
    first = added(*emotions)[0]
    np.testing.assert_array_equal(added(*emotions)[0], first)
    np.testing.assert_array_equal(added(*emotions, random_state=np.random.RandomState(0))[0], first)
    assert (added(*emotions, random_state=1)[0] != first).any(axis=1).all()
    assert (added(*emotions, random_state=None)[0] != first).any()


def test_samples(emotions):
    own = sampler().fit(*emotions)
    X, y = own.sample(7, random_state=3)
    assert X.shape == (7, 4) and X.dtype == np.float64
    assert counts(y) == {"angry": 3, "neutral": 2, "sad": 2}
    np.testing.assert_array_equal(own.sample(7, random_state=3)[0], X)
    assert (own.sample(7)[0] != own.sample(7)[0]).any()
    X_sad, y_sad = own.sample({"sad": 1100}, random_state=0)  # in several blocks
    assert counts(y_sad) == {"sad": 1100} and len(np.unique(X_sad, axis=0)) == 1100
    np.testing.assert_array_equal(own.sample({"sad": 5}, random_state=0)[0], X_sad[:5])
    assert own.sample(0)[0].shape == (0, 4)
    own.set_params(width=5, steps=1)  # is for the next fit
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(own)).sample(7, random_state=3)[0], X)


@pytest.mark.parametrize("n", [-1, 2.5, True, {"happy": 1}, {"sad": -1}, "sad"])
def test_refused_samples(emotions, n):
    with pytest.raises(ValueError, match="number of rows|was not fitted"):
        sampler().fit(*emotions).sample(n)


def test_nothing_is_drawn_before_fitting():
    with pytest.raises(NotFittedError):
        sampler().sample(1)


def test_data_frames_keep_names_and_types(emotions):
    X, y = emotions
    frame = pd.DataFrame(X, columns=["pitch", "shimmer", "rate", "level"]).astype({"pitch": "float32", "rate": "int16"})
    frame["silent"], frame.index = False, pd.Index(range(100, 160))
    series = pd.Series(y, name="emotion", dtype="category", index=frame.index)
    own = sampler()
    X_resampled, y_resampled = own.fit_resample(frame, series)
    pd.testing.assert_series_equal(X_resampled.dtypes, frame.dtypes)
    np.testing.assert_array_equal(X_resampled[:60], frame)
    assert y_resampled.name == "emotion" and y_resampled.dtype == series.dtype and len(y_resampled) == 108
    assert not X_resampled["silent"].any()
    assert own.feature_names_in_.tolist() == frame.columns.tolist()
    made, of_class = own.sample(4, random_state=0)
    pd.testing.assert_series_equal(made.dtypes, frame.dtypes)
    assert of_class.name == "emotion" and of_class.dtype == series.dtype


def test_columns_of_integers_are_rounded(emotions):
    X = 10 * emotions[0][:, [2, 0, 2, 0]]
    rounded = added(X.round().astype(int), emotions[1])[0]
    assert rounded.dtype == int
    in_frame = added(pd.DataFrame(X.round(), columns=list("abcd")).astype({"a": int}), emotions[1])[0]
    np.testing.assert_array_equal(in_frame["a"], rounded[:, 0])
    np.testing.assert_array_equal(in_frame["b"].round(), rounded[:, 1])
    assert in_frame["a"].dtype == int and in_frame["b"].dtype == float
    assert len(np.unique(in_frame["b"])) == 48


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_columns_of_integers_stay_within_their_type(emotions, kind):
    edge = np.iinfo(kind).max
    X = np.where(emotions[0] > 0, edge, np.iinfo(kind).min).astype(kind)  # half of what is generated would lie beyond
    for given in (X, pd.DataFrame(X, columns=list("abcd"))):
        made = np.asarray(added(given, emotions[1])[0])
        assert made.dtype == kind
        # Numbers that had wrapped round would lie anywhere.
        assert np.isin(made, (np.iinfo(kind).min, edge)).mean() > 0.2
    least, most = _bounds(np.dtype("int64"))
    assert int(least) == np.iinfo("int64").min and 0 < np.iinfo("int64").max - int(most) < 2**11
    assert _bounds(np.dtype("bool")) == (0, 1) and _bounds(np.dtype("float32")) == (-np.inf, np.inf)


def test_a_fit_that_fails_leaves_what_was_fitted(emotions, monkeypatch):
    def fail(*_):
        raise ValueError("not finite")

    own = sampler()
    with monkeypatch.context() as patch:
        patch.setattr(generators, "train", fail)
        with pytest.raises(ValueError, match="not finite"):
            own.fit(*emotions)
        with pytest.raises(NotFittedError):
            own.sample(1)
    own.fit(*emotions)
    before = own.sample(6, random_state=0)
    with monkeypatch.context() as patch:
        patch.setattr(generators, "train", fail)
        with pytest.raises(ValueError, match="not finite"):
            own.fit(pd.DataFrame(emotions[0] + 5), np.where(emotions[1] == "sad", "blue", "red"))
    after = own.sample(6, random_state=0)
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def test_constant_columns_stay_constant_and_units_are_kept(emotions):
    X = np.concatenate([emotions[0], np.full((60, 1), 0.1)], axis=1)
    made = added(X, emotions[1])[0]
    assert (made[:, 4] == 0.1).all()
    away = (made[:, :4] - X[:, :4].mean(axis=0)) / X[:, :4].std(axis=0)
    assert np.abs(away).max() < 5 and away.std(axis=0).min() > 0.01


def test_a_class_of_one_row_and_batches_larger_than_the_set():
    X = np.random.default_rng(0).normal(size=(9, 4))
    made, of_class = added(X, np.array([0, 0, 0, 0, 1, 1, 1, 1, 2]))
    assert counts(of_class) == {2: 3} and np.isfinite(made).all()


def test_what_is_made_is_of_its_class(emotions):
    X, y = emotions
    made, of_class = sampler(steps=300, width=32).fit(X, y).sample(300, random_state=0)
    scale = X.std(axis=0)
    head = LogisticRegression().fit(made / scale, of_class)
    assert head.score(X / scale, y) > 0.95


def test_it_is_the_stage_of_the_library(emotions):
    """The same parameters as a plain loop over the stage's steps."""
    X, y = emotions
    features, label = tables.Standardisation.of(X).apply(X), np.unique(y, return_inverse=True)[1]
    shared, view = training.tables(label, 3, features)
    config = GenerateConfig(width=8, latent_dim=3, batch_size=16, steps=5)
    trained = generators.train("infogan-notext", config, 3, shared, view, 7)
    stage = Generate(3, 8, 3, 16, 5, loss="wasserstein", critic_steps=3, pack=2)
    run = GenerateRun(view, np.int32(0), {name: np.float32(value) for name, value in numbers(config).items()})
    key, step = jax.random.fold_in(jax.random.key(7), zlib.crc32(b"generate") & 0x7FFFFFFF), jax.jit(stage.train_step)
    state = jax.jit(stage.init)(shared, run, jax.random.fold_in(key, NEVER))
    for number in range(5):
        state, _ = step(state, shared, run, jax.random.fold_in(key, number), np.float32(number / 5))
    for own, expected in zip(*(jax.tree.leaves(tree) for tree in (trained.average(), state.average)), strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-6)


def test_padding_changes_nothing(emotions, monkeypatch):
    made = added(*emotions)[0]
    monkeypatch.setattr(training, "padded", lambda count: 128)
    np.testing.assert_array_equal(added(*emotions)[0], made)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"steps": 0}, "steps 0: must be at least 1"),
        ({"ratio": 0.0}, "ratio 0: must lie in"),
        ({"ratio": np.nan}, "ratio nan: must lie in"),
        ({"dropout": 1.0}, "dropout 1: must lie in"),
        ({"loss": "least-squares"}, "loss 'least-squares': must be one of"),
        ({"fill": "minority"}, "give ratio too"),
        ({"fill": "all", "ratio": 1.0}, "fill 'all': must be one of"),
        ({"ratio": 1.0, "sampling_strategy": "all"}, "give one of them"),
        ({"sampling_strategy": "some"}, "sampling_strategy"),
        ({"sampling_strategy": {"sad": 1}}, "sad|number of samples"),
        ({"pack": 3}, "pack 3: must divide batch_size 16"),
        ({"generator_learning_rate": 1e30}, "is not finite at step .*lower this stage's"),
    ],
)
def test_refused_settings(emotions, changes, message):
    with pytest.raises(ValueError, match=message):
        sampler(**changes).fit(*emotions)


@pytest.mark.parametrize("changes", [{"width": 2.5}, {"steps": "100"}, {"spectral_norm": 1}, {"dropout": True}, {"ratio": "1"}])
def test_settings_of_another_type(emotions, changes):
    (name,) = changes
    with pytest.raises(TypeError, match=f"{name} .*must be"):
        sampler(**changes).fit(*emotions)


def test_weights_of_rows_are_refused_not_ignored(emotions):
    with pytest.raises(TypeError, match="sample_weight"):
        sampler().fit_resample(*emotions, sample_weight=np.ones(60))


def test_numbers_too_large_to_be_standardised(emotions):
    X = emotions[0].copy()
    X[0, 1] = 1e200
    with pytest.raises(ValueError, match="column 1 of X holds numbers too large"):
        sampler().fit(X, emotions[1])
