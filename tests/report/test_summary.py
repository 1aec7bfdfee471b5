"""The table for a paper: it names what it shows, escapes what it is given, and is LaTeX."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pylatexenc.latexwalker import LatexWalker

from infoser.report import summary

HOSTILE = r"a_b & 50% #1 $x$ {y} \z ~ ^ <script>alert('x')</script> |`*[link](x)"


def row(variant: str, cell: str, modality: str, aggregate: str, **more: Any) -> dict[str, Any]:
    scores = {"wa": 0.5, "ua": 0.51, "macro_f1": 0.49, "ua_std": 0.02, "ua_low": None, "ua_high": None}
    if aggregate == "pooled":
        scores |= {"ua_std": None, "ua_low": 0.4, "ua_high": 0.6}
    differences = {f"ua_minus_none{end}": None for end in ("", "_low", "_high", "_p", "_p_holm")}
    if variant != "none" and aggregate == "pooled":
        differences = dict(zip(differences, (-0.012, -0.03, -0.001, 0.0004, 0.0123), strict=True))
    own = {
        "variant": variant,
        "cell": cell,
        "modality": modality,
        "subset": "all",
        "aggregate": aggregate,
        "protocol": "session",
    }
    family = {"family": "ratio" if differences["ua_minus_none"] else "", "family_size": 12 if variant != "none" else None}
    return own | {"seeds": 3, "folds": 5, "n": 1234} | scores | differences | family | more


@pytest.fixture
def results() -> dict[str, Any]:
    arms = [("none", ""), ("noise", ""), ("noise", "generate.ratio=0.25 generate.row-weight=1")]
    table = [row(*arm, m, a) for m in ("audio", "both") for arm in arms for a in ("session1", "mean", "pooled")]
    corpus = {"name": HOSTILE, "classes": ["a", "b"], "speakers": 10}
    return {"table": table, "provenance": {"corpus": corpus, "folds": {f"session{n}": {} for n in range(1, 6)}}}


def test_it_names_metric_fold_rule_and_n(results: dict[str, Any]) -> None:
    table = summary.summary(results)
    assert [heading for heading, _ in table.sections] == [f"{m}, N = 1,234 test utterances" for m in ("audio", "both")]
    for words in (
        "unweighted average recall",
        "macro-F1",
        "Folds by session: session1, session2",
        "3 seeds",
        "family ratio (12 comp",
    ):
        assert words in table.caption
    first, _, last = table.sections[0][1]
    assert first == ("base", "none", "51.0 ± 2.0", "50.0", "49.0", "51.0 [40.0, 60.0]", "–", "–", "–")
    assert last[0] == "generate.ratio=0.25 generate.row-weight=1"
    assert last[-3:] == ("−1.2 [−3.0, −0.1]", "<0.001", "0.012*")


def test_markdown_is_escaped_and_rectangular(results: dict[str, Any]) -> None:
    text = summary.markdown(summary.summary(results))
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len(tables) == 2 * 5 and {line.replace("\\|", "").count("|") for line in tables} == {10}
    assert "<script>" not in text and r"\<script\>" in text


def test_names_of_folds_are_inert_and_other_scripts_are_said(results: dict[str, Any]) -> None:
    names = ("[x](javascript:alert(1))", "会话1", "Мария", "a\u202eb", "c\x07d")
    results["provenance"]["folds"] = dict.fromkeys(names, {})
    table = summary.summary(results)
    text = summary.markdown(table)
    assert "[x](" not in text and r"\[x\](javascript:alert(1))" in text
    written = summary.latex(table)
    for made in (text, written):
        assert "会话1, Мария, a\ufffdb, c\ufffdd" in made
    assert written.startswith("% needs XeLaTeX or LuaLaTeX")
    results["provenance"]["folds"] = {"é": {}}
    assert "XeLaTeX" not in summary.latex(summary.summary(results))


def test_latex_parses_and_is_escaped(results: dict[str, Any]) -> None:
    text = summary.latex(summary.summary(results))
    nodes, _, length = LatexWalker(text, tolerant_parsing=False).get_latex_nodes()
    assert length == len(text) and nodes
    (table,) = (node for node in nodes if getattr(node, "environmentname", "") == "longtable")
    assert table.isNodeType(type(table))
    body = [line for line in text.splitlines() if line.endswith(r" \\") and "multicolumn" not in line]
    assert {line.replace(r"\&", "").count("&") for line in body} == {8}
    assert r"a\_b \& 50\% \#1 \$x\$ \{y\} \textbackslash{}z" in text
    assert text.count(r"\toprule") == 2 and text.count(r"\bottomrule") == 1 and text.isascii()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX here")
def test_latex_compiles(results: dict[str, Any], tmp_path: Path) -> None:
    body = summary.latex(summary.summary(results))
    head = r"\documentclass{article}\usepackage{booktabs,longtable}\begin{document}"
    (tmp_path / "x.tex").write_text(f"{head}\n{body}\n\\end{{document}}\n")
    done = subprocess.run(["pdflatex", "-interaction=batchmode", "x.tex"], cwd=tmp_path, capture_output=True, timeout=120)
    assert done.returncode == 0
