"""Mistakes of the user: one message that says what is wrong and what to do, no traceback, and nothing half-written."""

import fcntl
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def refused(outcome: Any) -> str:
    """The one message of a command that must fail, without the frame that the parser draws around its own."""
    assert outcome.status == 2 and outcome.out == ""
    assert "Traceback" not in outcome.err
    if outcome.err.startswith("╭"):
        assert outcome.err.count("╭") == 1
        return re.sub(r"[\s│─╭╮╰╯]+", " ", outcome.err)
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1
    return outcome.err


FLAGS = {
    "no preset": ((), "demo, iemocap, corpus"),
    "unknown preset": (("demmo",), "Available subcommands: demo, iemocap, corpus"),
    "unknown flag": (("demo", "--clasify.dropout", "0.1"), "Perhaps you meant: --classify.dropout FLOAT"),
    "stray word": (("demo", "now"), "Unrecognized options: now"),
    "unknown variant": (("demo", "--variants", "none", "nosie"), "invalid choice 'nosie' for argument '--variants'"),
    "unknown aligned variant": (("demo", "--aligned-variants", "smoke"), "invalid choice 'smoke'"),
    "unknown protocol": (("demo", "--protocol", "sessions"), "invalid choice 'sessions' for argument '--protocol'"),
    "no corpus named": (("corpus",), "Missing from train.py corpus: --data.name STR"),
    "seed that is no number": (("demo", "--seeds", "one"), "--seeds"),
    "steps that are no integer": (("demo", "--align.steps", "2.5"), "Error parsing --align.steps"),
    "unknown fold": (
        ("demo", "--folds", "session1", "session9"),
        "no fold is named 'session9'; the folds are session1, session2, session3, session4, session5",
    ),
    "protocol that does not fit": (("demo", "--protocol", "official"), "needs a split column with Train"),
    "list flag twice": (("demo", "--seeds", "0", "--seeds", "1"), "--seeds is given twice; give it once, with all its values"),
    "flag twice": (("demo", "--data_dir=a", "--data-dir", "b"), "--data-dir is given twice"),
    "no seeds": (("demo", "--seeds"), "--seeds needs at least one value"),
    "no variants": (("demo", "--variants"), "--variants needs at least one value"),
    "seed twice": (("demo", "--seeds", "3", "1", "3"), "--seeds names 3 more than once"),
    "fold twice": (("demo", "--folds", "session1", "session1"), "--folds names session1 more than once"),
    "variant twice": (("demo", "--variants", "none", "noise", "none"), "--variants names none more than once"),
    "negative seed": (("demo", "--seeds", "0", "-1"), "--seeds -1: a seed is an integer from 0 to 2147483647"),
    "seed too large": (("demo", "--seeds", str(2**31)), "--seeds 2147483648: a seed is an integer"),
    "dropout above one": (("demo", "--classify.dropout", "1.5"), "--classify.dropout 1.5: must lie in [0, 1)"),
    "dropout of one": (("demo", "--align.dropout", "1"), "--align.dropout 1: must lie in [0, 1)"),
    "negative ratio": (("demo", "--generate.ratio", "-1"), "--generate.ratio -1: must lie in (0, inf)"),
    "not a number": (("demo", "--generate.r1-weight", "nan"), "--generate.r1-weight nan: must lie in [0, inf)"),
    "infinite": (("demo", "--classify.weight-decay", "inf"), "--classify.weight-decay inf: must lie in [0, inf)"),
    "rate of zero": (("demo", "--align.learning-rate", "0"), "--align.learning-rate 0: must lie in (0, inf)"),
    "label fraction of zero": (("demo", "--label-fraction", "0"), "--label-fraction 0: must lie in (0, 1]"),
    "no steps": (("demo", "--generate.steps", "0"), "--generate.steps 0: must be at least 1"),
    "negative steps": (("demo", "--classify.steps", "-3"), "--classify.steps -3: must be at least 1"),
    "no chunk": (("demo", "--chunk-steps", "0"), "--chunk-steps 0: must be at least 1"),
    "pair of one": (("demo", "--align.batch-size", "1"), "--align.batch-size must be at least 2"),
    "aligned twice": (("demo", "--space", "aligned"), "with --space aligned name them in --variants"),
}


@pytest.mark.parametrize("case", FLAGS)
def test_mistakes_in_flags(case: str, run_train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where the preset's own run folder would come to lie
    argv, message = FLAGS[case]
    assert message in refused(run_train(*argv))
    assert list(tmp_path.iterdir()) == []


def test_a_new_process_ends_with_the_same_message_and_status(in_new_process: Any, tmp_path: Path) -> None:
    outcome = in_new_process("train.py", "demo", "--folds", "session9", "--run-dir", tmp_path / "run")
    assert "no fold is named 'session9'" in refused(outcome)
    outcome = in_new_process("train.py", "demo", "--variants", "nosie", "--run-dir", tmp_path / "run")
    assert "invalid choice 'nosie'" in refused(outcome)
    outcome = in_new_process("eval.py", "score", tmp_path / "run")
    assert f"{tmp_path / 'run'} is not a run folder" in refused(outcome)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def data_dir(run_prepare: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds one corpus: a demo of another size than the one that is made where none is prepared."""
    folder = tmp_path_factory.mktemp("data")
    assert run_prepare("demo", "--size", 60, "--data-dir", folder).status == 0
    return folder


def test_an_unknown_corpus_lists_those_there(data_dir: Path, run_train: Any, tmp_path: Path) -> None:
    argv = ("corpus", "--data.name", "mine", "--data-dir", data_dir, "--run-dir", tmp_path / "run")
    message = refused(run_train(*argv))
    assert f"no corpus 'mine' in {data_dir} (there are: demo)" in message
    assert f"python datasets/prepare.py arrays --source FILE.npz --name mine --data-dir {data_dir}" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "the directory holds no corpus yet"),
        (lambda path: path.write_text("no folder"), "is not a directory"),
        (lambda path: (path / "iemocap" / "1.0.0").mkdir(parents=True), "corpus 'iemocap' is incomplete"),
    ],
    ids=["missing", "empty", "a file", "unfinished"],
)
def test_data_folders_without_the_corpus(make: Callable[[Path], None], message: str, run_train: Any, tmp_path: Path) -> None:
    data, run_dir = tmp_path / "data", tmp_path / "run"
    make(data)
    said = refused(run_train("iemocap", "--data-dir", data, "--run-dir", run_dir))
    assert message in said and str(data) in said and "prepare" in said
    assert not run_dir.exists()


def test_run_folders_that_are_none(run_train: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for run_dir in (tmp_path / "file", tmp_path / "file" / "run"):
        said = refused(run_train("demo", "--run-dir", run_dir))
        assert str(run_dir) in said and ("can't be written" in said or "is a file, not a folder" in said)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("mine too")
    said = refused(run_train("demo", "--run-dir", foreign))
    assert f"{foreign} has files but no config.json: it is not a run folder; choose another --run-dir" in said
    assert [path.name for path in foreign.iterdir()] == ["thesis.tex"]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("folder", ["missing", "empty", "foreign"])
def test_folders_that_cannot_be_scored(folder: str, run_eval: Any, tmp_path: Path) -> None:
    path = tmp_path / folder
    if folder != "missing":
        path.mkdir()
    if folder == "foreign":
        (path / "results.json").write_text("{}")
    assert f"{path} is not a run folder: it has no config.json" in refused(run_eval("score", path))
    assert not list(path.iterdir()) if folder == "empty" else path.exists() == (folder == "foreign")


def test_eval_without_or_with_an_unknown_command(run_eval: Any, tmp_path: Path) -> None:
    assert "score" in refused(run_eval())
    assert "score" in refused(run_eval("scores", tmp_path))
    assert "The run folder. (required)" in refused(run_eval("score"))


@pytest.fixture
def copy(demo: Any, tmp_path: Path) -> Path:
    """A copy of the demo experiment's run folder, to be spoiled."""
    shutil.copytree(demo.folder, tmp_path / "copy")
    return tmp_path / "copy"


def changed(**changes: Any) -> Callable[[str], str]:
    """Changes settings; None takes one out."""

    def change(text: str) -> str:
        contents = json.loads(text)
        for name, value in changes.items():
            *path, last = ("config", *name.split("__"))
            settings = contents
            for part in path:
                settings = settings[part]
            if value is None:
                del settings[last]
            else:
                settings[last] = value
        return json.dumps(contents)

    return change


DAMAGED_CONFIGS: dict[str, Callable[[str], str]] = {
    "cut off": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "another JSON": lambda text: "[]",
    "of other parts": lambda text: "{}",
    "no settings": changed(data="demo"),
    "unknown setting": changed(classify__depth=3),
    "missing stage": changed(align=None),
    "missing setting": changed(classify__width=None),
    "seeds as text": changed(seeds=["first"]),
    "steps as text": changed(classify__steps="twenty"),
    "unknown variant": changed(variants=["nosie"]),
}


@pytest.mark.parametrize("case", DAMAGED_CONFIGS)
def test_a_damaged_configuration_is_named(case: str, copy: Path, run_eval: Any) -> None:
    config = copy / "config.json"
    config.write_text(DAMAGED_CONFIGS[case](config.read_text()))
    # It is the configuration that must be blamed: not the checkpoints, which do not fit it any longer.
    assert "config" in refused(run_eval("score", copy))


def test_a_damaged_configuration_stops_training_too(copy: Path, demo: Any, run_train: Any) -> None:
    (copy / "config.json").write_text("{")
    assert f"{copy / 'config.json'} can't be read" in refused(run_train(*demo.flags, "--run-dir", copy))
    assert (copy / "config.json").read_text() == "{"


@pytest.mark.parametrize("group", ["encoder/align", "aligned/classify/both"])
def test_a_flipped_bit_in_a_checkpoint_is_named(group: str, copy: Path, demo: Any, run_eval: Any, run_train: Any) -> None:
    step = copy / group / "step_20"
    victim = max((path for path in (step / "state").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    for said in (refused(run_eval("score", copy)), refused(run_train(*demo.flags, "--run-dir", copy))):
        assert f"the checkpoint file {victim} is damaged" in said
        assert "delete" in said  # what to do about it
    assert victim.read_bytes() == data


def test_a_checkpoint_file_that_is_gone_is_named(copy: Path, run_eval: Any) -> None:
    victim = next(path for path in sorted((copy / "encoder" / "align" / "step_20" / "state").rglob("*")) if path.is_file())
    victim.unlink()
    assert str(victim) in refused(run_eval("score", copy))


def test_another_corpus_of_that_name_is_refused(demo: Any, data_dir: Path, run_eval: Any) -> None:
    said = refused(run_eval("score", demo.folder, "--data-dir", data_dir))
    assert f"{demo.folder} was trained on other shards of 'demo'" in said and "--data-dir" in said


def test_results_that_are_gone_leave_nothing_to_compare_with(copy: Path, run_eval: Any) -> None:
    (copy / "results.json").unlink()
    outcome = run_eval("score", copy)
    assert outcome.status == 0
    assert str(copy / "results.json") in outcome.out.splitlines()[-1]


def test_results_that_are_no_results_are_named(copy: Path, run_eval: Any) -> None:
    (copy / "results.json").write_text("[]")
    outcome = run_eval("score", copy)
    assert outcome.status == 2 and outcome.err.startswith(f"error: {copy / 'results.json'} can't be read")


def test_two_trainings_in_one_folder_at_a_time_are_refused(copy: Path, demo: Any, run_train: Any) -> None:
    with (copy / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = refused(run_train(*demo.flags, "--run-dir", copy))
    assert f"another process is training in {copy}" in said
    assert run_train(*demo.flags, "--run-dir", copy).status == 0
