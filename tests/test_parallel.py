"""Runs mode: a run's numbers depend neither on its company, nor on chunks, nor on the number of devices."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infoser import lifting, parallel
from infoser.stages.classify import Classify, ClassifyRun, GeneratedRows

pytestmark = pytest.mark.usefixtures("optimised")

MODE = parallel.RunsMode()
TARGET = np.array([1.0, -2.0, 0.5], np.float32)
# More runs than devices, and not a multiple of them.
RATES = np.linspace(0.05, 0.5, 11).astype(np.float32)


def trained(stage, runs, shared, seeds: Sequence[int], folds: Sequence[str], length: int) -> tuple[Any, list[Any]]:
    """Final states, and what each chunk reported, on the host with the runs on axis 0."""
    count, shared = len(seeds), MODE.replicate(shared)
    spread, keys = MODE.spread(runs), MODE.spread(parallel.run_keys(seeds, folds))
    state, reports = MODE.init_runs(stage, shared, spread, keys), []
    for start in range(0, stage.steps, length):
        state, means, first_bad = MODE.train_chunk(stage, length, state, shared, spread, keys, start)
        reports.append(MODE.gather((means, first_bad), count))
    return MODE.gather(state, count), reports


def many(quadratic, length=5, seeds=range(11), **bad):
    return trained(quadratic(), quadratic.runs(RATES, **bad), TARGET, list(seeds), ["a"] * 11, length)


def pick(tree, rows):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[rows], tree)


def test_there_are_several_devices():
    assert parallel.device_count() == 8


@pytest.mark.parametrize("runs", [1, 7, 8, 9, 16, 19])
def test_gather_undoes_spread(runs):
    tree = {
        "vector": np.arange(runs * 3, dtype=np.float32).reshape(runs, 3),
        "scalar": np.arange(runs, dtype=np.int32),
    }
    spread = MODE.spread(tree)
    per_device = -(-runs // 8)
    assert spread["vector"].shape == (8, per_device, 3) and len(spread["vector"].devices()) == 8
    gathered = MODE.gather(spread, runs)
    for name, leaf in tree.items():
        np.testing.assert_array_equal(gathered[name], leaf)
        assert gathered[name].dtype == leaf.dtype
    # Places that no run needs are filled with the last one.
    np.testing.assert_array_equal(np.asarray(spread["scalar"]).ravel()[runs:], runs - 1)


def test_gather_takes_leaves_without_elements():
    # Such as the statistics of a modality that a corpus has not.
    gathered = MODE.gather(MODE.spread(np.zeros((3, 0), np.float32)), 3)
    assert gathered.shape == (3, 0)


def test_a_run_s_numbers_do_not_depend_on_its_company(quadratic, same):
    together, _ = many(quadratic)
    for one in (0, 4, 10):
        alone, _ = trained(quadratic(), pick(quadratic.runs(RATES), [one]), TARGET, [one], ["a"], 5)
        assert same(alone, pick(together, [one]))
    order = np.array([3, 9, 0, 10, 1])
    shuffled, _ = trained(quadratic(), pick(quadratic.runs(RATES), order), TARGET, order.tolist(), ["a"] * 5, 5)
    assert same(shuffled, pick(together, order))


def head_runs(corpus, count):
    """Runs of a real stage that differ in rows, labels, pools and numbers."""
    runs = []
    for number in range(count):
        rng = np.random.default_rng(number)
        rows = np.sort(rng.choice(corpus.train, 20 + number, replace=False))
        pool = GeneratedRows(
            rng.standard_normal((9, 4)).astype(np.float32),
            rng.dirichlet(np.ones(3), 9).astype(np.float32),
            np.int32(3 + number),
        )
        settings = {"learning_rate": 0.01 * (1 + number), "weight_decay": 0.1, "dropout": 0.1 * number, "input_dropout": 0.1}
        settings |= {"label_smoothing": 0.0, "ema_decay": 0.9, "real_weight": 1.0, "generated_weight": 0.2 * number}
        settings |= {"by_prior": 0.5 * number, "focal_gamma": 0.0, "logit_adjustment": 0.0, "curriculum": 0.5}
        settings |= {"audio_scaling_power": 1.0 - 0.3 * number, "text_scaling_power": 1.0, "block_scaling": 0.5}
        runs.append(ClassifyRun(corpus.view(rows=rows), pool, {k: np.float32(v) for k, v in settings.items()}))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *runs)


def test_real_stages_train_together_as_they_do_alone(corpus, same):
    stage = Classify(n_classes=3, modality="audio", width=8, batch_size=8, steps=12)
    runs, folds = head_runs(corpus, 3), ["a", "b", "b"]
    together, reports = trained(stage, runs, corpus.features(), [0, 0, 1], folds, 6)
    for one in range(3):
        alone, alone_reports = trained(stage, pick(runs, [one]), corpus.features(), [[0, 0, 1][one]], [folds[one]], 6)
        assert same(alone, pick(together, [one]))
        assert same(alone_reports, pick(reports, [one]))


@pytest.mark.parametrize("length", [1, 3, 16])
def test_the_length_of_chunks_does_not_show(quadratic, same, length):
    # 3 does not divide the 10 steps, 16 exceeds them: the last chunk is cut off.
    states, reports = many(quadratic, length)
    expected, halves = many(quadratic, 5)
    assert same(states, expected)
    assert (states["count"] == 10).all()
    for name in quadratic.terms:
        done = [min(length, 10 - start) for start in range(0, 10, length)]
        sums = sum(steps * means[name] for steps, (means, _) in zip(done, reports, strict=True))
        np.testing.assert_allclose(sums, 5 * (halves[0][0][name] + halves[1][0][name]), rtol=1e-5, atol=1e-5)


def test_other_numbers_need_no_new_program(quadratic):
    stage = quadratic(steps=7, name="counted")
    for rates in (RATES, RATES / 2):
        trained(stage, quadratic.runs(rates), TARGET, list(range(11)), ["a"] * 11, 3)
    # An equal stage built anew is the same stage.
    trained(quadratic(steps=7, name="counted"), quadratic.runs(RATES), TARGET, list(range(20, 31)), ["b"] * 11, 3)
    counts = {key: count for key, count in lifting.trace_counts.items() if key[0] == "counted"}
    assert counts == {("counted", "init"): 1, ("counted", "chunk"): 1}


def test_prepared_programs_are_those_that_train(quadratic, same):
    runs, keys = MODE.spread(quadratic.runs(RATES)), MODE.spread(parallel.run_keys(list(range(11)), ["a"] * 11))
    stage = quadratic(steps=7, name="prepared")
    MODE.prepare(stage, 3, MODE.replicate(TARGET), runs, keys)
    state, _ = trained(stage, quadratic.runs(RATES), TARGET, list(range(11)), ["a"] * 11, 3)
    counts = {key: count for key, count in lifting.trace_counts.items() if key[0] == "prepared"}
    assert counts == {("prepared", "init"): 1, ("prepared", "chunk"): 1}
    assert same(state, trained(stage, quadratic.runs(RATES), TARGET, list(range(11)), ["a"] * 11, 7)[0])


def test_the_first_step_that_is_not_finite_is_reported(quadratic):
    bad_distance, bad_noise = np.full((2, 11), 1000, np.int32)
    bad_distance[3], bad_distance[7], bad_noise[7] = 2, 8, 6
    _, reports = many(quadratic, bad_distance=bad_distance, bad_noise=bad_noise)
    (_, first), (_, second) = reports
    for name, at in (("distance", {3: 2}), ("noise", {})):
        assert {int(run): first[name][run] for run in np.flatnonzero(first[name] != lifting.NEVER)} == at
    # From then on it is not finite in any chunk.
    for name, at in (("distance", {3: 5, 7: 8}), ("noise", {7: 6})):
        assert {int(run): second[name][run] for run in np.flatnonzero(second[name] != lifting.NEVER)} == at


def test_keys_tell_seeds_and_folds_apart_and_nothing_else():
    keys = np.asarray(parallel.run_keys([0, 1, 0, 0, 1], ["a", "a", "b", "a", "b"]))
    assert keys.shape == (5, 2) and keys.dtype == np.uint32
    assert len({tuple(key) for key in keys.tolist()}) == 4
    np.testing.assert_array_equal(keys[0], keys[3])  # two variants of one fold and seed
    # They do not depend on which other runs there are, nor on the process.
    np.testing.assert_array_equal(parallel.run_keys([1], ["b"]), keys[4:])


def test_stages_of_other_names_draw_other_numbers(quadratic, same):
    one, other = (
        trained(quadratic(name=name), quadratic.runs(RATES[:1]), TARGET, [0], ["a"], 5)[0] for name in ("quadratic", "other")
    )
    assert not same(one, other)


def test_outputs_of_every_run(quadratic):
    stage, count = quadratic(), len(RATES)
    runs, keys = MODE.spread(quadratic.runs(RATES)), MODE.spread(parallel.run_keys(range(11), ["a"] * 11))
    shared = MODE.replicate(TARGET)
    state = MODE.init_runs(stage, shared, runs, keys)
    result = MODE.gather(MODE.outputs(stage, "outputs", state, shared, runs, keys, 2), count)
    weights = MODE.gather(state, count)["weights"]
    np.testing.assert_array_equal(result, np.concatenate([weights, weights], axis=1))


def test_replicated_arrays_are_on_every_device():
    replicated = MODE.replicate({"features": TARGET})["features"]
    assert len(replicated.devices()) == 8 and replicated.sharding.is_fully_replicated
    np.testing.assert_array_equal(replicated, jnp.asarray(TARGET))


ONE_DEVICE = """
import sys
import jax
jax.config.update("jax_num_cpu_devices", 1)
sys.path[:0] = sys.argv[2:]
import conftest, test_parallel
jax.config.update("jax_num_cpu_devices", 1)
jax.config.update("jax_disable_most_optimizations", False)
import numpy as np
assert jax.local_device_count() == 1
np.savez(sys.argv[1], **test_parallel.many(conftest.Quadratic)[0])
"""


def test_the_number_of_devices_does_not_show(quadratic, tmp_path, pytestconfig):
    here = pytestconfig.rootpath
    paths = [str(here), str(here / "tests")]
    subprocess.run([sys.executable, "-c", ONE_DEVICE, str(tmp_path / "one.npz"), *paths], check=True, cwd=here)
    expected, _ = many(quadratic)
    with np.load(tmp_path / "one.npz") as one:
        for name, leaf in expected.items():
            np.testing.assert_array_equal(one[name], leaf)
