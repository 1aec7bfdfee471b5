"""Nested selection by the command: chosen without test information, refitted, extended, killed and gone on with."""

import csv
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet
from stopped import AFTER_A_CHUNK

from infoser import experiment, matrix, protocols
from infoser.corpus import Corpus
from infoser.demo import sample
from infoser.protocols import demote_labels, make_folds

SIZES = ("--generate.width", 8, "--generate.steps", 10, "--generate.critic-steps", 1, "--generate.loss", "hinge")
SIZES += ("--classify.width", 8, "--classify.steps", 20, "--chunk-steps", 10)
CANDIDATES = ("--candidates", "none", "noise generate.ratio=0.5", "infogan-notext generate.ratio=0.5")
CANDIDATES += ("--none-candidates", "none", "none classify.learning-rate=0.02", "none classify.dropout=0")
SELECT = (*SIZES, "--select", "dev", *CANDIDATES)
DEMO = ("demo", "--data.no-text", "--folds", "session2", "session4", "--variants", "none", "noise", "--aligned-variants")
FLAGS = (*DEMO, *SELECT, "--grid", "label-fraction=1,0.1")
CELLS = {"select=dev": 1.0, "label-fraction=0.1 select=dev": 0.1}


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def checked(run_eval: Any, folder: Path) -> None:
    outcome = run_eval("score", folder)
    assert outcome.status == 0, outcome.err
    assert outcome.out.splitlines()[-1] == f"the same as {folder / 'results.json'}, to the last digit"


@pytest.fixture(scope="module")
def selected(run_train: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("selected") / "run"
    outcome = run_train(*FLAGS, "--data-dir", folder / "none", "--run-dir", folder)
    assert outcome.status == 0, outcome.err
    return folder, outcome


def test_it_says_what_it_is_going_to_train_and_what_was_chosen(selected: Any) -> None:
    folder, outcome = selected
    assert outcome.err.startswith(
        "demo: choosing among 3 + 3 candidates in 7 inner folds × seeds at 100 % of the labels; 3 + 3 candidates in 8 inner "
        f"folds × seeds at 10 % of the labels: 0 aligners, 15 generators, 75 heads, in {folder / 'selection'}"
    )
    assert "\ndemo: 2 folds (session) × 1 seeds, " in outcome.err
    notes = [line for line in outcome.out.splitlines() if line.startswith("note: ")]
    for cell in CELLS:
        for name in ("selected", "none"):
            where = "folds" if cell == "select=dev" else "folds and seeds"
            assert any(note.startswith(f"note: {cell}, audio: of 2 {where} {name} is ") for note in notes)


def test_the_rows_of_selection_are_told_apart_and_compared_with_each_other(selected: Any) -> None:
    rows = results(selected[0])["rows"]
    assert {(row["cell"], row["variant"], row["label_fraction"]) for row in rows} == {
        *(("", variant, 1.0) for variant in ("none", "noise")),
        *(("label-fraction=0.1", variant, 0.1) for variant in ("none", "noise")),
        *((cell, variant, fraction) for cell, fraction in CELLS.items() for variant in ("none", "selected")),
    }
    ua = {(row["cell"], row["variant"], row["subset"], row["aggregate"]): row["ua"] for row in rows}
    for row in rows:
        if row["variant"] == "selected":
            reference = ua[row["cell"], "none", row["subset"], row["aggregate"]]
            assert row["ua_minus_none"] == pytest.approx(row["ua"] - reference)


def test_what_was_chosen_and_by_what_is_written(selected: Any) -> None:
    folder, _ = selected
    rows = results(folder)["selection"]
    with (folder / "selection.csv").open(newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert [{key: "" if value is None else str(value) for key, value in row.items()} for row in rows] == written
    purposes: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        assert row["seed"] == (None if row["cell"] == "select=dev" else 0)
        purposes.setdefault((row["cell"], row["variant"], row["modality"], row["fold"]), []).append(row)
    assert len(purposes) == 2 * 2 * 2
    for own in purposes.values():
        assert len(own) == 3 and [row["chosen"] for row in own].count(True) == 1
        told = [0] + [place for place in (1, 2) if own[place]["dev_gain"] > own[place]["dev_gain_se"]]
        best = max(told, key=lambda place: (own[place]["dev_ua"], -place))
        assert own[best]["chosen"]
    labelled = sample().labelled.sum()
    tested = {row["aggregate"]: row["n"] for row in results(folder)["rows"] if row["subset"] == "all"}
    for (cell, _, _, fold), own in purposes.items():
        if cell == "select=dev":  # every labelled training row speaks once
            assert {row["dev_utterances"] for row in own} == {labelled - tested[fold]}


def test_the_refit_is_of_what_was_chosen(selected: Any, groups: Any) -> None:
    folder, _ = selected
    trained = {
        run.split("/", 2)[2]
        for name, runs in groups(folder).items()
        for run in runs
        if name.startswith("part2/") and "classify" in name and "-probe" not in run
    }
    chosen = {row["candidate"] for row in results(folder)["selection"] if row["chosen"]}
    assert trained == chosen - {"none"}  # which the run has anyway


def test_no_checkpoint_of_inner_runs_is_kept(selected: Any) -> None:
    folder = selected[0]
    assert list(folder.glob("encoder/classify/audio/step_*"))
    assert list(folder.glob("selection/**/dev_counts.json")) and not list(folder.glob("selection/**/step_*"))
    assert not (folder / "selection" / "events").exists()


def test_the_tables_name_the_family_and_the_multiples_of_labels(selected: Any) -> None:
    folder, outcome = selected
    rows = parquet.read_table(folder / "scores.parquet").to_pylist()
    family = {(row["cell"], row["variant"], row["modality"], row["subset"], row["aggregate"]) for row in rows if row["family"]}
    assert family == {(cell, "selected", "audio", "all", "pooled") for cell in CELLS}
    assert {row["select"] for row in rows if "select=dev" in row["cell"]} == {"dev"}
    assert {row["select"] for row in rows if "select=dev" not in row["cell"]} == {"off"}
    for row in rows:
        there = row["aggregate"] == "pooled" and row["variant"] != "none"
        assert (row["label_multiplier"] is not None) == there
        assert row["label_multiplier_bound"] in (("", "<", ">") if there else (None,))
    for name in ("table.md", "table.tex"):
        text = (folder / name).read_text()
        assert "labels" in text and "whichever of the four are here" in text and "2 comparisons" in text
    assert "labels ×: how many times the labels none needs" in outcome.out


@pytest.mark.usefixtures("figures_on_the_page_only")
def test_score_and_report_know_of_it(selected: Any, run_eval: Any, tmp_path: Path) -> None:
    folder, _ = selected
    checked(run_eval, folder)
    outcome = run_eval("report", folder, "--no-embeddings", "--out", tmp_path / "report")
    assert outcome.status == 0, outcome.err
    page = (tmp_path / "report" / "index.html").read_text()
    assert 'id="table-selection"' in page and 'id="table-candidates"' in page and "labels ×" in page
    assert "selection/encoder" not in page
    # Candidates may differ at their ends alone: their names are shown whole.
    assert all(f">{row['candidate']}<" in page for row in results(folder)["selection"])
    with (tmp_path / "report" / "tables" / "candidates.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(results(folder)["selection"])


def test_beside_it_plain_rows_are_what_they_are_alone(selected: Any, run_train: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    plain = (*DEMO, *SIZES, "--grid", "label-fraction=1,0.1", "--data-dir", tmp_path / "none", "--run-dir", folder)
    assert run_train(*plain).status == 0
    rows = results(folder)["rows"]
    assert rows == [row for row in results(selected[0])["rows"] if "select=dev" not in row["cell"]]
    # Selection can be added to what is there, and not taken away.
    assert run_train(*plain, "--select", "dev", *CANDIDATES).status == 0
    assert results(folder)["rows"] == results(selected[0])["rows"]
    assert results(folder)["selection"] == results(selected[0])["selection"]
    outcome = run_train(*plain)
    assert outcome.status == 2 and "holds more than is asked for (what --select dev chose)" in outcome.err
    fewer = [one for one in CANDIDATES if "infogan" not in str(one)]
    outcome = run_train(*plain, "--select", "dev", *fewer)
    assert outcome.status == 2 and "more than is asked for (" in outcome.err
    # What was chosen is said first, and of the other list the last candidate goes with it, so that both are as long.
    assert "infogan-notext" in outcome.err or "classify.dropout=0" in outcome.err


def test_killed_extended_and_gone_on_with(
    selected: Any, run_train: Any, run_eval: Any, in_new_process: Any, tmp_path: Path
) -> None:
    more = (*FLAGS, "--seeds", 0, 1, "--data-dir", tmp_path / "none", "--run-dir")
    folder, undisturbed = tmp_path / "run", tmp_path / "undisturbed"
    for one in (folder, undisturbed):
        shutil.copytree(selected[0], one)
    counts = {path: path.stat().st_mtime_ns for path in folder.glob("selection/**/dev_counts.json")}
    outcome = in_new_process(
        "-c", AFTER_A_CHUNK, "SIGKILL", "part4/encoder-label-fraction=0.1/classify/audio", 10, *more, folder
    )
    assert outcome.status == -9, outcome.err
    assert run_eval("score", folder).status == 2
    for one in (folder, undisturbed):
        outcome = run_train(*more, one)
        assert outcome.status == 0, outcome.err
    for name in ("results.json", "selection.csv", "scores.csv", "scores.parquet", "table.md", "table.tex"):
        texts = [(one / name).read_bytes().replace(str(one).encode(), b"") for one in (folder, undisturbed)]
        assert texts[0] == texts[1], name
    # What the first seed's candidates came to is not found out again.
    assert {path: path.stat().st_mtime_ns for path in counts} == counts
    found = results(folder)
    assert {row["seeds"] for row in found["rows"]} == {2}
    one_seed = [row for row in results(selected[0])["selection"] if row["seed"] == 0]
    assert [row for row in found["selection"] if row["seed"] == 0] == one_seed
    checked(run_eval, folder)


def test_counts_that_were_changed_are_refused(selected: Any, run_eval: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(selected[0], folder)
    path = folder / "selection" / "encoder" / "dev_counts.json"
    contents = json.loads(path.read_text())
    contents["contents"][0][-1][0][0] += 1
    path.write_text(json.dumps(contents))
    outcome = run_eval("score", folder)
    assert outcome.status == 2 and f"{path} was changed since training" in outcome.err
    path.unlink()
    outcome = run_eval("score", folder)
    assert outcome.status == 2 and "lacks what candidates came to" in outcome.err


def test_what_is_chosen_for_each_fold_is_no_model_to_export_or_predict_with(
    selected: Any, run_eval: Any, tmp_path: Path
) -> None:
    folder, _ = selected
    outcome = run_eval("generate", folder, "--variant", "selected", "--fold", "session2", "--count", 4, "--out", tmp_path / "x")
    assert outcome.status == 2 and "--variant selected is another variant for each fold" in outcome.err
    outcome = run_eval("predict", folder, tmp_path / "x.wav", "--variant", "selected", "--fold", "session2")
    assert outcome.status == 2 and "--variant selected is another variant for each fold" in outcome.err


def test_what_was_chosen_is_scored_on_another_corpus_fold_by_fold(
    selected: Any, run_prepare: Any, run_eval: Any, tmp_path: Path
) -> None:
    other = sample(seed=7, size=120)
    emotion = np.array([*other.classes, ""])[other.label]
    arrays = {"utterance_id": np.char.add("other", other.utterance_id), "audio": other.audio, "emotion": emotion}
    np.savez(tmp_path / "other.npz", **arrays, speaker=np.char.add("other ", other.speaker))  # pyright: ignore
    prepared = run_prepare("arrays", "--source", tmp_path / "other.npz", "--name", "other", "--data-dir", tmp_path / "data")
    assert prepared.status == 0, prepared.err
    folder = tmp_path / "run"
    shutil.copytree(selected[0], folder)
    outcome = run_eval("score", folder, "--corpus", tmp_path / "data" / "other")
    assert outcome.status == 0, outcome.err
    rows = json.loads((folder / "cross" / "other.json").read_text())["rows"]
    arms = {(row["cell"], row["variant"]) for row in rows}
    plain = {(cell, variant) for cell in ("", "label-fraction=0.1") for variant in ("none", "noise")}
    assert arms == plain | {(cell, variant) for cell in CELLS for variant in ("none", "selected")}
    assert all(row["label_fraction"] == (0.1 if "label-fraction=0.1" in row["cell"] else 1.0) for row in rows)


HELD_OUT = "session2"


def other_labels(corpus: Corpus) -> Corpus:
    rows = np.flatnonzero(corpus.session == "2")
    label = corpus.label.copy()
    label[rows] = np.random.default_rng(1).permutation(label[rows])
    return dataclasses.replace(corpus, label=label)


def other_features(corpus: Corpus) -> Corpus:
    rows, rng = np.flatnonzero(corpus.session == "2"), np.random.default_rng(2)
    audio = corpus.audio.copy()
    audio[rows] = 1e4 * rng.standard_cauchy((len(rows), audio.shape[1])).clip(-1e3, 1e3)
    return dataclasses.replace(corpus, audio=audio)


def taken_away(corpus: Corpus) -> Corpus:
    """All labels that the held-out session's fold may not see at 10 %, moved on by one class; those of its test part too."""
    fold = make_folds(corpus, "session")[1]
    hidden = np.setdiff1d(np.arange(len(corpus)), demote_labels(corpus, fold, 0.1, 0))
    label = corpus.label.copy()
    label[hidden] = np.where(label[hidden] < 0, -1, (label[hidden] + 1) % len(corpus.classes))
    return dataclasses.replace(corpus, label=label)


@pytest.mark.parametrize("change", [other_labels, other_features, taken_away], ids=["labels", "features", "taken-away"])
def test_what_may_not_be_seen_changes_nothing_that_is_chosen_or_trained(
    change: Callable[[Corpus], Corpus], selected: Any, run_train: Any, checkpoint: Any, groups: Any, tmp_path: Path
) -> None:
    folder, seen = tmp_path / "run", sample()
    with pytest.MonkeyPatch.context() as patch:
        load = experiment.load_corpus
        patch.setattr(experiment, "load_corpus", lambda config: change(load(config)))
        if change is taken_away:  # which labels are drawn depends on the classes of all: drawn as they were
            for module in (protocols, matrix):
                patch.setattr(module, "demote_labels", lambda _, fold, *which: demote_labels(seen, fold, *which))
        outcome = run_train(*FLAGS, "--data-dir", tmp_path / "none", "--run-dir", folder)
    assert outcome.status == 0, outcome.err
    fractions = (0.1,) if change is taken_away else (1.0, 0.1)
    both = [results(one)["selection"] for one in (selected[0], folder)]
    own = [[row for row in rows if row["fold"] == HELD_OUT and row["label_fraction"] in fractions] for rows in both]
    assert own[0] == own[1] and len(own[0]) == 6 * len(fractions)
    others = [[row for row in rows if row["fold"] != HELD_OUT] for rows in both]
    assert others[0] != others[1]  # for those it is a training part
    compared = set()
    for name in groups(selected[0]):
        if name.startswith("selection/") or name not in groups(folder):
            continue
        if change is taken_away and "label-fraction" not in name:
            continue
        # Arms that were chosen for the other fold alone may be others, and runs stand elsewhere.
        places = [groups(one)[name] for one in (selected[0], folder)]
        states = [checkpoint(one / name) for one in (selected[0], folder)]
        for run in set(places[0]) & set(places[1]):
            if run.startswith(f"{HELD_OUT}/"):
                compared.add(run.split("/", 2)[2])
                for leaf in states[0]:
                    pair = [state[leaf][place.index(run)] for state, place in zip(states, places, strict=True)]
                    assert np.allclose(*pair, rtol=1e-4, atol=1e-6), (name, run, leaf)
    assert compared >= {"none", *(row["candidate"] for row in own[0] if row["chosen"])}


def test_a_corpus_with_text_and_its_own_division(
    run_prepare: Any, run_train: Any, run_eval: Any, tiny: Any, tmp_path: Path
) -> None:
    corpus = sample()
    names = {"1": "Train", "2": "Train", "3": "Development", "4": "Test1", "5": "Test2"}
    emotion = np.array([*corpus.classes, ""])[corpus.label]
    arrays = {"utterance_id": corpus.utterance_id, "audio": corpus.audio, "text": corpus.text, "emotion": emotion}
    arrays |= {"speaker": corpus.speaker, "split": np.array([names[one] for one in corpus.session])}  # pyright: ignore
    np.savez(tmp_path / "own.npz", **arrays)  # pyright: ignore[reportArgumentType]
    outcome = run_prepare("arrays", "--source", tmp_path / "own.npz", "--name", "own", "--data-dir", tmp_path / "data")
    assert outcome.status == 0, outcome.err
    candidates = ("--candidates", "none", "none space=joined", "teacher generate.row-weight=1")
    candidates += ("--none-candidates", "none", "none classify.learning-rate=0.02")
    command = ("corpus", "--data.name", "own", "--data-dir", tmp_path / "data", *tiny, "--variants", "none", "--select", "dev")
    folder = tmp_path / "run"
    outcome = run_train(*command, *candidates, "--label-fraction", 0.3, "--run-dir", folder)
    assert outcome.status == 0, outcome.err
    assert "2 + 2 candidates in 2 inner folds × seeds at 30 % of the labels" in outcome.err
    assert "--candidates: the last 1 left out, so that both lists are as long: teacher generate.row-weight=1" in outcome.out
    found = results(folder)
    assert {(row["fold"], row["seed"]) for row in found["selection"]} == {("Test1", 0), ("Test2", 0)}
    assert {row["modality"] for row in found["rows"] if row["variant"] == "selected"} == {"audio", "both"}
    assert any("this run has neither" in note for note in found["notes"])
    checked(run_eval, folder)
