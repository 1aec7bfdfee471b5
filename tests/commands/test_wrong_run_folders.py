"""Run folders that were damaged, edited or mixed up end in one message, and stay as they are."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from spoiled_runs import (
    FORGED,
    GROUP,
    NO_OBJECT,
    SHARE,
    STEP,
    Spoiled,
    a_folder,
    append,
    cut,
    damaged_files,
    edited,
    edited_results,
    edited_settings,
    holding,
    put_before,
    spoiled,
    unfinished,
    without_rows,
)
from wrong_inputs import AT_LEAST, for_every, one_of, refusal, snapshot

from infoser import digests

#: Distinct wrong inputs that each test here gives at least.
NEEDED = {"edited": 45, "unreadable": 15, "damaged": 45, "renamed": 8, "forged": 15, "results": 15, "broken": 17, "others": 11}


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """The smallest experiment: one fold, one head."""
    folder = tmp_path_factory.mktemp("no-data")
    argv = ("demo", "--data-dir", folder, "--data.no-text", "--folds", "session2", "--variants", "none", "--aligned-variants")
    return (*argv, "--classify.width", 4, "--classify.steps", 20, "--chunk-steps", 5, "--checkpoint-every-s", 0)


@pytest.fixture(scope="module")
def whole(flags: Any, run_train: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run folder, with its last two checkpoints; not to be written to."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    outcome = run_train(*flags, "--run-dir", folder)
    assert outcome.status == 0, outcome.err
    assert sorted(path.name for path in (folder / GROUP).glob("step_*")) == ["step_15", "step_20"]
    return folder


@pytest.fixture
def refuse(whole: Path, flags: Any, run_train: Any, run_eval: Any, tmp_path: Path) -> Any:
    """refuse(*commands): a check that these commands refuse a spoiled copy of the run folder and leave it as it is."""
    run = tmp_path / "run"
    known = {"score": lambda: run_eval("score", run), "train": lambda: run_train(*flags, "--run-dir", run)}

    def by(*commands: str) -> Callable[[Spoiled], None]:
        def check(case: Spoiled) -> None:
            shutil.rmtree(run, ignore_errors=True)
            shutil.copytree(whole, run)
            case.spoil(run)
            before = snapshot(tmp_path)
            for command in commands:
                refusal(known[command]())
                assert snapshot(tmp_path) == before

        return check

    return by


def test_settings_that_were_edited(whole: Path, refuse: Any) -> None:
    contents = json.loads((whole / "config.json").read_text())
    cases = edited_settings(contents)
    for_every(cases, refuse("score", "train"), examples=60, at_least=NEEDED["edited"])


def test_configurations_that_cannot_be_read(refuse: Any) -> None:
    cases = SHARE.map(lambda share: cut("config.json", share)) | NO_OBJECT.map(lambda text: holding("config.json", text))
    for_every(cases | st.just(a_folder("config.json")), refuse("score", "train"), examples=20, at_least=NEEDED["unreadable"])


def test_checkpoints_that_were_damaged(whole: Path, refuse: Any) -> None:
    for_every(damaged_files(whole), refuse("train"), examples=55, at_least=NEEDED["damaged"])


def test_checkpoints_by_the_name_of_another_step(refuse: Any) -> None:
    steps = st.integers(0, 10**6).filter(lambda step: step not in (15, 20))
    cases = steps.filter(lambda step: step > 15).map(
        lambda step: spoiled(step, by=lambda run: (run / STEP).rename(run / GROUP / f"step_{step}"))
    )
    for_every(cases, refuse("score", "train"), examples=10, at_least=NEEDED["renamed"])


def test_checkpoints_that_were_forged(refuse: Any) -> None:
    for_every(FORGED, refuse("score"), examples=25, at_least=NEEDED["forged"])


def test_results_that_were_edited_or_damaged(refuse: Any) -> None:
    cases = st.one_of(
        SHARE.map(lambda share: cut("results.json", share)),
        NO_OBJECT.map(lambda text: holding("results.json", text)),
        st.tuples(st.just("rows"), st.integers(0, 9), one_of(["wa", "ua", "variant"]), st.floats(2, 3)).map(edited_results),
        one_of([a_folder("results.json"), spoiled("no rows", by=without_rows)]),
    )
    for_every(cases, refuse("score"), examples=25, at_least=NEEDED["results"])


def test_other_parts_that_were_damaged(refuse: Any) -> None:
    lines = one_of(["junk", "5", "{}", '{"step": "five"}', "[" * 50_000, "\0"])
    cases = st.one_of(
        lines.map(lambda line: unfinished(line[:9], by=lambda run: put_before(run / GROUP / "metrics.jsonl", line + "\n"))),
        one_of(
            [
                unfinished("metrics", by=lambda run: a_folder(GROUP / "metrics.jsonl").spoil(run)),
                spoiled("group", by=lambda run: (shutil.rmtree(run / GROUP), (run / GROUP).write_text("mine"))),
                spoiled("space", by=lambda run: (shutil.rmtree(run / "encoder"), (run / "encoder").write_text("mine"))),
                spoiled("no config, no lock", by=lambda run: ((run / "config.json").unlink(), (run / ".lock").unlink())),
                a_folder(".lock"),
                spoiled("results", by=lambda run: a_folder("results.json").spoil(run)),
            ]
        ),
    )
    for_every(cases, refuse("train"), examples=24, at_least=NEEDED["broken"] - 5)
    cases = one_of(
        [
            spoiled("config", by=lambda run: (run / "config.json").unlink()),
            spoiled("digests", by=lambda run: (run / STEP / digests.DIGESTS).unlink()),
            spoiled("step", by=lambda run: shutil.rmtree(run / STEP)),
            spoiled("group", by=lambda run: shutil.rmtree(run / GROUP)),
            spoiled("all", by=lambda run: shutil.rmtree(run)),
        ]
    )
    for_every(cases, refuse("score"), examples=10, at_least=5)


OTHER_SETTINGS = one_of(
    [
        ("--classify.learning-rate", "0.5"),
        ("--classify.width", "5"),
        ("--seeds", "1"),
        ("--generate.ratio", "2"),
        ("--label-fraction", "0.5"),
        ("--protocol", "speaker", "--folds", "Ses1F"),
        ("--generate.steps", "7"),
        ("--align.mi-estimator", "nwj"),
        ("--augment.noise-scale", "0"),
        ("--protocol", "speaker", "--folds", "Ses1F", "--keep-partner"),
        ("--space", "aligned"),
    ]
)


def test_other_settings_and_other_shards(
    whole: Path, flags: Any, run_train: Any, run_eval: Any, run_prepare: Any, tmp_path: Path
) -> None:
    before = snapshot(whole)

    def check(other: tuple[str, ...]) -> None:
        given, kept = list(flags), []
        while given:  # a flag may be given but once
            flag = given.pop(0)
            if flag in other:
                given.pop(0)
            else:
                kept.append(flag)
        outcome = run_train(*kept, *other, "--run-dir", whole)
        expected = "holds more than is asked for (seeds 0)" if "--seeds" in other else "holds another experiment"
        assert expected in refusal(outcome)
        assert snapshot(whole) == before

    for_every(OTHER_SETTINGS, check, examples=22, at_least=NEEDED["others"])
    assert run_prepare("demo", "--size", 60, "--data-dir", tmp_path / "data").status == 0
    other_data = [flag if flag != flags[2] else tmp_path / "data" for flag in flags]
    assert "was trained on other shards" in refusal(run_train(*other_data, "--run-dir", whole))
    for data_dir in (tmp_path / "data", tmp_path / "data" / "demo" / "1.0.0" / "features.json"):
        refusal(run_eval("score", whole, "--data-dir", data_dir))
    (tmp_path / "data" / "demo" / "1.0.0" / "features.json").unlink()
    # Half of a prepared corpus is not replaced by a sample.
    assert "corpus 'demo' is incomplete" in refusal(run_train(*other_data, "--run-dir", tmp_path / "new"))
    assert snapshot(whole) == before and not (tmp_path / "new").exists()


def test_what_does_no_harm_is_accepted(whole: Path, flags: Any, run_train: Any, run_eval: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    for name in ("step_20 (copy)", "step_x", "step_-5", "step_0040", "step_٣"):
        shutil.copytree(run / STEP, run / GROUP / name)
    append(run / GROUP / "metrics.jsonl", b'{"step": 20, "ru')
    edited(("config", "checkpoint_every_s"), lambda inner, key: inner.__setitem__(key, 7.5))(run)
    # As an earlier version wrote it, which had fewer settings.
    edited(("fingerprint",), lambda inner, key: inner.pop(key))(run)
    edited(("config", "data", "config"), lambda inner, key: inner.pop(key))(run)
    for outcome in (
        run_eval("score", run),
        run_train(*flags, "--run-dir", run),
        run_train(*flags, "--run-dir", run, "--final"),
    ):
        assert outcome.status == 0, outcome.err
    assert (run / "results.json").read_bytes() == (whole / "results.json").read_bytes()
    (run / "results.json").unlink()
    assert "nothing to compare with" in run_eval("score", run).out


def test_as_many_are_given_as_are_counted_on() -> None:
    assert sum(NEEDED.values()) == AT_LEAST["run folders"]
