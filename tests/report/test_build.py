"""The report of a run folder: nothing loaded, hostile names inert, mistakes refused."""

import csv
import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pages import Element, parse, read_csv

from infoser.errors import InfoserError
from infoser.report import build

MakeRun = Callable[..., Path]


def report(run: Path, out: Path | None = None) -> Path:
    return build.write(build.Request(run, out, embeddings=False))


def test_the_headline_is_that_of_the_scores(run: Path, page: Element):
    scores = read_csv(run / "scores.csv")
    for modality in ("audio", "text", "both"):
        (table,) = (one for one in page.find("table") if one.attributes["id"] == f"table-headline-{modality}")
        assert "WA" in table.find("caption")[0].text and "session (3)" in table.find("caption")[0].text
        assert "N = 144" in table.find("caption")[0].text
        headings = [head.text for head in table.find("thead")[0].find("th")]
        for line in table.find("tbody")[0].find("tr"):
            cells = dict(zip(headings, line.find("th", "td"), strict=True))
            wanted = {"variant": cells["variant"].text, "cell": cells["cell"].text, "modality": modality, "subset": "all"}
            by = {row["aggregate"]: row for row in scores if all(row[k] == v for k, v in wanted.items())}

            def shown(row: dict[str, str], *keys: str) -> list[str]:
                return [f"{100 * float(row[key]):.1f}" for key in keys]

            means = [one.text for one in cells["UA mean ± std"].find("data")]
            assert means == shown(by["mean"], "ua", "ua_std")
            pooled = [one.text for one in cells["UA pooled [95 %]"].find("data")]
            assert pooled == shown(by["pooled"], "ua", "ua_low", "ua_high")
            assert cells["macro-F1 pooled"].text == shown(by["pooled"], "macro_f1")[0]


def test_confusion_rates_are_those_of_the_counts(run: Path, made: Path):
    rows = read_csv(made.parent / "tables" / "confusion-audio.csv")
    wanted = {"aggregate": "pooled", "modality": "audio", "subset": "all"}
    scores = [row for row in read_csv(run / "scores.csv") if all(row[key] == value for key, value in wanted.items())]
    assert len(rows) == 4 * len(scores)
    for row in rows:
        (own,) = (one for one in scores if (one["variant"], one["cell"]) == (row["variant"], row["cell"]))
        counts = dict(zip(json.loads(own["recalls"]), json.loads(own["confusion"]), strict=True))[row["true"]]
        assert [int(row[f"count {name}"]) for name in json.loads(own["recalls"])] == counts
        # Every class occurs equally often here, so that the diagonal is the recall, also of several seeds.
        assert math.isclose(float(row[f"rate {row['true']}"]), json.loads(own["recalls"])[row["true"]])


def test_the_panel_has_added_real_and_training_rows(run: Path, page: Element):
    tables = {str(one.attributes["id"]): one for one in page.find("table")}
    lines = tables["table-panel"].find("tbody")[0].find("tr")
    assert [line.find("td")[2].text for line in lines] == ["added", "real", "training"]
    assert len(tables["table-panel-by-class"].find("tbody")[0].find("tr")) == 5 * 10
    assert "0.500" in tables["table-panel-information"].text and "1.400" in tables["table-panel-information"].text
    assert "no panel of <i>sad</i>, fold 1: too few rows" in page.find("main")[0].text


def test_the_page_loads_nothing_and_runs_its_own_script_alone(made: Path, page: Element):
    for element in page.find("img", "script", "link", "a", "iframe", "object"):
        for name in ("src", "href"):
            target = element.attributes.get(name)
            if target is None:
                continue
            assert target.startswith(("data:", "#", "tables/", "figures/")), target
            if target.startswith("#"):
                assert any(one.attributes.get("id") == target[1:] for one in page.find("section"))
            elif not target.startswith("data:"):
                assert (made.parent / target).stat().st_size > 0
    assert len(page.find("script")) == 1
    (policy,) = (meta for meta in page.find("meta") if meta.attributes.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in str(policy.attributes["content"])
    assert "http://" not in made.read_text() and "https://" not in made.read_text()


def test_every_figure_has_a_text_alternative_and_its_files(made: Path, page: Element):
    names = [str(figure.attributes["id"]).removeprefix("figure-") for figure in page.find("figure")]
    assert {"ua", "information", "confusion-audio", "reliability-both", "by-generate-ratio", "by-label-fraction"} <= set(names)
    assert all(len(str(image.attributes["alt"])) > 40 for image in page.find("img"))
    for name in names:
        assert (made.parent / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (made.parent / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_tables_can_be_sorted_and_say_how_they_are(page: Element):
    for table in page.find("table"):
        heads = table.find("thead")[0].find("th")
        assert all(head.attributes["aria-sort"] == "none" and head.find("button") for head in heads)
        assert table.find("caption")[0].text


def test_the_same_run_gives_the_same_report(make_run: MakeRun, tmp_path: Path):
    run = make_run(tmp_path / "run", modalities=("audio",), variants=("none",))
    one, other = report(run), report(run, tmp_path / "again")
    assert one.read_bytes() == other.read_bytes()
    for kind in ("pdf", "png"):
        assert len({(path.parent / "figures" / f"ua.{kind}").read_bytes() for path in (one, other)}) == 1


HOSTILE = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(2)>",
    "n" * 10_000,
    "غاضب \u202egnp.cod",
    "😀 $\\frac{1}{2}$ _x^2 & &amp; `a|b`",
)


@pytest.fixture(scope="module")
def hostile(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_run(
        tmp_path_factory.mktemp("hostile") / "run",
        classes=HOSTILE,
        folds=("</style><script>alert(3)</script>", "fold \u202e\x07\n2"),
        speakers=["<b>", "'\"", "ש", "🙂"],
        ids=lambda i: f"<svg onload=alert({i})>\u202e{'x' * 200}",
        notes=["note <script>alert(4)</script>", "--> ]]> " + "y" * 9_000],
        name="<h1>corpus</h1>",
        seeds=(0,),
        modalities=("audio",),
    )
    return report(run)


def test_hostile_names_are_inert(hostile: Path):
    page = parse(hostile)
    assert len(page.find("script")) == 1 and len(page.find("style")) == 1 and not page.find("svg", "h4", "b")
    assert not [one for one in page.find("img") if not str(one.attributes["src"]).startswith("data:image/svg+xml;base64,")]
    for element in page.find("img", "bdi", "td", "th", "a", "div", "button"):
        assert not [name for name in element.attributes if name.startswith("on")]
    assert "\u202e" not in hostile.read_text("utf-8") and "\x07" not in hostile.read_text("utf-8")


def test_hostile_names_are_legible(hostile: Path):
    page = parse(hostile)
    (table,) = (one for one in page.find("table") if one.attributes["id"] == "table-recalls-audio")
    names = table.find("thead")[0].find("bdi")
    assert [one.text for one in names][1:3] == list(HOSTILE[:2])
    assert names[3].text == "n" * 47 + "…" and names[3].attributes["title"] == HOSTILE[2]
    assert names[4].text == HOSTILE[3].replace("\u202e", "\ufffd") and names[5].text == HOSTILE[4]
    # Whatever it is shown as, the CSV file has the name itself.
    assert {row["true"] for row in read_csv(hostile.parent / "tables" / "confusion-audio.csv")} == set(HOSTILE)


@pytest.mark.usefixtures("figures_on_the_page_only")
def test_classes_whose_names_are_more_than_a_field_of_a_csv_file_takes(make_run: MakeRun, tmp_path: Path):
    names = [*(one + "غ" * 9_999 for one in "ابت"), *("😀" * 9_999 + one for one in "🙂🙃")]
    run = make_run(tmp_path / "run", classes=names, modalities=("audio",), per_fold=50, seeds=(0,))
    with pytest.raises(csv.Error, match="field larger"):
        read_csv(run / "scores.csv")
    page = parse(report(run))
    (table,) = (one for one in page.find("table") if one.attributes["id"] == "table-headline-audio")
    assert "p, Holm" in table.find("thead")[0].text and "table-confusion-audio" in {
        one.attributes["id"] for one in page.find("table")
    }


def test_figures_of_hostile_names_are_valid_svg_without_scripts(hostile: Path):
    import base64
    from xml.etree import ElementTree

    for image in parse(hostile).find("img"):
        svg = base64.b64decode(str(image.attributes["src"]).partition(",")[2])
        elements = list(ElementTree.fromstring(svg).iter())
        assert not {element.tag.rpartition("}")[2] for element in elements} & {"script", "foreignObject", "a"}
        links = [value for element in elements for name, value in element.attrib.items() if name.endswith("href")]
        assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
        assert b"n" * 30 not in svg


@pytest.mark.parametrize(
    "shape",
    [
        {"classes": ("no", "yes"), "modalities": ("audio",)},
        {"classes": ("no", "yes"), "modalities": ("audio",), "per_fold": 1000, "variants": ("none",)},
        {"folds": ("only",), "seeds": (3,), "variants": ("none",), "modalities": ("audio", "both")},
        {"variants": ("infogan",), "cells": ("space=aligned",), "modalities": ("audio",)},
        {"classes": tuple(f"emotion {i}" for i in range(13)), "per_fold": 65, "modalities": ("audio",)},
    ],
    ids=["two classes, no text", "many utterances", "one fold, seed and variant", "without none and base", "thirteen classes"],
)
def test_other_shapes_have_a_report_too(shape: dict, make_run: MakeRun, tmp_path: Path):
    page = parse(report(make_run(tmp_path / "run", **shape)))
    assert {"table-headline-audio", "table-recalls-audio", "table-calibration"} <= {
        one.attributes["id"] for one in page.find("table")
    }
    assert not re.search(r"\bnan\b", page.find("main")[0].text)


@pytest.mark.usefixtures("figures_on_the_page_only")
def test_a_report_is_made_anew_but_nothing_else_is_replaced(make_run: MakeRun, tmp_path: Path):
    run = make_run(tmp_path / "run", modalities=("audio",))
    first = report(run)
    (first.parent / "tables" / "stale.csv").touch()
    assert report(run) == first and not (first.parent / "tables" / "stale.csv").exists()
    assert sorted(one.name for one in run.iterdir() if one.name.startswith(".")) == [".lock"] or not list(run.glob(".report*"))
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "index.html").write_text("<p>mine")
    with pytest.raises(InfoserError, match="no report"):
        report(run, other)
    assert [one.name for one in other.iterdir()] == ["index.html"]
    with pytest.raises(InfoserError, match="is a file"):
        report(run, other / "index.html")


@pytest.mark.usefixtures("figures_on_the_page_only")
def test_without_predictions_the_page_says_how_to_get_them(make_run: MakeRun, tmp_path: Path):
    run = make_run(tmp_path / "run", modalities=("audio",))
    (run / "predictions.parquet").unlink()
    text = parse(report(run)).find("main")[0].text  # neither has it the corpus, to ask its heads again
    assert "no predictions of single utterances" in text and "run the training command again" in text


@pytest.mark.usefixtures("figures_on_the_page_only")
def test_predictions_of_other_scores_are_refused(make_run: MakeRun, tmp_path: Path):
    run = make_run(tmp_path / "run", modalities=("audio",))
    other = make_run(tmp_path / "other", modalities=("audio",), seeds=(0, 1, 2))
    shutil.copy(other / "predictions.parquet", run)
    text = parse(report(run)).find("main")[0].text
    assert "do not give the confusion counts" in text and "ECE" not in text


def test_a_folder_without_results_or_with_damaged_ones_is_refused(make_run: MakeRun, tmp_path: Path):
    run = make_run(tmp_path / "run", modalities=("audio",))
    results = (run / "results.json").read_text()
    for contents, message in (
        (None, "training has not finished"),
        ("{", "can't be read"),
        ("{}", "lacks 'rows'"),
        (json.dumps(json.loads(results) | {"rows": []}), "holds no scores"),
    ):
        (run / "results.json").unlink(missing_ok=True)
        if contents is not None:
            (run / "results.json").write_text(contents)
        with pytest.raises(InfoserError, match=message):
            report(run)
        assert not (run / "report").exists() and not list(run.glob(".report*"))
    with pytest.raises(InfoserError, match="not a run folder"):
        report(tmp_path / "nothing")


def test_damaged_files_beside_the_results_are_named(make_run: MakeRun, tmp_path: Path):
    run = make_run(tmp_path / "run", modalities=("audio",))
    for name, message in (
        ("predictions.parquet", "predictions.parquet can't be read"),
        ("panel.json", "panel.json can't be read"),
        ("encoder/classify/audio/metrics.jsonl", "metrics.jsonl, line 1, can't be read"),
    ):
        before = (run / name).read_bytes() if (run / name).exists() else None
        (run / name).write_text("[1]\n[2]\n")
        with pytest.raises(InfoserError, match=re.escape(message)):
            report(run)
        if before is None:
            (run / name).unlink()
        else:
            (run / name).write_bytes(before)
