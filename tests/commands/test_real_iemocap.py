"""The real IEMOCAP features go through every stage; skipped where they are not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infoser import protocols, scored_subsets
from infoser.corpus import Corpus
from infoser.shards import read_corpus

REAL = Path(__file__).parents[3] / "shared" / "data" / "iemocap_features.npz"
pytestmark = pytest.mark.skipif(not REAL.exists(), reason="the licensed IEMOCAP features are not in ../shared/data")

CLASSES = ("ang", "hap+exc", "neu", "sad")
#: Labelled utterances of each session by class, as published for the 4-class task.
COUNTS = {
    "session1": (229, 278, 384, 194),
    "session2": (137, 327, 362, 197),
    "session3": (240, 286, 320, 305),
    "session4": (327, 303, 258, 143),
    "session5": (170, 442, 384, 245),
}


@pytest.fixture(scope="module")
def data_dir(run_prepare: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    outcome = run_prepare("arrays", "--source", REAL, "--name", "iemocap", "--data-dir", folder)
    assert outcome.status == 0, outcome.err
    assert "iemocap: 10,039 utterances, 5,531 labelled" in outcome.out
    return folder


@pytest.fixture(scope="module")
def corpus(data_dir: Path) -> Corpus:
    return read_corpus(data_dir, "iemocap")


def test_the_folds_have_the_published_counts(corpus: Corpus) -> None:
    assert protocols.resolve_protocol(corpus, "auto") == "session"
    folds = {fold.name: fold for fold in protocols.make_folds(corpus, "session")}
    assert {name: tuple(np.bincount(corpus.label[fold.test])) for name, fold in folds.items()} == COUNTS
    for fold in folds.values():
        # The training part keeps the unlabelled utterances of the other sessions, and none of this one's.
        assert not set(corpus.speaker[fold.train]) & set(corpus.speaker[fold.test])
        assert len(set(corpus.speaker[fold.test])) == 2
        assert (corpus.label[fold.train] < 0).any()
    masks = [scored_subsets.subsets(corpus, fold) for fold in folds.values()]
    assert sum(int(mask["improvised"].sum()) for mask in masks) == 2_943
    assert all(0 < mask["text_disjoint"].sum() < len(mask["all"]) for mask in masks)


def test_one_fold_through_every_stage(data_dir: Path, run_train: Any, tiny: Any, corpus: Corpus, tmp_path: Path) -> None:
    outcome = run_train(
        *("iemocap", "--data-dir", data_dir, "--run-dir", tmp_path / "run", "--seeds", 0, "--folds", "session4"),
        *("--variants", "none", "noise", "infogan", *tiny),
    )
    assert outcome.status == 0, outcome.err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["provenance"]["corpus"]["utterances"] == 10_039
    assert results["provenance"]["folds"]["session4"]["test"] == 1_031
    combinations = {(row["variant"], row["modality"], row["subset"], row["aggregate"]) for row in results["rows"]}
    assert len(combinations) == len(results["rows"]) == 3 * 3 * 3 * 3
    for row in results["rows"]:
        assert 0 <= row["ua"] <= 1
        if row["subset"] == "all":
            assert np.sum(row["confusion"], axis=1).tolist() == list(COUNTS["session4"])
        else:
            assert 0 < row["n"] < 1_031
    # One fold has two speakers: no interval can be had of them, and that is said.
    assert all(row["ua_low"] is None and row["ua_minus_none_low"] is None for row in results["rows"])
    assert any("no intervals" in note for note in results["notes"])
