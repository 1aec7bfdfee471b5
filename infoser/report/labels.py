"""Text that comes from data, made fit to be shown: inert, of bounded length, never able to turn around what is beside it."""

from __future__ import annotations

import html
import textwrap
import unicodedata

from infoser import digests

#: Most characters that are shown of a name; the whole of it is in the tooltip and in the CSV files.
MOST = 48
#: Most characters of a name in a figure.
MOST_IN_FIGURE = 22
#: Most characters of a name that is not broken over lines.
_SHORT = 24
#: Most lines of a name in a legend.
_LEGEND_LINES = 8
_REPLACED = "\ufffd"
#: Joins emoji; harmless where it stands between them.
_JOINERS = "\u200c\u200d"


def visible(text: str) -> str:
    """The text with a replacement character for everything that is not seen but does something: controls, overrides."""
    return "".join(_REPLACED if _acts(one) else one for one in text)


def _acts(character: str) -> bool:
    if character in _JOINERS:
        return False
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def shortened(text: str, most: int) -> str:
    """The text, cut visibly if it is longer than `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def as_html(text: str, most: int = MOST) -> str:
    """A name for a page: escaped, isolated from the direction of its surroundings, cut visibly with the whole as a tooltip."""
    shown = visible(text)
    if len(shown) <= most:
        return f"<bdi{' class=short' if len(shown) <= _SHORT else ''}>{html.escape(shown)}</bdi>"
    return f'<bdi title="{attribute(text)}">{html.escape(shortened(shown, most))}</bdi>'


def attribute(text: str, most: int | None = None) -> str:
    """Text for an attribute in double quotes."""
    shown = visible(text)
    return html.escape(shown if most is None else shortened(shown, most), quote=True)


def in_figure(text: str, most: int = MOST_IN_FIGURE) -> str:
    """A name for a figure, whose own markup is switched off (see `style`)."""
    return shortened(visible(text), most)


def row_in_figure(text: str, most: int = 60) -> str:
    """A row's name for a figure, on two lines at most; where that is too few, on one, cut in its middle: cells differ at
    their ends."""
    shown, head = visible(text), most // 2 - 3
    lines = textwrap.wrap(shown, most, break_long_words=False, break_on_hyphens=False)
    if len(lines) <= 2 and all(len(line) <= most for line in lines):
        return "\n".join(lines)
    return f"{shown[:head]}…{shown[head + 1 - most :]}"


def legend_in_figure(text: str, most: int = 60) -> str:
    """A name for a legend: whole, on as many lines as it takes; cut only where no name of settings is that long."""
    lines = textwrap.wrap(visible(text), most, break_on_hyphens=False)
    return "\n".join(lines) if len(lines) <= _LEGEND_LINES else row_in_figure(text, most)


def file_name(text: str, most: int = 80) -> str:
    """A name for a file, in ASCII letters, digits and dashes; one that is cut ends with a digest, so that it is no other's."""
    name = "".join(one if one.isascii() and one.isalnum() else "-" for one in text)
    if len(name) <= most:
        return name
    return f"{name[: most - 17]}-{digests.of_values(text)}"


def in_markdown(text: str, most: int = MOST) -> str:
    """A name for a cell of a Markdown table: no markup of it counts."""
    shown = html.escape(shortened(visible(text), most), quote=False)
    return "".join(f"\\{one}" if one in "\\`*_{}[]()#+!|~$" else one for one in shown)
