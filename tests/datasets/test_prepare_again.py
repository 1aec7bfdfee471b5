"""`prepare.py` where there is something already, or where it fails half-way: nothing half-done is left, nothing is lost."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from preparing import prepared, run

from infoser.corpus import Corpus
from infoser.shards import list_corpora, read_corpus, read_provenance

Arrays = dict[str, np.ndarray]
Save = Callable[..., Path]


def test_preparing_again(arrays: Arrays, save: Save, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, data_dir = save(arrays), tmp_path / "data"
    first = prepared(source, tmp_path)
    capsys.readouterr()
    assert run(source, data_dir) == 0
    assert capsys.readouterr().out.startswith("already prepared: mine")

    assert run(source, data_dir, "--text-key", "vector") == 2
    assert "was prepared otherwise (with keys" in capsys.readouterr().err
    assert run(save(arrays | {"audio": -arrays["audio"]}, "other.npz"), data_dir) == 2
    assert "from another source file" in capsys.readouterr().err
    assert read_corpus(data_dir, "mine").provenance["shards_hash"] == first.provenance["shards_hash"]

    assert run(source, data_dir, "--overwrite") == 0
    assert read_corpus(data_dir, "mine").provenance["shards_hash"] == first.provenance["shards_hash"]  # reproducible
    assert run(source, data_dir, "--overwrite", "--text-key", "vector") == 0
    assert read_provenance(data_dir, "mine")["settings"]["keys"]["text"] == "vector"
    assert [path.name for path in data_dir.iterdir()] == ["mine"]
    assert [path.name for path in (data_dir / "mine").iterdir()] == ["1.0.0"]


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_while_writing_leaves_nothing(
    failure: BaseException,
    arrays: Arrays,
    save: Save,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from infoser import shard_writer as builder

    def fails_midway(corpus: Corpus):
        for row, example in examples(corpus):
            if row == 5:
                raise failure
            yield row, example

    examples = builder.corpus_examples
    data_dir = tmp_path / "data"
    with monkeypatch.context() as patch:
        patch.setattr(builder, "corpus_examples", fails_midway)
        assert run(save(arrays), data_dir) == (130 if isinstance(failure, KeyboardInterrupt) else 2)
        assert not data_dir.exists()
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1 and "Traceback" not in captured.err

    before = prepared(save(arrays), tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(builder, "corpus_examples", fails_midway)
        assert run(save(arrays), data_dir, "--overwrite") != 0
    assert list_corpora(data_dir) == ["mine"] and [path.name for path in data_dir.iterdir()] == ["mine"]
    assert read_corpus(data_dir, "mine").provenance["shards_hash"] == before.provenance["shards_hash"]


def test_a_failed_replacement_puts_the_old_one_back(
    arrays: Arrays, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = save(arrays)
    before = prepared(source, tmp_path)
    rename = Path.rename

    def refuses_the_new(self: Path, target: Path) -> Path:
        if self.name == "1.0.0" and self.parents[2] == tmp_path / "data" and self.parents[1].name.startswith("."):
            raise PermissionError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuses_the_new)
    assert run(source, tmp_path / "data", "--overwrite") == 2
    assert read_corpus(tmp_path / "data", "mine").provenance["shards_hash"] == before.provenance["shards_hash"]


def test_a_broken_corpus_in_its_place(arrays: Arrays, save: Save, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, folder = save(arrays), tmp_path / "data" / "mine" / "1.0.0"
    folder.parent.mkdir(parents=True)  # an empty folder is not in the way
    prepared(source, tmp_path)
    (folder / "features.json").unlink()
    capsys.readouterr()
    assert run(source, tmp_path / "data") == 2
    assert "mine exists and cannot be used: corpus 'mine' is incomplete: features.json is missing" in capsys.readouterr().err
    assert len(prepared(source, tmp_path, "--overwrite")) == 12
