"""TFDS builder for the demo corpus: synthetic, made by `infoser.demo`."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import tensorflow_datasets as tfds

from infoser import demo
from infoser.corpus import Corpus
from infoser.shards import SPLIT, corpus_examples, corpus_features, corpus_metadata


class Builder(tfds.core.GeneratorBasedBuilder):
    """Writes a sample of the demo; without arguments, the one that `infoser.demo.sample()` draws."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}

    def __init__(self, *, corpus: Corpus | None = None, watch: Callable[[Iterable[Any]], Iterable[Any]] = iter, **kwargs: Any):
        """Takes what to write.

        Args:
          corpus: a sample of the demo; None draws the default one.
          watch: passes the examples on, for showing progress.
          **kwargs: TFDS' own, such as `data_dir`.
        """
        self._corpus = corpus or demo.sample()
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
