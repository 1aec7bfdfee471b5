"""Exit statuses, repeated flags, and signs of life."""

import os
import signal
import subprocess
import sys

import jax
import pytest

from infoser.commandline import refuse_repeated_flags, run_command
from infoser.errors import InfoserError


def raising(error: BaseException):
    def command(argv: object) -> None:
        raise error

    return command


def test_run_command_passes_the_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    assert run_command(seen.append, ["--a", "1"]) == 0
    monkeypatch.setattr(sys, "argv", ["program", "--b"])
    assert run_command(seen.append) == 0
    assert seen == [["--a", "1"], ["--b"]]


def test_a_mistake_is_one_line_and_status_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(InfoserError("no such corpus")), []) == 2
    assert capsys.readouterr() == ("", "error: no such corpus\n")


def test_an_interruption_is_status_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(KeyboardInterrupt()), []) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


def test_exhausted_devices_are_one_line_and_status_two(capsys: pytest.CaptureFixture[str]) -> None:
    error = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 12 bytes.\nBufferAssignment: …")
    assert run_command(raising(error), []) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: the memory of the devices does not suffice (RESOURCE_EXHAUSTED: Out of memory allocating")
    assert said.count("\n") == 1 and "--resident-gib" in said


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        run_command(raising(jax.errors.JaxRuntimeError("INTERNAL: something else")), [])
    with pytest.raises(ZeroDivisionError):
        run_command(raising(ZeroDivisionError()), [])
    with pytest.raises(SystemExit):
        run_command(raising(SystemExit(2)), [])


PROGRAM = """
import signal, sys, time
from infoser.commandline import run_command
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, such as these tests, may ignore it
def command(argv):
    print("ready", flush=True)
    time.sleep(0 if argv else 30)
    print("x" * 100_000)
sys.exit(run_command(command))
"""


def test_interrupt_from_outside() -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 130 and errors == b"interrupted\n"


def test_a_closed_pipe_is_no_traceback() -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM, "go"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        os.close(os.dup(process.stdout.fileno()))
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        process.wait(timeout=20)
    assert process.returncode == 141 and errors == b""


@pytest.mark.parametrize(
    "argv",
    [
        ["--seeds", "0", "--seeds", "1"],
        ["--seeds=0", "--seeds", "1"],
        ["--seeds=0", "--seeds=0"],
        ["--run-dir", "a", "--run_dir", "b"],
        ["corpus", "--data.class_map", "x", "--other", "1", "--data.class-map=y"],
        ["--overwrite", "--overwrite"],
    ],
)
def test_a_repeated_flag_is_refused(argv: list[str]) -> None:
    with pytest.raises(InfoserError, match="is given twice"):
        refuse_repeated_flags(argv)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--seeds", "0", "1"],
        ["--seeds", "0", "--", "--seeds", "1"],
        ["--align.steps", "1", "--generate.steps", "2"],
        ["--a", "--b", "-1", "-1", "x", "x"],
        ["--grid", "a=--b", "--b", "1"],
    ],
)
def test_other_arguments_pass(argv: list[str]) -> None:
    before = list(argv)
    refuse_repeated_flags(argv)  # would raise
    assert argv == before


def test_only_the_named_flags_are_looked_at() -> None:
    argv = ["--seeds", "0", "--seeds", "1", "--run-dir", "x"]
    refuse_repeated_flags(argv, flags=["--run_dir"])
    with pytest.raises(InfoserError, match="--seeds is given twice"):
        refuse_repeated_flags(argv, flags={"--seeds"})
