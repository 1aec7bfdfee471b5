"""Runs `prepare.py arrays` in this process."""

from pathlib import Path

import prepare

from infoser.corpus import Corpus
from infoser.shards import read_corpus


def run(source: Path, data_dir: Path, *flags: str, name: str = "mine") -> int:
    return prepare.main(["arrays", "--source", str(source), "--name", name, "--data-dir", str(data_dir), *flags])


def prepared(source: Path, tmp_path: Path, *flags: str, name: str = "mine") -> Corpus:
    assert run(source, tmp_path / "data", *flags, name=name) == 0
    return read_corpus(tmp_path / "data", name)
