"""TFDS builder for MSP-Podcast, read from the folder that its licensees get."""

import tensorflow_datasets as tfds

from infoser.shard_writer import CorpusBuilder


class Builder(CorpusBuilder):
    """Writes the `Corpus` that the recordings of MSP-Podcast were encoded to."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "The corpus is licensed: get it from its owners, "
        "then give its folder to `datasets/prepare.py msp_podcast --corpus-dir`."
    )
