"""`train.py` and `eval.py score`: what they write, what they print, and that a second look finds the same."""

import csv
import json
import math
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infoser.demo import truth

CLASSES = ("angry", "happy", "neutral", "sad")
FOLDS = ("session2", "session4")
HEADS = (("none", ""), ("noise", ""), ("infogan", ""), ("none", "space=aligned"), ("infogan", "space=aligned"))
MODALITIES = ("audio", "text", "both")
KEY = ("variant", "cell", "modality", "subset", "aggregate", "protocol", "label_fraction")
FIGURES = ("wa", "ua", "macro_f1", "ua_std", "ua_low", "ua_high", "ua_minus_none", "ua_minus_none_low", "ua_minus_none_high")


def pick(rows: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    (row,) = (row for row in rows if all(row[key] == value for key, value in wanted.items()))
    return row


def files(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every file with its size, inode and time of writing: a file that is written again, even alike, shows."""
    stats = {path.relative_to(folder).as_posix(): path.stat() for path in folder.rglob("*") if path.is_file()}
    stats.pop(".lock", None)  # opened by whoever comes
    return {name: (stat.st_size, stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


def test_one_row_for_every_combination(demo: Any) -> None:
    rows = demo.results["rows"]
    aggregates, subsets = (*FOLDS, "mean", "pooled"), ("all", "improvised", "text_disjoint")
    expected = {
        (variant, cell, modality, subset, aggregate, "session", 1.0)
        for variant, cell in HEADS
        for modality in MODALITIES
        for subset in subsets
        for aggregate in aggregates
    }
    assert Counter(tuple(row[key] for key in KEY) for row in rows) == Counter(expected)
    for row in rows:
        assert set(KEY) | set(FIGURES) | {"seeds", "n"} <= row.keys()
        assert row["seeds"] == 1


def test_every_score_follows_from_its_confusion_matrix(demo: Any) -> None:
    for row in demo.results["rows"]:
        for name in FIGURES:
            value = row[name]
            bound = -1.0 if name.startswith("ua_minus") else 0.0
            assert value is None or (math.isfinite(value) and bound <= value <= 1.0), (name, row)
        if row["aggregate"] == "mean":
            continue
        counts = np.array(row["confusion"])  # of the only seed
        recalls = np.diag(counts) / counts.sum(axis=1)
        assert counts.sum() == row["n"]
        assert row["wa"] == pytest.approx(np.trace(counts) / counts.sum())
        assert row["ua"] == pytest.approx(recalls.mean())
        precisions = np.diag(counts) / np.maximum(counts.sum(axis=0), 1)
        f1 = 2 * recalls * precisions / np.maximum(recalls + precisions, 1e-12)
        assert row["macro_f1"] == pytest.approx(f1.mean())
        assert row["recalls"] == pytest.approx(dict(zip(CLASSES, recalls, strict=True)))


def test_aggregates_and_differences(demo: Any) -> None:
    rows = demo.results["rows"]
    for row in rows:
        identity = {key: row[key] for key in KEY if key != "aggregate"}
        folds = [pick(rows, **identity, aggregate=fold) for fold in FOLDS]
        if row["aggregate"] == "mean":
            assert row["ua"] == pytest.approx(np.mean([fold["ua"] for fold in folds]))
            assert row["ua_std"] == pytest.approx(np.std([fold["ua"] for fold in folds], ddof=1))
        if row["aggregate"] == "pooled":
            assert row["n"] == sum(fold["n"] for fold in folds)
            assert np.array_equal(row["confusion"], np.sum([fold["confusion"] for fold in folds], axis=0))
        else:
            assert row["ua_low"] is None and row["ua_high"] is None  # intervals over speakers belong to the pool
        if row["variant"] == "none":
            assert row["ua_minus_none"] is None
        else:
            none = pick(rows, **identity | {"variant": "none"}, aggregate=row["aggregate"])
            assert row["ua_minus_none"] == pytest.approx(row["ua"] - none["ua"])


def test_the_named_folds_alone_are_run(demo: Any, groups: Callable[[Path], dict[str, list[str]]]) -> None:
    provenance = demo.results["provenance"]
    assert tuple(provenance["folds"]) == FOLDS
    of_groups = groups(demo.folder)
    assert set(of_groups) == {
        f"{space}/{group}"
        for space in ("encoder", "aligned")
        for group in ("align", "generate/class_text", "classify/audio", "classify/text", "classify/both")
    }
    assert all({run.split("/")[0] for run in runs} == set(FOLDS) for runs in of_groups.values())


def test_quality_and_provenance(demo: Any) -> None:
    results = demo.results
    real = [("real", modality) for modality in MODALITIES]
    expected = {"": [*real, ("noise", "audio"), ("infogan", "audio")], "space=aligned": [*real, ("infogan", "audio")]}
    assert [(row["cell"], row["variant"], row["modality"]) for row in results["quality"]] == [
        (cell, *row) for cell, rows in expected.items() for row in rows
    ]
    for row in results["quality"]:
        assert row["class_information_ceiling_nats"] == pytest.approx(math.log(4))
        assert row["class_information_nats"] < math.log(4)
        assert row["estimator"] and row["runs"] == 2
        assert (row["tstr_ua"] is None) == (row["variant"] == "real")
        assert row["class_information_null_95_nats"] < math.log(4) and 0.001 <= row["class_information_p"] <= 1
        assert (row["ua_p"] is None) == (row["variant"] != "real")
        assert (row["audio_text_information_given_class_nats"] is None) == (
            (row["variant"], row["modality"], row["cell"]) != ("real", "audio", "")
        )
        where = {"cell": row["cell"], "modality": row["modality"]}
        none = pick(results["rows"], variant="none", subset="all", aggregate="mean", **where)
        assert row["trtr_ua"] == pytest.approx(none["ua"])
    provenance = results["provenance"]
    assert provenance["corpus"]["name"] == "demo" and provenance["corpus"]["classes"] == list(CLASSES)
    assert provenance["corpus"]["utterances"] == 1200
    assert {"jax", "jaxlib", "flax", "optax", "numpy"} <= provenance["versions"].keys()
    assert re.fullmatch("[0-9a-f]{16}", provenance["config_fingerprint"])
    pooled = pick(results["rows"], variant="none", cell="", modality="audio", subset="all", aggregate="pooled")
    assert pooled["n"] == sum(fold["test"] for fold in provenance["folds"].values())


@pytest.mark.parametrize("part, name", [("rows", "scores.csv"), ("quality", "quality.csv")])
def test_the_csv_says_what_the_json_says(part: str, name: str, demo: Any) -> None:
    def read(text: str, like: Any) -> Any:
        if like is None:
            return None if text == "" else text
        return json.loads(text) if isinstance(like, dict | list) else type(like)(text)

    rows = demo.results[part]
    with (demo.folder / name).open(newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert [{key: read(line[key], row[key]) for key in row} for line, row in zip(written, rows, strict=True)] == rows


def printed(out: str, title: str) -> dict[str, list[str]]:
    """The cells of each line of the table with this title, by the line's first cell."""
    lines = out[out.index(title) :].splitlines()
    table = lines[: next(number for number, line in enumerate(lines) if line.startswith("└"))]
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in table if line.startswith("│")]
    return {line[0]: line[1:] for line in cells}


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_printed_table_shows_the_same_numbers(modality: str, demo: Any) -> None:
    table = printed(demo.outcome.out, f"{modality}, all utterances")
    assert len(table) == len(HEADS)
    for variant, cell in HEADS:
        key = {"variant": variant, "cell": cell, "modality": modality, "subset": "all"}
        mean, pooled = (pick(demo.results["rows"], **key, aggregate=name) for name in ("mean", "pooled"))
        line = table[variant + (f" ({cell})" if cell else "")]
        assert line[0] == f"{100 * mean['ua']:.1f} ± {100 * mean['ua_std']:.1f}"
        assert line[1:3] == [f"{100 * mean[name]:.1f}" for name in ("wa", "macro_f1")]
        assert line[3].split(" ")[0] == f"{100 * pooled['ua']:.1f}"
        assert line[4:6] == [f"{100 * pooled[name]:.1f}" for name in ("wa", "macro_f1")]
        difference = pooled["ua_minus_none"]
        assert line[6].split(" ")[0] == ("–" if difference is None else f"{100 * difference:+.1f}")


def test_estimates_are_printed_beside_the_truth(demo: Any) -> None:
    table, known = printed(demo.outcome.out, "Estimates beside the truth"), truth()
    real = pick(demo.results["quality"], variant="real", cell="", modality="audio")
    assert table["I(emotion; audio), nats"][0].startswith(f"{real['class_information_nats']:.3f} ")
    assert table["I(emotion; audio), nats"][1] == f"{known.class_audio_information_nats:.3f}"
    shared = table["I(audio; text | emotion), nats"]
    assert shared[0].startswith(f"{real['audio_text_information_given_class_nats']:.3f} ")
    assert shared[1] == f"{known.audio_text_information_given_class_nats:.3f}"
    for modality in MODALITIES:
        none = pick(demo.results["rows"], variant="none", cell="", modality=modality, subset="all", aggregate="pooled")
        bayes = getattr(known, f"bayes_ua_{modality}")
        assert table[f"UA of none, {modality}, %"][:2] == [f"{100 * none['ua']:.1f}", f"{100 * bayes:.1f}"]


def test_a_new_process_scores_the_same_to_the_last_digit(demo: Any, in_new_process: Any) -> None:
    before = files(demo.folder)
    outcome = in_new_process("eval.py", "score", demo.folder)
    assert outcome.status == 0
    # What takes long on a slow machine is said.
    assert all(line.startswith(("restoring ", "drawing ")) for line in outcome.err.splitlines()), outcome.err
    *tables, last = outcome.out.splitlines()
    assert last == f"the same as {demo.folder / 'results.json'}, to the last digit"
    assert tables == demo.outcome.out.splitlines()[:-1]
    assert files(demo.folder) == before


def test_details_add_folds_and_confusions(demo: Any, run_eval: Any) -> None:
    outcome = run_eval("score", demo.folder, "--details")
    assert outcome.status == 0
    table = printed(outcome.out, "audio, UA / WA / F1 of each fold")
    rows = demo.results["rows"]
    for column, fold in enumerate(FOLDS):
        row = pick(rows, variant="noise", cell="", modality="audio", subset="all", aggregate=fold)
        assert table["noise"][column] == " / ".join(f"{100 * row[name]:.1f}" for name in ("ua", "wa", "macro_f1"))
    pooled = pick(rows, variant="infogan", cell="", modality="text", subset="all", aggregate="pooled")
    confusion = printed(outcome.out, "infogan, text: true (rows)")
    assert confusion == {name: [f"{n:,}" for n in line] for name, line in zip(CLASSES, pooled["confusion"], strict=True)}


def test_training_again_trains_nothing(demo: Any, run_train: Any) -> None:
    def trained() -> dict[str, Any]:
        return {name: stat for name, stat in files(demo.folder).items() if "step_" in name}

    before, text = trained(), (demo.folder / "results.json").read_bytes()
    # Neither the chunks nor where the corpus lies are part of what an experiment is.
    outcome = run_train(*demo.flags, "--run-dir", demo.folder, "--checkpoint-every-s", 7)
    assert outcome.status == 0 and outcome.out == demo.outcome.out
    assert trained() == before
    assert (demo.folder / "results.json").read_bytes() == text


@pytest.mark.parametrize(
    "change, difference",
    [
        (("--classify.dropout", 0.25), "classify.dropout was 0.5, now 0.25"),
        (("--generate.latent-dim", 8), "generate.latent-dim was 64, now 8"),
    ],
)
def test_another_experiment_in_the_same_folder_is_refused(
    change: tuple[object, ...], difference: str, demo: Any, run_train: Any
) -> None:
    before = files(demo.folder)
    outcome = run_train(*demo.flags, *change, "--run-dir", demo.folder)
    assert outcome.status == 2 and outcome.out == ""
    assert outcome.err == f"error: {demo.folder} holds another experiment ({difference}); give this one its own --run-dir\n"
    assert files(demo.folder) == before


@pytest.mark.parametrize(
    "change, more",
    [
        (("--variants", "none", "noise"), "variants infogan"),
        (("--aligned-variants",), "variants none (space=aligned), infogan (space=aligned)"),
        (("--folds", "session2"), "folds session4"),
        (("--seeds", 1), "seeds 0"),
    ],
)
def test_less_than_the_folder_holds_is_refused(change: tuple[object, ...], more: str, demo: Any, run_train: Any) -> None:
    before = files(demo.folder)
    flags = list(demo.flags)
    if "--folds" in change:
        flags = [one for one in flags if one not in ("--folds", *FOLDS)]
    outcome = run_train(*flags, *change, "--run-dir", demo.folder)
    assert outcome.status == 2 and outcome.out == ""
    assert outcome.err == (
        f"error: {demo.folder} holds more than is asked for ({more}); ask for that too, or give this experiment its own "
        "--run-dir\n"
    )
    assert files(demo.folder) == before


def test_an_unfinished_experiment_is_not_scored(demo: Any, run_eval: Any, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(demo.folder, copy)
    for step in (copy / "encoder" / "align").glob("step_*"):
        shutil.rmtree(step)
    outcome = run_eval("score", copy)
    assert outcome.status == 2 and outcome.out == ""
    assert outcome.err == (
        f"error: {copy / 'encoder' / 'align'} has 0 of 20 training steps; run the training command again to finish it\n"
    )
    assert (copy / "results.json").read_bytes() == (demo.folder / "results.json").read_bytes()


def test_results_that_were_changed_by_hand_are_noticed(demo: Any, run_eval: Any, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(demo.folder, copy)
    results = demo.results
    results["rows"][0]["ua"] += 1e-9
    (copy / "results.json").write_text(json.dumps(results))
    outcome = run_eval("score", copy)
    assert outcome.status == 2
    assert outcome.err.startswith(f"error: the rows differ from {copy / 'results.json'}: ")
