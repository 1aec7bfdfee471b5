"""The formats: each writes an export into a folder as the tool it is for reads it.

- npz: the arrays that `datasets/prepare.py arrays` reads (datasets/arrays/README.md).
- parquet: one table, for pandas, Arrow and Hugging Face datasets; what is said of the whole is in the schema's metadata.
- tfds: shards as `datasets/prepare.py` makes them, for `tfds.builder_from_directory` and infoser itself.
- nkululeko: a CSV database and CSV features for `type = ['import']`, both indexed by file, start and end as audformat's tables
  are (github.com/felixbur/nkululeko: ini_file.md, nkululeko/data/dataset_csv.py, nkululeko/feat_extract/feats_import.py).
- emotion2vec: the triple NAME.npy, NAME.lengths, NAME.emo (github.com/ddlBoJack/emotion2vec: iemocap_downstream/README.md and
  data.py; scripts/iemocap_manifest_and_labels.sh writes the labels).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from infoser import synthetic
from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.export.rows import Export

#: The folder or file that each format makes.
NPZ, PARQUET, TFDS, NKULULEKO, EMOTION2VEC = "synthetic.npz", "synthetic.parquet", "tfds", "nkululeko", "emotion2vec"
#: Synthetic rows have no sound, so their files do not exist: a segment of one nominal second of a file by the row's name.
#: An absolute path is the one kind that nkululeko leaves as it is, whatever its `audio_path`.
_START, _END = "0 days 00:00:00", "0 days 00:00:01"
_STEM = "synthetic"
#: What the IEMOCAP downstream task of emotion2vec calls the class of happiness and excitement.
_EMOTION2VEC_NAMES = {"hap+exc": "hap"}


def write_npz(export: Export, folder: Path) -> list[str]:
    """(N,) and (N, dim) arrays, the sets of utterances, and the metadata; without pickle."""
    corpus = export.corpus
    arrays: dict[str, Any] = {"utterance_id": corpus.utterance_id, "audio": corpus.audio}
    if corpus.text is not None:
        arrays["text"] = corpus.text
    if corpus.has_text is not None:
        arrays["has_text"] = corpus.has_text
    arrays |= _annotations(corpus) | dict(corpus.columns)
    arrays |= synthetic.as_arrays(export.made_from, export.metadata)
    with (folder / NPZ).open("wb") as file:
        np.savez(file, **arrays)
    return []


def write_parquet(export: Export, folder: Path) -> list[str]:
    """A row each; features are lists of a fixed length, text features null where a row has none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    corpus = export.corpus
    columns: dict[str, Any] = {"utterance_id": pa.array(corpus.utterance_id.tolist(), pa.string())}
    for name, values in (_annotations(corpus) | dict(corpus.columns)).items():
        columns[name] = _plain(values) if values.ndim == 1 else _arrow(values)
    columns["audio"] = _arrow(corpus.audio)
    if corpus.text is not None:
        columns["text"] = _arrow(corpus.text, None if corpus.has_text is None else ~corpus.has_text)
    sets = {name: synthetic.encoded(hashes) for name, hashes in export.made_from.items()}
    described = {b"infoser": json.dumps(export.metadata).encode(), b"infoser.made_from": json.dumps(sets).encode()}
    pq.write_table(pa.table(columns).replace_schema_metadata(described), folder / PARQUET)
    return []


def _arrow(values: np.ndarray, missing: np.ndarray | None = None) -> Any:
    import pyarrow as pa

    if values.ndim == 1:
        return pa.array(values)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    mask = None if missing is None else pa.array(missing)
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1], mask=mask)


def write_tfds(export: Export, folder: Path) -> list[str]:
    """A prepared corpus below the folder, which serves as a data directory."""
    import tensorflow_datasets as tfds

    from infoser.shard_writer import CorpusBuilder, write_corpus

    class Builder(CorpusBuilder, skip_registration=True):
        """Writes an export."""

        VERSION = tfds.core.Version("1.0.0")
        RELEASE_NOTES = {"1.0.0": "First release."}

    try:
        write_corpus(Builder, export.corpus, folder / TFDS)
    except InfoserError as error:
        if isinstance(error.__cause__, OSError):  # its message names the temporary folder, which is of no use to anybody
            raise error.__cause__ from None
        raise
    return []


def write_nkululeko(export: Export, folder: Path) -> list[str]:
    """data.csv (file, start, end, emotion, …), features.csv (file, start, end, audio_0, …); features_text.csv with text."""
    import pyarrow as pa

    corpus, kept = export.corpus, export.corpus.labelled
    place = folder / NKULULEKO
    place.mkdir()
    made = export.synthetic
    where = np.where(made, "/synthetic/", f"/{corpus.name.removesuffix('_synthetic')}/")
    files = np.char.add(np.char.add(where, corpus.utterance_id), ".wav")[kept]
    index = {"file": pa.array(files.tolist()), "start": pa.array([_START] * len(files)), "end": pa.array([_END] * len(files))}
    names = np.array(corpus.classes)[corpus.label[kept]]
    data: dict[str, Any] = {"emotion": pa.array(names.tolist())}
    if not made.all():  # where all are synthetic nobody spoke; a column of empty names would be taken for one speaker
        speakers = np.where(made, "synthetic", corpus.speaker)[kept]
        data["speaker"] = pa.array(speakers.tolist())
    for name, values in corpus.columns.items():
        if name != "emotion" and values.ndim == 1:
            data[name] = _plain(values[kept])
    if "label_probability" in corpus.columns:
        probability = corpus.columns["label_probability"][kept]
        data |= {f"probability_{one}": pa.array(probability[:, i]) for i, one in enumerate(corpus.classes)}
    _write_csv(place / "data.csv", index | data)
    _write_csv(place / "features.csv", index | _numbered("audio", corpus.audio[kept]))
    notes = [] if kept.all() else [f"nkululeko: {int((~kept).sum()):,} real rows without a label are left out"]
    if corpus.text is not None:
        with_text = corpus.with_text[kept]
        index = {name: values.filter(pa.array(with_text)) for name, values in index.items()}
        _write_csv(place / "features_text.csv", index | _numbered("text", corpus.text[kept][with_text]))
    return notes


def _plain(values: np.ndarray) -> Any:
    """A column of text, or of numbers of their own type."""
    import pyarrow as pa

    return pa.array(values.tolist(), pa.string()) if values.dtype.kind == "U" else pa.array(values)


def _numbered(name: str, features: np.ndarray) -> dict[str, Any]:
    import pyarrow as pa

    return {f"{name}_{i}": pa.array(np.ascontiguousarray(features[:, i])) for i in range(features.shape[1])}


def _write_csv(path: Path, columns: dict[str, Any]) -> None:
    """With numbers in the fewest digits that give the same float32 again."""
    import pyarrow as pa
    from pyarrow import csv

    csv.write_csv(pa.table(columns), path)


def write_emotion2vec(export: Export, folder: Path) -> list[str]:
    """One frame a row: the frames end to end, the number of frames of each row, and a line `id<TAB>emotion` for each.

    Raises:
      InfoserError: where an id or a class has white space in it, at which that project divides its lines.
    """
    corpus, kept = export.corpus, export.corpus.labelled
    classes = [_EMOTION2VEC_NAMES.get(name, name) for name in corpus.classes]
    classes = classes if len(set(classes)) == len(classes) else list(corpus.classes)
    ids = corpus.utterance_id[kept].tolist()
    divided = next((name for name in (*classes, *ids) if name.split() != [name]), None)
    if divided is not None:
        raise InfoserError(f"--format emotion2vec: {divided!r} has white space in it, at which its label lines are divided")
    place = folder / EMOTION2VEC
    place.mkdir()
    with (place / f"{_STEM}.npy").open("wb") as file:
        np.save(file, corpus.audio[kept], allow_pickle=False)
    lines = [f"{name}\t{classes[label]}\n" for name, label in zip(ids, corpus.label[kept].tolist(), strict=True)]
    (place / f"{_STEM}.lengths").write_text("1\n" * len(ids))
    (place / f"{_STEM}.emo").write_text("".join(lines), encoding="utf-8")
    import pyarrow as pa

    # The triple has no place for a mark beside the ids' own: it stands in a table of the same rows.
    marks = {name: _plain(values[kept]) for name, values in corpus.columns.items() if values.ndim == 1}
    _write_csv(place / f"{_STEM}.csv", {"utterance_id": pa.array(ids)} | marks)
    return [] if kept.all() else [f"emotion2vec: {int((~kept).sum()):,} real rows without a label are left out"]


def _annotations(corpus: Corpus) -> dict[str, np.ndarray]:
    named = {name: getattr(corpus, name) for name in ("speaker", "session", "dialogue", "split")}
    return {name: values for name, values in named.items() if values is not None}


#: The formats by name; each returns what a reader has to know.
WRITERS: dict[str, Callable[[Export, Path], list[str]]] = {
    "npz": write_npz,
    "parquet": write_parquet,
    "tfds": write_tfds,
    "nkululeko": write_nkululeko,
    "emotion2vec": write_emotion2vec,
}
