"""What a report is made of: the files of a run folder, read and checked."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infoser import experiment, prediction_table, run_folder
from infoser.config import Config
from infoser.errors import InfoserError
from infoser.nested import SELECTION
from infoser.report.cells import multiplier
from infoser.runs import HeadOutputs

Row = Mapping[str, Any]
#: What the long-form table says of a pooled difference beside its interval.
SIGNIFICANCE = ("ua_minus_none_p", "ua_minus_none_p_holm", "family_size")
#: The long-form table, and what is read of it.
_TABLE = "scores.parquet"
_KEY = ("variant", "cell", "modality", "subset", "aggregate")
_WORTH = (*SIGNIFICANCE, "label_multiplier")
_PART = re.compile(r"/part\d+of\d+$")
_RUN = re.compile(r"(?P<fold>.*)/seed(?P<seed>\d+)(?:/(?P<variant>.*))?", re.DOTALL)


class Said(NamedTuple):
    """What the heads of one variant and modality say of the test utterances, one row for each fold, seed and utterance."""

    utterance_id: np.ndarray
    fold: np.ndarray
    seed: np.ndarray
    label: np.ndarray
    probability: np.ndarray


@dataclass(frozen=True)
class Curve:
    """The loss terms of one group of runs while it trained.

    Attributes:
      group: its folder.
      steps: (points,).
      terms: by name, (runs, points); NaN where a run has no such line.
      runs: (fold, seed, variant) of each.
    """

    group: str
    steps: np.ndarray
    terms: Mapping[str, np.ndarray]
    runs: Sequence[tuple[str, int, str]]


@dataclass(frozen=True)
class Sources:
    """A run folder as the report needs it.

    Attributes:
      results: what `experiment.run` returned.
      panel: what `inspection.inspect` returned, or None.
      significance: by (variant, cell, modality, subset), what the long-form table says of the pooled difference to `none`:
        `ua_minus_none_p`, `ua_minus_none_p_holm` and `family_size`, where it has them.
      said: of the base cell, by (variant, modality); empty where there are no predictions.
      base: the cell that predictions and confusion matrices are shown of.
      missing: what could not be had, and how to get it.
      multiples: by (variant, cell, modality, subset), the equivalent label multiplier in words, where there are any.
    """

    folder: Path
    config: Config
    results: Mapping[str, Any]
    panel: Mapping[str, Any] | None
    significance: Mapping[tuple[str, str, str, str], Mapping[str, float]]
    said: Mapping[tuple[str, str], Said]
    base: str
    curves: Sequence[Curve]
    missing: Sequence[str]
    multiples: Mapping[tuple[str, str, str, str], str]

    @property
    def rows(self) -> Sequence[Row]:
        """The score rows."""
        return self.results["rows"]

    @property
    def corpus(self) -> Mapping[str, Any]:
        """What the results say of the corpus."""
        return self.results["provenance"]["corpus"]

    @property
    def classes(self) -> Sequence[str]:
        """Class names, in label order."""
        return self.corpus["classes"]

    @property
    def seeds(self) -> Sequence[int]:
        """Those that were scored; of results of an earlier version, those that were asked for."""
        return self.results["provenance"].get("seeds") or self.config.seeds

    def pick(self, **wanted: Any) -> list[Row]:
        """The score rows with these values."""
        return [row for row in self.rows if all(row[key] == value for key, value in wanted.items())]


def read(folder: Path, data_dir: Path | None = None) -> Sources:
    """Reads a run folder.

    Args:
      folder: the run folder.
      data_dir: where its corpus is, if it was moved; needed only where there are no predictions.

    Raises:
      InfoserError: if it is no run folder, has no results, or something in it is damaged.
    """
    config, _ = run_folder.read(folder)
    results = _results(folder)
    panel = _panel(folder)
    cells = list(dict.fromkeys(row["cell"] for row in results["rows"]))
    base = "" if "" in cells else cells[0]
    said, missing = _said(folder, data_dir, base, results)
    if panel is None:
        missing.append(
            f"no quality panel (how like real rows the added ones are): python eval.py quality {folder} makes it, then "
            "make this "
            "report again"
        )
    if not (folder / _TABLE).exists():
        missing.append(f"no p-values of differences: {folder} has no {_TABLE}; run the training command again, which writes it")
    significance, multiples = _significance(folder)
    return Sources(folder, config, results, panel, significance, said, base, _curves(folder), missing, multiples)


def _results(folder: Path) -> dict[str, Any]:
    path = folder / run_folder.RESULTS
    try:
        results = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InfoserError(
            f"{folder} has no {run_folder.RESULTS}: training has not finished; run its training command again (it goes "
            "on where "
            "it stopped), then make the report"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InfoserError(f"{path} can't be read ({error}); the training command writes it again") from error
    try:
        complete = results["rows"] and results["provenance"]["corpus"]["classes"] and results["rows"][0]["aggregate"]
        complete = complete and isinstance(results["quality"], list) and isinstance(results["notes"], list)
    except (KeyError, TypeError, IndexError) as error:
        raise InfoserError(f"{path} lacks {error}: it is of another version; the training command writes it again") from error
    if not complete:
        raise InfoserError(f"{path} holds no scores: every fold was without test utterances")
    return results


def _significance(
    folder: Path,
) -> tuple[dict[tuple[str, str, str, str], dict[str, float]], dict[tuple[str, str, str, str], str]]:
    """P-values of the pooled differences, and their label multipliers in words; an earlier version's table had none."""
    path, found, multiples = folder / _TABLE, {}, {}
    try:
        # Not the CSV file: what it has in one field may be more than its readers take.
        with pq.ParquetFile(path) as file:
            wanted = [one for one in file.schema_arrow.names if one in _KEY or one.startswith(_WORTH)]
            rows = file.read(wanted).to_pylist()
        for row in rows:
            values = {name: float(row[name]) for name in SIGNIFICANCE if row.get(name) is not None}
            key = (row["variant"], row["cell"], row["modality"], row["subset"])
            if row["aggregate"] == "pooled" and values:
                found[key] = values
            if row.get("label_multiplier") is not None:
                multiples[key] = multiplier(row)
    except FileNotFoundError:
        return {}, {}
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise InfoserError(f"{path} can't be read ({error}); the training command writes it again") from error
    return found, multiples


def _panel(folder: Path) -> dict[str, Any] | None:
    path = folder / run_folder.PANEL
    try:
        panel = json.loads(path.read_text("utf-8"))
        assert isinstance(panel["rows"], list) and isinstance(panel["left_out"], dict)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AssertionError, RecursionError) as error:
        raise InfoserError(f"{path} can't be read ({error}); python eval.py quality {folder} writes it again") from error
    return panel


def _said(
    folder: Path, data_dir: Path | None, base: str, results: Mapping[str, Any]
) -> tuple[dict[tuple[str, str], Said], list[str]]:
    """The predictions: as written, or else by the restored heads; and what is to be said where there are none."""
    try:
        rows = prediction_table.read(folder, base)
    except FileNotFoundError:
        try:
            rows = _restored(folder, data_dir, base)
        except InfoserError as error:
            return {}, [
                f"no predictions of single utterances (reliability, worst utterances): {folder} has no "
                f"{prediction_table.PREDICTIONS}, and its heads can't be asked ({error}); run the training command "
                "again, which "
                "writes it"
            ]
    said = _grouped(rows)
    differing = _differing(said, base, results)
    if differing:
        return {}, [
            f"no predictions of single utterances: those in {prediction_table.PREDICTIONS} do not give the confusion counts of "
            f"{run_folder.RESULTS} ({', '.join(differing)}); run the training command again, which writes both"
        ]
    return said, []


def _restored(folder: Path, data_dir: Path | None, base: str) -> Any:
    """The predictions of a run folder of an earlier version, which wrote none."""
    config, corpus = experiment.restore(folder, data_dir)
    heads: dict[str, list[HeadOutputs]] = {}
    own = experiment.parts_of(folder, config, corpus)
    experiment.run(config, corpus, experiment.make_trainer(config, folder, restore_only=True), own, heads)
    return prediction_table.table({base: heads.get(base, [])}, corpus)


def _grouped(rows: Any) -> dict[tuple[str, str], Said]:
    classes = prediction_table.class_names(rows)
    number = {name: index for index, name in enumerate(classes)}
    names = {one: rows.column(one).to_numpy() for one in prediction_table.NAMES}
    label = np.array([number[one] for one in names["label"]], np.int64)
    probability = prediction_table.probabilities(rows)
    said = {}
    for key in dict.fromkeys(zip(names["variant"], names["modality"], strict=True)):
        own = np.flatnonzero((names["variant"] == key[0]) & (names["modality"] == key[1]))
        said[key] = Said(names["utterance_id"][own], names["fold"][own], names["seed"][own], label[own], probability[own])
    return said


def _differing(said: Mapping[tuple[str, str], Said], base: str, results: Mapping[str, Any]) -> list[str]:
    """The variants whose predictions are not those that were scored."""
    differing = []
    for row in results["rows"]:
        if (row["cell"], row["subset"], row["aggregate"]) != (base, "all", "pooled"):
            continue
        own = said.get((row["variant"], row["modality"]))
        counts = np.zeros((len(row["recalls"]),) * 2, np.int64)
        if own is not None and own.probability.shape[1] == len(counts):
            np.add.at(counts, (own.label, own.probability.argmax(axis=1)), 1)
        if counts.tolist() != row["confusion"]:
            differing.append(f"{row['variant']}, {row['modality']}")
    return differing


def _curves(folder: Path) -> list[Curve]:
    """One for each structure: what memory divided into parts is one group."""
    groups: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("metrics.jsonl")):
        group = path.parent.relative_to(folder)
        # Inner runs serve a choice: they are as many again, and nothing that is scored.
        if group.parts[0] != SELECTION:
            groups.setdefault(_PART.sub("", group.as_posix()), []).append(path)
    return [_curve(paths, group) for group, paths in groups.items()]


def _curve(paths: Sequence[Path], group: str) -> Curve:
    lines = [line for path in paths for line in _lines(path)]
    steps = sorted({step for step, _, _ in lines})
    runs = list(dict.fromkeys(run for _, run, _ in lines))
    terms = {term: np.full((len(runs), len(steps)), np.nan) for _, _, own in lines for term in own}
    at, place = ({one: i for i, one in enumerate(some)} for some in (steps, runs))
    for step, run, own in lines:
        for term, value in own.items():
            terms[term][place[run], at[step]] = value
    return Curve(group, np.array(steps), terms, [_run_name(run) for run in runs])


def _lines(path: Path) -> list[tuple[int, str, dict[str, float]]]:
    """(step, run, loss terms) of every line of a group's metrics."""
    lines = []
    try:
        written = path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InfoserError(f"{path} can't be read: {error}") from error
    for number, line in enumerate(written, start=1):
        try:
            entry = json.loads(line)
            lines.append((int(entry.pop("step")), str(entry.pop("run")), {term: float(v) for term, v in entry.items()}))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if number == len(written):
                continue  # the half-written last line of a process that trains, or was killed
            raise InfoserError(f"{path}, line {number}, can't be read; delete the file to report without it") from error
    return lines


def _run_name(run: str) -> tuple[str, int, str]:
    found = _RUN.fullmatch(run)
    return (run, 0, "") if found is None else (found["fold"], int(found["seed"]), found["variant"] or "")


def differing_settings(config: Config) -> list[dict[str, str]]:
    """Every setting that is not at its default: flag, value, default."""
    found: list[dict[str, str]] = []
    _compare(config, "", found)
    return found


def _compare(config: Any, prefix: str, found: list[dict[str, str]]) -> None:
    for entry in dataclasses.fields(config):
        value, flag = getattr(config, entry.name), f"--{prefix}{entry.name.replace('_', '-')}"
        if dataclasses.is_dataclass(value):
            _compare(value, f"{prefix}{entry.name.replace('_', '-')}.", found)
            continue
        default: Any = None
        if entry.default is not dataclasses.MISSING:
            default = entry.default
        elif entry.default_factory is not dataclasses.MISSING:
            default = entry.default_factory()
        if value != default and entry.name != "hosts":
            found.append({"setting": flag, "value": _written(value), "default": _written(default)})


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return shlex.join(str(one) for one in value)  # candidates are of several words each
    return "" if value is None else str(value)
