"""The loop: resuming changes nothing, and signals, diverged runs, other corpora and unfinished groups are told apart."""

import dataclasses
import json
import os
import signal
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from reading_events import scalars

from infoser import exchange, parallel
from infoser.checkpoints import Checkpoints
from infoser.errors import InfoserError
from infoser.group import Group, RunName
from infoser.trainer import Stopped, Trainer, signals_held

pytestmark = pytest.mark.usefixtures("optimised")

MODE = parallel.RunsMode()
NAMES = [RunName("fold 1", 0, "none"), RunName("fold 1", 0, "infogan"), RunName("fold 2", 3, "none")]
TESTED_ON = {"fold 1": np.arange(20, 24, dtype=np.uint64), "fold 2": np.arange(24, 28, dtype=np.uint64)}
TRAINED_ON = {"fold 1": np.arange(5, dtype=np.uint64), "fold 2": np.arange(3, 9, dtype=np.uint64)}


class Killed(Exception):
    """Stands for a death that leaves no time to save."""


@pytest.fixture
def group(quadratic):
    def group(trained_on=TRAINED_ON, tested_on=TESTED_ON, **bad) -> Group:
        return Group(
            name="space/quadratic",
            stage=quadratic(),
            names=NAMES,
            shared=MODE.replicate(np.array([1.0, -2.0], np.float32)),
            runs=quadratic.runs([0.1, 0.2, 0.3], **bad),
            trained_on=trained_on,
            tested_on=tested_on,
        )

    return group


def trainer(folder: Path, **changes) -> Trainer:
    return Trainer(folder, **{"chunk_steps": 3, "checkpoint_every_s": 0.0, "mode": MODE} | changes)


def final(trained):
    return trained.state()


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "space/quadratic/metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def in_chunk(monkeypatch):
    """in_chunk(n, act): calls `act` in the n-th chunk of steps (from 1) before it is trained."""

    def in_chunk(number, act):
        train_chunk, calls = parallel.RunsMode.train_chunk, []

        def counted(*arguments):
            calls.append(arguments)
            if len(calls) == number:
                act()
            return train_chunk(*arguments)

        monkeypatch.setattr(parallel.RunsMode, "train_chunk", counted)
        return calls

    return in_chunk


def stop(kind):
    def stop():
        raise kind

    return stop


@pytest.fixture
def undisturbed(group, tmp_path):
    return final(trainer(tmp_path / "undisturbed").train(group())), lines(tmp_path / "undisturbed")


def test_metrics_have_a_line_for_each_chunk_and_run(undisturbed):
    state, metrics = undisturbed
    assert (state["count"] == 10).all()
    # 10 steps in chunks of at most 3 are four equal ones, the last cut off.
    assert [(line["step"], line["run"]) for line in metrics] == [
        (step, run) for step in (3, 6, 9, 10) for run in ("fold 1/seed0/none", "fold 1/seed0/infogan", "fold 2/seed3/none")
    ]
    assert all(set(line) == {"step", "run", "noise", "distance"} for line in metrics)
    # Variants of a fold and seed share their key, so their noise.
    assert metrics[0]["noise"] == metrics[1]["noise"] != metrics[2]["noise"]
    assert metrics[0]["distance"] != metrics[1]["distance"]


@pytest.mark.parametrize("chunk", [2, 3, 4])
def test_resuming_after_a_death_changes_nothing(group, in_chunk, same, tmp_path, undisturbed, chunk):
    in_chunk(chunk, stop(Killed))
    with pytest.raises(Killed):
        trainer(tmp_path).train(group())
    assert Checkpoints(tmp_path / "space/quadratic").steps()[-1] == 3 * (chunk - 1)
    assert same(final(trainer(tmp_path).train(group())), undisturbed[0])
    assert lines(tmp_path) == undisturbed[1]


def test_without_a_checkpoint_training_starts_anew(group, in_chunk, same, tmp_path, undisturbed):
    in_chunk(3, stop(Killed))
    with pytest.raises(Killed):
        trainer(tmp_path, checkpoint_every_s=1e9).train(group())
    assert Checkpoints(tmp_path / "space/quadratic").steps() == []
    assert len(lines(tmp_path)) == 6  # of steps that were lost, and come again
    assert same(final(trainer(tmp_path).train(group())), undisturbed[0])
    assert lines(tmp_path) == undisturbed[1]


def test_a_half_written_line_is_dropped(group, in_chunk, tmp_path, undisturbed):
    in_chunk(3, stop(Killed))
    with pytest.raises(Killed):
        trainer(tmp_path).train(group())
    with (tmp_path / "space/quadratic/metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 9, "run": "lost"}) + '\n{"step": 9, "ru')
    trainer(tmp_path).train(group())
    assert lines(tmp_path) == undisturbed[1]


def board(folder: Path) -> dict[str, list]:
    """The loss terms of every run by step as TensorBoard reads them, and as metrics.jsonl has them: which must be the same."""
    shown = scalars(folder / "events" / "space/quadratic")
    written: dict[str, list] = {str(name): [] for name in NAMES}
    for line in lines(folder):
        terms = {f"quadratic/{term}": float(np.float32(line[term])) for term in ("noise", "distance")}
        written[line["run"]].append((line["step"], terms))
    assert shown == written
    return written


@pytest.mark.parametrize("saved", [True, False])
def test_tensorboard_shows_every_step_once_after_a_death(group, in_chunk, tmp_path, undisturbed, saved):
    every_s = 0.0 if saved else 1e9
    in_chunk(3, stop(Killed))
    with pytest.raises(Killed):
        trainer(tmp_path, tensorboard=True, checkpoint_every_s=every_s).train(group())
    assert [step for step, _ in board(tmp_path)["fold 1/seed0/none"]] == [3, 6]
    trainer(tmp_path, tensorboard=True).train(group())
    assert [step for step, _ in board(tmp_path)["fold 2/seed3/none"]] == [3, 6, 9, 10]
    assert lines(tmp_path) == undisturbed[1]


def test_tensorboard_shows_the_steps_that_were_trained_without_it(group, in_chunk, tmp_path):
    in_chunk(3, stop(Killed))
    with pytest.raises(Killed):
        trainer(tmp_path).train(group())
    assert not (tmp_path / "events").exists()
    trainer(tmp_path, tensorboard=True).train(group())
    assert len(board(tmp_path)["fold 1/seed0/none"]) == 4


def test_tensorboard_catches_up_with_a_finished_group(group, in_chunk, tmp_path):
    in_chunk(3, stop(Killed))
    with pytest.raises(Killed):
        trainer(tmp_path, tensorboard=True).train(group())
    trainer(tmp_path).train(group())
    trainer(tmp_path, tensorboard=True, restore_only=True).train(group())  # evaluation writes nothing
    assert len(scalars(tmp_path / "events" / "space/quadratic")["fold 1/seed0/none"]) == 2
    trainer(tmp_path, tensorboard=True).train(group())
    board(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "events").rglob("*")}
    trainer(tmp_path, tensorboard=True).train(group())
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "events").rglob("*")}


@pytest.mark.parametrize(
    "line",
    ['{"step": 3, "run": "a", "noise": "much"}', '{"step": "3", "run"', "[3]", '{"run": "a"}', '{"step": -1, "run": "a"}'],
)
def test_metrics_that_can_not_be_read_are_refused(group, in_chunk, tmp_path, line):
    in_chunk(3, stop(Killed))
    with pytest.raises(Killed):
        trainer(tmp_path).train(group())
    path = tmp_path / "space/quadratic/metrics.jsonl"
    path.write_text(f"{line}\n{path.read_text()}")
    with pytest.raises(InfoserError, match="line 1, can't be read; delete the file"):
        trainer(tmp_path, tensorboard=True).train(group())


@pytest.mark.parametrize("chunk_steps", [1, 100])
def test_chunks_and_resuming_with_other_chunks_do_not_show(group, in_chunk, same, tmp_path, undisturbed, chunk_steps):
    assert same(final(trainer(tmp_path / "whole", chunk_steps=chunk_steps).train(group())), undisturbed[0])
    in_chunk(2, stop(Killed))
    with pytest.raises(Killed):
        trainer(tmp_path / "part").train(group())
    assert same(final(trainer(tmp_path / "part", chunk_steps=chunk_steps).train(group())), undisturbed[0])


def test_a_finished_group_is_restored_not_trained(group, in_chunk, same, tmp_path, undisturbed):
    trainer(tmp_path).train(group())
    calls = in_chunk(1, stop(Killed))
    for restore_only in (False, True):
        assert same(final(trainer(tmp_path, restore_only=restore_only).train(group())), undisturbed[0])
    assert not calls


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_stops(group, in_chunk, same, tmp_path, undisturbed, number, status):
    before = signal.getsignal(number)
    in_chunk(2, lambda: os.kill(os.getpid(), number))
    with pytest.raises(Stopped, match=f"{number.name} in space/quadratic after step 6 of 10, which is saved") as stopped:
        trainer(tmp_path, checkpoint_every_s=1e9).train(group())
    assert stopped.value.status == status
    assert signal.getsignal(number) is before
    assert Checkpoints(tmp_path / "space/quadratic").steps() == [6]
    assert same(final(trainer(tmp_path).train(group())), undisturbed[0])
    assert lines(tmp_path) == undisturbed[1]


def test_a_signal_in_the_last_chunk_finishes_and_stops(group, in_chunk, tmp_path):
    in_chunk(4, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped, match="SIGTERM after space/quadratic was finished and saved") as stopped:
        trainer(tmp_path).train(group())
    assert stopped.value.status == 143
    trainer(tmp_path, restore_only=True).train(group())


def test_a_signal_while_hosts_agree_on_the_end_counts_in_the_next_group(group, tmp_path, monkeypatch):
    agree = exchange.agree

    def overtaken(*values):
        said = agree(*values)
        if len(values) == 1:  # at a group's end
            os.kill(os.getpid(), signal.SIGTERM)
        return said

    monkeypatch.setattr(exchange, "agree", overtaken)
    going_on = trainer(tmp_path)
    going_on.train(group())  # of the other hosts none knows of it: this one must go on, too
    with pytest.raises(Stopped, match="SIGTERM in space/next after step 3 of 10, which is saved") as stopped:
        going_on.train(dataclasses.replace(group(), name="space/next"))
    assert stopped.value.status == 143


def test_signals_are_left_alone_outside_the_main_thread():
    seen = []

    def hold():
        with signals_held() as received:
            seen.append((received, signal.getsignal(signal.SIGTERM)))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    assert seen == [([], before)]


@pytest.mark.parametrize(
    ("distance", "noise", "run", "step", "term"),
    [
        ([1000, 1000, 4], [1000, 1000, 1000], "fold 2/seed3/none", 4, "distance"),
        ([1000, 7, 8], [1000, 1000, 1000], "fold 1/seed0/infogan", 7, "distance"),
        # In the same step the term that is computed first is the cause.
        ([1000, 2, 1000], [1000, 2, 1000], "fold 1/seed0/infogan", 2, "noise"),
        ([1, 1000, 1000], [2, 1000, 1000], "fold 1/seed0/none", 1, "distance"),
    ],
)
def test_a_run_that_is_not_finite_is_named(group, tmp_path, distance, noise, run, step, term):
    bad = {"bad_distance": np.array(distance, np.int32), "bad_noise": np.array(noise, np.int32)}
    with pytest.raises(InfoserError, match=f"space/quadratic, run {run}: .*'{term}' is not finite at step {step}; lower"):
        trainer(tmp_path).train(group(**bad))
    # What was saved before is good, and nothing of the bad chunk is.
    assert Checkpoints(tmp_path / "space/quadratic").steps() == [done for done in (3, 6) if done <= step]


def test_a_run_that_overflows_is_named(quadratic, group, tmp_path):
    wild = group()
    wild.runs["rate"] = np.array([0.1, 1e30, 0.1], np.float32)
    with pytest.raises(InfoserError, match="run fold 1/seed0/infogan: .*'distance' is not finite at step 1;"):
        trainer(tmp_path).train(wild)


def test_evaluation_refuses_what_is_not_finished(group, in_chunk, tmp_path):
    with pytest.raises(InfoserError, match="has 0 of 10 training steps"):
        trainer(tmp_path, restore_only=True).train(group())
    in_chunk(3, stop(Killed))
    with pytest.raises(Killed):
        trainer(tmp_path).train(group())
    with pytest.raises(InfoserError, match="has 6 of 10 training steps; run the training command again"):
        trainer(tmp_path, restore_only=True).train(group())


@pytest.mark.parametrize("other", [np.arange(5, dtype=np.uint64) + 1, np.arange(6, dtype=np.uint64)], ids=["others", "more"])
def test_other_utterances_are_refused(group, tmp_path, other):
    trainer(tmp_path).train(group())
    with pytest.raises(InfoserError, match="was trained on other utterances of fold 'fold 1'"):
        trainer(tmp_path, restore_only=True).train(group(trained_on=TRAINED_ON | {"fold 1": other}))


def test_a_fold_that_was_not_trained_is_refused(group, tmp_path):
    trainer(tmp_path).train(group(trained_on={"fold 1": TRAINED_ON["fold 1"]}, tested_on={}))
    with pytest.raises(InfoserError, match="fold 'fold 2'"):
        trainer(tmp_path, restore_only=True).train(group())


@pytest.mark.parametrize("overlap", [1, 3])
def test_scoring_on_training_utterances_is_refused(group, tmp_path, overlap):
    trainer(tmp_path).train(group())
    tested = np.concatenate([TRAINED_ON["fold 2"][:overlap], np.arange(30, 34, dtype=np.uint64)])
    message = f"was trained on {overlap} of the {4 + overlap} test utterances of fold 'fold 2'"
    with pytest.raises(InfoserError, match=message):
        trainer(tmp_path, restore_only=True).train(group(tested_on=TESTED_ON | {"fold 2": np.sort(tested)}))


def test_programs_are_prepared_for_what_is_going_to_be_trained_in_one_part(group, tmp_path, monkeypatch, in_chunk):
    prepared = []
    monkeypatch.setattr(parallel.RunsMode, "prepare", lambda _, stage, length, *rest: prepared.append(length))
    trainer(tmp_path).train(group())
    assert prepared == [3], "the steps of its chunks"
    trainer(tmp_path).train(group())
    trainer(tmp_path, restore_only=True).train(group())
    assert prepared == [3], "it is finished"
    in_chunk(1, stop(MemoryError))
    trainer(tmp_path / "parts").train(group())
    assert prepared == [3, 3], "the second time in parts"


def test_what_is_compiled_before_the_first_chunk_counts_as_training(group, tmp_path, monkeypatch):
    seconds = [0.0]
    monkeypatch.setattr(parallel.RunsMode, "prepare", lambda *_: seconds.append(seconds.pop() + 100.0))
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])
    one = trainer(tmp_path)
    one.train(group())
    (line,) = [json.loads(line) for line in (tmp_path / "times.jsonl").read_text().splitlines()]
    assert line["seconds"] == line["first_chunk_s"] == one.trained_s == 100.0


@pytest.mark.parametrize("error", [MemoryError(), jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")])
def test_a_group_that_does_not_fit_trains_in_parts(group, tmp_path, in_chunk, undisturbed, capfd, same, error):
    in_chunk(2, stop(error))  # one chunk is trained and saved before it
    trained = trainer(tmp_path / "parts").train(group())
    assert "3 runs do not fit in memory together; going on in 2 parts" in capfd.readouterr().err
    assert same(trained.state(), undisturbed[0]) and lines(tmp_path / "parts") == undisturbed[1]
    np.testing.assert_array_equal(trained.outputs("outputs", 1), trained.state()["weights"])
    np.testing.assert_array_equal(trained.outputs("outputs", 1, only=[2, 0]), trained.state()["weights"][[2, 0]])
    assert same(trainer(tmp_path / "parts", restore_only=True).train(group()).state(), undisturbed[0])


def test_a_run_that_does_not_fit_alone_is_refused(group, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel.RunsMode, "train_chunk", lambda *_: stop(MemoryError)())
    with pytest.raises(InfoserError, match="space/quadratic: not even one run fits in memory"):
        trainer(tmp_path).train(group())


def test_other_failures_of_the_devices_are_not_taken_for_memory(group, tmp_path, in_chunk):
    in_chunk(1, stop(jax.errors.JaxRuntimeError("INTERNAL: something else")))
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        trainer(tmp_path).train(group())


def test_a_damaged_checkpoint_is_not_trained_on(group, tmp_path):
    trainer(tmp_path).train(group())
    files = (path for path in (tmp_path / "space/quadratic/step_10/state").rglob("*") if path.is_file())
    largest = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    with pytest.raises(InfoserError, match=f"{largest} is damaged .* to go on from step 9"):
        trainer(tmp_path).train(group())


def test_outputs_of_a_trained_group(group, quadratic, tmp_path):
    trained = trainer(tmp_path).train(group())
    weights = final(trained)["weights"]
    np.testing.assert_array_equal(trained.outputs("outputs", 1), weights)
    np.testing.assert_array_equal(trained.outputs("outputs", 2, runs=quadratic.runs([9.0] * 3)), np.tile(weights, 2))
    alone = trained.alone([2, 0])
    assert alone.group.shared.size == 1  # so that the features can leave the devices
    np.testing.assert_array_equal(alone.outputs("outputs", 1), weights[[2, 0]])
