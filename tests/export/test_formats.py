"""Every format says the same of the same rows, and is read by the tool it is for."""

import configparser
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infoser import synthetic
from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.export import card
from infoser.export.formats import WRITERS
from infoser.export.rows import Export

CLASSES = ("ang", "hap+exc", "so <sad>|")


def make_export(*, real: int = 3, text: bool = True, soft: bool = True, ids: str = "synthetic-x-") -> Export:
    """Five synthetic rows, and real ones of which the last has no label; the first synthetic row has no text."""
    rng, made = np.random.default_rng(0), 5
    count = made + real
    behind = synthetic.id_hashes(["a", "b", "c"])
    name = synthetic.set_name(behind)
    label = np.array([0, 1, 2, 1, 0, 2, 1, -1][:count], np.int32)
    is_made = np.arange(count) < made
    has_text = np.arange(count) > 0
    columns = {
        "emotion": np.append(["ang", "hap", "so <sad>|"], "")[label],
        "synthetic": is_made,
        "made_from": np.where(is_made, name, ""),
        "made_by": np.where(is_made, "run/x/final/seed0/draw0", ""),
        "condition": np.where(is_made, np.append(CLASSES, "")[label], ""),
        "text_from": np.full(count, ""),
        "text_generated": is_made & has_text,
        "discriminator_score": np.where(is_made, rng.normal(size=count), np.nan).astype(np.float32),
    }
    if soft:
        columns["label_probability"] = rng.dirichlet(np.ones(3), count).astype(np.float32)
    features = rng.normal(size=(count, 3)).astype(np.float32) * np.where(has_text, 1, 0)[:, None].astype(np.float32)
    corpus = Corpus(
        name="small_synthetic",
        utterance_id=np.array([f"{ids}{i:06d}" if i < made else f"réal{i}" for i in range(count)]),
        audio=(rng.normal(size=(count, 4)) * 10.0 ** rng.integers(-30, 30, (count, 4))).astype(np.float32),
        text=features if text else None,
        has_text=has_text if text else None,
        label=label,
        classes=CLASSES,
        speaker=np.where(is_made, "", "Ann"),
        session=np.where(is_made, "", "1"),
        columns=columns,
        provenance={
            "settings": {"kind": "export"},
            "unlabelled": {},
            "skipped": {},
            synthetic.MADE_FROM: {name: synthetic.encoded(behind)},
        },
    )
    metadata = {
        "format": 1,
        "synthetic": True,
        "infoser": "0.1.0",
        "run": "run",
        "config_fingerprint": "f" * 16,
        "cell": "",
        "space": "encoder",
        "variant": "infogan",
        "model": "final",
        "fold": "final",
        "seed": 0,
        "draw_seed": 0,
        "corpus": {"name": "small", "shards_hash": "ab", "utterances": 3},
        "encoders": {},
        "audio_dim": 4,
        "text": "none",
        "classes": dict(zip(CLASSES, ("ang", "hap", "so <sad>|"), strict=True)),
        "counts": {"ang": 2, "hap+exc": 2, "so <sad>|": 1},
        "labels": "soft" if soft else "hard",
        "made_from": {"set": name, "utterances": 3},
        "settings": {"width": 16},
        "quality": None,
        "quality_note": "none",
        "rows": {"synthetic": made, "real": real},
    }
    return Export(corpus, {name: behind}, metadata)


@pytest.fixture(scope="module")
def export() -> Export:
    return make_export()


@pytest.fixture(scope="module")
def written(export: Export, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    for name in ("npz", "parquet", "tfds", "nkululeko"):
        WRITERS[name](export, folder)
    return folder


def test_npz_is_read_by_numpy_and_scikit_learn(written: Path, export: Export) -> None:
    from sklearn.linear_model import LogisticRegression

    with np.load(written / "synthetic.npz", allow_pickle=False) as made:
        np.testing.assert_array_equal(made["audio"], export.corpus.audio)
        np.testing.assert_array_equal(made["synthetic"], export.synthetic)
        np.testing.assert_array_equal(made["label_probability"], export.corpus.columns["label_probability"])
        (name,) = export.made_from
        np.testing.assert_array_equal(made[f"made_from_{name}"], np.unique(export.made_from[name]))
        assert json.loads(str(made["metadata"])) == export.metadata
        labelled = made["emotion"] != ""
        head = LogisticRegression().fit(made["text"][labelled], made["emotion"][labelled])
    assert set(head.classes_) == {"ang", "hap", "so <sad>|"}


def test_parquet_is_read_by_pandas_with_the_metadata_in_its_schema(written: Path, export: Export) -> None:
    import pandas as pd
    import pyarrow.parquet as pq

    table = pd.read_parquet(written / "synthetic.parquet")
    assert table["utterance_id"].tolist() == export.corpus.utterance_id.tolist()
    assert table["synthetic"].dtype == bool and table["synthetic"].tolist() == export.synthetic.tolist()
    np.testing.assert_array_equal(np.stack(table["audio"].tolist()), export.corpus.audio)
    assert table["text"][0] is None and len(table["text"][1]) == 3
    described = pq.read_schema(written / "synthetic.parquet").metadata
    assert json.loads(described[b"infoser"]) == export.metadata
    assert json.loads(described[b"infoser.made_from"]).keys() == export.made_from.keys()


def test_tfds_shards_are_read_by_tfds_and_by_infoser(written: Path, export: Export, same: Any) -> None:
    import tensorflow_datasets as tfds

    from infoser.shards import read_corpus

    source = tfds.builder_from_directory(written / "tfds/small_synthetic/1.0.0").as_data_source("utterances")
    first: Any = source[0]
    np.testing.assert_array_equal(first["audio"], export.corpus.audio[0])
    assert first["columns"]["synthetic"]
    corpus = read_corpus(written / "tfds", "small_synthetic")
    for name in ("utterance_id", "audio", "text", "has_text", "label", "speaker", "session"):
        np.testing.assert_array_equal(getattr(corpus, name), getattr(export.corpus, name), err_msg=name)
    assert corpus.classes == CLASSES and same(dict(corpus.columns).keys(), dict(export.corpus.columns).keys())
    assert list(synthetic.sets(corpus)) == list(export.made_from)


def test_nkululeko_finds_each_features_row_by_the_index_of_its_data(written: Path, export: Export) -> None:
    """As its `Dataset_CSV` and `ImportSet` do: both tables are indexed by file, start and end, and joined on that."""
    import pandas as pd

    data, features, text = (
        pd.read_csv(written / "nkululeko" / name).set_index(["file", "start", "end"])
        for name in ("data.csv", "features.csv", "features_text.csv")
    )
    kept = export.corpus.labelled
    assert (data.index == features.index).all() and data.index.is_unique and len(data) == kept.sum() == len(export.corpus) - 1
    np.testing.assert_array_equal(features.to_numpy(np.float32), export.corpus.audio[kept])
    assert list(features.columns) == [f"audio_{i}" for i in range(4)]
    assert data["emotion"].tolist() == [CLASSES[label] for label in export.corpus.label[kept]]
    assert data["synthetic"].tolist() == export.synthetic[kept].tolist()
    assert data["speaker"].tolist() == ["synthetic"] * 5 + ["Ann"] * 2
    assert text.index.isin(data.index).all() and len(text) == len(data) - 1
    files, starts, ends = (data.index.get_level_values(level) for level in range(3))
    assert all(file.startswith("/") for file in files)  # nkululeko prepends its audio_path to every other path
    assert set((pd.to_timedelta(ends) - pd.to_timedelta(starts)).total_seconds()) == {1.0}


def test_emotion2vec_reads_the_triple(tmp_path: Path) -> None:
    """As the downstream task's `load_dataset` does: lengths give the offsets, the second word of a line the emotion."""
    import dataclasses

    export = make_export(real=0)
    corpus = dataclasses.replace(export.corpus, classes=("ang", "hap+exc", "sad"))
    assert WRITERS["emotion2vec"](dataclasses.replace(export, corpus=corpus), tmp_path) == []
    stem = tmp_path / "emotion2vec" / "synthetic"
    frames = np.load(f"{stem}.npy", allow_pickle=False)
    lengths = [int(line) for line in Path(f"{stem}.lengths").read_text().splitlines()]
    lines = Path(f"{stem}.emo").read_text().splitlines()
    assert len(lengths) == len(lines) == len(corpus) and sum(lengths) == len(frames) and set(lengths) == {1}
    np.testing.assert_array_equal(frames, corpus.audio)
    assert [line.rstrip().split()[1] for line in lines] == ["ang", "hap", "sad", "hap", "ang"]
    assert [line.split("\t")[0] for line in lines] == corpus.utterance_id.tolist()
    with Path(f"{stem}.csv").open(newline="") as file:
        assert [row["synthetic"] for row in csv.DictReader(file)] == ["true"] * 5


@pytest.mark.parametrize("ids", ["synthetic-x-", "two words"])
def test_emotion2vec_refuses_what_its_lines_can_not_hold(tmp_path: Path, ids: str) -> None:
    with pytest.raises(InfoserError, match="white space"):
        WRITERS["emotion2vec"](make_export(ids=ids), tmp_path)
    assert not any(tmp_path.iterdir())


def test_the_card_says_what_it_is_and_escapes_names(export: Export) -> None:
    said = card.text(export, list(WRITERS), ["a note | with <signs>"])
    assert "synthetic" in said.splitlines()[0].lower() and "no one ever spoke" in said
    assert "so &lt;sad&gt;\\|" in said and "a note \\| with &lt;signs&gt;" in said
    for name in export.corpus.columns:
        assert f"`{name}`" in said
    for tool in ("pandas", "TFDS", "scikit-learn", "nkululeko", "emotion2vec", "prepare.py arrays"):
        assert tool in said
    assert "## Licence" in said and "small" in said
    ini = configparser.ConfigParser()
    ini.read_string(said.split("```ini\n")[1].split("```")[0])
    assert ini["DATA"]["synthetic.type"] == "csv" and ini["FEATS"]["type"] == "['import']"
