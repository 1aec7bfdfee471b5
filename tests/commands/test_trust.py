"""What a long or shared run relies on: faults end in a message, seen rows are refused, modes agree, the final model."""

import errno
import json
import shutil
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from infoser import checkpoints as checkpoints_module
from infoser import demo as demo_corpus
from infoser import digests, run_folder
from infoser.checkpoints import Checkpoints
from infoser.errors import can_be_written
from infoser.matrix import utterance_hashes
from infoser.parallel import RunsMode

AUDIO_ONLY = ("--data.no-text", "--variants", "none", "noise", "--aligned-variants")


@pytest.fixture(scope="module")
def flags(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """The smallest experiment: audio only, one fold, no generator."""
    return ("demo", "--data-dir", tmp_path_factory.mktemp("none"), "--folds", "session2", *AUDIO_ONLY, *tiny)


@pytest.fixture(scope="module")
def undisturbed(flags: Any, run_train: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of that experiment; not to be written to."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert run_train(*flags, "--run-dir", folder).status == 0
    return folder


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def refused(outcome: Any) -> str:
    """The one line that a command ended with."""
    assert outcome.status == 2 and "Traceback" not in outcome.err
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    return line


def test_the_final_model_is_fitted_to_every_labelled_utterance(flags: Any, run_train: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert run_train(*flags, "--run-dir", run, "--final", "--final-variant", "noise").status == 0
    (step,) = (run / "final" / "noise" / "encoder" / "classify" / "audio").glob("step_*")
    with np.load(step / "trained_on.npz", allow_pickle=False) as saved:
        assert saved["folds"].tolist() == ["final"]
        np.testing.assert_array_equal(saved["fold0"], utterance_hashes(demo_corpus.sample().utterance_id))
    lines = (run / "final" / "noise" / "encoder" / "classify" / "audio" / "metrics.jsonl").read_text().splitlines()
    assert {json.loads(line)["run"] for line in lines} == {"final/seed0/noise"}
    assert {row["aggregate"] for row in results(run)["rows"]} == {"session2", "mean", "pooled"}  # nothing scores it


def test_a_label_fraction_is_named_and_uses_fewer_labels(
    flags: Any, undisturbed: Path, run_train: Any, checkpoint: Any, tmp_path: Path
) -> None:
    assert run_train(*flags, "--run-dir", tmp_path / "run", "--label-fraction", 0.1).status == 0
    for folder, fraction in ((undisturbed, 1.0), (tmp_path / "run", 0.1)):
        assert {row["label_fraction"] for row in results(folder)["rows"]} == {fraction}
    whole, tenth = (checkpoint(folder / "encoder" / "classify" / "audio") for folder in (undisturbed, tmp_path / "run"))
    assert any(not np.array_equal(whole[name], tenth[name]) for name in whole)


@pytest.mark.parametrize(("keep", "name"), [((), "speaker"), (("--keep-partner",), "speaker, partner kept")])
def test_a_kept_partner_is_named_and_trained_on(
    keep: tuple[str, ...], name: str, tiny: Any, run_train: Any, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    flags = ("demo", "--data-dir", tmp_path, "--protocol", "speaker", "--folds", "Ses3F", *AUDIO_ONLY, *tiny)
    assert run_train(*flags, *keep, "--run-dir", run).status == 0
    written = results(run)
    assert {row["protocol"] for row in written["rows"]} == {name}
    corpus = demo_corpus.sample()
    others = corpus.session != "3" if not keep else corpus.speaker != "Ses3F"
    assert written["provenance"]["folds"]["Ses3F"]["train"] == int(others.sum())


def test_data_mode_gives_the_scores_of_runs_mode(tiny: Any, run_train: Any, checkpoint: Any, tmp_path: Path) -> None:
    devices = jax.local_device_count()
    sizes = [flag for stage in ("align", "generate", "classify") for flag in (f"--{stage}.batch-size", 8 * devices)]
    flags = ("demo", "--data-dir", tmp_path, "--folds", "session2", "--aligned-variants", "--variants", "none", "infogan")
    for mode in ("runs", "data"):
        outcome = run_train(*flags, *tiny, *sizes, "--parallel", mode, "--run-dir", tmp_path / mode)
        assert outcome.status == 0, outcome.err
    for group in ("align", "generate/class_text", "classify/both"):
        one, other = (checkpoint(tmp_path / mode / "encoder" / group) for mode in ("runs", "data"))
        for name, leaf in one.items():
            if "params" in name and leaf.dtype == np.float32:
                # Twenty steps of Adam, which turns rounding of small gradients into steps of full length.
                assert np.linalg.norm(leaf - other[name]) <= 5e-3 * np.linalg.norm(leaf) + 1e-6, (group, name)


def test_data_mode_refuses_a_batch_it_cannot_share(flags: Any, run_train: Any, tmp_path: Path) -> None:
    size = 8 * jax.local_device_count() + 1
    message = refused(run_train(*flags, "--run-dir", tmp_path / "r", "--parallel", "data", "--classify.batch-size", size))
    assert f"--classify.batch-size {size}" in message


def test_streamed_features_train_and_score_as_resident_ones(
    flags: Any, undisturbed: Path, run_train: Any, run_eval: Any, checkpoint: Any, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    outcome = run_train(*flags, "--run-dir", run, "--resident-gib", 1e-5)
    assert outcome.status == 0 and "they are streamed" in outcome.err, outcome.err
    resident, streamed = (checkpoint(folder / "encoder" / "classify" / "audio") for folder in (undisturbed, run))
    for name, leaf in resident.items():  # to the last bit as compiled for users: test_streaming.py
        np.testing.assert_allclose(streamed[name], leaf, rtol=1e-4, atol=1e-5, err_msg=name)
    numbers = [[row["ua"] for row in results(folder)["rows"]] for folder in (undisturbed, run)]
    np.testing.assert_allclose(numbers[1], numbers[0], atol=0.01)
    scored = run_eval("score", run)
    assert scored.status == 0 and scored.out.splitlines()[-1].startswith("the same as"), scored.err


def test_rows_that_were_trained_on_are_not_scored(demo: Any, run_eval: Any, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(demo.folder, copy)
    (step,) = (copy / "encoder" / "classify" / "audio").glob("step_*")
    corpus = demo_corpus.sample()
    with np.load(step / "trained_on.npz", allow_pickle=False) as saved:
        contents = dict(saved)
    leaked = corpus.utterance_id[(corpus.session == "2") & corpus.labelled][:7]
    contents["fold0"] = np.sort(np.concatenate([contents["fold0"], utterance_hashes(leaked)]))
    np.savez(step / "trained_on.npz", **contents)
    digests.seal(step)  # as if it had been trained so
    message = refused(run_eval("score", copy))
    assert "trained on 7 of the" in message and "fold 'session2'" in message


@pytest.mark.parametrize("where", ["checkpoint", "metrics", "results"])
def test_a_full_disk_loses_nothing(
    where: str,
    flags: Any,
    undisturbed: Path,
    run_train: Any,
    checkpoint: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"
    full = OSError(errno.ENOSPC, "No space left on device")

    def fail(*_: object, **__: object) -> None:
        raise full

    with monkeypatch.context() as patch:
        if where == "checkpoint":
            patch.setattr(checkpoints_module.digests, "seal", fail)
        elif where == "metrics":
            patch.setattr(Path, "open", failing_to_append(Path.open, "metrics.jsonl", full))
        else:
            patch.setattr(run_folder, "write", failing_on(run_folder.write, "results.json", full))
        message = refused(run_train(*flags, "--run-dir", run))
    assert "No space left on device" in message and str(run) in message
    assert run_train(*flags, "--run-dir", run).status == 0
    assert (run / "results.json").read_bytes() == (undisturbed / "results.json").read_bytes()
    group = "encoder/classify/audio"
    for name, leaf in checkpoint(undisturbed / group).items():
        np.testing.assert_array_equal(leaf, checkpoint(run / group)[name], err_msg=name)


def failing_to_append(opening: Any, name: str, error: OSError) -> Any:
    """`Path.open`, but nothing can be appended to a file of that name."""

    def failing(path: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if path.name == name and mode == "a":
            raise error
        return opening(path, mode, *rest, **named)

    return failing


def failing_on(write: Any, name: str, error: OSError) -> Any:
    """`write`, but for the file of that name the disk is full."""

    def failing(path: Path, text: str) -> None:
        with can_be_written(path):
            if path.name == name:
                raise error
        write(path, text)

    return failing


def test_too_little_memory_says_what_to_do(flags: Any, run_train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> None:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes.")

    monkeypatch.setattr(RunsMode, "train_chunk", exhausted)
    message = refused(run_train(*flags, "--run-dir", tmp_path / "run"))
    assert "encoder/classify/audio: not even one run fits in memory" in message


def test_a_clock_that_jumps_changes_nothing(
    flags: Any, undisturbed: Path, run_train: Any, checkpoint: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, train_chunk, days = time.time, RunsMode.train_chunk, iter((1, -2, 3, -1, 1, -3))
    offset = 0.0

    def jumping(*arguments: Any) -> Any:
        nonlocal offset
        offset += 86400 * next(days)
        return train_chunk(*arguments)

    monkeypatch.setattr(time, "time", lambda: now() + offset)
    monkeypatch.setattr(RunsMode, "train_chunk", jumping)
    assert run_train(*flags, "--run-dir", tmp_path / "jumping", "--checkpoint-every-s", 0).status == 0
    assert offset  # it did jump
    steady, jumped = (checkpoint(run / "encoder" / "classify" / "audio") for run in (undisturbed, tmp_path / "jumping"))
    assert all(np.array_equal(steady[name], jumped[name]) for name in steady)


def test_only_the_newest_checkpoints_stay(flags: Any, run_train: Any, tmp_path: Path) -> None:
    assert run_train(*flags, "--run-dir", tmp_path / "run", "--checkpoint-every-s", 0).status == 0
    assert Checkpoints(tmp_path / "run" / "encoder" / "classify" / "audio").steps() == [15, 20]
