"""TFDS builder for any folder of recordings that a manifest lists."""

import tensorflow_datasets as tfds

from infoser.shard_writer import CorpusBuilder


class Builder(CorpusBuilder):
    """Writes the `Corpus` that the recordings of a manifest were encoded to."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Nothing is downloaded: `datasets/prepare.py manifest --manifest` names the list to read."
