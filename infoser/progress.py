"""Progress of anything that takes more than two seconds: bars on a terminal, each below what it is part of, or plain lines."""

from __future__ import annotations

import datetime
import os
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from infoser.bars import Bars

T = TypeVar("T")

#: Shows nothing: of several hosts one speaks.
silent = False

_QUIET_S = 2.0  # below this nobody waits for a sign of life
_LINE_EVERY_S = 10.0
#: What is going on, from the whole to its part; and its bars, where there are any on the terminal.
_going_on: list[Progress] = []
_bars: Bars | None = None


class Progress:
    """Shows on stderr how far a piece of work is, its rate and when it will be done.

    Args:
      what: what is being done, for the reader.
      total: how many units there are.
      unit: names one unit ("steps").
      done: units that need not be done again.
      numbered: the work is the present piece of the `Pieces` that it is part of, if any: plain lines begin with its number.
    """

    _first_line_s = _QUIET_S

    def __init__(self, what: str, total: int, *, unit: str, done: int = 0, numbered: bool = False):
        self._what, self._total, self._unit = what, total, unit
        self._first = self._done = done
        self._start = self._last_line = self._updated = time.monotonic()
        self._pieces = _pieces() if numbered else None
        #: The number of its bar, while there is one.
        self.task: int | None = None

    def __enter__(self) -> Self:
        # Below a bar, and where a piece of a whole begins, the first update is not waited for: it may take a compilation.
        at_once = self._pieces is not None or (bool(_going_on) and _going_on[-1].task is not None)
        _going_on.append(self)
        if at_once and _on_terminal():
            _show()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        _going_on.remove(self)
        _hide(self)
        elapsed = time.monotonic() - self._start
        if kind is None and elapsed > _QUIET_S and self._did_something() and not silent:
            self._say(self._result(elapsed))

    def update(self, done: int) -> None:
        """Says that `done` units are finished in all."""
        self._done, self._updated = done, time.monotonic()
        if self._pieces is not None:
            self._pieces.reached(done / self._total)
        if silent:
            return
        elapsed = self._updated - self._start
        if self.task is None and elapsed > _QUIET_S and _on_terminal():
            _show()
        if self.task is not None:
            _refresh(self)
        elif elapsed > _QUIET_S and self._updated - self._last_line > (
            self._first_line_s if self._last_line == self._start else _LINE_EVERY_S
        ):
            self._say(self.line(elapsed))

    def line(self, elapsed_s: float) -> str:
        """One line of plain text: how far, how fast, how long still."""
        rate = self._rate(elapsed_s)
        left = f", {(self._total - self._done) / rate:.0f} s left" if rate > 0 else ""
        return f"{self._place}{self._what}: {self.count()}, {rate:,.0f} {self._unit}/s{left}"

    def title(self) -> str:
        """What a bar is labelled with."""
        return self._what

    def count(self) -> str:
        """How many of how many."""
        return f"{self._done:,} of {self._total:,} {self._unit}"

    def share(self) -> float:
        """How much of it is done, from 0 to 1."""
        return self._done / self._total if self._total else 1.0

    def clock(self) -> str:
        """The time that is left, counted down from the last update; nothing before there is a rate."""
        rate = self._rate(self._updated - self._start)
        if rate <= 0:
            return ""
        left_s = (self._total - self._done) / rate - (time.monotonic() - self._updated)
        return f"{_hours(max(0.0, left_s))} left"

    def _rate(self, elapsed_s: float) -> float:
        return (self._done - self._first) / elapsed_s if elapsed_s > 0 else 0.0

    def _did_something(self) -> bool:
        return True

    def _result(self, elapsed_s: float) -> str:
        return f"{self._place}{self._what}: {self._done - self._first:,} {self._unit} in {elapsed_s:.1f} s"

    @property
    def _place(self) -> str:
        return "" if self._pieces is None else f"{self._pieces.count()}, "

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)
        for one in _going_on:  # a sign of life for all that this is part of
            one._last_line = time.monotonic()


class Pieces(Progress):
    """Work that is done piece by piece, each with a progress of its own: an experiment's groups of runs.

    Args:
      what: what is being done, for the reader.
      total: how many pieces there are, as far as is known; it grows with what turns up.
      unit: names one piece ("group").
    """

    _first_line_s = _LINE_EVERY_S  # the pieces have lines of their own

    def __init__(self, what: str, total: int, *, unit: str):
        super().__init__(what, total, unit=unit)
        self._reached, self._worked = 0.0, False

    def begin(self) -> None:
        """Says that the next piece begins, and those before are finished."""
        self.update(self._done + 1)

    def update(self, done: int) -> None:
        self._total, self._reached = max(self._total, done), 0.0
        super().update(done)

    def expect(self, more: int) -> None:
        """Says that there are more pieces than was known."""
        self._total += more

    def reached(self, share: float) -> None:
        """Says how much of the present piece is finished, from 0 to 1."""
        self._reached, self._worked = share, True
        if self.task is not None and not silent:
            _refresh(self)

    def line(self, elapsed_s: float) -> str:
        return f"{self._what}: {self.count()}"

    def count(self) -> str:
        return f"{self._unit} {self._done:,} of {self._total:,}"

    def share(self) -> float:
        return (max(0, self._done - 1) + self._reached) / self._total if self._total else 1.0

    def clock(self) -> str:
        """The time since it began: pieces differ, so what is left can't be told from it."""
        return _hours(time.monotonic() - self._start)

    def _did_something(self) -> bool:
        """Whether a piece had anything to do; where all were finished before, nothing is said."""
        return self._worked

    def _result(self, elapsed_s: float) -> str:
        return f"{self._what}: {self._done:,} {self._unit}{'' if self._done == 1 else 's'} in {elapsed_s:.1f} s"


def begin_piece() -> None:
    """Says that the next piece of the `Pieces` that are going on begins, if there are any."""
    pieces = _pieces()
    if pieces is not None:
        pieces.begin()


def expect_pieces(more: int) -> None:
    """Says that the `Pieces` that are going on, if there are any, are more than was known."""
    pieces = _pieces()
    if pieces is not None:
        pieces.expect(more)


def show_progress(items: Iterable[T], *, total: int, what: str, unit: str) -> Iterator[T]:
    """Passes `items` on and shows how far they are.

    Args:
      items: what to pass on.
      total: how many there are.
      what, unit: what is being done, and to what ("writing demo", "utterances").
    """
    with Progress(what, total, unit=unit) as progress:
        for done, item in enumerate(items, 1):
            yield item
            progress.update(done)


def cursor_back() -> str:
    """What a process that ends at once has to write first: bars hide the terminal's cursor."""
    return "" if _bars is None else "\x1b[?25h"


def _pieces() -> Pieces | None:
    return next((one for one in reversed(_going_on) if isinstance(one, Pieces)), None)


def _hours(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))


def _on_terminal() -> bool:
    if _bars is not None:  # stderr is theirs now, and in older versions of rich denies that it is a terminal
        return True
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def _show() -> None:
    """Gives a bar to all that is going on: one alone would not say what it is part of."""
    global _bars
    if silent:
        return
    if _bars is None:
        from infoser.bars import Bars

        _bars = Bars()
        _bars.start()
    for depth, one in enumerate(_going_on):
        if one.task is None:
            one.task = _bars.add(one, depth)


def _refresh(one: Progress) -> None:
    if _bars is not None and one.task is not None:
        _bars.refresh_task(one)


def _hide(one: Progress) -> None:
    global _bars
    if _bars is None or one.task is None:
        return
    _bars.take_away(one)
    one.task = None
    if not _bars.task_ids:
        _bars.stop()
        _bars = None
