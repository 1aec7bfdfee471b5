"""Run folders as training leaves them, made without any training: of any shape, with any names."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import Element, parse

from infoser import prediction_table, run_folder
from infoser.arms import Cell
from infoser.cells import Sweep
from infoser.config import Config, Data
from infoser.corpus import Corpus
from infoser.leakage import Fold
from infoser.matrix import Unit
from infoser.metrics.scores import Predictions, score_rows
from infoser.overrides import overrides_of
from infoser.parts import Part
from infoser.quality import quality_rows
from infoser.report import build, style
from infoser.report.panels import MEASURES
from infoser.results import long_table, provenance
from infoser.runs import HeadOutputs

TERMS = ("real", "generated", "total")
#: Added rows that a probe is asked about.
_HELD_OUT = 20


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
    subset: str = "",
    probed: Sequence[str] = (),
    origin: Mapping[str, Any] | None = None,
    selection: Sequence[Mapping[str, Any]] = (),
    **settings: Any,
) -> Path:
    """A finished run folder; what its heads say is drawn at random, and tells a little of the truth.

    Args:
      subset: the name of a third of the utterances, which are scored by themselves too; '' for none.
      probed: variants that have added rows, which heads were fitted to by themselves.
      origin: the corpus' own settings.
      selection: what was chosen.
    """
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
        provenance={"settings": origin} if origin else {},
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
        probes = [_probe(rng, corpus, fold, seed, one, cell) for one in probed for fold in made for seed in seeds]
        quality += quality_rows([*heads[cell], *probes], corpus, cell, {})
    masks = {"all": np.ones(per_fold, bool)} | ({subset: np.arange(per_fold) % 3 == 0} if subset else {})
    scores = score_rows(
        [
            Predictions(h.variant, cell, h.modality, h.unit.seed, h.unit.fold.name, h.rows, h.log_probability.argmax(axis=1))
            for cell, own in heads.items()
            for h in own
        ],
        label=corpus.label,
        speaker=corpus.speaker,
        classes=corpus.classes,
        subset_masks={fold.name: masks for fold in made},
        protocol="session",
        label_fraction=1.0,
        base_cell=cells[0],
    )
    rows = [row | {"label_fraction": overrides_of(row["cell"]).get("label-fraction", 1.0)} for row in scores.rows]
    rows.sort(key=lambda row: [all_of.index(row[of]) for of, all_of in (("cell", cells), ("modality", modalities))])
    compared = Sweep(tuple(Cell(cell, config, config.variants) for cell in cells), {}, ())
    folder.mkdir(parents=True)
    part = Part(config.seeds, tuple(folds), tuple((cell, variant) for cell in cells for variant in variants))
    run_folder.record(config, corpus, [part], part)
    results = {"rows": rows, "quality": quality, "notes": [*notes, *scores.notes]}
    results["table"] = long_table(rows, scores, compared, config)
    results |= {"selection": [dict(one) for one in selection]} if selection else {}
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


def _probe(rng: np.random.Generator, corpus: Corpus, fold: Fold, seed: int, variant: str, cell: str) -> HeadOutputs:
    """What a head says that saw added rows alone."""
    label = np.arange(_HELD_OUT) % len(corpus.classes)
    said = [_said(rng, of) for of in (corpus.label[fold.test], label, label)]
    return HeadOutputs(
        Unit(fold, seed, corpus.label),
        variant,
        "audio",
        True,
        fold.test,
        said[0],
        cell=cell,
        held_out=(said[1], label),
        held_out_by_real=said[2],
    )


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


def _selection() -> list[dict[str, Any]]:
    """What was chosen for a fold by audio, as `choosing.compared` says it; nothing was there to choose by in another."""
    name = {"cell": "select=dev", "label_fraction": 1.0, "variant": "selected", "modality": "audio", "seed": None}
    return [
        name
        | {"fold": fold, "candidate": one, "candidate_variant": one, "candidate_cell": ""}
        | {
            "dev_ua": ua,
            "compared_with": "none",
            "dev_gain": gain,
            "dev_gain_se": se,
            "dev_utterances": n,
            "chosen": one == "none",
        }
        for fold, one, ua, gain, se, n in (
            ("session1", "none", 0.512345, 0.0, 0.0, 96),
            ("session1", "infogan", 0.523456, 0.011111, 0.012345, 96),
            ("session2", "none", None, None, None, 0),
            ("session2", "infogan", None, None, None, 0),
        )
    ]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with all that a page can show: doses, label fractions, a subset, a choice; not to be written to."""
    run = _make_run(
        tmp_path_factory.mktemp("report") / "run",
        cells=("", "generate.ratio=0.25", "generate.ratio=0.5", "label-fraction=0.1"),
        subset="text_disjoint",
        probed=("infogan",),
        origin={"kind": "demo", "size": 144, "seed": 0},
        selection=_selection(),
    )
    run_folder.write_panel(run, _panel(["infogan"], ["angry", "happy", "neutral", "sad"]))
    return run


@pytest.fixture(scope="session")
def made(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its page."""
    return build.write(build.Request(run, tmp_path_factory.mktemp("made") / "report", embeddings=False))


@pytest.fixture(scope="session")
def page(made: Path) -> Element:
    """The same, read."""
    return parse(made)
