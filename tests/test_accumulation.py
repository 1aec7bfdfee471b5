"""Batches read in parts, and in bfloat16: the gradients of the whole batch, in less memory."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_data_mode import CASES, as_float64, check_parity, with_frames

from infoser import parallel
from infoser.batch_axis import BatchAxis
from infoser.errors import InfoserError
from infoser.models import apply
from infoser.models.classifier import Classifier

DEVICES = BatchAxis("devices", 4, parts=2)


def given(corpus, case, dropout=0.0, cast=as_float64):
    """A stage, its inputs, and a function of a stage, a seed and inputs that gives its raw gradients."""
    stage, run, functions = CASES[case](corpus)
    shared = (with_frames if case == "align frames" else type(corpus).features)(corpus)
    rates = {name: np.float32(dropout) for name in run.numbers if "dropout" in name}
    run = run.replace(numbers=run.numbers | rates)
    shapes, rng = jax.eval_shape(stage.init, shared, run, jax.random.key(0)), np.random.default_rng(0)
    state = jax.tree.map(lambda leaf: (0.3 * rng.standard_normal(leaf.shape)).astype(leaf.dtype), shapes)

    def gradients(stage, state, shared, run):
        return [getattr(stage, function)(state, shared, run, jax.random.key(1)) for function in functions]

    return stage, [cast(tree) for tree in (state, shared, run)], gradients


@pytest.mark.parametrize("case", ["align frames", "generate pairs", "generate packs"])
def test_gradients_in_parts_are_those_of_the_whole(corpus, case):
    with jax.enable_x64(True):
        stage, inputs, gradients = given(corpus, case)
        whole = jax.jit(functools.partial(gradients, stage))(*inputs)
        parted = jax.jit(functools.partial(gradients, dataclasses.replace(stage, axis=BatchAxis(parts=4))))(*inputs)
    check_parity(parted, whole, 1e-11)


@pytest.mark.parametrize("case", ["classify", "generate packs"])
def test_parts_have_the_same_noise_on_any_number_of_devices(corpus, case):
    with jax.enable_x64(True):
        stage, inputs, gradients = given(corpus, case, dropout=0.3)
        single = jax.jit(functools.partial(gradients, dataclasses.replace(stage, axis=BatchAxis(parts=2))))(*inputs)
        divided = jax.pmap(
            lambda _, *inputs: gradients(dataclasses.replace(stage, axis=DEVICES), *inputs),
            axis_name=DEVICES.name,
            in_axes=(0, None, None, None),
            devices=jax.devices()[:4],
        )(np.arange(4), *inputs)
    for device in (0, 3):
        check_parity(jax.tree.map(lambda leaf, device=device: leaf[device], divided), single, 1e-11)


def test_devices_have_their_share_of_every_part():
    batch = jnp.arange(32.0).reshape(16, 2)

    def on_devices(function):
        run = jax.pmap(lambda _, x: function(x), DEVICES.name, in_axes=(0, None), devices=jax.devices()[:4])
        return np.asarray(run(np.arange(4), batch))

    own = on_devices(DEVICES.local)[:, :, 0] / 2
    np.testing.assert_array_equal(own, [[0, 1, 8, 9], [2, 3, 10, 11], [4, 5, 12, 13], [6, 7, 14, 15]])
    for whole in on_devices(lambda x: DEVICES.whole(DEVICES.local(x))):
        np.testing.assert_array_equal(whole, batch)
    parts = BatchAxis(parts=4)
    seen = []

    def of_part(axis, key, rows):
        seen.append((axis, rows.shape))
        return rows + jax.random.uniform(key)

    said = np.asarray(parts.in_parts(of_part, jax.random.key(0), batch)) - batch
    assert seen == [(BatchAxis(), (4, 2))] and len(np.unique(said.round(4))) == 4  # each part has a key of its own


def test_streams_read_the_rows_of_a_device_s_parts(monkeypatch):
    mode = parallel.DataMode(2)
    rows = np.arange(64).reshape(1, 2, 1, 32)
    own = mode.steps_rows(rows)
    assert len(own) == 8
    np.testing.assert_array_equal(own[1], [[[[2, 3, 18, 19]], [[34, 35, 50, 51]]]])


def test_less_memory_is_taken():
    model = Classifier(512, 4)
    params = model.init(jax.random.key(0), jnp.zeros((1, 8)))

    def taken(parts):
        def loss(params, x):
            read = lambda axis, key, x: apply(model, params, x)  # noqa: E731
            return (BatchAxis(parts=parts).in_parts(read, jax.random.key(0), x) ** 2).mean()

        return jax.jit(jax.grad(loss)).lower(params, jnp.zeros((4096, 8))).compile().memory_analysis().temp_size_in_bytes

    assert taken(16) < taken(1) / 4


def test_batches_must_be_divisible():
    with pytest.raises(InfoserError, match="--align.batch-size 20: --accumulate 8 reads them in equal parts"):
        parallel.make_mode("runs", 8).check_batch("--align.batch-size", 20)
    with pytest.raises(InfoserError, match="over 8 devices equally, and --accumulate 2"):
        parallel.make_mode("data", 2).check_batch("--align.batch-size", 24)
    parallel.make_mode("data", 2).check_batch("--align.batch-size", 32)


@pytest.mark.parametrize("case", ["classify", "generate packs"])
def test_bfloat16_is_computed_in_and_nothing_else_changes(corpus, case):
    stage, inputs, gradients = given(corpus, case, dropout=0.3, cast=lambda tree: tree)
    lower = jax.jit(functools.partial(gradients, dataclasses.replace(stage, compute_dtype="bfloat16")))
    exact, rounded = jax.jit(functools.partial(gradients, stage))(*inputs), lower(*inputs)
    assert "bf16" in str(
        jax.make_jaxpr(functools.partial(gradients, dataclasses.replace(stage, compute_dtype="bfloat16")))(*inputs)
    )
    whole = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(exact)])
    parts = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(rounded)])
    assert {leaf.dtype for leaf in jax.tree.leaves(rounded)} == {np.dtype(np.float32)}
    difference = np.linalg.norm(parts - whole) / np.linalg.norm(whole)
    assert 1e-4 < difference < 5e-2  # eight bits of mantissa


def test_single_numbers_keep_their_precision():
    seen = []

    class Module(Classifier):
        def __call__(self, x, rate):
            seen.append((x.dtype, rate.dtype))
            return x

    said = apply(Module(1, 1), {}, jnp.ones((2, 3)), jnp.float32(0.3), dtype="bfloat16")
    assert seen == [(jnp.bfloat16, jnp.float32)] and said.dtype == jnp.float32
