"""eval.py score --corpus: a run's heads on another corpus, through a class map, and what is refused."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infoser import demo as demo_corpus
from infoser.corpus import Corpus
from infoser.shard_writer import write_corpus

MAP = ("angry=rage", "happy=joy,amusement", "sad=grief")
#: How many utterances the small corpora have: one number, so that little is compiled.
SIZE = 120


def other(name: str = "other", **changes: Any) -> Corpus:
    """Fresh utterances of the demo's distribution under other names: 'neutral' is left without a label in every tenth row."""
    corpus = demo_corpus.sample(seed=7, size=SIZE)
    rows = np.arange(SIZE)
    label = np.where(corpus.label == 1, np.where(rows % 2 == 0, 1, 4), corpus.label).astype(np.int32)
    plain = {
        "name": name,
        "utterance_id": np.array([f"{name}-{row}" for row in rows]),
        "label": label,
        "classes": ("rage", "joy", "indifference", "grief", "amusement"),
        "speaker": np.char.add("other ", corpus.speaker),
        "columns": {},
        "provenance": {"settings": {"kind": "test"}},
    }
    return dataclasses.replace(corpus, **(plain | changes))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corpora to be scored: of other class names, without text, with gaps in the text, of other widths, and of known rows."""
    folder = tmp_path_factory.mktemp("cross")
    base, source = other(), demo_corpus.sample()
    assert base.text is not None and source.session is not None and source.text is not None
    has_text = np.arange(SIZE) % 4 > 0
    gaps = {"text": np.where(has_text[:, None], base.text, 0), "has_text": has_text}
    known = np.flatnonzero(source.session == "2")
    rage = int(np.argmax(base.label == 0))
    renamed = np.array([f"copy-{row}" for row in range(SIZE)])
    corpora = [
        base,
        other("bare", text=None),
        other("gaps", **gaps),
        other("narrow", audio=base.audio[:, :5]),
        other("made", columns={"synthetic": np.arange(SIZE) % 3 == 0, "made_from": np.full(SIZE, "")}),
        other(
            "copies",
            audio=np.where((np.arange(SIZE) == rage)[:, None], source.audio[known[0]], base.audio),
            utterance_id=renamed,
        ),
        dataclasses.replace(
            source,
            name="second",
            **{
                key: None if getattr(source, key) is None else getattr(source, key)[known]
                for key in ("utterance_id", "audio", "text", "label", "speaker", "session", "dialogue")
            },
            columns={key: values[known] for key, values in source.columns.items()},
        ),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "datasets")
        from arrays.arrays_dataset_builder import Builder

        for corpus in corpora:
            write_corpus(Builder, corpus, folder)
    return folder


@pytest.fixture(scope="module")
def run_dir(demo: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the demo's run folder, to be written to."""
    return Path(shutil.copytree(demo.folder, tmp_path_factory.mktemp("cross") / "run"))


@pytest.fixture
def scored(run_eval: Any, run_dir: Path, data_dir: Path) -> Any:
    """scored(name, *flags): what is printed, and the results that were written."""

    def score(name: str, *flags: object) -> tuple[str, dict[str, Any]]:
        outcome = run_eval("score", run_dir, "--corpus", data_dir / name, *flags)
        assert outcome.status == 0, outcome.err
        path = Path(outcome.out.splitlines()[-1].removeprefix("written to ").removesuffix(".json and .csv"))
        assert path.parent == run_dir / "cross"
        results = json.loads(Path(f"{path}.json").read_text())
        with Path(f"{path}.csv").open(newline="") as file:
            assert len(list(csv.DictReader(file))) == len(results["rows"])
        return outcome.out, results

    return score


def pick(rows: list[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


@pytest.fixture(scope="module")
def final_of_noise(tiny: Any, run_train: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a final model of a variant that adds rows, on audio alone."""
    folder = tmp_path_factory.mktemp("noise")
    flags = ("demo", "--data-dir", folder / "none", "--data.no-text", "--folds", "session2", "--aligned-variants", *tiny)
    flags += ("--variants", "none", "noise", "--final", "--final-variant", "noise", "--run-dir", folder / "run")
    outcome = run_train(*flags)
    assert outcome.status == 0, outcome.err
    return folder / "run"


def test_a_final_model_of_a_variant_that_adds_rows(final_of_noise: Path, data_dir: Path, run_eval: Any) -> None:
    outcome = run_eval("score", final_of_noise, "--corpus", data_dir / "bare", "--classes", *MAP)
    assert outcome.status == 0, outcome.err
    path = outcome.out.splitlines()[-1].removeprefix("written to ").removesuffix(".json and .csv")
    rows = json.loads(Path(f"{path}.json").read_text())["rows"]
    assert {(row["model"], row["variant"]) for row in rows} == {("folds", "none"), ("folds", "noise"), ("final", "noise")}


def test_synthetic_rows_of_the_target_are_not_scored(scored: Any) -> None:
    out, results = scored("made", "--classes", *MAP)
    base = other()
    real = (np.arange(SIZE) % 3 > 0) & np.isin(base.label, (0, 1, 3, 4))
    assert results["provenance"]["target"]["scored"] == int(real.sum())
    assert f"{int((~real & np.isin(base.label, (0, 1, 3, 4))).sum())} synthetic rows of made are not scored" in out


def test_other_class_names_through_a_map(scored: Any) -> None:
    out, results = scored("other", "--classes", *MAP, "--details")
    corpus, rows = other(), results["rows"]
    counts = np.bincount(corpus.label[corpus.labelled], minlength=5)
    expected = {"angry": counts[0], "happy": counts[1] + counts[4], "sad": counts[3]}
    classes = results["provenance"]["classes"]
    assert classes["counts"] == expected and classes["missing"] == ["neutral"]
    assert classes["left_out"] == {"": int((corpus.label < 0).sum()), "indifference": counts[2]}
    assert results["provenance"]["target"]["scored"] == sum(expected.values())
    for row in rows:
        assert row["n"] == sum(expected.values()) and list(row["recalls"]) == ["angry", "happy", "sad"]
        assert (row["target"], row["normalise"], row["among"], row["protocol"]) == (
            "other",
            "training",
            "shared",
            "cross-corpus",
        )
    assert {row["aggregate"] for row in rows} == {"session2", "session4", "mean", "ensemble"}
    assert {(row["cell"], row["variant"]) for row in rows} == {
        *(("", variant) for variant in ("none", "noise", "infogan")),
        *(("space=aligned", variant) for variant in ("none", "infogan")),
    }
    assert {row["modality"] for row in rows} == {"audio", "text", "both"}
    for said in (
        "demo → other: ",
        "3 shared classes",
        "rows of other outside the shared classes",
        "heads choose among the shared classes",
        "Features are standardised by the training part of each model",
        "session: 2 folds × 1 seed",
        "joy, amusement",
    ):
        assert said in out


def test_rows_that_a_fold_tested_are_scored_as_in_training(scored: Any, demo: Any) -> None:
    """The target's rows go the very way that test rows go: those of the fold's own test part score what training said."""
    out, results = scored("second", "--fold", "session2")
    before = {
        (r["cell"], r["variant"], r["modality"], r["subset"]): r for r in pick(demo.results["rows"], aggregate="session2")
    }
    now = {(r["cell"], r["variant"], r["modality"], r["subset"]): r for r in pick(results["rows"], aggregate="session2")}
    assert now.keys() == before.keys() and len(now) > 10
    for key, row in now.items():
        assert row["confusion"] == before[key]["confusion"] and row["n"] == before[key]["n"], key
    assert "speakers of second have names that speakers of demo have too" in out


def test_all_classes_and_the_target_s_own_statistics(scored: Any) -> None:
    _, plain = scored("other", "--classes", *MAP, "--no-text", "--among", "all")
    out, moved = scored("other", "--classes", *MAP, "--no-text", "--among", "all", "--normalise", "speaker")
    assert "standardised by each target speaker, labels unseen (transductive)" in out
    assert "a class that the target lacks" not in out and "one that the target lacks counts as an error" in out
    for results in (plain, moved):
        assert {row["modality"] for row in results["rows"]} == {"audio"}
        for row in results["rows"]:
            assert list(row["recalls"]) == ["angry", "happy", "neutral", "sad"] and row["recalls"]["neutral"] is None
            assert np.sum(row["confusion"], axis=1)[2] == 0
    assert [row["confusion"] for row in plain["rows"]] != [row["confusion"] for row in moved["rows"]]


def test_a_corpus_without_text_is_scored_by_audio_alone(scored: Any) -> None:
    out, results = scored("bare", "--classes", *MAP)
    _, whole = scored("other", "--classes", *MAP)
    assert "bare has no text: heads on audio are scored alone" in out
    audio = pick(whole["rows"], modality="audio")
    assert [row["confusion"] for row in results["rows"]] == [row["confusion"] for row in audio]


def test_missing_transcripts_are_passed_over_by_what_reads_text(scored: Any) -> None:
    out, results = scored("gaps", "--classes", *MAP)
    corpus = other()
    kept = np.isin(corpus.label, (0, 1, 3, 4))
    with_text = kept & (np.arange(SIZE) % 4 > 0)
    assert {row["n"] for row in pick(results["rows"], modality="audio")} == {int(kept.sum())}
    for modality in ("text", "both"):
        assert {row["n"] for row in pick(results["rows"], modality=modality)} == {int(with_text.sum())}
    assert f"{SIZE // 4} of {SIZE} utterances of gaps have no transcript" in out


@pytest.mark.parametrize(
    ("name", "flags", "said"),
    [
        ("narrow", ("--classes", *MAP), "audio features of different widths, 24 and 5: they are not those of one encoder"),
        ("other", (), "no class is shared: the classes here are angry, happy, neutral, sad, and those of corpus 'other' rage"),
        ("other", ("--classes", "angry=rage"), "only the class 'angry' is shared"),
        ("other", ("--classes", "angry=rage", "sad=sorrow"), "corpus 'other' never says it"),
        (
            "other",
            ("--classes", *MAP, "--fold", "session9"),
            "has no fold 'session9'; its folds: session2, session4, and final",
        ),
        ("other", ("--classes", *MAP, "--fold", "final"), "has no final model"),
        ("second", (), "have the ids of utterances of 'demo' that the models of fold 'session4' trained on"),
        (
            "copies",
            ("--classes", *MAP, "--fold", "session4"),
            "have the audio features, to the last bit, of utterances of 'demo'",
        ),
        ("nothing", (), "no corpus 'nothing'"),
    ],
)
def test_refused(run_eval: Any, run_dir: Path, data_dir: Path, name: str, flags: tuple[str, ...], said: str) -> None:
    before = sorted((run_dir / "cross").glob("*"))
    outcome = run_eval("score", run_dir, "--corpus", data_dir / name, *flags)
    assert outcome.status == 2 and outcome.out == ""
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1 and said in outcome.err
    assert sorted((run_dir / "cross").glob("*")) == before


@pytest.mark.parametrize("flags", [("--classes", "a=b"), ("--normalise", "corpus"), ("--fold", "x"), ("--no-text",)])
def test_choices_without_a_corpus_are_refused(run_eval: Any, demo: Any, flags: tuple[str, ...]) -> None:
    outcome = run_eval("score", demo.folder, *flags)
    assert (
        outcome.status == 2
        and outcome.err == f"error: {flags[0]} is about another corpus; name it with --corpus DATA_DIR/NAME\n"
    )
