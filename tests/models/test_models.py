"""The networks: shapes, the discriminator's formula, dropout, and what is left out without text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infoser.batch_axis import BatchAxis, dropout_factors
from infoser.models import apply
from infoser.models.aligner import Aligner
from infoser.models.classifier import Classifier
from infoser.models.discriminator import SPECTRAL, Discriminator
from infoser.models.generator import Generator, Recogniser, condition_of
from infoser.models.mlp import MLP, drop

pytestmark = pytest.mark.usefixtures("strict_arrays")

KEY = jax.random.key(0)
BATCH, CLASSES = 6, 3
RNG = np.random.default_rng(0)
AUDIO, TEXT, NOISE = (jnp.asarray(RNG.standard_normal((BATCH, dim)), jnp.float32) for dim in (5, 4, 2))
LABEL = jnp.asarray(RNG.integers(0, CLASSES, BATCH), jnp.int32)


def initialised(module, *arguments):
    return jax.jit(module.init)(KEY, *arguments)


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def dense(params, x):
    return np.asarray(x) @ np.asarray(params["kernel"]) + np.asarray(params.get("bias", 0.0))


def test_multilayer_perceptron_is_dense_leaky_dense():
    module = MLP((8, 7), 2)
    params = initialised(module, AUDIO)
    layers = params["params"]
    expected = leaky(dense(layers["Dense_1"], leaky(dense(layers["Dense_0"], AUDIO))))
    np.testing.assert_allclose(module.apply(params, AUDIO), dense(layers["Dense_2"], expected), rtol=1e-5, atol=1e-6)


def test_aligner_shapes():
    module = Aligner(width=8, representation_dim=3, n_classes=CLASSES)
    aligned = apply(module, initialised(module, AUDIO, TEXT), AUDIO, TEXT)
    assert aligned.audio.shape == aligned.text.shape == (BATCH, 3)
    assert [head.shape for head in aligned.logits] == [(BATCH, CLASSES)] * 3


def test_aligner_without_text_has_an_audio_side_only():
    module = Aligner(width=8, representation_dim=3, n_classes=CLASSES)
    params = initialised(module, AUDIO, None)
    assert set(params["params"]) == {"audio_encoder", "audio_encoder_norm", "audio_head"}
    aligned = apply(module, params, AUDIO, None)
    assert aligned.text is None
    assert [head.shape for head in aligned.logits] == [(BATCH, CLASSES)]


def test_condition_is_the_class_and_the_text():
    both = condition_of(LABEL, CLASSES, TEXT, BATCH)
    np.testing.assert_array_equal(both, np.concatenate([np.eye(CLASSES)[LABEL], TEXT], axis=1))
    np.testing.assert_array_equal(condition_of(None, CLASSES, TEXT, BATCH), TEXT)
    np.testing.assert_array_equal(condition_of(LABEL, CLASSES, None, BATCH), np.eye(CLASSES)[LABEL])
    assert condition_of(None, CLASSES, None, BATCH).shape == (BATCH, 0)
    np.testing.assert_array_equal(condition_of(jnp.full(BATCH, -1), CLASSES, None, BATCH), 0)  # of no class


def test_generator_reads_noise_and_condition():
    module = Generator(width=8, out=5)
    params = initialised(module, NOISE, TEXT)
    assert params["params"]["MLP_0"]["Dense_0"]["kernel"].shape == (2 + 4, 8)
    generated = module.apply(params, NOISE, TEXT)
    assert generated.shape == (BATCH, 5)
    for changed in ((NOISE + 1, TEXT), (NOISE, TEXT + 1)):
        assert (jnp.abs(module.apply(params, *changed) - generated).max(axis=1) > 1e-4).all()


def expected_score(layers, features, condition):
    hidden = leaky(dense(layers["second"], leaky(dense(layers["first"], features))))
    score = dense(layers["score"], hidden)[:, 0]
    if condition.shape[1]:
        score = score + (dense(layers["projection"], condition) * hidden).sum(1) / 8**0.5
    return score, hidden


@pytest.mark.parametrize("text", [TEXT, None])
def test_discriminator_is_the_projection_discriminator(text):
    module, condition = Discriminator(width=8), condition_of(LABEL, CLASSES, text, BATCH)
    params = initialised(module, AUDIO, condition)
    judged = apply(module, params, AUDIO, condition)
    assert judged.logits is None
    np.testing.assert_allclose(judged.score, expected_score(params["params"], AUDIO, condition)[0], rtol=1e-4, atol=1e-5)


def test_discriminator_with_an_auxiliary_classifier():
    module, nothing = Discriminator(width=8, classes=CLASSES), jnp.zeros((BATCH, 0))
    params = initialised(module, AUDIO, nothing)
    layers = params["params"]
    assert "projection" not in layers
    judged = apply(module, params, AUDIO, nothing)
    score, hidden = expected_score(layers, AUDIO, np.zeros((BATCH, 0)))
    np.testing.assert_allclose(judged.score, score, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(judged.logits, dense(layers["classifier"], hidden), rtol=1e-4, atol=1e-5)


def test_discriminator_judges_packs_side_by_side():
    module, condition = Discriminator(width=8, classes=CLASSES, pack=3), jnp.asarray(TEXT)
    params = initialised(module, AUDIO, condition)
    judged = apply(module, params, AUDIO, condition)
    packed = [np.asarray(x).reshape(BATCH // 3, -1) for x in (AUDIO, TEXT)]
    assert judged.score.shape == (BATCH // 3,) and judged.logits.shape == (BATCH, CLASSES)
    np.testing.assert_allclose(judged.score, expected_score(params["params"], *packed)[0], rtol=1e-4, atol=1e-5)
    # Row i of the logits is row i of the batch.
    _, hidden = expected_score(params["params"], *packed)
    expected = np.asarray(dense(params["params"]["classifier"], hidden)).reshape(BATCH, CLASSES)
    np.testing.assert_allclose(judged.logits, expected, rtol=1e-4, atol=1e-5)


def test_spectral_normalisation_brings_every_layer_to_norm_1():
    module, condition = Discriminator(width=8, spectral=True), jnp.asarray(TEXT)
    state = initialised(module, AUDIO, condition)
    assert set(state) == {"params", SPECTRAL}
    for _ in range(60):
        _, refreshed = module.apply(state, AUDIO, condition, refresh=True, mutable=[SPECTRAL])
        state = state | refreshed
    normal = {
        name: layer | {"kernel": layer["kernel"] / np.linalg.norm(layer["kernel"], 2)}
        for name, layer in state["params"].items()
    }
    judged = apply(module, state, AUDIO, condition)
    np.testing.assert_allclose(judged.score, expected_score(normal, AUDIO, TEXT)[0], rtol=1e-3, atol=1e-5)


def test_recogniser_bounds_the_log_variance():
    module = Recogniser(width=8, n_classes=CLASSES, text_dim=4)
    params = initialised(module, AUDIO)
    recovered = apply(module, params, AUDIO)
    assert recovered.logits.shape == (BATCH, CLASSES)
    assert recovered.text_mean.shape == recovered.text_log_variance.shape == (BATCH, 4)
    far = apply(module, params, 1e6 * AUDIO)
    assert 5.9 < jnp.abs(far.text_log_variance).max() <= 6.0
    without = Recogniser(width=8, n_classes=CLASSES, text_dim=0)
    recovered = apply(without, initialised(without, AUDIO), AUDIO)
    assert recovered.text_mean is None and recovered.text_log_variance is None


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_expectation(rate):
    values = jnp.asarray(RNG.standard_normal((20_000, 3)), jnp.float32)
    dropped = np.asarray(drop(values, rate, KEY))
    kept, rate = dropped != 0, round(256 * rate) / 256
    assert abs(kept.mean() - (1 - rate)) < 4 * (rate * (1 - rate) / values.size) ** 0.5
    np.testing.assert_allclose(dropped[kept], np.asarray(values)[kept] / (1 - rate), rtol=1e-5)
    error = np.sqrt(rate / (1 - rate) * np.mean(np.asarray(values) ** 2, axis=0) / len(values))
    assert (np.abs((dropped - values).mean(axis=0)) < 4 * error).all()


def test_dropout_masks_are_independent():
    ones = jnp.ones((4000, 3))
    masks = [np.asarray(drop(ones, 0.5, key)).ravel() > 0 for key in jax.random.split(KEY, 3)]
    # Of other keys, and of the places of one mask at any distance, those of the same random word too.
    pairs = [(masks[0], masks[1]), (masks[1], masks[2])]
    pairs += [(masks[0][shift:], masks[0][:-shift]) for shift in (1, 2, 3, 3000, 6000, 9000)]
    for one, other in pairs:
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(len(one))


def test_factors_of_dropout_are_those_of_drop():
    shape = 3, 40, 6
    factors = np.asarray(dropout_factors(shape, 0.3, KEY))
    np.testing.assert_allclose(factors.reshape(120, 6), drop(jnp.ones((120, 6)), 0.3, KEY), rtol=1e-6)
    assert 0 < (factors == 0).mean() < 0.5 and not (factors[0] == factors[1]).all()
    np.testing.assert_array_equal(dropout_factors(shape, 0.0, KEY), np.ones(shape))


def test_devices_have_their_share_of_the_factors_of_dropout():
    axis = BatchAxis("devices", 4)
    shared = jax.pmap(lambda key: dropout_factors((3, 10, 6), 0.3, key, axis), "devices", devices=jax.devices()[:4])(
        jnp.stack([KEY] * 4)
    )
    np.testing.assert_array_equal(np.concatenate(list(shared), axis=1), dropout_factors((3, 40, 6), 0.3, KEY))


@pytest.mark.parametrize("rate", [0.001, 0.999])
def test_dropout_never_drops_everything(rate):
    dropped = np.asarray(drop(jnp.ones((2000, 5)), jnp.float32(rate), KEY))
    assert np.isfinite(dropped).all() and (dropped != 0).any()


def test_dropout_of_nothing_is_the_identity():
    np.testing.assert_array_equal(drop(AUDIO, 0.0, KEY), AUDIO)
    np.testing.assert_array_equal(jax.jit(drop)(AUDIO, jnp.float32(0.0), KEY), AUDIO)


def test_dropout_acts_in_training_only():
    module = Classifier(width=64, n_classes=CLASSES)
    params = initialised(module, AUDIO)
    predicted = module.apply(params, AUDIO, 0.5, 0.5)
    np.testing.assert_array_equal(module.apply(params, AUDIO, 0.5, 0.5), predicted)

    def trained(dropout, input_dropout, key):
        return module.apply(params, AUDIO, dropout, input_dropout, train=True, rngs={"dropout": key})

    np.testing.assert_array_equal(trained(0.0, 0.0, KEY), predicted)
    other = jax.random.key(1)
    for rates in ((0.5, 0.0), (0.0, 0.5)):
        assert not np.array_equal(trained(*rates, KEY), predicted)
        assert not np.array_equal(trained(*rates, KEY), trained(*rates, other))
        np.testing.assert_array_equal(trained(*rates, KEY), trained(*rates, KEY))
