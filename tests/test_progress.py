"""Progress: silent under two seconds, plain lines in a pipe, a bar on a terminal."""

import itertools
import time

import pytest

from infoser import progress as module
from infoser.progress import Progress


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


def test_a_bar_on_a_terminal(clock, capsys, monkeypatch):
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True)
    with Progress("align", 10, unit="steps") as progress:
        clock.sleep(1.0)
        progress.update(2)
        assert progress._bar is None
        clock.sleep(2.0)
        progress.update(6)
        assert progress._bar is not None and progress._bar.tasks[0].completed == 6
        progress.update(10)
    assert progress._bar.finished and not progress._bar.live.is_started
    assert "10 steps in 3.0 s" in capsys.readouterr().err


def test_items_pass_through_and_are_counted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    seconds = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: float(next(seconds)))  # every look at the clock is a second later
    items = module.show_progress(iter(range(20)), total=20, what="writing demo", unit="utterances")
    assert list(items) == list(range(20))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("writing demo: ") and " of 20 utterances" in lines[0]
    assert 2 < len(lines) < 7
