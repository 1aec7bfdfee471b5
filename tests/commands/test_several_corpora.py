"""Training across corpora: tested on another, or on each of several in turn; restored, and what is refused."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infoser import demo as demo_corpus
from infoser.corpus import Corpus
from infoser.shard_writer import write_corpus
from infoser.shards import read_corpus

SIZE, PLAIN = 160, {"columns": {}, "provenance": {"settings": {"kind": "test"}}}
MAP = ("angry=rage", "happy=joy,amusement", "sad=grief")


def sample(name: str, seed: int, **changes: Any) -> Corpus:
    corpus = demo_corpus.sample(seed=seed, size=SIZE)
    ids = np.array([f"{name}-{row}" for row in range(SIZE)])
    return dataclasses.replace(corpus, name=name, utterance_id=ids, **(PLAIN | changes))


def other(name: str = "other") -> Corpus:
    """Other class names; speakers and sessions of the same names as in the first corpus, who are other people."""
    label = demo_corpus.sample(seed=2, size=SIZE).label
    label = np.where((label == 1) & (np.arange(SIZE) % 2 == 0), 4, label).astype(np.int32)
    return sample(name, 2, label=label, classes=("rage", "joy", "indifference", "grief", "amusement"))


def encoded(name: str, seed: int, **differing: Any) -> Corpus:
    """A corpus of recordings, as its shards say."""
    audio = {"kind": "transformers", "id": "wavlm-base", "weights_sha256": "ab" * 32, "layer": "last", "precision": "float32"}
    text = {"kind": "hashing", "id": "hashing:32", "layer": "last", "precision": "float32", "pooling": "mean", "frames": False}
    audio |= {"pooling": "mean", "frames": False} | differing
    return sample(name, seed, provenance={"settings": {"kind": "recordings", "audio": audio, "text": text}})


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several")
    third = sample("third", 3, text=None, session=None, dialogue=None)
    narrow = sample("narrow", 4, audio=np.ones((SIZE, 3), np.float32))
    same = dataclasses.replace(sample("same", 1), utterance_id=np.array([f"renamed-{row}" for row in range(SIZE)]))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "datasets")
        from arrays.arrays_dataset_builder import Builder

        for corpus in (sample("first", 1), other(), third, narrow, same, encoded("ours", 5), encoded("theirs", 6, layer="9")):
            write_corpus(Builder, corpus, folder)
    return folder


@pytest.fixture
def trained(run_train: Any, run_eval: Any, tiny: Any, data_dir: Path, tmp_path: Path) -> Any:
    """trained(*flags): what is printed, and the results of training, once eval.py has found the same."""

    def train(*flags: object) -> tuple[str, dict[str, Any]]:
        run_dir = tmp_path / "run"
        command = ("corpus", "--data.name", "first", "--data-dir", data_dir, "--variants", "none", *tiny)
        outcome = run_train(*command, *flags, "--run-dir", run_dir)
        assert outcome.status == 0, outcome.err
        checked = run_eval("score", run_dir)
        assert checked.status == 0 and checked.out.splitlines()[-1].endswith("to the last digit"), checked.err
        return outcome.out, json.loads((run_dir / "results.json").read_text())

    return train


def pick(results: dict[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    return [row for row in results["rows"] if all(row[key] == value for key, value in wanted.items())]


def test_trained_on_one_corpus_and_tested_on_another(trained: Any, data_dir: Path, run_eval: Any, tmp_path: Path) -> None:
    out, results = trained("--data.test-corpus", "other", "--data.classes", *MAP)
    first, test = read_corpus(data_dir, "first"), read_corpus(data_dir, "other")
    assert results["provenance"]["protocol"] == "cross-corpus"
    assert results["provenance"]["folds"] == {"other": {"train": SIZE, "test": int(np.isin(test.label, (0, 1, 3, 4)).sum())}}
    corpora = results["provenance"]["corpus"]["corpora"]
    assert [(each["name"], each["role"], each["utterances"]) for each in corpora] == [
        ("first", "train", SIZE),
        ("other", "test", SIZE),
    ]
    assert [each["shards_hash"] for each in corpora] == [one.provenance["shards_hash"] for one in (first, test)]
    assert results["provenance"]["corpus"]["classes"] == ["angry", "happy", "sad"]
    # Speakers of one name are not the same people: all of both are counted.
    assert results["provenance"]["corpus"]["speakers"] == len(np.unique(first.speaker)) + len(np.unique(test.speaker))
    counts = np.bincount(test.label[test.labelled], minlength=5)
    for row in pick(results, aggregate="pooled"):
        assert np.sum(row["confusion"], axis=1).tolist() == [counts[0], counts[1] + counts[4], counts[3]]
    assert "classes shared with other: angry is rage; happy is joy, amusement; sad is grief" in out
    neutral = int((first.label == 2).sum())
    assert f"rows of first that are unlabelled here, their class not being shared: {neutral} neutral" in out
    # Another corpus can be scored by what was trained on two, and none that was trained on.
    refused = run_eval("score", tmp_path / "run", "--corpus", data_dir / "first")
    assert refused.status == 2 and "have the ids of utterances of 'first+other'" in refused.err
    scored = run_eval("score", tmp_path / "run", "--corpus", data_dir / "third")
    assert scored.status == 0, scored.err
    assert "first+other → third" in scored.out and "third has no text" in scored.out


def test_each_corpus_standardised_by_itself_is_named_and_asked_of_others(
    trained: Any, data_dir: Path, run_eval: Any, tmp_path: Path
) -> None:
    _, results = trained("--data.test-corpus", "other/plain", "--data.classes", *MAP, "--data.normalise", "corpus")
    named = "cross-corpus, each corpus standardised by itself (transductive)"
    assert {row["protocol"] for row in results["rows"]} == {results["provenance"]["protocol"]} == {named}
    scored = run_eval("score", tmp_path / "run", "--corpus", data_dir / "third")
    assert scored.status == 0 and "standardised by the whole target corpus" in scored.out, scored.err
    refused = run_eval("score", tmp_path / "run", "--corpus", data_dir / "third", "--normalise", "training")
    assert refused.status == 2 and "standardised by each corpus, and reads no others" in refused.err
    refused = run_eval("predict", tmp_path / "run", "a.wav")
    assert refused.status == 2 and "which single recordings have no statistics for" in refused.err


def test_each_of_three_corpora_is_left_out_in_turn(trained: Any, data_dir: Path, run_eval: Any, tmp_path: Path) -> None:
    out, results = trained("--data.train-with", "third", "other", "--data.classes", *MAP, "--final")
    assert "classes shared with third: angry is angry; happy is happy; sad is sad" in out
    assert results["provenance"]["protocol"] == "corpus"
    assert list(results["provenance"]["folds"]) == ["first", "third", "other"]
    assert all(fold["train"] == 2 * SIZE for fold in results["provenance"]["folds"].values())
    assert results["provenance"]["corpus"]["with_text"] == 2 * SIZE
    assert {row["aggregate"] for row in pick(results, modality="audio")} == {"first", "third", "other", "mean", "pooled"}
    assert {row["aggregate"] for row in pick(results, modality="both")} == {"first", "other", "mean", "pooled"}
    # A fourth is scored by the folds' models, and by the final one.
    scored = run_eval("score", tmp_path / "run", "--corpus", data_dir / "ours")
    assert scored.status == 0, scored.err
    assert "final: the model that was refitted on all of first+third+other" in scored.out
    rows = json.loads((tmp_path / "run" / "cross" / "ours.json").read_text())["rows"]
    models = {(row["model"], row["aggregate"]) for row in rows if row["modality"] == "audio"}
    assert models == {
        *(("folds", aggregate) for aggregate in ("first", "third", "other", "mean", "ensemble")),
        *(("final", aggregate) for aggregate in ("final", "mean")),
    }


FIRST = ("--data.name", "first")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((*FIRST, "--data.test-corpus", "narrow"), "audio features of different widths, 24 and 3"),
        ((*FIRST, "--data.test-corpus", "other"), "no class is shared"),
        ((*FIRST, "--data.test-corpus", "same"), "have the audio features, to the last bit, of utterances of 'first'"),
        (
            ("--data.name", "ours", "--data.test-corpus", "theirs"),
            "different audio encoders: wavlm-base, layer last, mean (sha256 abababab); and wavlm-base, layer 9, mean",
        ),
        ((*FIRST, "--data.test-corpus", "nothing"), "no corpus 'nothing'"),
        ((*FIRST, "--data.test-corpus", "third", "--protocol", "speaker"), "belong together"),
        ((*FIRST, "--protocol", "cross-corpus"), "belong together"),
        ((*FIRST, "--protocol", "corpus"), "name the others with --data.train-with"),
        ((*FIRST, "--data.test-corpus", "third", "--final"), "are not to be trained on"),
        ((*FIRST, "--data.train-with", "third", "third/plain"), "corpus 'third' is named twice"),
        ((*FIRST, "--data.classes", "angry=rage"), "--data.classes is about several corpora"),
        ((*FIRST, "--data.normalise", "speaker"), "--data.normalise is about several corpora"),
        (
            (*FIRST, "--data.train-with", "third", "other", "--data.classes", "angry=rage,fury", "sad=grief"),
            "none of third, other has a class 'fury'",
        ),
    ],
)
def test_refused(run_train: Any, data_dir: Path, tmp_path: Path, flags: tuple[str, ...], said: str) -> None:
    outcome = run_train("corpus", *flags, "--data-dir", data_dir, "--run-dir", tmp_path / "run", "--variants", "none")
    assert outcome.status == 2 and outcome.out == ""
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1 and said in outcome.err
    assert not (tmp_path / "run").exists()
