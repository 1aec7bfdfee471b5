"""TFDS builder for any corpus that comes as utterance-level arrays in one .npz."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import tensorflow_datasets as tfds

from infoser.corpus import Corpus
from infoser.shards import SPLIT, corpus_examples, corpus_features, corpus_metadata


class Builder(tfds.core.GeneratorBasedBuilder):
    """Writes a checked `Corpus`; the dataset bears the corpus' name, and its features are the arrays that it has."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Nothing is downloaded: `datasets/prepare.py arrays --source` names the .npz to read."

    def __init__(self, *, corpus: Corpus, watch: Callable[[Iterable[Any]], Iterable[Any]] = iter, **kwargs: Any):
        """Takes what to write.

        Args:
          corpus: the corpus.
          watch: passes the examples on, for showing progress.
          **kwargs: TFDS' own, such as `data_dir`.
        """
        self.name = corpus.name  # pyright: ignore[reportAttributeAccessIssue]  # one builder, a dataset per corpus
        self._corpus = corpus
        self._watch = watch
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
