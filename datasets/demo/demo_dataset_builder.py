"""TFDS builder for the demo corpus: synthetic, made by `infoser.demo`."""

from typing import Any

import tensorflow_datasets as tfds

from infoser import demo
from infoser.corpus import Corpus
from infoser.shard_writer import CorpusBuilder


class Builder(CorpusBuilder):
    """Writes a sample of the demo; without arguments, the one that `infoser.demo.sample()` draws."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}

    def __init__(self, *, corpus: Corpus | None = None, **kwargs: Any):
        """Takes the sample, and the arguments of `CorpusBuilder`."""
        super().__init__(corpus=corpus or demo.sample(), **kwargs)
