"""The TFDS builders: built into a temporary folder and read back, with the files that the TFDS convention asks for."""

import re
from pathlib import Path

import numpy as np
import prepare
import pytest
import tensorflow_datasets as tfds
from arrays.arrays_dataset_builder import Builder as ArraysBuilder
from arrays.make_dummy_data import DUMMY_DATA, dummy_arrays
from arrays.npz_source import parse_class_map, read_arrays
from demo.demo_dataset_builder import Builder as DemoBuilder

from infoser import demo
from infoser.digests import seal
from infoser.errors import InfoserError
from infoser.shards import read_corpus

DATASETS = Path(__file__).parents[2] / "datasets"


@pytest.fixture(autouse=True)
def _quiet():
    tfds.disable_progress_bar()
    yield
    tfds.enable_progress_bar()


def test_the_dummy_data_is_what_its_script_writes() -> None:
    with np.load(DUMMY_DATA, allow_pickle=False) as stored:
        assert set(stored.files) == set(dummy_arrays())
        for key, array in dummy_arrays().items():
            np.testing.assert_array_equal(stored[key], array)
    assert DUMMY_DATA.stat().st_size < 10_000


def test_arrays_builder_on_its_dummy_data(tmp_path: Path) -> None:
    classes = ("high=angry,joyful", "calm=calm")
    corpus = read_arrays(DUMMY_DATA, name="Dummy-1_x", keys={}, classes=classes)
    builder = ArraysBuilder(corpus=corpus, data_dir=tmp_path)
    builder.download_and_prepare(download_dir=tmp_path / "downloads")
    assert builder.info.name == "Dummy-1_x"
    assert builder.info.features["label"].names == ["high", "calm"]
    assert builder.info.splits["utterances"].num_examples == 24
    assert "dummy" in builder.info.description

    seal(tmp_path / "Dummy-1_x" / "1.0.0")  # which the prepare command does
    read = read_corpus(tmp_path, "Dummy-1_x")
    dummy = dummy_arrays()
    np.testing.assert_array_equal(read.utterance_id, dummy["utterance_id"])
    np.testing.assert_array_equal(read.columns["duration_s"], dummy["duration_s"])
    expected = np.array([{"angry": 0, "joyful": 0, "calm": 1, "other": -1}[each] for each in dummy["emotion"]])
    np.testing.assert_array_equal(read.label, expected)


def test_demo_builder_writes_the_default_sample(tmp_path: Path) -> None:
    DemoBuilder(data_dir=tmp_path).download_and_prepare(download_dir=tmp_path / "downloads")
    seal(tmp_path / "demo" / "1.0.0")
    read, sample = read_corpus(tmp_path, "demo"), demo.sample()
    np.testing.assert_array_equal(read.audio, sample.audio)
    np.testing.assert_array_equal(read.text, sample.text)
    np.testing.assert_array_equal(read.label, sample.label)
    assert set(read.columns) == set(sample.columns)
    for key, column in sample.columns.items():
        np.testing.assert_array_equal(read.columns[key], column)
    assert "synthetic" in read.provenance["source"]


def test_preparing_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["demo", "--data-dir", str(tmp_path), "--size", "120"]
    assert prepare.main(argv) == 0
    assert capsys.readouterr().out.startswith("demo: 120 utterances, ")
    assert prepare.main(argv) == 0
    assert capsys.readouterr().out.startswith("already prepared: demo")
    assert prepare.main([*argv, "--seed", "1"]) == 2
    assert "was prepared otherwise (with seed 0, now 1)" in capsys.readouterr().err
    assert prepare.main([*argv, "--seed", "1", "--overwrite"]) == 0
    np.testing.assert_array_equal(read_corpus(tmp_path, "demo").audio, demo.sample(seed=1, size=120).audio)
    assert prepare.main(["demo", "--data-dir", str(tmp_path), "--size", "3"]) == 2


def test_class_map() -> None:
    assert parse_class_map(["ang=ang", "hap+exc=hap,exc"]) == {"ang": ("ang",), "hap+exc": ("hap", "exc")}
    assert parse_class_map(["a=b=c"]) == {"a": ("b=c",)}
    for wrong in (["a"], ["=a"], ["a="], ["a=b,,c"], ["a=b", "c=b"], ["a=b,b"]):
        with pytest.raises(InfoserError):
            parse_class_map(wrong)


@pytest.mark.parametrize("name", ["arrays", "demo"])
def test_a_builder_folder_follows_the_convention(name: str) -> None:
    folder = DATASETS / name
    for file in ("__init__.py", f"{name}_dataset_builder.py", "README.md", "CITATIONS.bib", "TAGS.txt"):
        assert (folder / file).is_file(), file
    valid = set(tfds.core.dataset_metadata.valid_tags())
    tags = [line.split("#")[0].strip() for line in (folder / "TAGS.txt").read_text().splitlines()]
    assert tags and set(tags) <= valid


def test_the_folder_of_builders_is_no_package_and_no_library_module_knows_it() -> None:
    assert not (DATASETS / "__init__.py").exists()  # it would shadow Hugging Face's datasets
    for path in (DATASETS.parent / "infoser").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) (datasets|arrays|prepare)\b", path.read_text(), re.MULTILINE), path
