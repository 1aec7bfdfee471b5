"""Data mode: a batch divided over eight devices has the gradients, and gives the training, of the whole batch."""

import dataclasses
import functools
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infoser import parallel
from infoser.batch_axis import BatchAxis, drop
from infoser.errors import InfoserError
from infoser.frame_table import FrameMoments, frame_table
from infoser.spaces import tile_bounds
from infoser.stages.align import Align, AlignRun
from infoser.stages.classify import Classify, ClassifyRun, GeneratedRows
from infoser.stages.generate import Generate, GenerateRun

AXIS = BatchAxis("devices", 8)
FRAMES = {"audio_frames": ("audio",), "text_frames": ("text", 9)}
PARITY = 1e-6  # relative L2 norm of the difference of a leaf


def divided_function(function: Any, arguments: int) -> Any:
    """`function` on all devices, each with the same arguments but for the first; all devices' results on axis 0."""
    return jax.pmap(lambda _, *inputs: function(*inputs), axis_name=AXIS.name, in_axes=(0, *[None] * arguments))


def divided(function: Any, *arguments: Any) -> Any:
    """The results of `function` of the arguments on all devices, on axis 0."""
    return divided_function(function, len(arguments))(np.arange(8), *arguments)


def check_parity(actual, expected, tolerance=PARITY):
    expected = dict(jax.tree_util.tree_leaves_with_path(expected))
    largest = max(np.linalg.norm(np.asarray(leaf, np.float64)) for leaf in expected.values())
    for path, leaf in jax.tree_util.tree_leaves_with_path(actual):
        whole = np.asarray(expected.pop(path), np.float64)
        difference = np.linalg.norm(np.asarray(leaf, np.float64) - whole)
        name = jax.tree_util.keystr(path)
        # What a critic adds to all of x's scores does not move InfoNCE: its gradient is zero but for rounding.
        nothing = "critic" in name and np.linalg.norm(whole) < 1e-6 * largest
        size = largest if nothing else np.linalg.norm(whole)
        if re.match(r"\[\d\]\[1\]\[", name):
            # A loss term, beside the gradients, is a difference of numbers of 1 nat and more (2 ln 2): it has their rounding.
            size = max(size, math.sqrt(whole.size))
        assert difference <= tolerance * size, name
    assert not expected


def numbers(**values: float) -> dict[str, Any]:
    return {name: np.float32(value) for name, value in values.items()}


def align(corpus, estimator):
    one = numbers(dropout=0.3, class_weight=1.0, contrastive_weight=1.0, temperature=0.2, mi_weight=0.5)
    # Representations wide enough for their variance, which they are divided by, not to vanish.
    stage = Align(
        3, has_text=True, label_free=False, width=8, representation_dim=8, batch_size=16, steps=10, mi_estimator=estimator
    )
    return stage, AlignRun(corpus.view(), one | numbers(learning_rate=1e-2, weight_decay=0.1)), ("gradients",)


def align_frames(corpus):
    """Frames in both modalities, and rows without text."""
    stage, run, functions = align(corpus, "jsd")
    frames = {name: corpus.frames(*each) for name, each in FRAMES.items()}
    moments = {name: FrameMoments.of(each) for name, each in frames.items()}
    has_text = np.arange(len(corpus.label)) % 5 > 0
    views = [corpus.view(has_text=has_text, with_text_only=only, **moments) for only in (False, True)]
    run = AlignRun(views[0], run.numbers, views[1])
    bounds = {name.replace("frames", "bounds"): tile_bounds([run], each, 16) for name, each in frames.items()}
    return dataclasses.replace(stage, **bounds), run, functions


def with_frames(corpus):
    tables = {name: frame_table(corpus.frames(*each), "") for name, each in FRAMES.items()}
    return corpus.features().replace(**jax.tree.map(jnp.asarray, tables))


def classify(corpus):
    rng = np.random.default_rng(0)
    pool = GeneratedRows(
        rng.standard_normal((20, 4)).astype(np.float32), rng.dirichlet(np.ones(3), 20).astype(np.float32), np.int32(20)
    )
    one = numbers(dropout=0.3, input_dropout=0.2, label_smoothing=0.1, ema_decay=0.9, real_weight=1.0, generated_weight=0.3)
    one |= numbers(by_prior=0.5, focal_gamma=1.5, logit_adjustment=0.5, curriculum=1.0, learning_rate=1e-2, weight_decay=0.1)
    one |= numbers(audio_scaling_power=0.3, text_scaling_power=0.6, block_scaling=0.7)
    stage = Classify(3, modality="audio", width=8, batch_size=16, steps=10)
    return stage, ClassifyRun(corpus.view(), pool, one), ("gradients",)


def generate(corpus, **structure):
    one = numbers(dropout=0.3, r1_weight=1.0, class_mi_weight=1.0, text_mi_weight=0.5, pair_mi_weight=0.5, ema_decay=0.9)
    one |= numbers(generator_learning_rate=1e-3, discriminator_learning_rate=1e-3, gradient_penalty_weight=2.0)
    one |= numbers(auxiliary_weight=0.5, unlabelled_weight=0.5, text_noise=0.7)
    stage = Generate(3, width=8, latent_dim=3, batch_size=16, steps=10, **structure)
    return stage, GenerateRun(corpus.view(), np.int32(0), one), ("discriminator_gradients", "player_gradients")


# All that may be asked of the networks at once; packs of two rows stay on one of eight devices.
OTHERWISE: dict[str, Any] = {"loss": "wasserstein", "auxiliary": True, "spectral_norm": True, "pack": 2, "unlabelled": True}
OTHERWISE |= {"labels_itself": True, "class_estimator": "smile", "text_estimator": "club", "critic": "concatenated"}
CASES = {
    "align": lambda corpus: align(corpus, "infonce"),
    "align frames": align_frames,
    "classify": classify,
    "generate from text": lambda corpus: generate(corpus, text="own"),
    "generate pairs": lambda corpus: generate(corpus, paired=True),
    "generate packs": lambda corpus: generate(corpus, text="own", loss="wasserstein", pack=2, unlabelled=True),
    "generate otherwise": lambda corpus: generate(corpus, text="other", **OTHERWISE),
}


def as_float64(tree):
    return jax.tree.map(lambda leaf: leaf.astype(np.float64) if leaf.dtype == np.float32 else leaf, tree)


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_the_whole_batch(corpus, case):
    # Raw gradients: an optimiser that rescales them would hide a factor.
    stage, one, functions = CASES[case](corpus)
    shared, rng = (with_frames if case == "align frames" else type(corpus).features)(corpus), np.random.default_rng(0)
    parts = parallel.DataMode().stage(stage)
    assert parts.axis == AXIS
    # Any parameters will do; drawing them here saves compiling `init`.
    shapes = jax.eval_shape(stage.init, shared, one, jax.random.key(0))

    def gradients(stage, seed, *inputs):
        return [getattr(stage, function)(*inputs, jax.random.key(seed)) for function in functions]

    def both(cast):
        inputs = [cast(tree) for tree in (shared, one)]
        whole, parted = jax.jit(functools.partial(gradients, stage)), divided_function(functools.partial(gradients, parts), 4)
        for seed in range(5):
            drawn = jax.tree.map(lambda leaf: (0.3 * rng.standard_normal(leaf.shape)).astype(leaf.dtype), shapes)
            state = cast(drawn)
            on_devices = parted(np.arange(8), np.uint32(seed), state, *inputs)
            yield jax.tree.map(np.asarray, (whole(np.uint32(seed), state, *inputs), on_devices))

    # The arithmetic, draw by draw: nothing but the rounding of float64 is left.
    with jax.enable_x64(True):
        for whole, parted in both(as_float64):
            for device in (0, 5):
                check_parity(jax.tree.map(lambda leaf, device=device: leaf[device], parted), whole, 1e-11)
    # In float32 a leaf whose terms nearly cancel keeps few digits: its norms are taken over all draws.
    draws = list(both(lambda tree: tree))
    whole = jax.tree.map(lambda *leaves: np.stack(leaves), *(whole for whole, _ in draws))
    parted = jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *(parted for _, parted in draws))
    for device in (0, 5):
        # A softmax over frames does not change with all its scores: what moves them together nearly cancels.
        tolerance = 1e-5 if case == "align frames" else PARITY
        check_parity(jax.tree.map(lambda leaf, device=device: leaf[device], parted), whole, tolerance)


def test_training_in_data_mode_is_training_in_runs_mode(quadratic):
    length = 4  # does not divide the steps
    # A name of its own: what is compiled here without optimising is not for the tests of other files.
    stage, runs, results = (
        quadratic(name="divided"),
        quadratic.runs([0.1, 0.2, 0.3], bad_noise=np.array([7, 9, 1000], np.int32)),
        [],
    )
    for mode in (parallel.make_mode("runs"), parallel.make_mode("data")):
        trained = mode.stage(stage)
        shared, spread = mode.replicate(np.array([1.0, -2.0], np.float32)), mode.spread(runs)
        keys = mode.spread(parallel.run_keys([0, 1, 1], ["a", "a", "b"]))
        state, reports = mode.init_runs(trained, shared, spread, keys), []
        for start in range(0, 10, length):
            state, means, bad = mode.train_chunk(trained, length, state, shared, spread, keys, start)
            reports.append(mode.gather((means["distance"], bad), 3))
        said = mode.gather(mode.outputs(trained, "outputs", state, shared, spread, keys, 2), 3)
        results.append({"state": mode.gather(state, 3), "reports": reports, "outputs": said})
    check_parity(*results)


def test_slices_make_up_the_whole():
    batch = jnp.arange(48.0).reshape(16, 3)
    np.testing.assert_array_equal(divided(AXIS.local, batch).reshape(16, 3), batch)
    gathered = divided(lambda rows: AXIS.whole(AXIS.local(rows)), batch)
    for device in range(8):
        np.testing.assert_array_equal(gathered[device], batch)
    means = divided(lambda rows: AXIS.mean(AXIS.local(rows).mean(axis=0)), batch)
    np.testing.assert_allclose(means, np.tile(batch.mean(axis=0), (8, 1)), rtol=1e-6)


def test_a_single_device_is_left_alone():
    batch = jnp.arange(6.0).reshape(2, 3)
    single = BatchAxis()
    for one in (single.local(batch), single.whole(batch), single.mean(batch)):
        np.testing.assert_array_equal(one, batch)


def test_noise_does_not_depend_on_the_number_of_devices():
    values, key = jnp.ones((16, 5)), jax.random.key(3)
    parts = divided(lambda x, key: drop(AXIS.local(x), 0.4, key, AXIS), values, key)
    np.testing.assert_array_equal(parts.reshape(16, 5), drop(values, 0.4, key))


def test_batches_must_be_divisible():
    mode = parallel.make_mode("data")
    mode.check_batch("--classify.batch-size", 24)
    with pytest.raises(InfoserError, match="--classify.batch-size 20: .* over 8 devices"):
        mode.check_batch("--classify.batch-size", 20)
    with pytest.raises(InfoserError, match="--generate.batch-size 24: .* over 8 devices equally, and --generate.pack 2 keeps"):
        mode.check_batch("--generate.batch-size", 24, pack=2)
    parallel.make_mode("runs").check_batch("--classify.batch-size", 20)
