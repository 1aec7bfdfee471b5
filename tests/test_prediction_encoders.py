"""New recordings are encoded as the corpus was, or not at all."""

import pytest

from infoser.encoders.encoded_corpus import Encoding
from infoser.encoders.extraction import Modality
from infoser.encoders.text import load_text_encoder
from infoser.errors import InfoserError
from infoser.prediction import _modality


def test_another_width_of_hashing_is_another_encoder():
    recorded = Modality(load_text_encoder("hashing:64"), "mean", False).settings
    assert _modality(recorded, "text", "hashing:64", "auto").settings == recorded
    with pytest.raises(InfoserError, match="another text encoder .* id was 'hashing:64' and is 'hashing:32'"):
        _modality(recorded, "text", "hashing:32", "auto")


def test_a_text_encoder_that_was_asked_for_needs_transcripts():
    with pytest.raises(InfoserError, match="--text-encoder hashing:64: no utterance has a transcript"):
        Encoding(text_encoder="hashing:64").modalities(has_text=False)
