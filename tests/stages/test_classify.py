"""Stage 3: the same real batches for every variant, what each share reads, the moving average, and no leaks."""

import jax
import numpy as np
import pytest

from infoser.fold_view import draw_class_balanced
from infoser.stages.classify import Classify, ClassifyRun, GeneratedRows

STAGE = Classify(n_classes=3, modality="audio", width=8, batch_size=16, steps=60)
NUMBERS = {
    "learning_rate": 1e-2,
    "weight_decay": 1e-2,
    "dropout": 0.1,
    "input_dropout": 0.1,
    "label_smoothing": 0.0,
    "ema_decay": 0.9,
    "audio_scaling_power": 1.0,
    "text_scaling_power": 1.0,
    "block_scaling": 0.0,
    "by_prior": 0.0,
    "focal_gamma": 0.0,
    "logit_adjustment": 0.0,
    "real_weight": 1.0,
    "generated_weight": 0.3,
    "curriculum": 1.0,
}
STEPS = 5


def made(seed=0, count=20, padded=30) -> GeneratedRows:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, padded).astype(np.int32)
    features = 2.0 * np.eye(3, 4)[label] + 0.3 * rng.standard_normal((padded, 4))
    return GeneratedRows(features.astype(np.float32), np.eye(3, dtype=np.float32)[label], np.int32(count))


def run(corpus, *, view=None, generated=None, **numbers):
    return ClassifyRun(
        view=corpus.view() if view is None else view,
        generated=made() if generated is None else generated,
        numbers={name: np.float32(value) for name, value in (NUMBERS | numbers).items()},
    )


def constant_head(state, logits):
    """The state with a network that says the same of every row."""
    layers = jax.tree.map(np.zeros_like, state.params)
    layers["params"]["MLP_0"]["Dense_1"]["bias"] = np.asarray(logits, np.float32)
    return state.replace(params=layers)


@pytest.mark.parametrize(("modality", "dim"), [("audio", 4), ("text", 3), ("both", 7)])
def test_a_head_reads_its_modality(corpus, modality, dim):
    stage = Classify(n_classes=3, modality=modality, width=8, batch_size=16, steps=60)
    shared, view = corpus.features(), corpus.view()
    pool = GeneratedRows(np.zeros((30, dim), np.float32), np.zeros((30, 3), np.float32), np.int32(1))
    one, key = run(corpus, generated=pool), jax.random.key(0)
    rows = np.array([7, 3], np.int32)
    read = np.asarray(stage.read(shared, view, rows))
    audio = (corpus.audio[rows] - view.audio_mean) * view.audio_scale
    text = (corpus.text[rows] - view.text_mean) * view.text_scale
    expected = {"audio": audio, "text": text, "both": np.concatenate([audio, text], axis=1)}[modality]
    np.testing.assert_allclose(read, expected, rtol=1e-5, atol=1e-6)
    state = jax.eval_shape(stage.init, shared, one, key)
    after, terms = jax.eval_shape(stage.train_step, state, shared, one, key, np.float32(0))
    assert sorted(terms) == sorted(stage.terms)
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(after)] == [(x.shape, x.dtype) for x in jax.tree.leaves(state)]


def test_an_easy_corpus_is_learned(corpus, train):
    shared, one = corpus.features(), run(corpus)
    state, terms = train(STAGE, shared, one, 60)
    for name in STAGE.terms:
        assert terms[name][-5:].mean() < 0.5 * terms[name][:5].mean()
    log_probability = np.asarray(jax.jit(STAGE.outputs)(state, shared, (one, corpus.outside), jax.random.key(0)))
    assert log_probability.shape == (len(corpus.outside), 3)
    np.testing.assert_allclose(np.exp(log_probability).sum(axis=1), 1, rtol=1e-5)
    label = corpus.label[corpus.outside]
    assert (log_probability.argmax(axis=1) == label)[label >= 0].all()


def test_outputs_come_from_the_average_and_the_asked_rows(corpus, train, same):
    shared, one = corpus.features(), run(corpus)
    state, _ = train(STAGE, shared, one, STEPS)
    outputs, asked = jax.jit(STAGE.outputs), (one, corpus.outside)
    first = outputs(state, shared, asked, jax.random.key(0))
    assert same(first, outputs(state.replace(params=jax.tree.map(lambda leaf: leaf + 1, state.params)), shared, asked, 0))
    assert not same(first, outputs(state.replace(average=state.params), shared, asked, 0))
    reversed_rows = (one, corpus.outside[::-1])
    np.testing.assert_allclose(outputs(state, shared, reversed_rows, 0), first[::-1], rtol=1e-5, atol=1e-6)


def test_terms_by_hand(corpus, train):
    # With a constant network every row has the same loss, so the shares can be read off.
    shared, quiet = corpus.features(), {"dropout": 0.0, "input_dropout": 0.0, "generated_weight": 0.25}
    one = run(corpus, label_smoothing=0.3, **quiet)
    state, _ = train(STAGE, shared, one, 0)
    logits = np.array([1.0, 0.0, -2.0], np.float32)
    _, terms = train(STAGE, shared, one, 1, state=constant_head(state, logits))
    log_probability = logits - np.log(np.exp(logits).sum())
    real_key, generated_key, _ = jax.random.split(jax.random.fold_in(jax.random.key(0), 0), 3)
    targets = {
        "real": np.eye(3)[draw_class_balanced(real_key, one.view, 16)[1]],
        "generated": one.generated.target[jax.random.randint(generated_key, (16,), 0, 20)],
    }
    expected = {}
    for name, target in targets.items():
        expected[name] = -((0.7 * target + 0.1) * log_probability).sum(axis=1).mean()
        assert terms[name][0] == pytest.approx(expected[name], rel=1e-5)
    total = (expected["real"] + 0.25 * expected["generated"]) / 1.25
    assert terms["total"][0] == pytest.approx(total, rel=1e-5)


def test_without_a_share_the_pool_has_no_influence(corpus, train, same):
    pools = [made(), made(seed=1), made(count=0)]
    for weight, without_influence in ((0.0, True), (0.3, False)):
        states = [train(STAGE, corpus.features(), run(corpus, generated=p, generated_weight=weight), STEPS)[0] for p in pools]
        assert same(states[0], states[1]) == without_influence
        assert same(states[0], states[2]) == without_influence


def test_rows_beyond_the_pool_s_count_are_never_drawn(corpus, train, same):
    pool = made(count=20)
    features, target = pool.features.copy(), pool.target.copy()
    features[20:], target[20:] = np.nan, np.nan
    before = train(STAGE, corpus.features(), run(corpus), STEPS)[0]
    after = train(STAGE, corpus.features(), run(corpus, generated=GeneratedRows(features, target, pool.count)), STEPS)[0]
    assert same(before, after)


def test_no_step_is_spent_on_generated_rows_without_weight(corpus, train, same):
    # Not even a product with 0: that of what is no number would be none either.
    nothing = GeneratedRows(np.full((30, 4), np.nan, np.float32), np.full((30, 3), np.nan, np.float32), np.int32(20))
    plain, spoilt = (
        train(STAGE, corpus.features(), run(corpus, generated=pool, generated_weight=0.0), STEPS) for pool in (made(), nothing)
    )
    assert same(plain[0], spoilt[0]) and np.isfinite(spoilt[0].params["params"]["MLP_0"]["Dense_0"]["kernel"]).all()
    assert plain[1]["generated"].tolist() == [0.0] * STEPS


def test_all_variants_see_the_same_real_batches(corpus, train):
    # At rate 0 the network stays as it is, so the loss on the real batches tells one batch from another.
    def real_losses(**changes):
        return train(STAGE, corpus.features(), run(corpus, learning_rate=0.0, **changes), STEPS)[1]["real"]

    none = real_losses(generated_weight=0.0)
    assert len(set(none)) == STEPS
    for changes in ({}, {"generated": made(seed=1)}, {"generated": made(count=3)}, {"real_weight": 0.0}):
        np.testing.assert_array_equal(real_losses(**changes), none)


def test_a_probe_learns_from_generated_rows_alone(corpus, train, same):
    audio, view = corpus.audio.copy(), corpus.view()
    audio[corpus.train] += 1.0
    for weight, without_influence in ((0.0, True), (1.0, False)):
        one = run(corpus, view=view, real_weight=weight, generated_weight=1.0)
        before = train(STAGE, corpus.features(), one, STEPS)[0]
        assert same(before, train(STAGE, corpus.features(audio=audio), one, STEPS)[0]) == without_influence


def test_shares_are_relative(corpus, train, same):
    one, twice = (run(corpus, real_weight=w, generated_weight=0.5 * w) for w in (1.0, 2.0))
    assert same(train(STAGE, corpus.features(), one, STEPS), train(STAGE, corpus.features(), twice, STEPS))


def test_moving_average(corpus, train, same):
    start = train(STAGE, corpus.features(), run(corpus), 0)[0]
    assert same(start.average, start.params)
    first, second = (train(STAGE, corpus.features(), run(corpus, ema_decay=0.75), n, state=start)[0] for n in (1, 2))
    assert same(first.average, first.params)  # nothing is left of the initial weights
    trees = (jax.tree.leaves(tree) for tree in (second.average, first.params, second.params))
    for average, old, new in zip(*trees, strict=True):
        np.testing.assert_allclose(average, (0.75 * old + new) / 1.75, rtol=1e-5, atol=1e-7)


def test_learning_rate_falls_to_zero_by_a_half_cosine(corpus):
    one, shared, key = run(corpus, weight_decay=0.0, dropout=0.0, input_dropout=0.0), corpus.features(), jax.random.key(0)
    state = jax.jit(STAGE.init)(shared, one, key)
    step = jax.jit(STAGE.train_step)

    def moved(progress):
        after, _ = step(state, shared, one, key, np.float32(progress))
        return np.concatenate(
            [(a - b).ravel() for a, b in zip(*map(jax.tree.leaves, (after.params, state.params)), strict=True)]
        )

    full = moved(0.0)
    assert np.abs(full).max() > 1e-3
    for progress, share in ((1 / 3, 0.75), (0.5, 0.5), (1.0, 0.0)):
        np.testing.assert_allclose(moved(progress), share * full, rtol=1e-3, atol=1e-7)


def test_rows_outside_the_training_part_do_not_leak(corpus, train, same):
    audio, label = corpus.audio.copy(), corpus.label.copy()
    audio[corpus.outside], label[corpus.outside] = 1e3, 2
    before = train(STAGE, corpus.features(), run(corpus), STEPS)[0]
    after = train(STAGE, corpus.features(audio=audio), run(corpus, view=corpus.view(audio=audio, label=label)), STEPS)[0]
    assert same(before, after)


def test_imbalance_controls_by_hand(corpus, train):
    # 15 labelled rows of unequal classes; the loss of each is known where the network is constant.
    rows = np.concatenate([corpus.train[corpus.label[corpus.train] == one][: 3 + 2 * one] for one in range(3)])
    view, quiet = corpus.view(rows=rows), {"dropout": 0.0, "input_dropout": 0.0, "generated_weight": 0.0}
    count, logits = np.array([3.0, 5.0, 7.0]), np.array([1.0, 0.0, -2.0])
    state, _ = train(STAGE, corpus.features(), run(corpus, view=view, **quiet), 0)
    np.testing.assert_array_equal(view.class_count, count)

    def real_loss(**numbers):
        one = run(corpus, view=view, **quiet, **numbers)
        return train(STAGE, corpus.features(), one, 1, state=constant_head(state, logits))[1]["real"][0]

    key = jax.random.split(jax.random.fold_in(jax.random.key(0), 0), 3)[0]
    balanced = np.asarray(draw_class_balanced(key, view, 16)[1])
    prior = np.asarray(draw_class_balanced(key, view, 16, 1.0)[1])
    assert not np.array_equal(balanced, prior)

    def log_softmax(values):
        return values - np.log(np.exp(values).sum())

    plain, adjusted = log_softmax(logits), log_softmax(logits + 0.5 * np.log(count / 15))
    assert real_loss(by_prior=1.0) == pytest.approx(-plain[prior].mean(), rel=1e-5)
    assert real_loss(by_prior=1.0, logit_adjustment=0.5) == pytest.approx(-adjusted[prior].mean(), rel=1e-5)
    focal = (1 - np.exp(plain)) ** 2 * plain
    assert real_loss(focal_gamma=2.0) == pytest.approx(-focal[balanced].mean(), rel=1e-4)


def plain_factors(view, scaling_power, block_scaling, appended=(0, 0)):
    """Column factors in plain NumPy, by the spreads of the columns, for heads on both."""
    scales, parts = (view.audio_scale, view.text_scale), []
    for scale, power, more in zip(scales, scaling_power, appended, strict=True):
        spread = 1 / np.asarray(scale, np.float64)
        factor = np.where(spread == 1, np.nan, spread) ** (1 - power)
        factor = np.where(np.isnan(factor), 1, factor / np.sqrt(np.nanmean(factor**2)))
        factor *= (max(map(len, scales)) / len(scale)) ** (block_scaling / 2)
        parts.append(np.concatenate([factor, np.ones(more)]))
    return np.concatenate(parts)


@pytest.mark.parametrize("scaling_power", [(0.0, 0.0), (1.0, 0.5), (0.3, 1.0), (1.0, 1.0)])
@pytest.mark.parametrize("block_scaling", [0.0, 1.0])
def test_column_factors_by_hand(corpus, scaling_power, block_scaling):
    stage = Classify(n_classes=3, modality="both", width=8, batch_size=16, steps=60)
    view = corpus.view()
    text_scale = np.array(view.text_scale)
    text_scale[1] = 1.0  # what a constant column has
    view = view.replace(text_scale=text_scale)
    aligned = np.zeros((1, corpus.text.shape[0], 2), np.float32)
    shared = corpus.features().replace(text_aligned=aligned)
    own = dict(zip(("audio_scaling_power", "text_scaling_power"), scaling_power, strict=True))
    one = run(corpus, view=view, block_scaling=block_scaling, **own)
    factors = np.asarray(stage.column_factors(shared, one))
    np.testing.assert_allclose(factors, plain_factors(view, scaling_power, block_scaling, (0, 2)), rtol=1e-5)
    if block_scaling == 0 and scaling_power == (1.0, 1.0):
        assert (factors == 1).all()
    audio, text = (factors[:4] ** 2).mean(), (np.delete(factors[4:7], 1) ** 2).mean()
    assert audio == pytest.approx(1, rel=1e-5) and text == pytest.approx(4 / 3 if block_scaling else 1, rel=1e-5)


def test_factors_of_features_whose_squares_are_no_numbers(corpus):
    view = corpus.view()
    small = view.replace(audio_scale=view.audio_scale * np.float32(1e25))
    factors = [STAGE.column_factors(corpus.features(), run(corpus, view=one, audio_scaling_power=0.0)) for one in (view, small)]
    np.testing.assert_allclose(factors[1], factors[0], rtol=1e-4)
    constant = view.replace(audio_scale=np.ones(4, np.float32))
    of_constant = STAGE.column_factors(corpus.features(), run(corpus, view=constant, audio_scaling_power=0.0))
    np.testing.assert_array_equal(of_constant, np.ones(4, np.float32))


def test_heads_of_one_modality_have_no_block_scaling(corpus):
    view = corpus.view()
    one = run(corpus, view=view, block_scaling=1.0)
    for modality, dim in (("audio", 4), ("text", 3)):
        stage = Classify(n_classes=3, modality=modality, width=8, batch_size=16, steps=60)
        np.testing.assert_array_equal(stage.column_factors(corpus.features(), one), np.ones(dim, np.float32))


def test_a_head_of_factors_is_that_of_multiplied_columns(corpus, train):
    """Reading f·x in the plain way and x with the factors f come to the same predictions."""
    stage = Classify(n_classes=3, modality="both", width=8, batch_size=16, steps=60)
    shared, view = corpus.features(), corpus.view()
    rng = np.random.default_rng(3)
    pool = rng.standard_normal((30, 7)).astype(np.float32)
    target = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 30)]
    settings = {"learning_rate": 3e-2, "weight_decay": 0.3, "input_dropout": 0.2, "dropout": 0.2}
    with_factors = run(
        corpus,
        view=view,
        generated=GeneratedRows(pool, target, np.int32(20)),
        audio_scaling_power=0.0,
        text_scaling_power=0.5,
        block_scaling=1.0,
        **settings,
    )
    factors = np.asarray(stage.column_factors(shared, with_factors))
    assert factors.max() / factors.min() > 1.2
    multiplied = view.replace(audio_scale=view.audio_scale * factors[:4], text_scale=view.text_scale * factors[4:])
    plain = run(corpus, view=multiplied, generated=GeneratedRows(pool * factors, target, np.int32(20)), **settings)
    np.testing.assert_array_equal(stage.column_factors(shared, plain), np.ones(7, np.float32))
    states = [train(stage, shared, one, 40)[0] for one in (with_factors, plain)]
    said = [
        stage.outputs(state, shared, (one, corpus.outside), 0) for state, one in zip(states, (with_factors, plain), strict=True)
    ]
    np.testing.assert_allclose(said[0], said[1], rtol=1e-3, atol=1e-3)
    first = states[0].average["params"]["MLP_0"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(
        first, factors[:, None] * states[1].average["params"]["MLP_0"]["Dense_0"]["kernel"], rtol=1e-3, atol=1e-3
    )
