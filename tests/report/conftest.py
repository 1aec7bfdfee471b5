"""Run folders as training leaves them, made without any training: of any shape, with any names."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infoser import prediction_table, run_folder
from infoser.config import Config, Data
from infoser.corpus import Corpus
from infoser.leakage import Fold
from infoser.matrix import Unit
from infoser.metrics.scores import Predictions, score_rows
from infoser.parts import Part
from infoser.quality import quality_rows
from infoser.report import style
from infoser.report.panels import MEASURES
from infoser.results import provenance
from infoser.runs import HeadOutputs

TERMS = ("real", "generated", "total")


def _make_run(
    folder: Path,
    *,
    classes: Sequence[str] = ("angry", "happy", "neutral", "sad"),
    folds: Sequence[str] = ("session1", "session2", "session3"),
    seeds: Sequence[int] = (0, 1),
    variants: Sequence[str] = ("none", "infogan"),
    cells: Sequence[str] = ("",),
    modalities: Sequence[str] = ("audio", "text", "both"),
    per_fold: int = 48,
    speakers: Sequence[str] | None = None,
    ids: Callable[[int], str] = "utterance{}".format,
    notes: Sequence[str] = (),
    name: str = "made",
    **settings: Any,
) -> Path:
    """A finished run folder; what its heads say is drawn at random, and tells a little of the truth."""
    rng = np.random.default_rng(0)
    n = per_fold * len(folds)
    speakers = speakers or [f"speaker{i}" for i in range(2 * len(folds))]
    label = np.arange(n) % len(classes)
    corpus = Corpus(
        name=name,
        utterance_id=np.array([ids(i) for i in range(n)]),
        audio=rng.standard_normal((n, 3)).astype(np.float32),
        text=rng.standard_normal((n, 2)).astype(np.float32) if "text" in modalities else None,
        label=label.astype(np.int32),
        classes=tuple(classes),
        speaker=np.array(speakers)[np.arange(n) * len(speakers) // n],
    )
    tests = np.arange(n).reshape(len(folds), per_fold)
    made = [
        Fold(one, np.setdiff1d(np.arange(n), own), own, np.zeros(0, np.int64)) for one, own in zip(folds, tests, strict=True)
    ]
    config = Config(data=Data(name), run_dir=folder, variants=tuple(variants), seeds=tuple(seeds), **settings)
    heads, quality = {}, []
    for cell in cells:
        heads[cell] = [
            HeadOutputs(
                Unit(fold, seed, corpus.label),
                variant,
                modality,
                False,
                fold.test,
                _said(rng, corpus.label[fold.test]),
                cell=cell,
            )
            for modality in modalities
            for fold in made
            for seed in seeds
            for variant in variants
        ]
        quality += quality_rows(heads[cell], corpus, cell, {})
    scores = score_rows(
        [
            Predictions(h.variant, cell, h.modality, h.unit.seed, h.unit.fold.name, h.rows, h.log_probability.argmax(axis=1))
            for cell, own in heads.items()
            for h in own
        ],
        label=corpus.label,
        speaker=corpus.speaker,
        classes=corpus.classes,
        subset_masks={fold.name: {"all": np.ones(per_fold, bool)} for fold in made},
        protocol="session",
        label_fraction=1.0,
    )
    folder.mkdir(parents=True)
    part = Part(config.seeds, tuple(folds), tuple((cell, variant) for cell in cells for variant in variants))
    run_folder.record(config, corpus, [part], part)
    results = {"rows": scores.rows, "quality": quality, "notes": [*notes, *scores.notes], "table": scores.rows}
    results["provenance"] = provenance(config, corpus, "session", made)
    prediction_table.write(folder, prediction_table.table(heads, corpus))
    run_folder.write_results(folder, results)
    metrics = folder / "encoder" / "classify" / "audio" / "metrics.jsonl"
    metrics.parent.mkdir(parents=True)
    lines = (
        {"step": step, "run": f"{fold}/seed{seed}/{variant}"} | {term: float(rng.random()) / step for term in TERMS}
        for step in (5, 10, 15)
        for fold in folds
        for seed in seeds
        for variant in variants
    )
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def _said(rng: np.random.Generator, label: np.ndarray) -> np.ndarray:
    """Log probabilities that know a little of the labels."""
    logits = rng.standard_normal((len(label), label.max() + 1)) + np.eye(label.max() + 1)[label]
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


def _panel(variants: Sequence[str], classes: Sequence[str]) -> dict[str, Any]:
    """A quality panel as `inspection.inspect` makes it."""
    rng = np.random.default_rng(1)
    rows = []
    for variant in variants:
        name = {"cell": "", "variant": variant, "modality": "audio"}
        for one in ("all", *classes):
            for measure in MEASURES:
                values = dict(zip(("value", "real", "train"), rng.random(3).tolist(), strict=True))
                own = {"reference": "test part", "class": one, "measure": measure} | values
                rows.append(
                    name | own | {"standard_error": 0.01, "real_standard_error": None, "rows": 40.0, "p": 0.04, "runs": 6}
                )
        information = {"reference": "", "class": "all", "measure": "class_information_nats", "value": 0.5, "real": 0.4}
        information |= {
            "null": 0.0,
            "null_standard_error": 0.1,
            "ceiling": 1.4,
            "standard_error": None,
            "rows": 40.0,
            "runs": 6,
        }
        rows.append(name | information)
    columns = dict.fromkeys(key for row in rows for key in row)
    return {
        "rows": [{key: row.get(key) for key in columns} for row in rows],
        "left_out": {"<i>sad</i>, fold 1": "too few rows"},
    }


@pytest.fixture(scope="session", autouse=True)
def coarse_images() -> Iterator[None]:
    """Images are made of few pixels, which is most of what they cost."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "_PNG_DPI", 40)
        yield


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    """make_run(folder, **shape): a finished run folder."""
    return _make_run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with doses, label fractions and a quality panel; not to be written to."""
    cells = ("", "generate.ratio=0.25", "generate.ratio=0.5", "label-fraction=0.1")
    run = _make_run(tmp_path_factory.mktemp("report") / "run", cells=cells)
    run_folder.write_panel(run, _panel(["infogan"], ["angry", "happy", "neutral", "sad"]))
    return run
