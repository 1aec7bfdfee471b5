"""How figures look, and how they are written: for grey print, for colour-blind readers, as SVG, PNG and PDF."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Okabe and Ito's colours without yellow, which is too pale for lines on white.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
#: Of real and of generated rows.
REAL, GENERATED = "#0072B2", "#D55E00"
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
_LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (6, 2, 1, 2, 1, 2)))
_STYLE: dict[str, Any] = {
    # Names come from data: none of their characters is markup.
    "text.parse_math": False,
    "text.usetex": False,
    "axes.unicode_minus": True,
    # Fallbacks for scripts that the first lacks; those that are not installed are passed over.
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    # Text stays text: browsers then bring their own fonts for scripts, emoji and directions that DejaVu lacks.
    "svg.fonttype": "none",
    "svg.hashsalt": "infoser",
    "pdf.fonttype": 42,
}
_FALLBACKS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans Arabic", "Noto Sans Devanagari", "Noto Emoji", "Noto Sans")
_PNG_DPI = 200


@dataclass(frozen=True)
class Picture:
    """A figure of the report.

    Attributes:
      name: of its files; unique in a report.
      caption: what is shown, with metric, fold rule and N.
      alt: the same for who does not see it, with what there is to see.
      figure: a matplotlib figure.
    """

    name: str
    caption: str
    alt: str
    figure: Any


def look(number: int) -> dict[str, Any]:
    """Colour, marker and line of the series `number`: any two of the first 77 differ in the first two, neighbours in all."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": _MARKERS[number % len(_MARKERS)],
        "linestyle": _LINES[number % len(_LINES)],
    }


@contextmanager
def styled() -> Iterator[None]:
    """Figures that are made here, and saved, have the look of the report, whatever the user's own matplotlibrc says."""
    import warnings

    import matplotlib
    from matplotlib import font_manager

    with matplotlib.rc_context(), warnings.catch_warnings():
        # A script that no font here has is drawn as boxes in PNG and PDF; the page shows it as the browser can.
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        matplotlib.rcdefaults()
        known = set(font_manager.get_font_names())
        families = [*_STYLE["font.family"], *(one for one in _FALLBACKS if one in known)]
        matplotlib.rcParams.update(_STYLE | {"font.family": families})  # pyright: ignore[reportCallIssue, reportArgumentType]
        yield


def new_figure(width: float, height: float) -> Any:
    """A figure of this size in inches, outside pyplot's state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


#: Most entries of a legend side by side, and the height of a line of them in inches.
LEGEND_COLUMNS, _LEGEND_LINE = 4, 0.2
#: Inches of a character of an entry, and of what is beside it.
_CHARACTER, _HANDLE = 0.07, 0.65


def grid(
    panels: int, columns: int, width: float, height: float, legend: Sequence[str] = (), **more: Any
) -> tuple[Any, list[Any]]:
    """A figure of panels, and their axes; what is left of the last row is empty.

    Args:
      panels: how many.
      columns: at most so many side by side.
      width, height: of each, in inches.
      legend: the entries that a legend above them is going to have.
      more: passed on to `subplots`.
    """
    columns = min(columns, panels)
    rows = -(-panels // columns)
    whole = max(7.2 if legend else 3.2, width * columns)
    figure = new_figure(whole, height * rows + 0.3 + _LEGEND_LINE * _legend_lines(legend, whole))
    axes = figure.subplots(rows, columns, squeeze=False, **more).ravel().tolist()
    for spare in axes[panels:]:
        spare.set_axis_off()
    return figure, axes[:panels]


def legend(figure: Any, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Puts a legend above a figure of panels, as many of its entries side by side as there is room for."""
    columns = _legend_columns(labels, figure.get_figwidth())
    figure.legend(handles, labels, loc="outside upper center", ncols=columns)


def _legend_columns(labels: Sequence[str], width: float) -> int:
    longest = max((len(line) for one in labels for line in one.split("\n")), default=0)
    return max(1, min(LEGEND_COLUMNS, int(width / (_CHARACTER * longest + _HANDLE))))


def _legend_lines(labels: Sequence[str], width: float) -> int:
    """Lines of text of the legend's highest column."""
    deep = -(-len(labels) // _legend_columns(labels, width))
    lines = [one.count("\n") + 1 for one in labels]
    return max((sum(lines[at : at + deep]) for at in range(0, len(lines), max(deep, 1))), default=0)


def svg(picture: Picture) -> str:
    """The figure as SVG, the same for the same figure."""
    out = io.StringIO()
    picture.figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def save(picture: Picture, folder: Path) -> None:
    """Writes the figure as PNG and PDF."""
    picture.figure.savefig(folder / f"{picture.name}.png", dpi=_PNG_DPI, metadata={"Software": None})
    picture.figure.savefig(folder / f"{picture.name}.pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})
