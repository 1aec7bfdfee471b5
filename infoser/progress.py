"""Progress of anything that takes more than two seconds: a bar on a terminal, plain lines in a pipe."""

import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")

#: Shows nothing: of several hosts one speaks.
silent = False

_QUIET_S = 2.0  # below this nobody waits for a sign of life
_LINE_EVERY_S = 10.0


class Progress:
    """Shows on stderr how far a piece of work is, its rate and when it will be done.

    Args:
      what: what is being done, for the reader.
      total: how many units there are.
      unit: names one unit ("steps").
      done: units that need not be done again.
    """

    def __init__(self, what: str, total: int, *, unit: str, done: int = 0):
        self._what, self._total, self._unit = what, total, unit
        self._first = self._done = done
        self._start = self._last_line = time.monotonic()
        self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
        elapsed = time.monotonic() - self._start
        if kind is None and elapsed > _QUIET_S and not silent:
            print(f"{self._what}: {self._done - self._first:,} {self._unit} in {elapsed:.1f} s", file=sys.stderr)

    def update(self, done: int) -> None:
        """Says that `done` units are finished in all."""
        self._done = done
        if silent:
            return
        now = time.monotonic()
        if self._bar is None and now - self._start > _QUIET_S and sys.stderr.isatty():
            self._start_bar()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done)
        elif now - self._start > _QUIET_S and now - self._last_line > (
            _QUIET_S if self._last_line == self._start else _LINE_EVERY_S
        ):
            self._last_line = now
            print(self.line(now - self._start), file=sys.stderr, flush=True)

    def line(self, elapsed_s: float) -> str:
        """One line of plain text: how far, how fast, how long still."""
        finished = self._done - self._first
        rate = finished / elapsed_s if elapsed_s > 0 else 0.0
        left = f", {(self._total - self._done) / rate:.0f} s left" if rate > 0 else ""
        return f"{self._what}: {self._done:,} of {self._total:,} {self._unit}, {rate:,.0f} {self._unit}/s{left}"

    def _start_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(self._unit))
        self._bar = Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
        self._bar.add_task(self._what, total=self._total, completed=self._done)
        self._bar.start()


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
