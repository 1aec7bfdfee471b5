"""Text that comes from data, made fit to be shown: inert, of bounded length, and never able to turn around what is "
"beside it."""

from __future__ import annotations

import html
import unicodedata

#: Most characters that are shown of a name; the whole of it is in the tooltip and in the CSV files.
MOST = 48
#: Most characters of a name in a figure.
MOST_IN_FIGURE = 22
#: Most characters of a name that is not broken over lines.
_SHORT = 24
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


def row_in_figure(text: str, most: int = 38) -> str:
    """A row's name for a figure, cut in its middle: cells differ at their ends."""
    shown, head = visible(text), most // 2 - 3
    return shown if len(shown) <= most else f"{shown[:head]}…{shown[head + 1 - most :]}"


def in_markdown(text: str, most: int = MOST) -> str:
    """A name for a cell of a Markdown table: no markup of it counts."""
    shown = html.escape(shortened(visible(text), most), quote=False)
    return "".join(f"\\{one}" if one in "\\`*_{}[]()#+!|~$" else one for one in shown)
