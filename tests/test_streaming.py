"""Streams: the very batches of a resident corpus, in bounded tables, each device reading its own part."""

import dataclasses
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infoser import parallel
from infoser.config import AlignConfig, GenerateConfig, numbers
from infoser.fold_view import Features
from infoser.frame_table import FrameMoments, frame_table
from infoser.group import Group, Loaded, RunName
from infoser.spaces import tile_bounds
from infoser.stages.align import Align, AlignRun
from infoser.stages.classify import Classify, ClassifyRun, GeneratedRows
from infoser.stages.generate import Generate, GenerateRun
from infoser.streaming import Stream

NAMES = [RunName("fold 1", 0), RunName("fold 1", 1), RunName("fold 2", 0)]
MODES = {"runs": parallel.RunsMode, "data": parallel.DataMode}
QUICKLY_COMPILED = bool(os.environ.get("XLA_FLAGS"))  # as tests/conftest.py has it


def as_arrays(config, **changes):
    return {name: np.float32(value) for name, value in (numbers(config) | changes).items()}


def views(corpus, **changes):
    return [corpus.view(rows=corpus.train[number:], **changes) for number in range(len(NAMES))]


def align_frames(corpus):
    frames = {name: corpus.frames(name, 9) for name in ("audio", "text")}
    moments = {f"{name}_frames": FrameMoments.of(each) for name, each in frames.items()}
    runs = [AlignRun(view, as_arrays(AlignConfig())) for view in views(corpus, **moments)]
    bounds = {f"{name}_bounds": tile_bounds(runs, each, 16) for name, each in frames.items()}
    return Align(3, True, False, width=8, representation_dim=3, batch_size=16, steps=7, mi_estimator="jsd", **bounds), runs


def generate(corpus, **structure):
    stage = Generate(3, width=8, latent_dim=4, batch_size=16, steps=7, **structure)
    return stage, [GenerateRun(view, np.int32(0), as_arrays(GenerateConfig())) for view in views(corpus)]


def classify(corpus):
    one = dict.fromkeys(("learning_rate", "dropout", "input_dropout", "ema_decay", "generated_weight"), np.float32(0.1))
    one |= dict.fromkeys(
        ("weight_decay", "label_smoothing", "focal_gamma", "logit_adjustment", "curriculum", "block_scaling"), np.float32(0)
    )
    one |= {"real_weight": np.float32(1), "audio_scaling_power": np.float32(1), "text_scaling_power": np.float32(1)}
    pool = GeneratedRows(np.ones((5, 7), np.float32), np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]], np.int32(5))
    runs = [ClassifyRun(view, pool, one | {"by_prior": np.float32(i % 2)}) for i, view in enumerate(views(corpus))]
    return Classify(3, modality="both", width=8, batch_size=16, steps=7), runs


CASES = {
    "align frames": align_frames,
    "generate pairs": lambda corpus: generate(corpus, paired=True),
    "generate otherwise": lambda corpus: generate(corpus, unlabelled=True, labels_itself=True, critic_steps=2),
    "classify": classify,
}


def features(corpus, stage):
    if "audio_frames" not in stage.reads:
        return corpus.features()
    tables = {name: jax.tree.map(jnp.asarray, frame_table(corpus.frames(name.split("_")[0], 9), "")) for name in stage.reads}
    return corpus.features().replace(**tables)


def stream(corpus, stage, mode, budget):
    frames = [corpus.frames(name, 9) if f"{name}_frames" in stage.reads else None for name in ("audio", "text")]
    resident = Features(None, None, mode.replicate(corpus.condition))
    return Stream(corpus.audio, corpus.text, *frames, resident, mode, budget)


def trained(mode, stage, runs, shared, chunk, parts=1):
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *runs)
    loaded = Loaded(mode, Group("group", stage, NAMES, shared, stacked), parts)
    loaded.start()
    length, done, said = loaded.begin(0, chunk), 0, []
    while done < stage.steps:
        said.append(loaded.train(length, done))
        done += length
    loaded.end()
    return loaded, said


@pytest.mark.parametrize(("case", "mode"), [("align frames", "data"), ("generate pairs", "runs"), ("classify", "runs")])
def test_streamed_training_is_resident_training_to_the_last_bit(corpus, case, mode, same):
    if QUICKLY_COMPILED:
        pytest.skip("in a process of its own, see below")
    stage, runs = CASES[case](corpus)
    mode = MODES[mode]()
    resident, terms = trained(mode, stage, runs, mode.replicate(features(corpus, stage)), 4)
    streamed, streamed_terms = trained(mode, stage, runs, stream(corpus, stage, mode, 2**20), 4)
    assert same(resident.state(), streamed.state()) and same(terms, streamed_terms)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(streamed_terms))
    if case == "classify":  # what reads rows afterwards
        rows = np.stack([np.roll(np.arange(40, dtype=np.int32), number) for number in range(3)])
        for size in (40, 7):
            whole, part = (one.outputs_of_rows("outputs", rows, size) for one in (resident, streamed))
            assert same(whole, part) and jax.tree.leaves(whole)[0].shape[:2] == (3, 40)
    if case == "generate pairs":
        assert same(resident.outputs("outputs", 9), streamed.outputs("outputs", 9))


def test_parts_and_short_chunks_change_nothing(corpus, same):
    stage, runs = classify(corpus)
    mode = parallel.RunsMode()
    expected = trained(mode, stage, runs, stream(corpus, stage, mode, 2**20), 7)[0].state()
    for budget, parts in ((1, 1), (1, 3)):  # the smallest budget makes a chunk of every step
        assert same(trained(mode, stage, runs, stream(corpus, stage, mode, budget), 7, parts)[0].state(), expected)


def test_tables_stay_within_their_budget(corpus):
    stage, runs = classify(corpus)
    mode = parallel.RunsMode()
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *runs)
    keys = np.asarray(parallel.run_keys([0, 1, 0], ["a", "a", "b"]))
    for budget in (4_000, 40_000, 10**9):
        given = stream(corpus, stage, mode, budget)
        length = given.chunk_steps(stage, given.places(stage, stage.draws_from(stacked), keys), stage.steps)
        table = next(given.chunks(stage, stacked, keys, 0, length)).table
        held = sum(leaf.nbytes for leaf in jax.tree.leaves(table)) / parallel.device_count()
        assert held <= max(budget / 4, 16 * (7 * 4 + 8)), budget
        assert (length == stage.steps) == (budget > 4_000)
    # While one of nine parts trains, a table of each other one waits: twelve in all, where a single part has four.
    given = stream(corpus, stage, mode, 400_000)
    per_step = given.places(stage, stage.draws_from(stacked), keys)
    together, of_nine = (given.chunk_steps(stage, per_step, 10**6, parts) for parts in (1, 9))
    assert 1 < of_nine and 3 * of_nine <= together < 3 * of_nine + 3


def test_runs_that_draw_alike_read_together(corpus):
    stage, runs = classify(corpus)
    mode = parallel.DataMode()  # all runs are on every device
    given = stream(corpus, stage, mode, 2**20)
    one = runs[0]
    for members, seeds, differing in (
        ([one] * 3, [0, 0, 0], 1),
        ([one] * 3, [0, 1, 1], 2),
        ([one, one.replace(numbers=one.numbers | {"dropout": np.float32(0.9)}), runs[1]], [0, 0, 0], 2),
    ):
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *members)
        keys = np.asarray(parallel.run_keys(seeds, ["a"] * 3))
        places = given.places(mode.stage(stage), stage.draws_from(stacked), keys)
        assert places.rows == differing * 16 // parallel.device_count()


def test_each_device_reads_its_own_part_of_the_corpus(corpus):
    stage, runs = classify(corpus)
    stage = dataclasses.replace(stage, modality="audio", batch_size=64)
    mode = parallel.DataMode()
    view = corpus.view(rows=np.arange(40), label=np.zeros(40, np.int32), labelled_padded=40)
    stacked = jax.tree.map(lambda leaf: np.asarray(leaf)[None], runs[0].replace(view=view))
    keys = np.asarray(parallel.run_keys([0], ["a"]))
    tables = next(stream(corpus, stage, mode, 2**20).chunks(mode.stage(stage), stacked, keys, 0, 7)).table
    for device, rows in enumerate(np.asarray(tables.table_rows)):
        own = rows[rows < 40]
        assert 0 < len(own) and own.min() >= device * 5 and own.max() < device * 5 + 5  # 40 rows, eight devices


def test_a_row_that_is_not_in_the_table_is_noticed(corpus):
    rows = np.array([3, 9, 20, np.iinfo(np.int32).max], np.int32)
    table = Features(corpus.audio[None, [3, 9, 20, 0]], None, table_rows=jnp.asarray(rows))
    read = np.asarray(table.read_audio(corpus.view(), jnp.array([9, 10, 20, 39])))
    whole = np.asarray(corpus.features().read_audio(corpus.view(), jnp.array([9, 10, 20, 39])))
    np.testing.assert_array_equal(read[[0, 2]], whole[[0, 2]])
    assert np.isnan(read[[1, 3]]).all()


@pytest.mark.skipif(not QUICKLY_COMPILED, reason="the tests above are compiled so themselves")
def test_to_the_last_bit_as_compiled_for_users():
    """How programs are fused for these tests rounds otherwise from one program to the next."""
    command = [sys.executable, "-m", "pytest", "-n", "0", __file__, "-k", "to_the_last_bit and not for_users"]
    ended = subprocess.run(command, env=os.environ | {"XLA_FLAGS": ""}, capture_output=True, text=True)
    assert ended.returncode == 0 and "3 passed" in ended.stdout, ended.stdout
