"""Corpora unlike the demo's go through prepare.py, train.py and eval.py alike."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infoser import demo as demo_corpus

Arrays = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A prepared corpus, and what prepare.py said of it."""

    name: str
    data_dir: Path
    out: str

    @property
    def flags(self) -> tuple[object, ...]:
        return "corpus", "--data.name", self.name, "--data-dir", self.data_dir


@pytest.fixture
def prepared(run_prepare: Any, tmp_path: Path) -> Callable[..., Prepared]:
    def prepare(name: str, arrays: Arrays) -> Prepared:
        np.savez(tmp_path / f"{name}.npz", **arrays)
        outcome = run_prepare("arrays", "--source", tmp_path / f"{name}.npz", "--name", name, "--data-dir", tmp_path / "data")
        assert (outcome.status, outcome.err) == (0, "")
        return Prepared(name, tmp_path / "data", outcome.out)

    return prepare


@pytest.fixture
def trained(run_train: Any, run_eval: Any, tiny: Any, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """trained(corpus, *flags): the results of training, once eval.py has found the same."""

    def train(corpus: Prepared, *flags: object) -> dict[str, Any]:
        run_dir = tmp_path / "run"
        outcome = run_train(*corpus.flags, *tiny, *flags, "--run-dir", run_dir)
        assert outcome.status == 0, outcome.err
        checked = run_eval("score", run_dir)
        assert checked.status == 0, checked.err
        assert checked.out.splitlines()[-1] == f"the same as {run_dir / 'results.json'}, to the last digit"
        assert checked.out.splitlines()[:-1] == outcome.out.splitlines()[:-1]
        assert "Estimates beside the truth" not in outcome.out  # which is known of the demo alone
        results = json.loads((run_dir / "results.json").read_text())
        assert results["provenance"]["corpus"]["shards_hash"]
        return results

    return train


def rows_of(results: dict[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    return [row for row in results["rows"] if all(row[key] == value for key, value in wanted.items())]


SPEAKERS = (
    "Zoë",
    "李小龍",
    "Ελένη ☃",
    "\u202eabc",
    "n\u0303an\u0303o",
    "سلمى",
    "😀",
    "a/b",
    'O\'Hara, "J"',
    "%s {0}",
    "Ж\u00a0Ж",
    "[red]",
)


def six_sessions() -> Arrays:
    """The demo's sessions 2 and 4 as they are, and the others' utterances dealt out among four: 12 speakers in 6 sessions.

    Rows, folds and widths are those of the demo, so that nothing has to be compiled anew. Nobody is sad in session 2.
    """
    corpus = demo_corpus.sample()
    assert corpus.session is not None
    session = corpus.session.astype(object)
    rest = np.flatnonzero(~np.isin(corpus.session, ["2", "4"]))
    session[rest] = np.array(["1", "3", "5", "6"])[np.arange(len(rest)) * 4 // len(rest)]
    half = np.char.endswith(corpus.speaker, "F").astype(int)
    label = np.where((session == "2") & (corpus.label == 3), 2, corpus.label)
    return {
        "utterance_id": corpus.utterance_id,
        "audio": corpus.audio,
        "text": corpus.text,
        "label": label,
        "label_names": np.array(corpus.classes),
        "speaker": np.array(SPEAKERS)[2 * (session.astype(int) - 1) + half],
        "session": session.astype(str),
    }


def test_six_sessions_text_wider_than_audio_and_a_class_that_a_test_part_lacks(prepared: Any, trained: Any) -> None:
    corpus = prepared("improvised", six_sessions())
    assert "speakers    12" in corpus.out and "sessions    6" in corpus.out
    assert "audio       24 features" in corpus.out and "text        32 features" in corpus.out
    results = trained(corpus, "--folds", "session2", "session4")
    assert results["provenance"]["protocol"] == "session"
    assert results["provenance"]["corpus"]["speakers"] == 12
    assert {row["subset"] for row in results["rows"]} == {"all"}
    for row in rows_of(results, aggregate="session2"):
        assert row["recalls"]["sad"] is None
        assert row["ua"] == pytest.approx(np.mean([value for value in row["recalls"].values() if value is not None]))
        assert row["confusion"][3] == [0, 0, 0, 0]
    for row in rows_of(results, aggregate="pooled"):
        assert row["recalls"]["sad"] is not None and row["ua"] == pytest.approx(np.mean(list(row["recalls"].values())))


def audio_only() -> Arrays:
    """One audio feature, two classes of which one is rare, four speakers, no sessions."""
    rng = np.random.default_rng(5)
    rows = np.arange(200)
    rare = rows % 20 < 1
    return {
        "utterance_id": np.array([f"u{row}" for row in rows]),
        "audio": (rng.normal(size=(200, 1)) + 2.0 * rare[:, None]).astype(np.float32),
        "emotion": np.where(rare, "angry", "calm"),
        "speaker": np.array([f"speaker{row // 50}" for row in rows]),
    }


def test_one_audio_feature_two_unequal_classes_and_no_text(prepared: Any, trained: Any) -> None:
    corpus = prepared("narrow", audio_only())
    assert "text        none" in corpus.out and "classes     angry 10, calm 190" in corpus.out
    results = trained(corpus, "--variants", "none", "noise", "infogan-notext")
    assert results["provenance"]["protocol"] == "speaker" and results["provenance"]["corpus"]["text_dim"] is None
    assert list(results["provenance"]["folds"]) == ["speaker0", "speaker1", "speaker2", "speaker3"]
    assert {row["modality"] for row in results["rows"]} == {"audio"}
    assert {row["variant"] for row in results["rows"]} == {"none", "noise", "infogan-notext"}
    assert [row["variant"] for row in results["quality"]] == ["real", "noise", "infogan-notext"]
    for row in results["quality"]:
        assert row["audio_text_information_given_class_nats"] is None
        assert row["class_information_ceiling_nats"] == pytest.approx(np.log(2))
    for row in rows_of(results, aggregate="pooled"):
        assert row["n"] == 200 and np.sum(row["confusion"], axis=1).tolist() == [10, 190]


@pytest.mark.parametrize("variants", [(), ("--variants", "none", "cgan"), ("--aligned-variants", "infogan")])
def test_variants_that_need_text_are_refused_without(
    variants: tuple[str, ...], prepared: Any, run_train: Any, tmp_path: Path
) -> None:
    outcome = run_train(*prepared("narrow", audio_only()).flags, *variants, "--run-dir", tmp_path / "run")
    assert outcome.status == 2 and outcome.out == ""
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1
    assert (variants[-1] if variants else "infogan") in outcome.err
    assert "corpus 'narrow'" in outcome.err and "infogan-notext" in outcome.err
    assert not (tmp_path / "run").exists()


def wide() -> Arrays:
    """Seven classes, 768 features of each kind, fifteen speakers, no sessions; only two speakers are ever disgusted."""
    rng = np.random.default_rng(6)
    rows = np.arange(210)
    speaker, label = rows % 15, rows // 15 % 7
    label = np.where((label == 6) & (speaker > 1), speaker % 6, label)
    emotions = np.array(["anger", "fear", "joy", "neutral", "sadness", "surprise", "disgust"])
    centre = rng.normal(size=(7, 768))
    return {
        "utterance_id": np.array([f"u{row:03d}" for row in rows]),
        "audio": (centre[label] + rng.normal(size=(210, 768))).astype(np.float32),
        "text": (centre[label] + rng.normal(size=(210, 768))).astype(np.float16),
        "label": label,
        "label_names": emotions,
        "speaker": np.array([f"s{number}" for number in speaker]),
    }


def test_seven_classes_768_features_and_no_sessions(prepared: Any, trained: Any) -> None:
    corpus = prepared("wide", wide())
    assert "audio       768 features" in corpus.out and "sessions    none" in corpus.out
    results = trained(corpus, "--variants", "none", "noise", "--folds", "fold1", "fold3")
    assert results["provenance"]["protocol"] == "kfold"
    assert list(results["provenance"]["folds"]) == ["fold1", "fold3"]
    absent = [row for row in results["rows"] if row["recalls"]["disgust"] is None]
    assert absent and all(0 <= row["ua"] <= 1 for row in absent)
    pooled = rows_of(results, aggregate="pooled", variant="none", modality="both")
    assert len(pooled) == 1 and np.shape(pooled[0]["confusion"]) == (7, 7)
    # Six of seven centres lie far apart: even so short a training tells more than chance from them.
    assert pooled[0]["ua"] > 2 / 7
    for row in results["quality"]:
        assert row["class_information_ceiling_nats"] == pytest.approx(np.log(7))


def test_a_class_that_one_speaker_alone_has_is_refused(prepared: Any, run_train: Any, tmp_path: Path) -> None:
    arrays = wide()
    arrays["label"] = np.where((arrays["label"] == 6) & (arrays["speaker"] == "s0"), 0, arrays["label"])
    outcome = run_train(*prepared("lone", arrays).flags, "--run-dir", tmp_path / "run")
    assert outcome.status == 2 and outcome.out == "" and outcome.err.count("\n") == 1
    assert "the training part has no labelled utterance of class 'disgust'" in outcome.err
    assert not (tmp_path / "run").exists()
