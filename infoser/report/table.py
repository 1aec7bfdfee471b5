"""Tables of a report: the same rows as HTML that sorts, as CSV with every digit, and as Markdown."""

from __future__ import annotations

import csv
import html
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from infoser.report.labels import MOST, as_html, in_markdown

Row = Mapping[str, Any]
#: What stands for a number that does not exist.
ABSENT = "–"
#: Characters of text whose end tells it from others: settings, and what is chosen among.
SETTINGS = 1000


@dataclass(frozen=True)
class Column:
    """A column: text of one field, or numbers of one or more.

    Attributes:
      heading: what the reader sees.
      fields: of a row; the first is sorted by.
      places: decimals of the numbers; None for text.
      scale: numbers are multiplied by it to be shown.
      signed: whether a plus sign is shown.
      rest: how the further fields are shown, where the first of them is there: " ± {}" or " [{}, {}]".
      about: a sentence on what it is, as a tooltip.
      significant: whether `places` counts significant digits instead of decimals.
      most: characters of text that are shown; the whole is a tooltip and in the CSV.
    """

    heading: str
    fields: tuple[str, ...]
    places: int | None = None
    scale: float = 1.0
    signed: bool = False
    rest: str = ""
    about: str = ""
    significant: bool = False
    most: int = MOST

    def shown(self, value: float | int) -> str:
        """A number as it is shown."""
        if not math.isfinite(value):
            return str(value)
        kind = f".{self.places}g" if self.significant else f",.{self.places}f"
        text = f"{self.scale * value:{'+' if self.signed else ''}{kind}}"
        return text.replace("-", "−")

    def numbers(self, row: Row) -> list[float | int]:
        """The numbers that are there: none without the first; the further ones only all together."""
        first, *others = (row.get(one) for one in self.fields)
        if first is None:
            return []
        return [first] if not others or any(one is None for one in others) else [first, *others]  # pyright: ignore[reportReturnType]


def text(heading: str, name: str, about: str = "", most: int = MOST) -> Column:
    """A column of text."""
    return Column(heading, (name,), about=about, most=most)


def percent(heading: str, *fields: str, rest: str = "", signed: bool = False, places: int = 1, about: str = "") -> Column:
    """A column of fractions, shown in %."""
    return Column(heading, fields, places, 100.0, signed, rest, about)


def number(heading: str, *fields: str, places: int = 3, rest: str = "", signed: bool = False, about: str = "") -> Column:
    """A column of numbers as they are."""
    return Column(heading, fields, places, 1.0, signed, rest, about)


def significant(heading: str, name: str, digits: int, about: str = "") -> Column:
    """A column of numbers of any size, to so many significant digits."""
    return Column(heading, (name,), digits, about=about, significant=True)


def count(heading: str, name: str, about: str = "") -> Column:
    """A column of whole numbers."""
    return Column(heading, (name,), 0, about=about)


@dataclass(frozen=True)
class Table:
    """Rows with their columns.

    Attributes:
      name: of its CSV file; unique in a report.
      caption: what is shown, with metric, fold rule and N.
      columns: what is shown of each row; further fields of a row are in the CSV only.
      rows: what is shown, in the order in which it first is.
    """

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row] = field(repr=False)

    def as_html(self) -> str:
        """A `<table>` whose numbers are `<data>` elements that hold every digit."""
        heads = "".join(_heading(column) for column in self.columns)
        body = "\n".join(f"<tr>{self._cells(row)}</tr>" for row in self.rows)
        return (
            f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(self.caption, quote=True)}">'
            f'<table id="table-{self.name}"><caption>{html.escape(self.caption)} '
            f'<a href="tables/{self.name}.csv" class="file">CSV</a></caption>\n'
            f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
        )

    def _cells(self, row: Row) -> str:
        return "".join(_cell(column, row, place == 0) for place, column in enumerate(self.columns))

    def as_csv(self) -> str:
        """Every field of the rows, every digit."""
        columns = dict.fromkeys(key for row in self.rows for key in row) or dict.fromkeys(
            one for column in self.columns for one in column.fields
        )
        out = io.StringIO()
        writer = csv.DictWriter(out, list(columns))
        writer.writeheader()
        for row in self.rows:
            writer.writerow({key: json.dumps(v) if isinstance(v, dict | list) else v for key, v in row.items()})
        return out.getvalue()

    def as_markdown(self) -> str:
        """What is shown, as a Markdown table under its caption."""
        lines = [in_markdown(self.caption, 10_000), ""]
        lines.append("| " + " | ".join(in_markdown(column.heading) for column in self.columns) + " |")
        lines.append("|" + "|".join("---" if column.places is None else "---:" for column in self.columns) + "|")
        for row in self.rows:
            lines.append("| " + " | ".join(_markdown(column, row) for column in self.columns) + " |")
        return "\n".join(lines) + "\n"


def _heading(column: Column) -> str:
    about = f' title="{html.escape(column.about, quote=True)}"' if column.about else ""
    kind = "" if column.places is None else ' class="number"'
    return (
        f'<th scope="col" aria-sort="none"{kind}><button type="button"{about}>{as_html(column.heading)}'
        '<span class="arrow" aria-hidden="true"></span></button></th>'
    )


def _cell(column: Column, row: Row, first: bool) -> str:
    if column.places is None:
        name = str(row.get(column.fields[0]) or "")
        tag, scope = ("th", ' scope="row"') if first else ("td", "")
        return f"<{tag}{scope}>{as_html(name, column.most)}</{tag}>"
    values = column.numbers(row)
    if not values:
        return f'<td class="number">{ABSENT}</td>'
    shown = [f'<data value="{value!r}">{column.shown(value)}</data>' for value in values]
    rest = f'<span class="rest">{column.rest.format(*shown[1:])}</span>' if len(shown) > 1 else ""
    return f'<td class="number" data-sort="{values[0]!r}">{shown[0]}{rest}</td>'


def _markdown(column: Column, row: Row) -> str:
    if column.places is None:
        return in_markdown(str(row.get(column.fields[0]) or ""), column.most)
    values = column.numbers(row)
    if not values:
        return ABSENT
    first, *others = (column.shown(value) for value in values)
    return first + (column.rest.format(*others) if others else "")
