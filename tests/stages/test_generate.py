"""Stage 2: what the weights switch off, the moving average, the pool, and that nothing leaks."""

import functools

import jax
import numpy as np
import pytest
from scipy import stats

from infoser.batch_axis import SINGLE
from infoser.stages.conditions import read_condition
from infoser.stages.generate import Generate, GenerateRun

STRUCTURE = {"n_classes": 3, "width": 8, "latent_dim": 3, "batch_size": 16, "steps": 300}
STAGE = Generate(text="own", **STRUCTURE)
NUMBERS = {
    "generator_learning_rate": 5e-3,
    "discriminator_learning_rate": 5e-3,
    "dropout": 0.1,
    "text_noise": 0.2,
    "r1_weight": 0.5,
    "class_mi_weight": 1.0,
    "text_mi_weight": 0.5,
    "pair_mi_weight": 0.1,
    "ema_decay": 0.9,
    "gradient_penalty_weight": 10.0,
    "auxiliary_weight": 1.0,
    "unlabelled_weight": 1.0,
}
STEPS = 4
STRUCTURES: dict[str, dict] = {
    "class": {},
    "class and text": {"text": "own"},
    "text of another row": {"text": "other"},
    "text alone": {"by_class": False, "text": "own"},
    "nothing": {"by_class": False, "labels_itself": True},
    "pairs": {"paired": True},
    "wasserstein": {"loss": "wasserstein", "critic_steps": 3},
    "non-saturating, in packs": {"loss": "non-saturating", "pack": 4, "spectral_norm": True},
    "auxiliary": {"auxiliary": True, "text": "own", "unlabelled": True},
    "critics": {"text": "own", "class_estimator": "mine", "text_estimator": "mixture"},
    "pairs by club": {"paired": True, "pair_estimator": "club", "class_estimator": "club"},
    "pairs by smile": {"paired": True, "pair_estimator": "smile", "critic": "concatenated", "auxiliary": True, "pack": 2},
}


def run(view, **numbers):
    return GenerateRun(view, np.int32(0), {name: np.float32(value) for name, value in (NUMBERS | numbers).items()})


def changed_recogniser(state, *parts):
    """The state with other parameters in these layers of Q."""
    layers = dict(state.players["recogniser"]["params"])
    for part in parts:
        layers[part] = jax.tree.map(lambda leaf: leaf + 0.5, layers[part])
    return state.replace(players=state.players | {"recogniser": {"params": layers}})


@pytest.fixture(scope="module")
def start(corpus, train):
    return train(STAGE, corpus.features(), run(corpus.view()), 0)[0]


@pytest.fixture(scope="module")
def pool(corpus, train):
    """The trained state and a function that draws its pool."""
    one, shared = run(corpus.view()), corpus.features()
    state, terms = train(STAGE, shared, one, 300)
    draw = jax.jit(functools.partial(STAGE.outputs, size=3000))
    return state, terms, lambda state, key=0: jax.tree.map(np.asarray, draw(state, shared, one, jax.random.key(key)))


@pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES)
def test_terms_are_what_a_step_returns(corpus, structure):
    stage = Generate(**STRUCTURE | structure)
    shared = corpus.features() if stage.with_text else corpus.features(condition=None)
    key, one = jax.random.key(0), run(corpus.view())
    state = jax.eval_shape(stage.init, shared, one, key)
    after, terms = jax.eval_shape(stage.train_step, state, shared, one, key, np.float32(0))
    assert sorted(terms) == sorted(stage.terms)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(after)] == [(x.shape, x.dtype) for x in jax.tree.leaves(state)]


def test_the_condition_becomes_readable_from_what_is_generated(pool):
    _, terms, _ = pool
    assert terms["class_log_likelihood"][-10:].mean() > -0.3 > -0.9 > terms["class_log_likelihood"][:5].mean()
    assert terms["text_log_likelihood"][-10:].mean() > terms["text_log_likelihood"][:5].mean()


def test_without_information_weights_q_neither_learns_nor_teaches(corpus, train, start, same):
    one = run(corpus.view(), class_mi_weight=0.0, text_mi_weight=0.0)
    plain = train(STAGE, corpus.features(), one, STEPS, state=start)[0]
    other_q = changed_recogniser(start, "Dense_0", "Dense_1", "Dense_2", "Dense_3")
    changed = train(STAGE, corpus.features(), one, STEPS, state=other_q)[0]
    assert same(plain.players["generator"], changed.players["generator"])
    assert same(plain.players["recogniser"], start.players["recogniser"])
    assert same(plain.discriminator, changed.discriminator)
    informed = run(corpus.view())
    one_q, two_q = (train(STAGE, corpus.features(), informed, STEPS, state=state)[0] for state in (start, other_q))
    assert not same(one_q.players["generator"], two_q.players["generator"])
    assert not same(one_q.players["generator"], plain.players["generator"])


@pytest.mark.parametrize(
    ("weight", "heads"),
    [("class_mi_weight", ("Dense_1",)), ("text_mi_weight", ("Dense_2", "Dense_3"))],
)
def test_each_information_term_acts_through_its_own_heads(corpus, train, start, same, weight, heads):
    # Q's trunk is Dense_0, its class head Dense_1, its text heads Dense_2 (log-variance) and Dense_3 (mean).
    for numbers, irrelevant in (({weight: 0.0}, True), ({}, False)):
        one = run(corpus.view(), **numbers)
        before, after = (
            train(STAGE, corpus.features(), one, STEPS, state=state)[0] for state in (start, changed_recogniser(start, *heads))
        )
        assert same(before.players["generator"], after.players["generator"]) == irrelevant


def test_r1_acts_on_the_discriminator(corpus, train, start, same):
    def after(**numbers):
        return train(STAGE, corpus.features(), run(corpus.view(), **numbers), 1, state=start)

    with_penalty, terms = after()
    without, terms_without = after(r1_weight=0.0)
    np.testing.assert_array_equal(terms["r1"], terms_without["r1"])  # it is measured all the same
    assert terms["r1"] > 0
    assert not same(with_penalty.discriminator, without.discriminator)


def test_moving_average_of_the_generator(corpus, train, start, same):
    assert same(start.average, start.players["generator"])
    one = run(corpus.view(), ema_decay=0.9)
    first, second = (train(STAGE, corpus.features(), one, steps, state=start)[0] for steps in (1, 2))
    trees = (jax.tree.leaves(tree) for tree in (second.average, first.players["generator"], second.players["generator"]))
    for average, old, new in zip(*trees, strict=True):
        np.testing.assert_allclose(average, (0.9 * old + new) / 1.9, rtol=1e-5, atol=1e-7)
    latest = train(STAGE, corpus.features(), run(corpus.view(), ema_decay=0.0), 2, state=start)[0]
    assert same(latest.average, latest.players["generator"])


def test_pool_is_balanced_and_takes_texts_from_labelled_training_rows(corpus, pool):
    state, _, draw = pool
    rows = draw(state)
    assert rows.audio.shape == (3000, 4) and np.isfinite(rows.audio).all()
    assert stats.chisquare(np.bincount(rows.label, minlength=3)).pvalue > 0.01
    np.testing.assert_array_equal(corpus.label[rows.text_row], rows.label)
    labelled = corpus.train[corpus.label[corpus.train] >= 0]
    assert set(rows.text_row) == set(labelled)


@pytest.mark.parametrize("size", [3000, 4096])
def test_any_part_of_a_pool_is_of_all_rows(corpus, start, size):
    # 4096 places make 64 strata, in the corpus' order: of those the first rows were of the first speakers.
    rows = jax.jit(STAGE.outputs, static_argnums=4)(start, corpus.features(), run(corpus.view()), jax.random.key(0), size)
    labelled = corpus.train[corpus.label[corpus.train] >= 0]
    place = np.searchsorted(labelled, np.asarray(rows.text_row)) / len(labelled)
    for part in (place[: size // 4], place[-size // 4 :]):
        assert stats.kstest(part + 0.5 / len(labelled), "uniform").statistic < 0.1


def test_rows_of_a_pack_are_drawn_apart(corpus):
    """Pairs of rows of one class are no nearer in the corpus than chance has them, and no more often the same row."""
    stage = Generate(**STRUCTURE | {"pack": 2, "batch_size": 128})
    view = corpus.view()
    rows = np.concatenate([np.asarray(stage.rows_read(view, jax.random.key(seed)))[0] for seed in range(300)])
    labelled = corpus.train[corpus.label[corpus.train] >= 0]
    of_class = {one: labelled[corpus.label[labelled] == one] for one in range(3)}
    same, expected = 0.0, 0.0
    for one, other in rows.reshape(-1, 2):
        if corpus.label[one] == corpus.label[other]:
            same += one == other
            expected += 1 / len(of_class[int(corpus.label[one])])
    assert expected > 100
    assert abs(same - expected) < 5 * np.sqrt(expected)


def test_pool_is_made_by_the_average_of_g_and_the_run_s_key(pool, same):
    state, _, draw = pool
    first = draw(state)
    shifted = state.players | {"generator": jax.tree.map(lambda leaf: leaf + 0.1, state.players["generator"])}
    assert same(first, draw(state.replace(players=shifted)))
    averaged = draw(state.replace(average=jax.tree.map(lambda leaf: leaf + 0.1, state.average)))
    assert same(first.text_row, averaged.text_row) and not same(first.audio, averaged.audio)
    assert same(first, draw(state)) and not same(first, draw(state, key=1))


def test_generated_features_are_those_of_their_class(corpus, pool):
    state, _, draw = pool
    rows, view = draw(state), corpus.view()
    real = (corpus.audio - view.audio_mean) * view.audio_scale
    train_label = corpus.label[corpus.train]
    centres = np.stack([real[corpus.train][train_label == c].mean(axis=0) for c in range(3)])
    generated = np.stack([rows.audio[rows.label == c].mean(axis=0) for c in range(3)])
    distance = np.linalg.norm(generated[:, None] - centres, axis=-1)
    np.testing.assert_array_equal(distance.argmin(axis=1), [0, 1, 2])


def test_rows_outside_the_training_part_do_not_leak(corpus, train, same):
    arrays = {"audio": corpus.audio.copy(), "text": corpus.text.copy(), "condition": corpus.condition.copy()}
    label = corpus.label.copy()
    for array in arrays.values():
        array[..., corpus.outside, :] = 1e3
    label[corpus.outside] = 2
    before = train(STAGE, corpus.features(), run(corpus.view()), STEPS)[0]
    view = corpus.view(audio=arrays["audio"], text=arrays["text"], label=label)
    assert same(before, train(STAGE, corpus.features(**arrays), run(view), STEPS)[0])


def test_unlabelled_rows_are_not_used(corpus, train, same):
    view, audio = corpus.view(), corpus.audio.copy()
    audio[corpus.train[corpus.label[corpus.train] < 0]] += 1.0
    before = train(STAGE, corpus.features(), run(view), STEPS)[0]
    assert same(before, train(STAGE, corpus.features(audio=audio), run(view), STEPS)[0])


@pytest.fixture(scope="module")
def paired(corpus, train):
    """A stage that generates audio and text features together, its state and terms after training."""
    stage, one = Generate(paired=True, **STRUCTURE), run(corpus.view())
    return stage, one, *train(stage, corpus.features(condition=None), one, 300)


def test_pairs_are_generated_together(corpus, paired):
    stage, one, state, terms = paired
    draw = jax.jit(functools.partial(stage.outputs, size=600))
    rows = jax.tree.map(np.asarray, draw(state, corpus.features(condition=None), one, jax.random.key(0)))
    assert rows.audio.shape == (600, 4) and rows.text.shape == (600, 3)
    assert terms["class_log_likelihood"][-10:].mean() > terms["class_log_likelihood"][:5].mean() + 0.3
    # The critic learns to tell pairs from shuffled ones: above what an ignorant one reaches.
    assert terms["pair_information"][-10:].mean() > -2 * np.log(2) + 0.1


def test_the_pair_term_teaches_through_its_critic_alone(corpus, train, paired, same):
    stage, one, state, _ = paired
    shared = corpus.features(condition=None)
    shifted = jax.tree.map(lambda leaf: leaf + 0.1, state.players["pair_critic"])
    other = state.replace(players=state.players | {"pair_critic": shifted})
    for numbers, irrelevant in (({"pair_mi_weight": 0.0}, True), ({"pair_mi_weight": 1.0}, False)):
        one = run(corpus.view(), **numbers)
        before, after = (train(stage, shared, one, STEPS, state=start)[0] for start in (state, other))
        assert same(before.players["generator"], after.players["generator"]) == irrelevant


def test_text_conditions_come_from_the_run_s_aligner(corpus, train, same):
    changed = corpus.condition.copy()
    changed[1] += 1.0
    for layer, untouched in ((0, True), (1, False)):
        one = run(corpus.view()).replace(aligner=np.int32(layer))
        before = train(STAGE, corpus.features(), one, STEPS)[0]
        assert same(before, train(STAGE, corpus.features(condition=changed), one, STEPS)[0]) == untouched


def test_text_comes_with_noise_of_the_given_width(corpus):
    rows = np.resize(np.flatnonzero(corpus.label >= 0), 20_000).astype(np.int32)
    shared, key = corpus.features(), jax.random.key(1)
    exact = np.asarray(shared.condition)[0, rows]
    np.testing.assert_array_equal(read_condition(key, shared, run(corpus.view(), text_noise=0.0), rows, SINGLE), exact)
    noise = read_condition(key, shared, run(corpus.view(), text_noise=0.5), rows, SINGLE) - exact
    np.testing.assert_allclose([noise.mean(), noise.std()], [0.0, 0.5], atol=0.01)


def test_text_is_lent_by_rows_that_have_it(corpus, train):
    stage = Generate(**STRUCTURE)
    has_text = np.arange(40) % 5 > 0
    lenders = corpus.view(has_text=has_text, with_text_only=True)
    one = run(corpus.view(has_text=has_text))
    state, _ = train(stage, corpus.features(), one, 0)
    pools = [
        jax.jit(stage.outputs, static_argnums=4)(state, corpus.features(), each, jax.random.key(0), 300)
        for each in (one, one.replace(lenders=lenders))
    ]
    rows = np.asarray(pools[1].text_row)
    np.testing.assert_array_equal(corpus.label[rows], pools[1].label)
    lending = corpus.train[has_text[corpus.train] & (corpus.label[corpus.train] >= 0)]
    assert set(rows) == set(lending)
    assert not has_text[np.asarray(pools[0].text_row)].all()
    np.testing.assert_array_equal(pools[0].audio, pools[1].audio)  # what is generated is the same
