"""Captions: every table and figure with numbers names its metric, the folds' rule and N."""

import json
import re
import shutil
from pathlib import Path

import pytest
from pages import Element, read_csv

from infoser.report import build, captions, contents, sources

#: What the caption of a table names as its metric, by how the table's name begins.
METRICS = {
    "headline-": ("WA", "UA", "macro-F1"),
    "folds-": ("WA", "UA", "macro-F1"),
    "recalls-": ("recall", "UA"),
    "confusion-": ("confusion counts", "% of the true class"),
    "by-": ("UA", "WA", "macro-F1"),
    "selection": ("UA",),
    "candidates": ("UA",),
    "information": ("Information", "nats", "UA"),
    "truth": ("information", "UA"),
    "panel-information": ("Information", "nats"),
    "panel-by-class": ("Fréchet", "KID", "C2ST"),
    "panel": ("Fréchet", "KID", "C2ST"),
    "calibration": ("ECE", "NLL", "Brier", "WA"),
    "worst": ("probability",),
}
#: Tables without a metric: what the run's settings are.
EXEMPT = {"settings"}
N = re.compile(r"N = ([\d,]+)(?: (?:or|to) ([\d,]+))? (test utterances|dev utterances|predictions|rows of a sample)")


def metrics_of(name: str) -> tuple[str, ...]:
    return next(found for start, found in METRICS.items() if name.startswith(start))


def test_every_table_names_its_metric_fold_rule_and_n(page: Element, made: Path):
    seen = set()
    for table in page.find("table"):
        name = str(table.attributes["id"]).removeprefix("table-")
        if name in EXEMPT:
            continue
        caption = table.find("caption")[0].text
        for metric in metrics_of(name):
            assert re.search(rf"(?<!\w){re.escape(metric)}(?!\w)", caption), (name, metric, caption)
        assert "Folds: session" in caption, (name, caption)
        counts = ("× 2 seeds", "(3)") if not name.startswith("panel") else ("6 runs (folds × seeds)",)
        assert all(one in caption for one in counts), (name, caption)
        found = N.search(caption)
        assert found is not None, (name, caption)
        said = {int(one.replace(",", "")) for one in found.groups()[:2] if one}
        sizes = {round(float(row["n"])) for row in read_csv(made.parent / "tables" / f"{name}.csv") if row.get("n")}
        assert not sizes or {min(sizes), max(sizes)} == said, (name, sizes, caption)
        seen.add(next(start for start in METRICS if name.startswith(start)))
    assert seen == set(METRICS)


def test_every_figure_of_scores_names_fold_rule_and_n(page: Element):
    found = {str(one.attributes["id"]).removeprefix("figure-"): one.find("figcaption")[0].text for one in page.find("figure")}
    scores = {name: said for name, said in found.items() if not name.startswith("training-")}
    assert {"ua", "information", "confusion-audio", "reliability-both", "by-generate-ratio"} <= set(scores)
    for name, caption in scores.items():
        assert "Folds: session (3) × 2 seeds" in caption and N.search(caption), (name, caption)
    assert all("3 folds × 2 seeds" in said for name, said in found.items() if name.startswith("training-"))


@pytest.mark.parametrize(
    ("sizes", "said"),
    [([144, 144], "N = 144 rows"), ([48, 1440], "N = 1,440 or 48 rows"), ([3.4, 1, 2], "N = 1 to 3 rows"), ([], "N = 0 rows")],
)
def test_n_of_several_sizes(sizes: list[float | int], said: str):
    assert captions.n_of(sizes, "rows") == said


def test_seeds_are_those_that_were_scored(run: Path, tmp_path: Path):
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "results.json"
    results = json.loads(path.read_text())
    for scored, counted, listed in (([1], "1 seed", "1"), (None, "2 seeds", "0 1")):
        results["provenance"].pop("seeds", None)
        results["provenance"] |= {} if scored is None else {"seeds": scored}
        path.write_text(json.dumps(results))
        found = sources.read(tmp_path / "run")
        assert contents.subtitle(found)[0].endswith(f"3 folds, {counted}")
        assert captions.fold_rule(found) == f"Folds: session (3) × {counted}"
        (tmp_path / listed / "tables").mkdir(parents=True)
        report = contents.Report(found, tmp_path / listed)
        contents.summary(report)
        assert re.search(rf"seeds(</?\w[^>]*>)+{listed}<", "".join(report.sections[0].parts))


@pytest.mark.usefixtures("figures_on_the_page_only")
def test_a_run_without_the_long_form_table_says_that_p_values_are_missing(run: Path, tmp_path: Path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "scores.parquet").unlink()
    page = build.write(build.Request(tmp_path / "run", embeddings=False)).read_text("utf-8")
    assert "no p-values of differences" in page and "p, Holm" not in page
