"""Names of encoders and their settings."""

import re

import pytest

from infoser.encoders.identity import describe, slug
from infoser.encoders.layers import resolve_layer

EGEMAPS = {"kind": "opensmile", "id": "opensmile:eGeMAPSv02", "level": "functionals", "layer": "last", "precision": "float32"}
HASHING = {"kind": "hashing", "id": "hashing:512", "layer": "last", "precision": "float32"}
WAVLM = {
    "kind": "transformers",
    "id": "microsoft/wavlm-large@refs/pr/3",
    "layer": "last",
    "precision": "float32",
    "weights_sha256": "1a2b3c4d5e",
}
ROBERTA = WAVLM | {"id": "roberta-large"}


@pytest.mark.parametrize(
    ("audio", "text", "expected"),
    [
        (EGEMAPS, HASHING, "egemapsv02+hashing512"),
        (EGEMAPS, None, "egemapsv02"),
        (WAVLM, ROBERTA, "wavlm-large+roberta-large"),
        (WAVLM | {"pooling": "mean", "frames": False}, ROBERTA | {"pooling": "mean"}, "wavlm-large+roberta-large"),
        (WAVLM | {"layer": "4-9"}, ROBERTA | {"pooling": "first"}, "wavlm-large-layer4-9+roberta-large-first"),
        (WAVLM | {"pooling": "mean+std", "frames": True, "precision": "bfloat16"}, None, "wavlm-large-meanstd-bfloat16-frames"),
        (WAVLM | {"id": "My model (2)"}, None, "my-model-2"),
        (WAVLM | {"id": "模型"}, None, "encoder"),
    ],
)
def test_slugs(audio, text, expected):
    assert slug(audio, text) == expected
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_+.-]*", expected)


def test_descriptions():
    assert describe(WAVLM | {"pooling": "mean"}) == "microsoft/wavlm-large@refs/pr/3, layer last, mean (sha256 1a2b3c4d)"
    assert describe(EGEMAPS | {"pooling": "mean", "frames": True}) == "opensmile:eGeMAPSv02, functionals, mean, frames kept"
    assert describe(ROBERTA | {"layer": "9", "precision": "float16"}) == "roberta-large, layer 9, float16 (sha256 1a2b3c4d)"
    assert describe(HASHING) == "hashing:512"


@pytest.mark.parametrize(
    ("layer", "expected"),
    [("last", "last"), ("0", "0"), ("12", "12"), ("-1", "12"), ("-13", "0"), ("3-5", "3-5"), ("-3--1", "10-12"),
     ("0--1", "0-12"), ("4-4", "4"), ("007", "7")],
)  # fmt: skip
def test_a_layer_has_one_name(layer, expected):
    assert resolve_layer(layer, 13, "it") == expected
