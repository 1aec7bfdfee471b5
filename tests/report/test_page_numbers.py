"""Every number of a page is in the files of its run folder, in the row of its variant, cell, modality, aggregate, subset."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import Element, read_csv

from infoser import demo, prediction_table
from infoser.metrics.calibration import reliability
from infoser.report.panels import INFORMATION, MEASURES

Row = dict[str, Any]
WHO = ("variant", "cell", "modality")
DIFFERENCE = ("ua_minus_none", "ua_minus_none_low", "ua_minus_none_high")


def value_of(text: str) -> Any:
    """A cell of a CSV file: a number, a list or a table where it is one, None where it is empty."""
    try:
        return json.loads(text)
    except ValueError:
        return {"": None, "True": True, "False": False}.get(text, text)


def rows_of(path: Path) -> list[Row]:
    return [{name: value_of(text) for name, text in row.items()} for row in read_csv(path)]


def multiple(row: Row) -> str | None:
    """The equivalent label multiplier of a row of scores.csv, as it is said: > and < beyond the learning curve."""
    said = [
        None if row[name] is None else f"{row[f'{name}_bound'] or ''} {row[name]:.2g}".strip()
        for name in ("label_multiplier", "label_multiplier_low", "label_multiplier_high")
    ]
    return said[0] if said[0] is None or None in said else f"{said[0]} [{said[1]}, {said[2]}]"


class Files:
    """The files that a page is made of, and what each of its tables should have of them, row by row."""

    def __init__(self, run: Path):
        self.classes = ["angry", "happy", "neutral", "sad"]
        self.scores = {self.key(row, row["subset"], row["aggregate"]): row for row in rows_of(run / "scores.csv")}
        self.quality = {self.key(row): row for row in rows_of(run / "quality.csv")}
        self.panel = {self.key(row, row["reference"], row["class"], row["measure"]): row for row in rows_of(run / "panel.csv")}
        self.selection = {(row["fold"], row["candidate"]): row for row in rows_of(run / "selection.csv")}
        self.said = prediction_table.read(run, "").to_pylist()

    @staticmethod
    def key(row: Row, *more: Any) -> tuple[Any, ...]:
        return (*(row.get(name) or "" for name in WHO), *(one or "" for one in more))

    def score(self, row: Row, aggregate: str = "pooled", subset: str = "all") -> Row:
        return self.scores[self.key(row, subset, aggregate)]

    def headline(self, row: Row) -> Row:
        mean, pooled = (self.score(row, aggregate, row["subset"]) for aggregate in ("mean", "pooled"))
        found = {f"{name}_mean": mean[name] for name in ("wa", "ua", "macro_f1")} | {"ua_std": mean["ua_std"]}
        found |= {f"{name}_pooled": pooled[name] for name in ("wa", "ua", "macro_f1")}
        same = (
            "ua_low",
            "ua_high",
            *DIFFERENCE,
            "ua_minus_none_p",
            "ua_minus_none_p_holm",
            "family_size",
            "folds",
            "seeds",
            "n",
        )
        found |= {name: pooled[name] for name in (*same, "protocol", "label_fraction")}
        return found | {"label_multiplier": multiple(pooled)}

    def fold(self, row: Row) -> Row:
        return self.score(row, row["aggregate"])

    def recalls(self, row: Row) -> Row:
        own = self.score(row)
        return {"ua": own["ua"], "n": own["n"]} | {f"recall {name}": recall for name, recall in own["recalls"].items()}

    def confusion(self, row: Row) -> Row:
        counts = self.score(row)["confusion"][self.classes.index(row["true"])]
        found = {f"count {name}": each for name, each in zip(self.classes, counts, strict=True)}
        return found | {f"rate {name}": each / sum(counts) for name, each in zip(self.classes, counts, strict=True)}

    def by_setting(self, row: Row) -> Row:
        # The configuration's own value of both settings is 1.
        overrides = dict(one.split("=") for one in (row["cell"] or "").split())
        return self.score(row) | {"value": float(overrides.get(row["setting"], 1.0)), "others": None}

    def information(self, row: Row) -> Row:
        return self.quality[self.key(row)]

    def truth(self, row: Row) -> Row:
        known = demo.truth()
        for modality in ("audio", "text", "both"):
            if modality not in row["quantity"]:
                continue
            if row["quantity"].startswith("UA"):
                own = self.scores["none", "", modality, "all", "pooled"]["ua"]
                return {"estimate": own, "truth": getattr(known, f"bayes_ua_{modality}")}
            own = self.quality["real", "", modality]["class_information_nats"]
            return {"estimate": own, "truth": getattr(known, f"class_{modality}_information_nats")}
        raise AssertionError(row)

    def of_panel(self, row: Row) -> Row:
        kind = {"added": "value", "real": "real", "training": "train"}[row["kind"]]
        found = {one: self.panel[self.key(row, row["reference"], "all", one)] for one in MEASURES}
        return {one: own[kind] for one, own in found.items()} | {"n": found["frechet"]["rows"]}

    def of_class(self, row: Row) -> Row:
        own = self.panel[self.key(row, row["reference"], row["class"], row["measure"])]
        return own | {"p_value": own["p"], "name": MEASURES[row["measure"]][0]}

    def of_information(self, row: Row) -> Row:
        return self.panel[self.key(row, "", "all", row["measure"])] | {"name": INFORMATION[row["measure"]]}

    def candidate(self, row: Row) -> Row:
        own = self.selection[row["fold"], row["candidate"]]
        return own | {"taken": "chosen" if own["chosen"] else None}

    def predictions(self, row: Row) -> tuple[list[Row], np.ndarray, np.ndarray]:
        own = [one for one in self.said if (one["variant"], one["modality"]) == (row["variant"], row["modality"])]
        probability = np.array([[one[f"probability_{name}"] for name in self.classes] for one in own], np.float64)
        return own, probability, np.array([self.classes.index(one["label"]) for one in own])

    def calibration(self, row: Row) -> Row:
        own, probability, label = self.predictions(row)
        found = reliability(probability.astype(np.float32), label)
        measured = {"ece": found.ece, "nll_nats": found.nll, "brier": found.brier, "n": len(own)}
        right = (probability.argmax(axis=1) == label).mean()
        return measured | {"confidence": probability.max(axis=1).mean(), "accuracy": right, "cell": None}

    def worst(self, row: Row) -> Row:
        own, probability, label = self.predictions(row)
        ids = np.array([one["utterance_id"] for one in own])
        mean = {one: probability[ids == one].mean(axis=0) for one in dict.fromkeys(ids.tolist())}
        true = {one: mean[one][label[ids == one][0]] for one in mean}
        of, mine = row["utterance_id"], ids == row["utterance_id"]
        return {
            "rank": sorted(true, key=lambda one: true[one]).index(of) + 1,
            "fold": own[int(np.flatnonzero(mine)[0])]["fold"],
            "true": self.classes[label[mine][0]],
            "predicted": self.classes[int(mean[of].argmax())],
            "probability_of_true": true[of],
            "probability_of_predicted": mean[of].max(),
            "seeds": int(mine.sum()),
        }

    def expected(self, table: str) -> Callable[[Row], Row]:
        """What gives, for a row of a table, its fields other than the names by which it is found."""
        exact = {
            "information": self.information,
            "truth": self.truth,
            "panel": self.of_panel,
            "panel-by-class": self.of_class,
            "panel-information": self.of_information,
            "selection": self.candidate,
            "candidates": self.candidate,
            "calibration": self.calibration,
        }
        starts = {
            "headline-": self.headline,
            "folds-": self.fold,
            "recalls-": self.recalls,
            "confusion-": self.confusion,
            "by-": self.by_setting,
            "worst": self.worst,
        }
        return exact.get(table) or next(found for start, found in starts.items() if table.startswith(start))


#: Fields by which a row is found: text, all of them.
NAMES = {*WHO, "subset", "aggregate", "true", "setting", "quantity", "reference", "class", "measure", "kind", "utterance_id"}


@pytest.fixture(scope="module")
def files(run: Path) -> Files:
    return Files(run)


def tables_of(page: Element, made: Path) -> Iterator[tuple[str, Element, list[Row]]]:
    """Name, element and CSV rows of every table that has numbers."""
    for table in page.find("table"):
        name = str(table.attributes["id"]).removeprefix("table-")
        if table.find("data"):
            yield name, table, rows_of(made.parent / "tables" / f"{name}.csv")


def same(value: Any, wanted: Any) -> bool:
    if isinstance(value, int | float) and isinstance(wanted, int | float | np.number):
        return math.isclose(value, float(wanted), rel_tol=1e-6, abs_tol=1e-12)
    return value == wanted


def test_every_field_of_a_table_is_that_of_its_row_in_the_files(page: Element, made: Path, files: Files):
    seen = set()
    for name, _, rows in tables_of(page, made):
        expected = files.expected(name)
        assert rows, name
        for row in rows:
            wanted: Mapping[str, Any] = expected(row)
            for field, value in row.items():
                if field in NAMES and field not in wanted:
                    assert value is None or isinstance(value, str), (name, field)
                    continue
                assert field in wanted, (name, field)
                assert same(value, wanted[field]), (name, row, field, wanted[field])
        seen.add(name)
    rest = {"information", "truth", "panel", "panel-by-class", "panel-information", "selection", "candidates", "calibration"}
    assert (
        rest | {"headline-both-text_disjoint", "folds-text", "recalls-both", "confusion-audio", "worst", "worst-none"} <= seen
    )
    assert {"by-generate-ratio", "by-label-fraction"} <= seen


#: The fields whose numbers a column shows, by its heading; of some tables, as no other has them.
FIELDS = {
    "UA mean ± std": ("ua_mean", "ua_std"),
    "WA mean": ("wa_mean",),
    "macro-F1 mean": ("macro_f1_mean",),
    "WA pooled": ("wa_pooled",),
    "macro-F1 pooled": ("macro_f1_pooled",),
    "UA − none, pooled [95 %]": DIFFERENCE,
    "UA − none [95 %]": DIFFERENCE,
    "UA − none": DIFFERENCE[:1],
    "p, Holm": ("ua_minus_none_p_holm",),
    "UA ± std over seeds": ("ua", "ua_std"),
    "UA": ("ua",),
    "WA": ("wa",),
    "macro-F1": ("macro_f1",),
    "N": ("n",),
    "I(emotion; feature) ≥": ("class_information_nats", "class_information_standard_error"),
    "null, 95th percentile": ("class_information_null_95_nats",),
    "recovered": ("recovered_ua",),
    "TSTR UA": ("tstr_ua",),
    "TRTS UA": ("trts_ua",),
    "TRTR UA": ("trtr_ua",),
    "added rows": ("value", "standard_error"),
    "real rows": ("real", "real_standard_error"),
    "null": ("null", "null_standard_error"),
    "dev UA": ("dev_ua",),
    "gain ± its error": ("dev_gain", "dev_gain_se"),
    "dev utterances": ("dev_utterances",),
    "ECE": ("ece",),
    "NLL, nats": ("nll_nats",),
    "Brier": ("brier",),
    "p(true)": ("probability_of_true",),
    "p(predicted)": ("probability_of_predicted",),
    **{heading: (measure,) for measure, (heading, _) in MEASURES.items()},
}
OF_TABLE = {
    ("headline-", "UA pooled [95 %]"): ("ua_pooled", "ua_low", "ua_high"),
    ("by-", "UA pooled [95 %]"): ("ua", "ua_low", "ua_high"),
    ("by-", "generate.ratio"): ("value",),
    ("by-", "label-fraction"): ("value",),
    ("headline-", "p"): ("ua_minus_none_p",),
    ("information", "p"): ("class_information_p",),
    ("information", "ceiling"): ("class_information_ceiling_nats",),
    ("panel-by-class", "p"): ("p_value",),
    ("panel-by-class", "training rows"): ("train",),
    ("panel-information", "training rows"): ("real", "real_standard_error"),
    ("panel-by-class", "N"): ("rows",),
    ("panel-information", "N"): ("rows",),
    ("calibration", "WA"): ("accuracy",),
}


def fields_of(table: str, heading: str) -> tuple[str, ...]:
    """The fields that a column shows: by default the one that is called by its heading."""
    if table.startswith("confusion-"):
        name, _, what = heading.rpartition(", ")
        return ({"count": f"count {name}", "%": f"rate {name}"}[what],)
    if table.startswith("recalls-") and heading not in FIELDS:
        return (f"recall {heading}",)
    of_table = (fields for (start, of), fields in OF_TABLE.items() if table.startswith(start) and of == heading)
    return next(of_table, FIELDS.get(heading, (heading,)))


def test_every_number_of_a_table_is_that_of_its_column_at_the_displayed_rounding(page: Element, made: Path):
    looked_up = 0
    for name, table, rows in tables_of(page, made):
        lines = table.find("tbody")[0].find("tr")
        headings = [head.text for head in table.find("thead")[0].find("th")]
        assert len(lines) == len(rows), name
        for line, row in zip(lines, rows, strict=True):
            for heading, cell in zip(headings, line.find("th", "td"), strict=True):
                found = [float(str(data.attributes["value"])) for data in cell.find("data")]
                if not found:
                    continue
                # What is beside the first number is shown all together, or not at all.
                assert found == [row[field] for field in fields_of(name, heading)][: len(found)], (name, heading, row)
                assert len(found) in (1, len(fields_of(name, heading))), (name, heading)
                for data, value in zip(cell.find("data"), found, strict=True):
                    shown = data.text.replace("−", "-").replace(",", "")
                    places = len(shown.partition(".")[2])
                    rounded = {f"{scale * value:.{places}f}" for scale in (1, 100)}
                    assert f"{float(shown):.{places}f}" in rounded, (name, shown, value)
                looked_up += len(found)
    assert looked_up > 1000


def test_p_values_and_multiples_of_the_labels_are_shown(run: Path, page: Element):
    scores = [row for row in rows_of(run / "scores.csv") if row["aggregate"] == "pooled" and row["subset"] == "all"]
    for modality in ("audio", "text", "both"):
        (table,) = (one for one in page.find("table") if one.attributes["id"] == f"table-headline-{modality}")
        headings = [head.text for head in table.find("thead")[0].find("th")]
        lines = [dict(zip(headings, line.find("th", "td"), strict=True)) for line in table.find("tbody")[0].find("tr")]
        own = {(row["variant"], row["cell"] or ""): row for row in scores if row["modality"] == modality}
        assert len(lines) == len(own)
        for line in lines:
            row = own[line["variant"].text, line["cell"].text]
            for heading, field in (("p", "ua_minus_none_p"), ("p, Holm", "ua_minus_none_p_holm")):
                assert line[heading].text == ("–" if row[field] is None else f"{row[field]:.3f}")
            assert line["labels ×"].text == (multiple(row) or "")
    assert sum(row["ua_minus_none_p_holm"] is not None for row in scores) == 4 * 3
    assert sum(row["label_multiplier"] is not None for row in scores) > 0
