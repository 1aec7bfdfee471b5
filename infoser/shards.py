"""A corpus on disk: TFDS folders of array_record shards, written from a `Corpus` and read back as one.

TFDS and array_record are imported inside the functions, so that importing this module costs nothing.
"""

import functools
import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import infoser
from infoser import digests, shard_cache
from infoser.corpus import Corpus, Frames
from infoser.errors import InfoserError
from infoser.shard_cache import Contents
from infoser.shard_records import FRAMES, Opened, in_memory, read_records, record_files

FORMAT_VERSION = 2  # of what the features and the metadata mean; raise it when a reader of the old would misread the new
_READABLE = (1, FORMAT_VERSION)  # the first had neither missing transcripts nor frames, and is still written without them
SPLIT = "utterances"  # one TFDS split holds the whole corpus: folds are made from its columns, never from its files

PLAIN = "plain"  # what a corpus that was prepared without a config's name is called among those with one

_CORPUS_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_CONFIG_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+.-]*")
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_FEATURES = ("audio", "text")
_ANNOTATIONS = ("utterance_id", "speaker", "session", "dialogue", "split", "has_text")
_DESCRIPTIONS = ("dataset_info.json", "features.json", "metadata.json", "label.labels.txt", digests.DIGESTS)


def list_corpora(data_dir: Path) -> list[str]:
    """Names of the completely prepared corpora in `data_dir`, sorted; empty where the directory does not exist."""
    data_dir = Path(data_dir)
    if not data_dir.is_dir():
        return []
    return sorted(folder.name for folder in data_dir.iterdir() if list_configs(data_dir, folder.name))


def list_configs(data_dir: Path, name: str) -> list[str]:
    """The ways in which corpus `name` was prepared, sorted: names of encoder pairs, `PLAIN` for one without a name."""
    folder = Path(data_dir) / name
    if not folder.is_dir():
        return []
    named = [each.name for each in folder.iterdir() if not _VERSION.fullmatch(each.name)]
    found = [config for config in (PLAIN, *sorted(named)) if _version_folders(config_folder(data_dir, name, config))]
    return [each for each in found if any(map(_is_complete, _version_folders(config_folder(data_dir, name, each))))]


def config_folder(data_dir: Path, name: str, config: str) -> Path:
    """The folder of one way in which corpus `name` was prepared, which holds its versions."""
    folder = Path(data_dir) / name
    return folder if config in ("", PLAIN) else folder / config


def read_corpus(data_dir: Path, name: str, config: str = "", *, cache: bool = False) -> Corpus:
    """Reads the highest version of corpus `name` from `data_dir`, in the row order of its source.

    Args:
      data_dir: where prepared corpora lie.
      name: the corpus.
      config: which of the ways in which it was prepared; '' for the only one there is.
      cache: read its features and frames as memory maps from a cache beside the shards (or the user's own), made if need be
        (see `shard_cache` for what is checked then); otherwise every digest is checked and all is decoded into memory.

    Returns:
      The corpus; its `provenance` is what the shards say of their origin plus `shards_hash` (SHA-256 over the
      digests of all files), `shards_path` (absolute) and `shards_config`.

    Raises:
      InfoserError: when the data directory or the corpus is missing, or the folder is incomplete, damaged or foreign.
    """
    folder = find_corpus(data_dir, name, config)
    kept = shard_cache.find(folder) if cache else None
    stamps = shard_cache.stamps(folder) if cache else {}
    if kept is None or kept.shards != stamps:
        builder = _open_folder(folder, name)
        damaged = digests.damage(folder)
        if damaged is not None:
            raise InfoserError(
                f"{damaged} of corpus {name!r} is damaged (its SHA-256 is not the one recorded); {_again(folder)}"
            )
        if kept is not None:
            kept.believe(stamps)
        elif cache:
            kept = shard_cache.make(folder, stamps, functools.partial(_decoded, builder, folder, name))
        contents = _decoded(builder, folder, name) if kept is None else kept.contents
    else:
        contents = kept.contents
    provenance = contents.metadata | {"shards_hash": digests.fingerprint(folder), "shards_path": str(folder.resolve())}
    provenance["shards_config"] = PLAIN if folder.parent == Path(data_dir) / name else folder.parent.name
    return _corpus(name, contents, provenance)


def _decoded(builder: Any, folder: Path, name: str, opened: Opened = in_memory) -> Contents:
    """What whole shards hold; raises InfoserError where their records are not what the descriptions say."""
    try:
        arrays = read_records(builder, opened)
    except (MemoryError, shard_cache.NotCached):
        raise
    except Exception as error:  # array_record, Riegeli and protobuf each raise types of their own for a bad byte
        reason = str(error).strip().split("\n")[0].split(" (")[0] or type(error).__name__
        raise InfoserError(f"a record file of corpus {name!r} is damaged ({reason}); {_again(folder)}") from error
    metadata = dict(builder.info.metadata)
    if metadata.get("utterance_ids_sha256") != utterance_ids_hash(arrays["utterance_id"]):
        raise InfoserError(
            f"corpus {name!r} in {folder}: its utterances are not the ones that were prepared, or stand in another "
            f"order; {_again(folder)}"
        )
    return Contents(metadata, tuple(builder.info.features["label"].names), arrays)


def _corpus(name: str, contents: Contents, provenance: dict[str, Any]) -> Corpus:
    plain = {key: array for key, array in contents.arrays.items() if "/" not in key}
    columns = {key.removeprefix("columns/"): array for key, array in contents.arrays.items() if key.startswith("columns/")}
    frames: dict[str, Any] = {}
    for key in FRAMES:
        if f"{key}/values" in contents.arrays:
            count = contents.arrays[f"{key}/count"]
            frames[key] = Frames(contents.arrays[f"{key}/values"], np.cumsum(count, dtype=np.int64) - count, count)
    return Corpus(
        name=name,
        label=plain.pop("label").astype(np.int32),
        text=plain.pop("text", None),
        classes=contents.classes,
        columns=columns,
        provenance=provenance,
        checked=contents.checked,
        **plain,
        **frames,
    )


def read_provenance(data_dir: Path, name: str, config: str = "") -> Mapping[str, Any]:
    """What the shards of corpus `name` say of their origin, without reading a record; raises as `read_corpus` does."""
    return dict(_open_folder(find_corpus(data_dir, name, config), name).info.metadata)


def find_corpus(data_dir: Path, name: str, config: str = "") -> Path:
    """The version folder of corpus `name` in `data_dir`: the highest version there is; raises as `read_corpus` does."""
    data_dir = Path(data_dir)
    if not data_dir.is_dir():
        state = "is not a directory" if data_dir.exists() else "does not exist"
        raise InfoserError(f"data directory {data_dir} {state}; {_prepare_hint(data_dir, name)}")
    configs = list_configs(data_dir, name) if _CORPUS_NAME.fullmatch(name) else []
    if not config and len(configs) > 1:
        raise InfoserError(
            f"corpus {name!r} in {data_dir} was prepared in several ways: {', '.join(configs)}; choose one with --data.config"
        )
    if config and configs and config not in configs:
        raise InfoserError(f"corpus {name!r} in {data_dir} has no --data.config {config!r}; there are: {', '.join(configs)}")
    chosen = config or (configs[0] if configs else PLAIN)
    versions = _version_folders(config_folder(data_dir, name, chosen)) if _CORPUS_NAME.fullmatch(name) else []
    if versions:
        if _is_complete(versions[-1]):
            return versions[-1]
        missing = [each for each in _DESCRIPTIONS if not (versions[-1] / each).is_file()]
        raise InfoserError(f"corpus {name!r} is incomplete: {missing[0]} is missing; {_again(versions[-1])}")
    there = list_corpora(data_dir)
    listing = f"there are: {', '.join(there)}" if there else "the directory holds no corpus yet"
    raise InfoserError(f"no corpus {name!r} in {data_dir} ({listing}); {_prepare_hint(data_dir, name)}")


def check_corpus_name(name: str) -> None:
    """Raises InfoserError unless `name` can name a corpus, and so a folder and its record files."""
    if not _CORPUS_NAME.fullmatch(name):
        raise InfoserError(f"{name!r} cannot name a corpus: use letters, digits, '_' and '-' only, and begin with a letter")


def check_config_name(config: str) -> None:
    """Raises InfoserError unless `config` can name a way of preparing a corpus, and so a folder."""
    if not _CONFIG_NAME.fullmatch(config) or _VERSION.fullmatch(config) or config == PLAIN:
        raise InfoserError(
            f"--config {config!r}: use letters, digits and '_', '-', '+', '.', begin with a letter or digit, and neither a "
            f"version nor {PLAIN!r}"
        )


def utterance_ids_hash(utterance_id: np.ndarray) -> str:
    """SHA-256 of the (N,) utterance ids in their order: tells a reader that no row was lost or moved."""
    return hashlib.sha256("\n".join(utterance_id.tolist()).encode()).hexdigest()


def corpus_metadata(corpus: Corpus) -> dict[str, Any]:
    """What is written beside the records: the corpus' provenance, its counts, and the versions that wrote it."""
    import importlib.metadata  # here, since only writing needs it, and every start would wait for it

    counts = np.bincount(corpus.label[corpus.labelled], minlength=len(corpus.classes)).tolist()
    frames = {key: int(each.count.sum()) for key, each in _frames(corpus).items()}
    return {
        **{key: value for key, value in corpus.provenance.items() if not key.startswith("shards_")},
        "format_version": FORMAT_VERSION if frames or corpus.has_text is not None else 1,
        "classes": list(corpus.classes),
        "utterance_ids_sha256": utterance_ids_hash(corpus.utterance_id),
        "counts": {
            "utterances": len(corpus),
            "labelled": int(corpus.labelled.sum()),
            "classes": dict(zip(corpus.classes, counts, strict=True)),
            "speakers": len(set(corpus.speaker.tolist()) - {""}),
            "sessions": None if corpus.session is None else len(np.unique(corpus.session)),
            **({} if corpus.has_text is None else {"with_text": int(corpus.has_text.sum())}),
        },
        **({"frames": frames} if frames else {}),
        "versions": {
            "infoser": infoser.__version__,
            "tensorflow_datasets": importlib.metadata.version("tensorflow-datasets"),
            "numpy": np.__version__,
        },
    }


def corpus_features(corpus: Corpus) -> Any:
    """The TFDS features (a `FeaturesDict`) that hold every array of `corpus` exactly.

    Frames are sequences of any length. Columns are nested under `columns`, so that a column may bear the name of a field.
    Numbers are kept as raw bytes: a plain TFDS tensor would squeeze float64 into float32 and widen every integer to 64
    bits.
    """
    import tensorflow_datasets as tfds

    def tensor(array: np.ndarray) -> Any:
        if array.dtype.kind == "U":
            return tfds.features.Tensor(shape=array.shape[1:], dtype=np.str_)
        return tfds.features.Tensor(shape=array.shape[1:], dtype=array.dtype, encoding="bytes")

    features = {key: tensor(array) for key, array in _fields(corpus).items()}
    for key, frames in _frames(corpus).items():
        shape = (None, frames.values.shape[1])
        features[key] = tfds.features.Tensor(shape=shape, dtype=frames.values.dtype, encoding="bytes")
    features["label"] = tfds.features.ClassLabel(names=list(corpus.classes))
    if corpus.columns:
        features["columns"] = {key: tensor(array) for key, array in corpus.columns.items()}
    return tfds.features.FeaturesDict(features)


def corpus_examples(corpus: Corpus) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (row, example) of `corpus` in row order, as `corpus_features` describes them."""

    def cell(array: np.ndarray, row: int) -> Any:
        return array[row].tolist() if array.dtype.kind == "U" else array[row]

    fields, sequences = _fields(corpus), _frames(corpus)
    for row in range(len(corpus)):
        example: dict[str, Any] = {key: cell(array, row) for key, array in fields.items()}
        example |= {key: np.asarray(frames.of(row)) for key, frames in sequences.items()}
        example["label"] = int(corpus.label[row])
        if corpus.columns:
            example["columns"] = {key: cell(array, row) for key, array in corpus.columns.items()}
        yield row, example


def _fields(corpus: Corpus) -> dict[str, np.ndarray]:
    named = {key: getattr(corpus, key) for key in (*_ANNOTATIONS, *_FEATURES)}
    return {key: array for key, array in named.items() if array is not None}


def _frames(corpus: Corpus) -> dict[str, Frames]:
    named = {key: getattr(corpus, key) for key in FRAMES}
    return {key: frames for key, frames in named.items() if frames is not None}


def _version_folders(folder: Path) -> list[Path]:
    """Version folders in `folder`, lowest first."""
    if not folder.is_dir():
        return []
    versions = {each: _VERSION.fullmatch(each.name) for each in folder.iterdir() if each.is_dir()}
    numbered = {each: tuple(map(int, match.groups())) for each, match in versions.items() if match}
    return sorted(numbered, key=numbered.__getitem__)


def _is_complete(folder: Path) -> bool:
    return all((folder / each).is_file() for each in _DESCRIPTIONS)


def _open_folder(folder: Path, name: str) -> Any:
    """The TFDS builder of a complete version folder, once its descriptions and record files are known to be there."""
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(folder)
        records = record_files(builder)
        metadata = builder.info.metadata or {}
        features: Any = builder.info.features
        labels = features["label"].names if "format_version" in metadata else []
    except Exception as error:  # json, protobuf and TFDS each raise types of their own for a bad description
        raise InfoserError(f"the descriptions of corpus {name!r} are damaged; {_again(folder)}") from error
    if metadata.get("format_version") not in _READABLE:
        written = metadata.get("format_version")
        origin = "by something other than infoser" if written is None else f"in format {written}"
        raise InfoserError(
            f"corpus {name!r} was written {origin}, and this infoser reads format 1 or {FORMAT_VERSION}; {_again(folder)}"
        )
    if list(labels) != metadata.get("classes"):  # TFDS keeps them in a text file, where a lost line would rename classes
        raise InfoserError(f"the class names of corpus {name!r} are damaged; {_again(folder)}")
    missing = [path.name for path in records if not path.is_file()]
    if missing or not records:
        what = f"{missing[0]} is missing" if missing else "it has no record files"
        raise InfoserError(f"corpus {name!r} is incomplete: {what}; {_again(folder)}")
    return builder


def _again(folder: Path) -> str:
    return f"prepare it again with datasets/prepare.py and --overwrite (data directory {folder.parents[1]})"


def _prepare_hint(data_dir: Path, name: str) -> str:
    if name == "demo":
        return f"prepare it: python datasets/prepare.py demo --data-dir {data_dir}"
    return f"prepare it: python datasets/prepare.py arrays --source FILE.npz --name {name} --data-dir {data_dir}"
