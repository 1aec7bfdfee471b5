"""The table for a paper, in Markdown and LaTeX: every cell and variant against `none`, with what makes it readable alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infoser.cells import SELECTED
from infoser.report.cells import multiplier
from infoser.report.labels import visible
from infoser.run_folder import write

Row = Mapping[str, Any]
LEVEL = 0.05

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "^": r"\textasciicircum{}",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "%": r"\%",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "−": "$-$",
    "±": r"$\pm$",
    "–": "--",
    "×": r"$\times$",
}
_MARKDOWN = {one: f"\\{one}" for one in "\\`*_{}[]<>#|~"}
#: The last character that pdfLaTeX sets without further packages, and what to do about others: they stay as they are.
_LATIN = 0x17F
_OTHER_SCRIPTS = "needs XeLaTeX or LuaLaTeX and a font for the names' scripts: pdfLaTeX stops at some of their characters"
_HEADINGS = ("cell", "variant", "UA mean", "WA mean", "F1 mean", "UA pooled", "UA − none, pooled", "p", "p, Holm")


@dataclass(frozen=True)
class Summary:
    """A table of text.

    Attributes:
      caption: names corpus, metric, fold rule, N and the family that p-values are corrected over.
      headings: of the columns.
      sections: for each modality a heading and its lines.
    """

    caption: str
    headings: tuple[str, ...]
    sections: list[tuple[str, list[tuple[str, ...]]]]


def summary(results: Mapping[str, Any]) -> Summary:
    """The scores on all utterances, modality by modality.

    Args:
      results: of `experiment.train` or `experiment.score`.
    """
    rows, corpus = results["table"], results["provenance"]["corpus"]
    multiples = any("label_multiplier" in row for row in rows)
    every = [row for row in rows if row["subset"] == "all"]
    sections = []
    for modality in dict.fromkeys(row["modality"] for row in every):
        own = [row for row in every if row["modality"] == modality]
        pooled = {(row["cell"], row["variant"]): row for row in own if row["aggregate"] == "pooled"}
        lines = [_line(row, pooled[row["cell"], row["variant"]], multiples) for row in own if row["aggregate"] == "mean"]
        first = next(iter(pooled.values()))
        sections.append((f"{modality}, N = {first['n']:,} test utterances", lines))
    first = next(row for row in every if row["aggregate"] == "mean")
    folds = ", ".join(results["provenance"]["folds"])
    members = [row for row in rows if row["family"]]
    family = (
        f"p: bootstrap-t over speakers, of the pooled difference; p, Holm: after Holm's method over the primary family "
        f"{members[0]['family']} ({members[0]['family_size']} comparisons: pooled UA − none on all utterances, "
        f"{_family(members[0]['family'])}); * p, Holm below {LEVEL}."
        if members
        else "No difference is compared."
    )
    caption = (
        f"{corpus['name']}, {len(corpus['classes'])} classes, {corpus['speakers']} speakers. UA: unweighted average recall; "
        f"WA: accuracy; F1: macro-F1; all in %. Folds by {first['protocol']}: {folds}; {_seeds(first['seeds'])}. "
        "mean: seeds averaged within a fold, then over folds, ± standard deviation over folds; pooled: predictions of all "
        "folds together, seeds averaged. [ ]: 95 % bootstrap-t interval over speakers. Differences are paired by fold and "
        f"seed with none of the same cell, or of the base cell where the settings do not concern none. {family}"
    )
    if multiples:
        caption += (
            " labels ×: the equivalent multiple of the labels, by the learning curve of none (linear in the logarithm of the "
            "label fraction, never falling); [ ]: at the ends of the difference's interval, the curve taken as given; > and <: "
            "beyond the curve."
        )
    return Summary(caption, _HEADINGS + (("labels ×",) if multiples else ()), sections)


def _family(name: str) -> str:
    if name == SELECTED:
        return (
            "selected by audio and both, with all labels and a tenth of them, whichever of the four are here; all else is "
            "exploratory"
        )
    return "every modality, every arm of the family"


def markdown(table: Summary) -> str:
    """The table in Markdown."""
    lines = []
    for heading, body in table.sections:
        lines += [
            f"**{_escaped(heading, _MARKDOWN)}**",
            "",
            "| " + " | ".join(table.headings) + " |",
            "|---" * len(table.headings) + "|",
        ]
        lines += ["| " + " | ".join(_escaped(one, _MARKDOWN) for one in line) + " |" for line in body] + [""]
    return "\n".join([*lines, _escaped(table.caption, _MARKDOWN), ""])


def latex(table: Summary) -> str:
    """The table in LaTeX, for a document that loads booktabs and longtable."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join(_escaped(one, _LATEX) for one in cells) + r" \\"

    columns = "ll" + "r" * (len(table.headings) - 2)
    lines = [
        "% needs \\usepackage{booktabs,longtable}",
        r"\begingroup\small",
        rf"\begin{{longtable}}{{{columns}}}",
        rf"\caption{{{_escaped(table.caption, _LATEX)}}}\\",
    ]
    for end in (r"\endfirsthead", r"\endhead"):
        lines += [r"\toprule", line(table.headings), r"\midrule", end]
    lines += [r"\bottomrule", r"\endlastfoot"]
    for number, (heading, body) in enumerate(table.sections):
        lines += [r"\midrule"] if number else []
        lines += [rf"\multicolumn{{{len(table.headings)}}}{{l}}{{\emph{{{_escaped(heading, _LATEX)}}}}} \\", *map(line, body)]
    text = "\n".join([*lines, r"\end{longtable}", r"\endgroup", ""])
    if any(ord(one) > _LATIN for one in text):
        text = f"% {_OTHER_SCRIPTS}\n{text}"
    return text


def write_tables(folder: Path, results: Mapping[str, Any]) -> None:
    """Writes table.md and table.tex; raises InfoserError if they can't be written."""
    table = summary(results)
    write(folder / "table.md", markdown(table))
    write(folder / "table.tex", latex(table))


def _line(mean: Row, pooled: Row, multiples: bool) -> tuple[str, ...]:
    spread = "" if mean["ua_std"] is None else f" ± {100 * mean['ua_std']:.1f}"
    gain = pooled["ua_minus_none"]
    difference = "–" if gain is None else _signed(gain) + _interval(pooled, "ua_minus_none", _signed)
    adjusted = pooled["ua_minus_none_p_holm"]
    star = "*" if adjusted is not None and adjusted < LEVEL else ""
    return (
        mean["cell"] or "base",
        mean["variant"],
        _percent(mean["ua"]) + spread,
        _percent(mean["wa"]),
        _percent(mean["macro_f1"]),
        _percent(pooled["ua"]) + _interval(pooled, "ua", _percent),
        difference,
        _p(pooled["ua_minus_none_p"]),
        _p(adjusted) + star,
        *((multiplier(pooled),) if multiples else ()),
    )


def _escaped(text: str, by: Mapping[str, str]) -> str:
    return "".join(by.get(one, one) for one in visible(" ".join(text.split())))


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _signed(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")


def _interval(row: Row, key: str, shown: Any) -> str:
    low, high = row[f"{key}_low"], row[f"{key}_high"]
    return "" if low is None else f" [{shown(low)}, {shown(high)}]"


def _p(value: float | None) -> str:
    return "–" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def _seeds(count: int) -> str:
    return f"{count} seed" + ("" if count == 1 else "s")
