"""Bars on a terminal, one below the other: each of a piece of work, with what fits the terminal's width."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

import rich.progress
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Column
from rich.text import Text

_WIDE, _NARROW = 40, 12  # most and fewest columns of a bar
_LEAST_TITLE = 16  # columns of a title, below which the bar and then the clock are left out


@runtime_checkable
class Shown(Protocol):
    """Work that has a bar: what to say of it whenever the terminal is drawn, and the number of its bar."""

    task: int | None

    def title(self) -> str: ...

    def count(self) -> str: ...

    def share(self) -> float: ...

    def clock(self) -> str: ...


class Bars(rich.progress.Progress):
    """All bars that are shown at a time: rich has room for one live display."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        # What is printed meanwhile goes above the bars; a stdout that is no terminal is left alone.
        super().__init__(console=console, transient=True, refresh_per_second=4, redirect_stdout=sys.stdout.isatty())

    def add(self, one: Shown, depth: int) -> int:
        """Adds a bar below the others, indented by its depth."""
        task = self.add_task("  " * depth + one.title(), total=1.0, of=one)
        self.update(task, completed=one.share())
        return task

    def refresh_task(self, one: Shown) -> None:
        """Brings a bar to what its work says now."""
        assert one.task is not None
        self.update(rich.progress.TaskID(one.task), completed=one.share())

    def take_away(self, one: Shown) -> None:
        """Removes a bar."""
        assert one.task is not None
        self.remove_task(rich.progress.TaskID(one.task))

    def get_renderables(self) -> Iterable[RenderableType]:
        """The table of all bars; what leaves too little room for the titles is left out: first the bars, then the clocks."""
        tasks = self.tasks
        if not tasks:
            return
        width = self.console.width
        title, count, clock = (
            max(cell_len(text(task)) for task in tasks) for text in (lambda task: task.description, _count, _clock)
        )
        clock += clock > 0
        bar = min(_WIDE, max(_NARROW, width - title - count - clock - 2))
        wanted = min(title, _LEAST_TITLE)
        if width - count - clock - bar - 2 < wanted:
            bar = -1
        if width - count - clock - bar - 2 < wanted:
            clock = 0
        room = max(1, min(title, width - count - clock - bar - 2))
        columns: list[rich.progress.ProgressColumn] = [
            rich.progress.TextColumn(
                "{task.description}", markup=False, table_column=Column(width=room, no_wrap=True, overflow="ellipsis")
            )
        ]
        if bar > 0:
            columns.append(rich.progress.BarColumn(bar_width=bar))
        columns.append(_Words(_count, count))
        if clock:
            columns.append(_Words(_clock, clock - 1))
        self.columns = tuple(columns)
        yield self.make_tasks_table(tasks)


class _Words(rich.progress.ProgressColumn):
    """What a bar's work says, in a column of a width."""

    def __init__(self, words: Callable[[rich.progress.Task], str], width: int):
        super().__init__(Column(width=width, no_wrap=True, overflow="ellipsis"))
        self._words = words

    def render(self, task: rich.progress.Task) -> Text:
        return Text(self._words(task), style="progress.remaining" if self._words is _clock else "progress.download")


def _count(task: rich.progress.Task) -> str:
    return task.fields["of"].count()


def _clock(task: rich.progress.Task) -> str:
    return task.fields["of"].clock()
