"""The networks: shapes, the discriminator's formula, dropout, and what is left out without text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infoser.models import apply
from infoser.models.aligner import Aligner, BilinearCritic
from infoser.models.classifier import Classifier
from infoser.models.generator import Discriminator, Generator, Recogniser
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


def test_the_bilinear_critic_scores_each_pair_by_itself():
    module, text = BilinearCritic(), jnp.concatenate([TEXT, TEXT[:, :1]], axis=1)
    params = initialised(module, AUDIO, text)
    scores = apply(module, params, AUDIO, text)
    # Entry (i, j) belongs to audio i and text j: hᵢ·W·tⱼ / dim.
    expected = np.asarray(AUDIO) @ params["params"]["weight"]["kernel"] @ np.asarray(text).T / 5
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)
    permutation = np.array([3, 0, 5, 1, 4, 2])
    np.testing.assert_allclose(apply(module, params, AUDIO, text[permutation]), scores[:, permutation], rtol=1e-5, atol=1e-6)


def test_aligner_without_text_has_an_audio_side_only():
    module = Aligner(width=8, representation_dim=3, n_classes=CLASSES)
    params = initialised(module, AUDIO, None)
    assert set(params["params"]) == {"audio_encoder", "audio_encoder_norm", "audio_head"}
    aligned = apply(module, params, AUDIO, None)
    assert aligned.text is None
    assert [head.shape for head in aligned.logits] == [(BATCH, CLASSES)]


def test_generator_reads_noise_class_and_text():
    module = Generator(width=8, out=5, n_classes=CLASSES)
    params = initialised(module, NOISE, LABEL, TEXT)
    assert params["params"]["MLP_0"]["Dense_0"]["kernel"].shape == (2 + CLASSES + 4, 8)
    generated = module.apply(params, NOISE, LABEL, TEXT)
    assert generated.shape == (BATCH, 5)
    for changed in ((NOISE + 1, LABEL, TEXT), (NOISE, (LABEL + 1) % CLASSES, TEXT), (NOISE, LABEL, TEXT + 1)):
        assert (jnp.abs(module.apply(params, *changed) - generated).max(axis=1) > 1e-4).all()


def test_generator_without_text_has_no_text_inputs():
    module = Generator(width=8, out=5, n_classes=CLASSES)
    params = initialised(module, NOISE, LABEL, None)
    assert params["params"]["MLP_0"]["Dense_0"]["kernel"].shape == (2 + CLASSES, 8)
    assert module.apply(params, NOISE, LABEL, None).shape == (BATCH, 5)


@pytest.mark.parametrize("text", [TEXT, None])
def test_discriminator_is_the_projection_discriminator(text):
    module = Discriminator(width=8, n_classes=CLASSES)
    params = initialised(module, AUDIO, LABEL, text)
    layers = params["params"]
    hidden = leaky(dense(layers["MLP_0"]["Dense_1"], leaky(dense(layers["MLP_0"]["Dense_0"], AUDIO))))
    condition = np.eye(CLASSES)[LABEL]
    condition = condition if text is None else np.concatenate([condition, text], axis=1)
    expected = dense(layers["Dense_0"], hidden)[:, 0] + (dense(layers["projection"], condition) * hidden).sum(1) / 8**0.5
    np.testing.assert_allclose(module.apply(params, AUDIO, LABEL, text), expected, rtol=1e-4, atol=1e-5)


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
    kept = dropped != 0
    assert abs(kept.mean() - (1 - rate)) < 4 * (rate * (1 - rate) / values.size) ** 0.5
    np.testing.assert_allclose(dropped[kept], np.asarray(values)[kept] / (1 - rate), rtol=1e-5)
    error = np.sqrt(rate / (1 - rate) * np.mean(np.asarray(values) ** 2, axis=0) / len(values))
    assert (np.abs((dropped - values).mean(axis=0)) < 4 * error).all()


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
