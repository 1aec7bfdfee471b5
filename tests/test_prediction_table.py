"""Predictions of every test utterance: written as the heads said them, read back, and refused when damaged."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from infoser import prediction_table
from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.leakage import Fold
from infoser.matrix import Unit
from infoser.runs import HeadOutputs

CORPUS = Corpus(
    name="c",
    utterance_id=np.array([f"u{i}" for i in range(6)]),
    audio=np.zeros((6, 2), np.float32),
    text=None,
    label=np.array([0, 1, 2, 0, 1, 2], np.int32),
    classes=("seed", "label", "<b>"),  # names of other columns
    speaker=np.array(list("aabbcc")),
)


def head(variant: str, seed: int, rows: list[int], probe: bool = False) -> HeadOutputs:
    fold = Fold("f", np.arange(0), np.array(rows, np.int64), np.arange(0))
    probability = np.random.default_rng(seed).dirichlet(np.ones(3), len(rows))
    unit = Unit(fold, seed, CORPUS.label)
    return HeadOutputs(unit, variant, "audio", probe, np.array(rows, np.int64), np.log(probability).astype(np.float32))


def test_every_head_is_read_back_as_it_spoke(tmp_path: Path):
    heads = {"": [head("none", 0, [1, 4, 5]), head("none", 2**31 - 1, [1, 4, 5])], "x=1": [head("noise", 0, [0])]}
    heads["x=1"] += [head("noise", 0, [0, 1], probe=True), head("noise", 1, [])]
    prediction_table.write(tmp_path, prediction_table.table(heads, CORPUS))
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.parquet"]
    rows = prediction_table.read(tmp_path)
    assert rows.num_rows == 7 and prediction_table.class_names(rows) == list(CORPUS.classes)
    assert rows.column("utterance_id").to_pylist() == ["u1", "u4", "u5"] * 2 + ["u0"]
    assert rows.column("label").to_pylist() == ["label", "label", "<b>"] * 2 + ["seed"]
    assert rows.column("seed").to_pylist() == [0] * 3 + [2**31 - 1] * 3 + [0]
    spoken = np.concatenate([np.exp(one.log_probability) for one in (*heads[""], heads["x=1"][0])])
    np.testing.assert_array_equal(prediction_table.probabilities(rows), spoken)
    assert prediction_table.read(tmp_path, "x=1").column("variant").to_pylist() == ["noise"]


def test_other_tools_find_plain_columns(tmp_path: Path):
    prediction_table.write(tmp_path, prediction_table.table({"": [head("none", 0, [1])]}, CORPUS))
    names = pq.read_schema(tmp_path / "predictions.parquet").names
    assert names == [*prediction_table.NAMES, "probability_seed", "probability_label", "probability_<b>"]


def test_nothing_said_is_an_empty_table(tmp_path: Path):
    prediction_table.write(tmp_path, prediction_table.table({}, CORPUS))
    assert prediction_table.read(tmp_path).num_rows == 0


def test_missing_and_damaged_files_are_told_apart(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        prediction_table.read(tmp_path)
    (tmp_path / "predictions.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InfoserError, match="can't be read"):
        prediction_table.read(tmp_path)
    rows = prediction_table.table({"": [head("none", 0, [1])]}, CORPUS)
    pq.write_table(rows.drop_columns(["fold"]), tmp_path / "predictions.parquet")
    with pytest.raises(InfoserError, match="other columns"):
        prediction_table.read(tmp_path)
