"""Tiny models with random weights, saved as real checkpoints are, and what transformers makes of one unpadded input."""

from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers

torch.set_num_threads(1)  # so little work only waits for a second thread

_SPEECH: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
#: Configuration class and settings of every tiny speech model.
SPEECH: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2-group": ("Wav2Vec2Config", _SPEECH),
    "wav2vec2-layer": ("Wav2Vec2Config", _SPEECH | {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "wav2vec2-adapter": ("Wav2Vec2Config", _SPEECH | {"add_adapter": True}),
    "wavlm": ("WavLMConfig", _SPEECH),
    "hubert": ("HubertConfig", _SPEECH),
    "data2vec-audio": ("Data2VecAudioConfig", _SPEECH | {"conv_pos_kernel_size": 5}),
}
_TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 20,
}
WORDS = "a the cat dog sat ran on under mat log and then it was very happy sad angry".split()


def save_speech(folder: Path, name: str, *, do_normalize: bool = True, sampling_rate: int = 16_000, **changes: Any) -> Any:
    """Saves a speech model with its feature extractor; returns the model."""
    config, settings = SPEECH[name]
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(getattr(transformers, config)(**settings | changes)).eval()
    model.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=do_normalize, sampling_rate=sampling_rate).save_pretrained(folder)
    return model


def save_whisper(folder: Path) -> Any:
    """Saves a Whisper whose windows last two seconds; returns the model."""
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 1,
        "max_source_positions": 100,
        "num_mel_bins": 20,
    }
    heads: dict[str, Any] = {
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 40,
        "decoder_ffn_dim": 40,
    }
    tokens: dict[str, Any] = {
        "vocab_size": 20,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 1,
    }
    model = transformers.WhisperModel(transformers.WhisperConfig(**shape, **heads, **tokens)).eval()
    model.save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=2).save_pretrained(folder)
    return model


def save_text(folder: Path, name: str) -> Any:
    """Saves a `bert` or a `roberta` with a tokenizer of WORDS; returns the model."""
    torch.manual_seed(0)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] if name == "bert" else ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    named = dict(zip(("pad", "unk", "cls", "sep", "mask"), special, strict=True))
    if name == "roberta":
        named = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token=named["unk"]))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    ends = [(named[key], vocabulary[named[key]]) for key in ("cls", "sep")]
    words.post_processor = tokenizers.processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single=f"{named['cls']} $A {named['sep']}", special_tokens=ends
    )
    tokens: dict[str, Any] = {f"{key}_token": token for key, token in named.items()}
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, **tokens).save_pretrained(folder)
    settings: dict[str, Any] = _TEXT | {"vocab_size": len(vocabulary), "pad_token_id": vocabulary[named["pad"]]}
    if name == "roberta":
        settings["max_position_embeddings"] += 2  # the first are padding's
        model: Any = transformers.RobertaModel(transformers.RobertaConfig(**settings))
    else:
        model = transformers.BertModel(transformers.BertConfig(**settings))
    model.eval().save_pretrained(folder)
    return model


def chosen(output: Any, layer: str) -> np.ndarray:
    """The frames of the only item of a batch, at a layer named by this table of tests' own."""
    states = output.hidden_states
    by_layer = {
        "last": lambda: output.last_hidden_state,
        "0": lambda: states[0],
        "2": lambda: states[2],
        "-2": lambda: states[-2],
        "1-2": lambda: torch.stack([states[1], states[2]]).mean(0),
        "-3--1": lambda: torch.stack(states[-3:]).mean(0),
    }
    return by_layer[layer]()[0].numpy()


def direct_speech(model: Any, folder: Path, waveform: np.ndarray, layer: str = "last") -> np.ndarray:
    """What transformers itself makes of one waveform."""
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    inputs = extractor(waveform, sampling_rate=extractor.sampling_rate, return_tensors="pt")
    encoder = model.get_encoder() if model.config.model_type == "whisper" else model
    with torch.inference_mode():
        return chosen(encoder(inputs[model.main_input_name], output_hidden_states=True), layer)


def direct_text(model: Any, folder: Path, text: str, layer: str = "last") -> np.ndarray:
    """What transformers itself makes of one transcript."""
    inputs = transformers.AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        return chosen(model(**inputs, output_hidden_states=True), layer)
