"""Text encoders against transformers called directly on single, unpadded transcripts, and hashing against its words."""

from typing import Any

import numpy as np
import pytest

for _library in ("torch", "transformers"):
    pytest.importorskip(_library, reason="needs the encoders extra")

import tiny_models  # noqa: E402
import torch  # noqa: E402

from infoser.encoders.encoder import Encoder  # noqa: E402
from infoser.encoders.text import load_text_encoder  # noqa: E402
from infoser.errors import InfoserError  # noqa: E402

TEXTS = ("the cat sat on the mat", "dog", "it was very very happy then sad", "unknowable words ran", "angry dog")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory):
    """saved(name): the folder and the model, made once."""
    made = {}

    def saved(name: str):
        if name not in made:
            folder = tmp_path_factory.mktemp("models") / name
            made[name] = folder, tiny_models.save_text(folder, name)
        return made[name]

    return saved


@pytest.mark.parametrize("layer", ["last", "0", "2", "-2", "1-2", "-3--1"])
@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_a_mixed_batch_is_what_transformers_gives_for_each_alone(name, layer, saved):
    folder, model = saved(name)
    encoder = load_text_encoder(str(folder), layer=layer)
    assert isinstance(encoder, Encoder)
    assert encoder.dim == 32 and encoder.frames_kept and encoder.sample_rate == 0
    assert encoder._pads  # type: ignore[attr-defined]
    for order in (range(5), (3, 0, 4, 1, 2)):
        found = encoder.encode([TEXTS[row] for row in order])
        for row, frames in zip(order, found, strict=True):
            assert frames.dtype == np.float32
            assert len(frames) == len(TEXTS[row].split()) + 2 == encoder.length(TEXTS[row])  # the special tokens are frames
            np.testing.assert_allclose(frames, tiny_models.direct_text(model, folder, TEXTS[row], layer), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_a_long_transcript_goes_in_windows_each_with_its_special_tokens(name, saved):
    folder, model = saved(name)
    encoder = load_text_encoder(str(folder))
    words = [tiny_models.WORDS[n % len(tiny_models.WORDS)] for n in range(41)]
    assert encoder.provenance["window_tokens"] == 20
    found = encoder.encode(["dog", " ".join(words)])[1]
    parts = [tiny_models.direct_text(model, folder, " ".join(words[start : start + 18])) for start in (0, 18, 36)]
    assert [len(part) for part in parts] == [20, 20, 7]
    assert len(found) == 47 == encoder.length(" ".join(words))
    np.testing.assert_allclose(found, np.concatenate(parts), atol=1e-5, rtol=0)
    whole = " ".join(words[:18])  # fills the model's positions to the last
    np.testing.assert_allclose(encoder.encode([whole])[0], tiny_models.direct_text(model, folder, whole), atol=1e-5, rtol=0)


def test_a_model_that_mixes_padding_in_gets_none(tmp_path):
    # FNet's Fourier transform runs over all positions and knows no mask.
    import transformers

    tiny_models.save_text(tmp_path, "bert")
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "intermediate_size": 40,
        "vocab_size": 30,
        "pad_token_id": 0,
    }
    model = transformers.FNetModel(transformers.FNetConfig(**sizes, max_position_embeddings=20)).eval()
    model.save_pretrained(tmp_path)
    encoder = load_text_encoder(str(tmp_path))
    assert not encoder._pads  # type: ignore[attr-defined]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text, frames in zip(TEXTS, encoder.encode(TEXTS), strict=True):
        with torch.inference_mode():
            alone = model(input_ids=torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state[0].numpy()
        np.testing.assert_allclose(frames, alone, atol=1e-5, rtol=0)


def test_provenance_follows_the_tokenizer(tmp_path):
    folder = tmp_path / "tiny"
    tiny_models.save_text(folder, "bert")
    before = load_text_encoder(str(folder)).provenance
    assert before.items() >= {"kind": "transformers", "id": "tiny", "model_type": "bert", "layer": "last"}.items()
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"angry"', '"wrath"'))
    after = load_text_encoder(str(folder)).provenance
    assert after["weights_sha256"] == before["weights_sha256"]
    assert after["config_sha256"] != before["config_sha256"]
    assert str(tmp_path) not in str(before)


def test_hashing_counts_words_and_pairs_and_forgets_case():
    encoder = load_text_encoder("hashing:4096")
    assert isinstance(encoder, Encoder)
    assert (encoder.dim, encoder.frames_kept, encoder.provenance["id"]) == (4096, False, "hashing:4096")
    one, same, turned, twice = encoder.encode(["A cat sat", "a CAT, sat!", "sat cat a", "cat cat"])
    assert one.shape == (1, 4096) and one.dtype == np.float32
    np.testing.assert_array_equal(one, same)
    # Three words and two pairs, each in a column of its own, of unit length together.
    np.testing.assert_allclose(np.sort(np.abs(one[one != 0])), np.full(5, 5**-0.5), rtol=1e-6)
    assert (np.sign(one) * np.sign(turned)).sum() == 3  # the words alone are shared
    np.testing.assert_allclose(np.sort(np.abs(twice[twice != 0])), np.array([1, 2]) / 5**0.5, rtol=1e-6)
    assert [encoder.length(text) for text in ("A cat sat", "…")] == [3, 0]
    assert not encoder.encode(["…?"])[0].any()
    assert encoder.encode([]) == []


def test_hashing_is_the_same_in_every_version():
    # Columns and signs of a hash that must never move: shards and run folders hold them.
    found = load_text_encoder("hashing:16").encode(["Zażółć gęślą jaźń"])[0][0]
    np.testing.assert_array_equal(np.flatnonzero(found), [0, 3, 8, 9, 15])
    np.testing.assert_array_equal(np.sign(found[found != 0]), [-1, 1, 1, -1, -1])


@pytest.mark.parametrize("text", ["", "  \n"])
@pytest.mark.parametrize("spec", ["hashing:8", "bert"])
def test_an_empty_transcript_is_refused(spec, text, saved):
    encoder = load_text_encoder(spec if ":" in spec else str(saved(spec)[0]))
    with pytest.raises(InfoserError, match="empty transcript"):
        encoder.encode(["dog", text])
