"""Writes a corpus as TFDS shards: the builder that all corpora share, and the way to their place in one move."""

import array
import contextlib
import functools
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from infoser import digests
from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.progress import show_progress
from infoser.shards import (
    PLAIN,
    SPLIT,
    config_folder,
    corpus_examples,
    corpus_features,
    corpus_metadata,
    find_corpus,
    read_provenance,
)


class CorpusBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Writes a `Corpus`; the dataset bears the corpus' name, and its features are the arrays that the corpus has."""

    def __init__(
        self,
        *,
        corpus: Corpus,
        config: str = "",
        watch: Callable[[Iterable[Any]], Iterable[Any]] = iter,
        **kwargs: Any,
    ):
        """Takes what to write.

        Args:
          corpus: the corpus.
          config: names one of several ways in which the corpus was encoded; '' for a corpus without such.
          watch: passes the examples on, for showing progress.
          **kwargs: TFDS' own, such as `data_dir`.
        """
        self.name = corpus.name  # pyright: ignore[reportAttributeAccessIssue]  # one builder may write several datasets
        self._corpus = corpus
        self._watch = watch
        if config:
            kwargs["config"] = tfds.core.BuilderConfig(name=config, version=self.VERSION)
        super().__init__(**{"file_format": "array_record", **kwargs})

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=corpus_features(self._corpus),
            metadata=tfds.core.MetadataDict(corpus_metadata(self._corpus)),
            disable_shuffling=True,  # row i of the corpus stays record i
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[Any]]:
        del dl_manager
        return {SPLIT: self._generate_examples()}

    def _generate_examples(self) -> Iterator[Any]:
        yield from self._watch(corpus_examples(self._corpus))


def already_prepared(data_dir: Path, name: str, settings: Mapping[str, Any], config: str = "") -> bool:
    """Whether the very shards that `settings` make exist.

    Raises:
      InfoserError: when others, or broken ones, stand in their place.
    """
    folder = config_folder(data_dir, name, config)
    if not any(folder.glob("*.*.*")):  # no version
        return False
    try:
        written = read_provenance(data_dir, name, config or PLAIN).get("settings")
    except InfoserError as error:
        raise InfoserError(f"{folder} exists and cannot be used: {error}") from error
    if written != settings:
        another = "another --config" if config else "another --name"
        raise InfoserError(
            f"corpus {name!r} in {data_dir} was prepared otherwise ({_difference(written or {}, settings)}); "
            f"give --overwrite to replace it, or {another}"
        )
    return True


def write_corpus(builder: Callable[..., Any], corpus: Corpus, data_dir: Path, config: str = "") -> Path:
    """Writes the shards into a temporary folder beside their place, then puts them there in one move.

    Args:
      builder: a class derived from `CorpusBuilder`.
      corpus: what to write.
      data_dir: where prepared corpora lie; made if need be.
      config: names the way in which the corpus was encoded; '' for a corpus without such.

    Returns:
      The folder of the shards.

    Raises:
      InfoserError: if they can't be written; then all is as it was.
    """
    watch = functools.partial(show_progress, total=len(corpus), what=f"writing {corpus.name}", unit="utterances")
    there_before = data_dir.exists()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(prefix=f".{corpus.name}-", dir=data_dir) as staging:
                with _quiet():
                    writer = builder(corpus=corpus, config=config, watch=watch, data_dir=staging)
                tfds.disable_progress_bar()  # ours shows the whole, and only when there is something to wait for
                # TFDS prints what it is about to do.
                with contextlib.redirect_stdout(io.StringIO()), _same_bytes_for_same_rows(), _spooled():
                    writer.download_and_prepare(download_dir=Path(staging) / "downloads")
                folder = config_folder(data_dir, corpus.name, config) / str(writer.version)
                folder.parent.mkdir(parents=True, exist_ok=True)
                written = config_folder(Path(staging), corpus.name, config) / folder.name
                digests.seal(written)
                _publish(written, folder, replaced=Path(staging, "replaced"))
        finally:
            if not there_before and not any(data_dir.iterdir()):
                data_dir.rmdir()
    except OSError as error:
        raise InfoserError(f"cannot write corpus {corpus.name!r} to {data_dir}: {error}") from error
    return find_corpus(data_dir, corpus.name, config or PLAIN)


@contextlib.contextmanager
def _same_bytes_for_same_rows() -> Iterator[None]:
    """Records whose fields lie in a fixed order: protobuf otherwise writes them in one that changes between processes."""
    before = ExampleSerializer.serialize_example
    ExampleSerializer.serialize_example = lambda self, example: self.get_tf_example(example).SerializeToString(
        deterministic=True
    )
    try:
        yield
    finally:
        ExampleSerializer.serialize_example = before


class _Spool:
    """What TFDS passes records through on their way to the shards: here a file, from which they come in the same order.

    TFDS' own holds up to 1 GB in memory; beyond that it needs TensorFlow, and then as much memory as there are records.

    Args:
      dirpath: where the file is; it has no name there, and goes with the process.
      hash_salt, disable_shuffling, ignore_duplicates: TFDS' own, of no use for records that keep their order.
    """

    def __init__(self, dirpath: Any, hash_salt: Any, disable_shuffling: bool = False, ignore_duplicates: bool = False):
        del hash_salt, ignore_duplicates
        assert disable_shuffling
        self._file = tempfile.TemporaryFile(dir=dirpath)
        self._lengths = array.array("q")
        self.size = 0

    @property
    def num_examples(self) -> int:
        return len(self._lengths)

    @property
    def bucket_lengths(self) -> list[int]:
        return [len(self._lengths)]

    def add(self, key: int, data: bytes) -> None:
        assert key == len(self._lengths)
        self._file.write(data)
        self._lengths.append(len(data))
        self.size += len(data)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        self._file.seek(0)
        for row, length in enumerate(self._lengths):
            yield row, self._file.read(length)

    def close(self) -> None:
        self._file.close()


@contextlib.contextmanager
def _spooled() -> Iterator[None]:
    """Writing takes the memory of a record, however many there are."""
    made: list[_Spool] = []

    def spool(*arguments: Any, **named: Any) -> _Spool:
        made.append(_Spool(*arguments, **named))
        return made[-1]

    module: Any = shuffle
    before = module.Shuffler
    module.Shuffler = spool
    try:
        yield
    finally:
        module.Shuffler = before
        for each in made:
            each.close()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without absl's warning that a configuration is not one of those that the builder's class lists."""
    from absl import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _publish(written: Path, folder: Path, replaced: Path) -> None:
    """Moves `written` to `folder`, and what stood there to `replaced`; undone where it fails half-way."""
    replaces = folder.exists()
    if replaces:
        folder.rename(replaced)
    try:
        written.rename(folder)
    except BaseException:
        if replaces:
            replaced.rename(folder)
        raise


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What sets two preparations apart, in words of the flags."""

    def said(value: Any) -> str:
        if not isinstance(value, Mapping):
            return str(value)
        return " ".join(f"{key}={','.join(each) if isinstance(each, list) else each}" for key, each in value.items())

    if before.get("source_sha256") != now.get("source_sha256"):
        return "from another source file" if now.get("kind") == "arrays" else "from other annotations or recordings"
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    return "; ".join(f"with {key} {said(before.get(key))}, now {said(now.get(key))}" for key in changed)
