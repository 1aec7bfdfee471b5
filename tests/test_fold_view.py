"""What a stage may know of the corpus: row tables, statistics and draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from infoser.fold_view import Features, FoldView, draw_class_balanced, draw_rows, standardisation
from infoser.frame_table import FrameMoments

DRAW_ROWS = jax.jit(draw_rows, static_argnums=2)
DRAW_CLASS_BALANCED = jax.jit(draw_class_balanced, static_argnums=2)
LABEL = np.array([2, 0, -1, 1, 0, 0, 2, -1, 0, 1], np.int32)
AUDIO = np.arange(20, dtype=np.float32).reshape(10, 2) ** 2
TRAIN = np.array([1, 2, 4, 5, 6, 8, 9])


def build(rows=TRAIN, label=LABEL, audio=AUDIO, **changes) -> FoldView:
    arguments = {"n_classes": 4, "text": None, "rows_padded": 9, "labelled_padded": 8} | changes
    return FoldView.build(rows, label, audio=audio, **arguments)


def test_tables_by_hand():
    view = build()
    np.testing.assert_array_equal(view.rows, [1, 2, 4, 5, 6, 8, 9, 1, 1])  # filled up with a training row
    assert view.row_count == 7
    # Class 0: rows 1, 4, 5, 8; class 1: row 9; class 2: row 6; class 3 does not occur.
    np.testing.assert_array_equal(view.labelled_rows, [1, 4, 5, 8, 9, 6, 1, 1])
    np.testing.assert_array_equal(view.class_start, [0, 4, 5, 6])
    np.testing.assert_array_equal(view.class_count, [4, 1, 1, 0])
    assert view.source == 0 and build(source=3).source == 3
    assert {leaf.dtype for leaf in (view.rows, view.labelled_rows, view.class_start)} == {np.dtype(np.int32)}


def test_statistics_are_those_of_the_training_rows():
    view = build(text=AUDIO[:, :1] + 1)
    np.testing.assert_allclose(view.audio_mean, AUDIO[TRAIN].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(view.audio_scale, 1 / AUDIO[TRAIN].std(axis=0), rtol=1e-6)
    np.testing.assert_allclose(view.text_mean, AUDIO[TRAIN, :1].mean(axis=0) + 1, rtol=1e-6)
    assert build().text_mean.shape == build().text_scale.shape == (0,)


def test_nothing_depends_on_other_rows(same):
    outside = np.setdiff1d(np.arange(10), TRAIN)
    audio, label = AUDIO.copy(), LABEL.copy()
    audio[outside], label[outside] = np.nan, 3
    assert same(build(), build(audio=audio, label=label))
    audio[TRAIN[0]] = 1e6
    assert not same(build(), build(audio=audio))


def test_rows_without_text_are_left_out_where_text_is_read(same):
    text, has_text = AUDIO[:, :1] + 1, np.ones(10, bool)
    has_text[[0, 4, 6]] = False
    text[~has_text] = np.nan
    whole, part = (build(text=text, has_text=has_text, with_text_only=only) for only in (False, True))
    np.testing.assert_array_equal(whole.labelled_rows, [1, 4, 5, 8, 9, 6, 1, 1])
    np.testing.assert_array_equal(part.rows, [1, 2, 5, 8, 9, 1, 1, 1, 1])
    np.testing.assert_array_equal(part.labelled_rows, [1, 5, 8, 9, 1, 1, 1, 1])
    assert part.row_count == 5 and part.class_count.tolist() == [3, 1, 0, 0]
    for view in (whole, part):
        np.testing.assert_allclose(view.text_mean, text[[1, 2, 5, 8, 9]].mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(view.audio_mean, AUDIO[TRAIN].mean(axis=0), rtol=1e-6)
    assert same(build(text=AUDIO, has_text=np.ones(10, bool), with_text_only=True), build(text=AUDIO))


def test_rows_are_in_order_of_length_where_frames_are_read():
    count = np.array([9, 5, 7, 1, 2, 8, 3, 1, 2, 4], np.int64)
    moments = FrameMoments(count, np.zeros((10, 1)), np.ones((10, 1)))
    view = build(audio_frames=moments)
    np.testing.assert_array_equal(view.rows[:7], [4, 8, 6, 9, 1, 2, 5])
    np.testing.assert_array_equal(view.labelled_rows[:6], [4, 8, 1, 5, 9, 6])  # class by class
    assert view.audio_frames is not None and view.text_frames is None
    by_text = build(audio_frames=moments, text_frames=FrameMoments(count[::-1], np.zeros((10, 1)), np.ones((10, 1))))
    np.testing.assert_array_equal(by_text.rows, view.rows)  # in order of audio's length


def test_a_column_of_small_numbers_is_no_constant():
    features = (1e-9 * np.random.default_rng(0).gamma(2.0, size=(200, 1))).astype(np.float32)
    mean, scale = standardisation(features)
    assert ((features - mean) * scale).std() == pytest.approx(1.0, rel=1e-3)


def test_a_constant_column_keeps_its_scale():
    for constant in (0.0, 1.0, 1e4, -3e-5):
        features = np.stack([np.full(50, constant), np.linspace(-1, 1, 50)], axis=1).astype(np.float32)
        mean, scale = standardisation(features)
        assert mean[0] == pytest.approx(constant) and scale[0] == 1.0
        assert scale[1] == pytest.approx(1 / features[:, 1].std(dtype=np.float64))


def test_statistics_do_not_lose_digits_over_many_rows():
    # A float32 sum of so many rows far from zero would be off in the third digit.
    features = (1e4 + np.random.default_rng(0).standard_normal((1_000_000, 1))).astype(np.float32)
    mean, scale = standardisation(features)
    exact = features.astype(np.float64)
    assert mean[0] == pytest.approx(exact.mean(), rel=1e-9)
    assert scale[0] == pytest.approx(1 / exact.std(), rel=1e-6)


def test_features_are_standardised_from_the_view_s_layer():
    layers = np.stack([AUDIO, 10 - AUDIO])
    view = build(audio=layers[1], text=layers[1], source=1)
    features = Features(jnp.asarray(layers), jnp.asarray(layers))
    for read in (features.read_audio, features.read_text):
        rows = read(view, jnp.asarray(TRAIN))
        np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(rows.std(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(
        features.read_audio(view, jnp.array([3])), ((layers[1, 3] - view.audio_mean) * view.audio_scale)[None], rtol=1e-5
    )
    assert Features(jnp.asarray(layers), None).read_text(view, jnp.array([0])) is None


def test_draws_are_uniform_over_the_training_part():
    rows = np.asarray(DRAW_ROWS(jax.random.key(0), build(), 7000))
    counts = np.bincount(rows, minlength=10)
    # Row 0, which pads the table, is not a training row.
    assert set(np.flatnonzero(counts)) == set(TRAIN)
    assert stats.chisquare(counts[TRAIN]).pvalue > 0.01


def test_balanced_draws_are_uniform_over_classes_and_rows_of_a_class():
    rows, label = map(np.asarray, DRAW_CLASS_BALANCED(jax.random.key(0), build(), 6000))
    np.testing.assert_array_equal(LABEL[rows], label)
    assert set(rows) == {1, 4, 5, 8, 9, 6}
    by_class = np.bincount(label, minlength=4)
    assert by_class[3] == 0  # a class that does not occur is never drawn
    assert stats.chisquare(by_class[:3]).pvalue > 0.01
    assert stats.chisquare(np.bincount(rows, minlength=10)[[1, 4, 5, 8]]).pvalue > 0.01


def test_draws_may_follow_the_prior():
    rows, label = map(np.asarray, DRAW_CLASS_BALANCED(jax.random.key(2), build(), 6000, 1.0))
    np.testing.assert_array_equal(LABEL[rows], label)
    counts = np.bincount(label, minlength=4)
    assert counts[3] == 0
    assert stats.chisquare(counts[:3], [4000, 1000, 1000]).pvalue > 0.01
    # Every labelled row is equally likely.
    assert stats.chisquare(np.bincount(rows, minlength=10)[[1, 4, 5, 6, 8, 9]]).pvalue > 0.01


def test_each_place_of_a_batch_has_a_part_of_the_corpus_to_itself():
    view = build(np.arange(1000), np.arange(1000) % 2, np.ones((1000, 1)), n_classes=2, rows_padded=1000, labelled_padded=1000)
    keys = jax.random.split(jax.random.key(0), 50)
    for rows in (
        [DRAW_ROWS(key, view, 128) for key in keys],
        [DRAW_CLASS_BALANCED(key, view, 128)[0] for key in keys],
    ):
        # Two places for each of 64 virtual shards, whatever the class; the ends of a class' shards differ by a row or so.
        np.testing.assert_allclose(np.asarray(rows), np.tile((np.arange(128) // 2 + 0.5) / 64 * 1000, (50, 1)), atol=10.5)


def test_balanced_draws_skip_absent_classes_wherever_they_are():
    for absent in range(3):
        label = np.where(absent == LABEL, -1, LABEL)
        label[3] = absent  # outside the training part
        rows, drawn = map(np.asarray, DRAW_CLASS_BALANCED(jax.random.key(1), build(label=label), 500))
        assert set(drawn) == {0, 1, 2} - {absent}
        np.testing.assert_array_equal(label[rows], drawn)


def test_draws_depend_on_the_key_alone(same):
    view = build()
    longer = build(rows_padded=20, labelled_padded=20)
    for eager, draw in ((draw_rows, DRAW_ROWS), (draw_class_balanced, DRAW_CLASS_BALANCED)):
        first = draw(jax.random.key(5), view, 32)
        assert same(first, draw(jax.random.key(5), view, 32))
        assert same(first, eager(jax.random.key(5), view, 32))
        assert same(first, draw(jax.random.key(5), longer, 32))
        assert not same(first, draw(jax.random.key(6), view, 32))
