"""What tables of scores have in common: their cells, and the sentences around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from infoser.metrics.label_multiplier import Multiplier

Row = Mapping[str, Any]
#: Characters that names of variants have room for, however narrow the terminal.
_NAME = 14


def say(out: Console, text: str) -> None:
    """Prints a sentence: a terminal wraps it, a pipe does not."""
    out.print(Text(text), soft_wrap=True)


def count(number: int, what: str) -> str:
    """A number with what it counts, in the plural where it is not one."""
    return f"{number} {what}" + ("" if number == 1 else "s")


def name(row: Row) -> Text:
    """A row's variant, and its cell where it has one."""
    return Text(row["variant"] + (f" ({row['cell']})" if row["cell"] else ""))


def percent(value: float | None) -> str:
    """A fraction in %; a dash for none."""
    return "–" if value is None else f"{100 * value:.1f}"


def interval(row: Row, key: str) -> str:
    """The interval of a row's value in %, with a space before it; nothing where it has none."""
    low, high = row[f"{key}_low"], row[f"{key}_high"]
    return "" if low is None else f" [{100 * low:.1f}, {100 * high:.1f}]"


def difference(row: Row) -> str:
    """A row's difference of UA to `none` in %, with its interval."""
    value = row["ua_minus_none"]
    if value is None:
        return "–"
    low, high = row["ua_minus_none_low"], row["ua_minus_none_high"]
    return f"{100 * value:+.1f}" + ("" if low is None else f" [{100 * low:+.1f}, {100 * high:+.1f}]")


def multiplier(row: Row) -> str:
    """A row's equivalent label multiplier with its interval; a dash for none."""
    found = [
        None if row.get(name) in (None, "") else str(Multiplier(float(row[name]), row[f"{name}_bound"]))
        for name in ("label_multiplier", "label_multiplier_low", "label_multiplier_high")
    ]
    value, low, high = found
    return "–" if value is None else value + ("" if low is None or high is None else f" [{low}, {high}]")


def table(title: str, headings: Sequence[str], texts: int = 1) -> Table:
    """An empty table whose first columns, as many as `texts`, are text and whose others are numbers."""
    table = Table(title=Text(title), title_justify="left")
    for place, heading in enumerate(headings[:texts]):
        # The name of a cell may be one long word: it is broken, where a cut would make it another's.
        table.add_column(Text(heading), overflow="fold", min_width=_NAME if place == 0 else None)
    for heading in headings[texts:]:
        table.add_column(Text(heading), justify="right")
    return table
