"""The diffusion generator: what it reads, what it is conditioned on, and that parts of a batch are the whole."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from infoser.batch_axis import BatchAxis
from infoser.models.denoiser import Denoiser, embedded
from infoser.stages.conditions import GenerateRun
from infoser.stages.diffuse import Diffuse

STAGE = Diffuse(n_classes=3, width=32, batch_size=32, steps=400, text="own", noise_levels=20)
NUMBERS = {"diffusion_learning_rate": 5e-3, "condition_dropout": 0.1, "guidance": 0.0, "ema_decay": 0.9, "text_noise": 0.0}
STEPS = 3


def run(view, lenders=None, **numbers):
    return GenerateRun(view, np.int32(0), {k: np.float32(v) for k, v in (NUMBERS | numbers).items()}, lenders)


@pytest.fixture(scope="module")
def trained(corpus, train):
    state, terms = train(STAGE, corpus.features(), run(corpus.view()), STAGE.steps)
    return state, terms


def drawn(stage, state, corpus, one, size=600, key=0):
    draw = jax.jit(functools.partial(stage.outputs, size=size))
    return jax.tree.map(np.asarray, draw(state, corpus.features(), one, jax.random.key(key)))


def test_features_of_their_class_are_made(corpus, trained):
    state, terms = trained
    assert terms["denoising"][-20:].mean() < 0.6 * terms["denoising"][:5].mean()
    rows, view = drawn(STAGE, state, corpus, run(corpus.view()), 3000), corpus.view()
    assert stats.chisquare(np.bincount(rows.label, minlength=3)).pvalue > 0.01
    np.testing.assert_array_equal(corpus.label[rows.text_row], rows.label)
    real = (corpus.audio - view.audio_mean) * view.audio_scale
    own = corpus.train[corpus.label[corpus.train] >= 0]
    for one in range(3):
        known, made = real[own][corpus.label[own] == one], rows.audio[rows.label == one]
        # Classes lie some three deviations apart in their own dimension.
        np.testing.assert_allclose(made.mean(axis=0), known.mean(axis=0), atol=0.5)
        assert 0.3 < made.std() / known.std() < 2


def test_rows_read_are_those_that_a_step_depends_on(corpus, train, same):
    one, key = run(corpus.view()), jax.random.key(0)
    read = np.unique(STAGE.rows_read(STAGE.draws_from(one), jax.random.fold_in(key, 0)))
    assert (corpus.label[read] >= 0).all() and np.isin(read, corpus.train).all()
    before = train(STAGE, corpus.features(), one, 1)[0]
    for rows, changes in ((np.setdiff1d(np.arange(40), read), False), (read[:1], True)):
        audio = corpus.audio.copy()
        audio[rows] += 1.0
        after = train(STAGE, corpus.features(audio=audio), one, 1)[0]
        assert same(before.denoiser, after.denoiser) != changes


def test_rows_outside_the_training_part_do_not_leak(corpus, train, same):
    audio, condition, label = corpus.audio.copy(), corpus.condition.copy(), corpus.label.copy()
    audio[corpus.outside], condition[:, corpus.outside], label[corpus.outside] = 1e3, 1e3, 2
    before = train(STAGE, corpus.features(), run(corpus.view()), STEPS)[0]
    view = corpus.view(audio=audio, label=label)
    assert same(before, train(STAGE, corpus.features(audio=audio, condition=condition), run(view), STEPS)[0])


def test_what_is_made_depends_on_the_text_and_on_the_class(corpus, trained, same):
    state, _ = trained
    one = run(corpus.view())
    rows = drawn(STAGE, state, corpus, one)
    other = dataclasses.replace(one, aligner=np.int32(1))
    assert not same(rows.audio, drawn(STAGE, state, corpus, other).audio)
    np.testing.assert_array_equal(rows.label, drawn(STAGE, state, corpus, other).label)
    assert not same(rows.audio, drawn(STAGE, state, corpus, one, key=1).audio)


def test_hidden_conditions_teach_nothing(corpus, train, same):
    """With every condition hidden, rows of other texts train the very same denoiser."""
    one = run(corpus.view(), condition_dropout=1.0)
    before = train(STAGE, corpus.features(), one, STEPS)[0]
    after = train(STAGE, corpus.features(condition=corpus.condition + 5), one, STEPS)[0]
    assert same(before, after)
    shown = run(corpus.view(), condition_dropout=0.0)
    one, two = (
        train(STAGE, corpus.features(condition=condition), shown, STEPS)[0]
        for condition in (corpus.condition, corpus.condition + 5)
    )
    assert not same(one, two)


def test_no_guidance_is_the_conditional_model_and_guidance_exaggerates(corpus, trained):
    state, _ = trained
    guided = dataclasses.replace(STAGE, guided=True)
    plain = drawn(STAGE, state, corpus, run(corpus.view()))
    np.testing.assert_allclose(plain.audio, drawn(guided, state, corpus, run(corpus.view())).audio, rtol=1e-4, atol=1e-5)
    more = drawn(guided, state, corpus, run(corpus.view(), guidance=2.0))

    def between(rows):
        centres = np.stack([rows.audio[rows.label == one].mean(axis=0) for one in range(3)])
        return np.linalg.norm(centres - centres.mean(axis=0))

    assert between(more) > 1.1 * between(plain)


def test_a_batch_in_parts_has_the_gradients_of_the_whole(corpus, trained):
    state, _ = trained
    stages = (STAGE, dataclasses.replace(STAGE, axis=BatchAxis(parts=4)))
    whole, parts = (
        jax.jit(stage.gradients)(state, corpus.features(), run(corpus.view()), jax.random.key(3))[0] for stage in stages
    )
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        assert np.linalg.norm(one - other) <= 1e-5 * np.linalg.norm(one)


def test_pairs_are_made_together(corpus, train):
    stage = Diffuse(n_classes=3, width=32, batch_size=32, steps=400, paired=True, noise_levels=20)
    one = run(corpus.view())
    state, _ = train(stage, corpus.features(condition=None), one, stage.steps)
    draw = jax.jit(functools.partial(stage.outputs, size=2000))
    rows = jax.tree.map(np.asarray, draw(state, corpus.features(condition=None), one, jax.random.key(0)))
    assert rows.audio.shape == (2000, 4) and rows.text.shape == (2000, 3)
    # Audio and text share what is common to both: their first dimensions go together within a class, as in the corpus.
    within = [np.corrcoef(rows.audio[rows.label == c, c], rows.text[rows.label == c, c])[0, 1] for c in range(3)]
    assert np.mean(within) > 0.15


def test_where_text_is_missing_rows_that_have_it_lend_theirs(corpus, train):
    stage = dataclasses.replace(STAGE, text="none", steps=STEPS)
    has_text = np.arange(40) % 2 == 0
    views = [corpus.view(has_text=has_text, with_text_only=only) for only in (False, True)]
    one = run(views[0], views[1])
    state, _ = train(stage, corpus.features(condition=None), one, STEPS)
    draw = jax.jit(functools.partial(stage.outputs, size=500))
    rows = jax.tree.map(np.asarray, draw(state, corpus.features(condition=None), one, jax.random.key(0)))
    assert has_text[rows.text_row].all()
    np.testing.assert_array_equal(corpus.label[rows.text_row], rows.label)


def test_levels_are_told_by_sines_of_their_share_of_all():
    said = embedded(jnp.array([0, 50, 100]), 100)
    assert said.shape == (3, 32)
    np.testing.assert_allclose(said[0], np.repeat([0.0, 1.0], 16), atol=1e-6)
    np.testing.assert_allclose(said[1, [0, 16]], [np.sin(500.0), np.cos(500.0)], atol=1e-3)
    np.testing.assert_allclose(said, embedded(jnp.array([0, 100, 200]), 200), atol=1e-6)


def test_the_denoiser_hears_level_and_condition():
    model, x = Denoiser(8, 10), jnp.ones((2, 3))
    level, condition = jnp.array([3, 3]), jnp.zeros((2, 2))
    params = model.init(jax.random.key(0), x, level, condition)
    said = np.asarray(model.apply(params, x, level, condition))
    assert said.shape == (2, 3)
    np.testing.assert_array_equal(said[0], said[1])
    for changed in ((level + 1, condition), (level, condition + 1)):
        assert np.abs(np.asarray(model.apply(params, x, *changed)) - said).max() > 1e-3


def test_the_text_of_another_class_is_a_probe(corpus, trained):
    state, one = trained[0], run(corpus.view())
    draw = jax.jit(functools.partial(STAGE.outputs_of_wrong_text, size=500))
    rows = jax.tree.map(np.asarray, draw(state, corpus.features(), one, jax.random.key(0)))
    assert (corpus.label[rows.text_row] != rows.label).all() and (corpus.label[rows.text_row] >= 0).all()
    own = drawn(STAGE, state, corpus, one, 500)
    np.testing.assert_array_equal(rows.label, own.label)
    assert not np.allclose(rows.audio, own.audio)


@pytest.mark.parametrize(("text", "by_class"), [("other", True), ("own", False), ("none", False)])
def test_other_conditions_train(corpus, train, text, by_class):
    stage = dataclasses.replace(STAGE, text=text, by_class=by_class, steps=40)
    state, terms = train(stage, corpus.features(), run(corpus.view()), stage.steps)
    assert terms["denoising"][-10:].mean() < terms["denoising"][:5].mean()
    rows = drawn(stage, state, corpus, run(corpus.view()), 300)
    np.testing.assert_array_equal(corpus.label[rows.text_row], rows.label)
    if text == "other":
        assert len(np.unique(rows.text_row)) > 10
