"""Progress: silent under two seconds, plain lines in a pipe, bars on a terminal."""

import fcntl
import io
import itertools
import os
import pty
import re
import select
import struct
import sys
import termios
import time

import pytest
import rich.console

from infoser import progress as module
from infoser.progress import Progress


@pytest.fixture(autouse=True)
def progress_unseen():
    """It is looked at here."""


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is told to go on."""

    class Clock:
        now = 1000.0

        def sleep(self, seconds: float) -> None:
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(module.time, "monotonic", lambda: clock.now)
    return clock


def test_short_work_says_nothing(clock, capsys):
    with Progress("align", 100, unit="steps") as progress:
        for done in (30, 60, 100):
            clock.sleep(0.6)
            progress.update(done)
    assert capsys.readouterr() == ("", "")


def test_plain_lines_in_a_pipe(clock, capsys):
    with Progress("align × 3 runs", 10_000, unit="steps") as progress:
        clock.sleep(2.5)
        progress.update(2500)
        assert capsys.readouterr().err == "align × 3 runs: 2,500 of 10,000 steps, 1,000 steps/s, 8 s left\n"
        clock.sleep(9.0)
        progress.update(6000)
        assert capsys.readouterr().err == ""  # a line in ten seconds is enough
        clock.sleep(2.0)
        progress.update(6750)
        assert capsys.readouterr().err == "align × 3 runs: 6,750 of 10,000 steps, 500 steps/s, 6 s left\n"
        clock.sleep(6.5)
        progress.update(10_000)
    captured = capsys.readouterr()
    assert captured.err == "align × 3 runs: 10,000 steps in 20.0 s\n"
    assert captured.out == ""  # results go there


def test_the_rate_is_of_what_was_done_now(clock, capsys):
    with Progress("generate", 1000, unit="steps", done=800) as progress:
        clock.sleep(4.0)
        progress.update(900)
        clock.sleep(4.0)
        progress.update(1000)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["generate: 900 of 1,000 steps, 25 steps/s, 4 s left", "generate: 200 steps in 8.0 s"]


def test_nothing_done_yet_has_no_end(clock):
    progress = Progress("align", 10, unit="steps")
    assert progress.line(0.0) == "align: 0 of 10 steps, 0 steps/s"
    assert progress.line(5.0) == "align: 0 of 10 steps, 0 steps/s"


def test_failed_work_does_not_claim_to_be_done(clock, capsys):
    with pytest.raises(ValueError), Progress("align", 10, unit="steps"):
        clock.sleep(60.0)
        raise ValueError
    assert capsys.readouterr().err == ""


@pytest.fixture
def terminal(monkeypatch):
    """terminal() makes stderr a terminal and returns a function that returns what was written to it."""
    own, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 90, 0, 0))
    monkeypatch.setenv("TERM", "xterm")
    for name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    shown = []

    def read() -> str:
        while select.select([own], [], [], 0)[0]:
            shown.append(os.read(own, 65536))
        return b"".join(shown).decode()

    def begin():
        monkeypatch.setattr(sys, "stderr", stderr)  # in the test: pytest's own capture begins anew with each phase
        return read

    with open(other, "w", encoding="utf-8") as stderr:
        yield begin
    os.close(own)


def bars() -> list[str]:
    """What the bars say now, without their lines and the columns' padding."""
    assert module._bars is not None
    console = rich.console.Console(width=90, file=io.StringIO())
    with console.capture() as capture:
        console.print(module._bars.get_renderable())
    return [re.sub(r"(?<=\S)[ ━╸╺]+", " ", line).rstrip() for line in capture.get().splitlines()]


def test_a_bar_on_a_terminal(clock, terminal):
    written = terminal()
    with Progress("align", 10, unit="steps") as progress:
        clock.sleep(1.0)
        progress.update(2)
        assert module._bars is None and written() == ""
        clock.sleep(2.0)
        progress.update(6)
        assert bars() == ["align 6 of 10 steps 0:00:02 left"]
        clock.sleep(1.0)
        assert bars() == ["align 6 of 10 steps 0:00:01 left"]
        progress.update(10)
    assert module._bars is None and module._going_on == []
    assert "align: 10 steps in 4.0 s" in written()
    assert written().rfind("\x1b[?25h") > written().rfind("\x1b[?25l") >= 0  # the cursor is back


def test_pieces_of_a_whole_on_a_terminal(clock, terminal):
    written = terminal()
    with module.Pieces("runs/[x]", 3, unit="group"):
        module.begin_piece()  # restored: nothing to show
        clock.sleep(1.0)
        module.begin_piece()
        with Progress("align × 3 runs", 600, unit="steps", numbered=True) as progress:
            # At once: the first steps may be compiling for long.
            assert bars() == ["runs/[x] group 2 of 3 0:00:01", "  align × 3 runs 0 of 600 steps"]
            clock.sleep(3.0)
            progress.update(300)
            assert bars() == ["runs/[x] group 2 of 3 0:00:04", "  align × 3 runs 300 of 600 steps 0:00:03 left"]
            with Progress("drawing generated rows", 10, unit="rows"):
                assert [line.split(" ", 4)[:3] for line in bars()[2:]] == [["", "", ""]]
                assert "drawing generated rows 0 of 10 rows" in bars()[2]
        assert bars() == ["runs/[x] group 2 of 3 0:00:04"]
        module.begin_piece()
        module.begin_piece()  # more than was known
        assert bars() == ["runs/[x] group 4 of 4 0:00:04"]
    assert module._bars is None
    assert "group 2 of 3, align × 3 runs: 300 steps in 3.0 s" in written() and "runs/[x]: 4 groups in 4.0 s" in written()


def test_a_terminal_that_can_not_move_its_cursor_gets_lines(clock, terminal, monkeypatch):
    written = terminal()
    monkeypatch.setenv("TERM", "dumb")
    with Progress("align", 10, unit="steps") as progress:
        clock.sleep(3.0)
        progress.update(6)
        assert module._bars is None
    assert written().splitlines() == ["align: 6 of 10 steps, 2 steps/s, 2 s left", "align: 6 steps in 3.0 s"]


def test_a_failure_takes_all_bars_away(clock, terminal):
    terminal()
    with pytest.raises(ValueError), module.Pieces("whole", 2, unit="group"):
        module.begin_piece()
        assert module.cursor_back() == ""
        with Progress("align", 10, unit="steps", numbered=True):
            assert len(bars()) == 2 and module.cursor_back() == "\x1b[?25h"
            raise ValueError
    assert module._bars is None and module._going_on == []


def test_pieces_of_a_whole_in_a_pipe(clock, capsys):
    with module.Pieces("runs/a", 3, unit="group"):
        module.begin_piece()
        clock.sleep(1.0)
        module.expect_pieces(1)
        module.begin_piece()
        with Progress("align", 100, unit="steps", numbered=True) as progress:
            clock.sleep(4.0)
            progress.update(50)
        module.begin_piece()
        assert capsys.readouterr().err.splitlines() == [
            "group 2 of 4, align: 50 of 100 steps, 12 steps/s, 4 s left",
            "group 2 of 4, align: 50 steps in 4.0 s",
        ]
        clock.sleep(11.0)  # restored, which takes its time
        module.begin_piece()
        assert capsys.readouterr().err == "runs/a: group 4 of 4\n"
    assert capsys.readouterr().err == "runs/a: 4 groups in 16.0 s\n"


def test_pieces_that_were_all_finished_before_say_nothing(clock, capsys):
    with module.Pieces("runs/a", 2, unit="group"):
        for _ in range(2):
            module.begin_piece()
            clock.sleep(4.0)
    assert capsys.readouterr().err == ""


def test_pieces_are_numbered_only_where_there_are_any(clock, capsys):
    module.begin_piece()
    module.expect_pieces(3)
    with Progress("align", 10, unit="steps", numbered=True) as progress:
        clock.sleep(5.0)
        progress.update(10)
    assert capsys.readouterr().err.splitlines()[-1] == "align: 10 steps in 5.0 s"


def test_one_of_several_hosts_is_silent(clock, terminal, monkeypatch):
    written = terminal()
    monkeypatch.setattr(module, "silent", True)
    with module.Pieces("whole", 2, unit="group"):
        module.begin_piece()
        with Progress("align", 10, unit="steps", numbered=True) as progress:
            clock.sleep(5.0)
            progress.update(10)
            assert module._bars is None
    assert written() == ""


def test_items_pass_through_and_are_counted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    seconds = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: float(next(seconds)))  # every look at the clock is a second later
    items = module.show_progress(iter(range(20)), total=20, what="writing demo", unit="utterances")
    assert list(items) == list(range(20))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("writing demo: ") and " of 20 utterances" in lines[0]
    assert 2 < len(lines) < 7
