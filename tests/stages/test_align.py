"""Stage 1: which rows and labels an aligner learns from, and what the weights switch off."""

import jax
import numpy as np
import pytest

from infoser.models.critics import BilinearCritic
from infoser.stages.align import Align, AlignRun

STRUCTURE = {"n_classes": 3, "width": 8, "representation_dim": 3, "batch_size": 16, "steps": 60, "mi_estimator": "jsd"}
SUPERVISED = Align(has_text=True, label_free=False, **STRUCTURE)
LABEL_FREE = Align(has_text=True, label_free=True, **STRUCTURE)
NUMBERS = {
    "learning_rate": 1e-2,
    "weight_decay": 1e-2,
    "dropout": 0.1,
    "class_weight": 1.0,
    "contrastive_weight": 1.0,
    "temperature": 0.2,
    "mi_weight": 0.1,
}
STEPS = 5


def run(view, **numbers):
    return AlignRun(view, {name: np.float32(value) for name, value in (NUMBERS | numbers).items()})


def moved(params, start):
    """Names of the model's parts whose parameters are not those of `start`."""
    parts, before = ({**each["aligner"]["params"], "critic": each["critic"]} for each in (params, start))
    return {
        name
        for name in parts
        if any(
            not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(parts[name]), jax.tree.leaves(before[name]), strict=True)
        )
    }


@pytest.mark.parametrize("estimator", ["jsd", "nwj", "infonce"])
@pytest.mark.parametrize("label_free", [False, True])
@pytest.mark.parametrize("has_text", [False, True])
def test_terms_are_what_a_step_returns(corpus, estimator, label_free, has_text):
    if label_free and not has_text:
        return  # nothing is left to learn from
    stage = Align(has_text=has_text, label_free=label_free, **STRUCTURE | {"mi_estimator": estimator})
    shared = corpus.features() if has_text else corpus.features(text=None)
    one = run(corpus.view() if has_text else corpus.view(text=None))
    key = jax.random.key(0)
    state = jax.eval_shape(stage.init, shared, one, key)
    after, terms = jax.eval_shape(stage.train_step, state, shared, one, key, np.float32(0))
    assert sorted(terms) == sorted(stage.terms)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(after)] == [(x.shape, x.dtype) for x in jax.tree.leaves(state)]


def test_an_easy_corpus_is_learned(corpus, train):
    _, terms = train(SUPERVISED, corpus.features(), run(corpus.view()), 60)
    assert terms["class"][-5:].mean() < 0.5 * terms["class"][:5].mean()
    assert terms["contrastive"][-5:].mean() < terms["contrastive"][:5].mean()
    assert terms["mutual_information"][-5:].mean() > terms["mutual_information"][:5].mean()
    assert terms["total"][-5:].mean() < terms["total"][:5].mean()


def test_total_is_the_weighted_sum(corpus, train):
    one = run(corpus.view(), class_weight=0.3, contrastive_weight=0.7, mi_weight=2.0)
    _, terms = train(SUPERVISED, corpus.features(), one, 2)
    expected = 0.3 * terms["class"] + 0.7 * terms["contrastive"] - 2.0 * terms["mutual_information"]
    np.testing.assert_allclose(terms["total"], expected, rtol=1e-5)


def test_without_labels_nothing_depends_on_labels(corpus, train, same):
    rng = np.random.default_rng(0)
    states = [
        train(LABEL_FREE, corpus.features(), run(corpus.view(label=label)), STEPS)[0]
        for label in (corpus.label, rng.permutation(corpus.label), np.full_like(corpus.label, -1))
    ]
    assert same(states[0], states[1]) and same(states[0], states[2])
    # Its class heads are there but never learn.
    start = train(LABEL_FREE, corpus.features(), run(corpus.view()), 0)[0]
    unweighted = train(LABEL_FREE, corpus.features(), run(corpus.view(), weight_decay=0.0), STEPS)[0]
    assert moved(unweighted.params, start.params).isdisjoint({"audio_head", "text_head", "joint_head"})


def test_unlabelled_rows_teach_the_contrastive_terms(corpus, train, same):
    unlabelled = corpus.train[corpus.label[corpus.train] < 0]
    view, audio = corpus.view(), corpus.audio.copy()
    audio[unlabelled] += 1.0
    for numbers, untouched in (({}, False), ({"contrastive_weight": 0.0, "mi_weight": 0.0}, True)):
        one = run(view, **numbers)
        before = train(SUPERVISED, corpus.features(), one, STEPS)[0]
        after = train(SUPERVISED, corpus.features(audio=audio), one, STEPS)[0]
        assert same(before, after) == untouched


@pytest.mark.parametrize(
    ("weight", "still"),
    [
        ("class_weight", {"audio_head", "text_head", "joint_head"}),
        ("mi_weight", {"critic"}),
    ],
)
def test_a_weight_of_zero_switches_its_term_off(corpus, train, weight, still):
    # The parts that serve this term alone do not move (weight decay would move them too).
    start = train(SUPERVISED, corpus.features(), run(corpus.view()), 0)[0]
    with_term = train(SUPERVISED, corpus.features(), run(corpus.view(), weight_decay=0.0), STEPS)[0]
    without = train(SUPERVISED, corpus.features(), run(corpus.view(), weight_decay=0.0, **{weight: 0.0}), STEPS)[0]
    assert still <= moved(with_term.params, start.params)
    assert moved(without.params, start.params) == moved(with_term.params, start.params) - still


def test_a_contrastive_weight_of_zero_makes_its_temperature_irrelevant(corpus, train, same):
    def after(**numbers):
        return train(SUPERVISED, corpus.features(), run(corpus.view(), **numbers), STEPS)[0]

    assert same(after(contrastive_weight=0.0), after(contrastive_weight=0.0, temperature=1.0))
    assert not same(after(), after(temperature=1.0))


def test_rows_outside_the_training_part_do_not_leak(corpus, train, same):
    audio, text, label = corpus.audio.copy(), corpus.text.copy(), corpus.label.copy()
    audio[corpus.outside], text[corpus.outside], label[corpus.outside] = 1e3, -1e3, 2
    for stage in (SUPERVISED, LABEL_FREE):
        before = train(stage, corpus.features(), run(corpus.view()), STEPS)[0]
        view = corpus.view(audio=audio, text=text, label=label)
        after = train(stage, corpus.features(audio=audio, text=text), run(view), STEPS)[0]
        assert same(before, after)


def test_outputs_embed_every_row_and_the_critic_scores_pairs(corpus, train):
    one, shared = run(corpus.view()), corpus.features()
    state, _ = train(LABEL_FREE, shared, one, 60)
    embed = jax.jit(LABEL_FREE.embed, static_argnums=(4, 5))
    audio, text = embed(state, shared, (one, np.arange(40)), jax.random.key(0), 0, 0)
    assert audio.shape == text.shape == (40, 3)
    rows = np.array([3, 17, 30], np.int32)
    for whole, part in zip((audio, text), embed(state, shared, (one, rows), jax.random.key(0), 0, 0), strict=True):
        np.testing.assert_allclose(part, whole[rows], rtol=1e-5, atol=1e-6)
    scores = jax.jit(LABEL_FREE.critic_scores)(state, shared, (audio[rows], text[rows]), jax.random.key(0))
    expected = BilinearCritic().apply(state.params["critic"], audio[rows], text[rows])
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
