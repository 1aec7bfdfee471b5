"""TFDS builder for any corpus that comes as utterance-level arrays in one .npz."""

import tensorflow_datasets as tfds

from infoser.shard_writer import CorpusBuilder


class Builder(CorpusBuilder):
    """Writes the `Corpus` that `npz_source.read_arrays` made."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Nothing is downloaded: `datasets/prepare.py arrays --source` names the .npz to read."
