"""Text encoders: feature hashing, and pretrained models of the BERT family."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from infoser.encoders.encoder import Encoder, extra, versions
from infoser.encoders.hidden_states import (
    HiddenStates,
    check_precision,
    load_model,
    loading,
    padding_is_harmless,
    quiet,
)
from infoser.encoders.layers import refuse_layer
from infoser.encoders.pretrained import Pretrained, find_pretrained
from infoser.errors import InfoserError

HASHING = "hashing:"
_MOST_HASHED = 1 << 16
_WORD = r"(?u)\b\w+\b"  # words of one letter are words too


def load_text_encoder(spec: str, *, layer: str = "last", precision: str = "float32", device: str = "auto") -> Encoder:
    """Loads a frozen text encoder.

    Args:
      spec: `hashing:N`; or a Hugging Face id or local folder of a model of the BERT family.
      layer, precision, device: of a pretrained model, as in `audio.load_audio_encoder`.

    Raises:
      InfoserError: if the encoder can't be had, or has no such layer.
    """
    check_precision(precision)
    if spec.startswith(HASHING):
        return HashingEncoder(spec.removeprefix(HASHING), layer)
    pretrained = find_pretrained(spec)
    return TokenEncoder(load_model(pretrained, "text", ("input_ids",)), pretrained, layer, precision, device)


class HashingEncoder:
    """Lower-cased words and pairs of neighbouring words, hashed to signed columns, of unit length: nothing is fitted.

    A transcript without a word becomes zeros.

    Raises:
      InfoserError: from construction, for a width that isn't a number in 1 … 65,536, or a layer.
    """

    sample_rate = 0
    frames_kept = False

    def __init__(self, width: str, layer: str):
        from sklearn.feature_extraction.text import HashingVectorizer

        if not re.fullmatch(r"[1-9][0-9]{0,4}", width) or int(width) > _MOST_HASHED:
            raise InfoserError(f"encoder hashing:{width}: give a width of 1 to {_MOST_HASHED}, such as hashing:512")
        refuse_layer(layer, f"hashing:{width}")
        self.dim = int(width)
        self._vectorizer = HashingVectorizer(
            n_features=self.dim, token_pattern=_WORD, ngram_range=(1, 2), alternate_sign=True, norm="l2"
        )
        self.provenance: dict[str, Any] = {
            "kind": "hashing",
            "id": f"hashing:{width}",
            "layer": "last",
            "precision": "float32",
            "versions": versions("scikit-learn"),
        }

    def encode(self, inputs: Sequence[str]) -> list[np.ndarray]:
        """See `Encoder`; a single frame for each."""
        _refuse_empty(inputs)
        if not inputs:
            return []
        hashed: Any = self._vectorizer.transform(inputs)
        return [row[None] for row in hashed.toarray().astype(np.float32)]

    def length(self, one: str) -> int:
        """Words."""
        return len(re.findall(_WORD, one))


class TokenEncoder:
    """A model of the BERT family: a frame for each token, the special ones at the ends included.

    A transcript longer than the model's positions goes through in windows of tokens, each with its special ones; their
    frames follow one another.

    Raises:
      InfoserError: from construction, as `load_text_encoder`.
    """

    sample_rate = 0
    frames_kept = True

    def __init__(self, model: Any, pretrained: Pretrained, layer: str, precision: str, device: str):
        if model.config.is_encoder_decoder or getattr(model.config, "is_decoder", False) or not _reads_both_ways(model):
            raise InfoserError(
                f"encoder {pretrained.id}: a {model.config.model_type} model does not read text in both directions; give an "
                "encoder such as BERT or RoBERTa"
            )
        transformers = extra("transformers")
        with loading(pretrained.id), quiet():
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
                pretrained.folder, local_files_only=True, trust_remote_code=False
            )
        pad = model.config.pad_token_id if self._tokenizer.pad_token_id is None else self._tokenizer.pad_token_id
        self._pad = int(pad or 0)
        self._positions = _positions(model, self._tokenizer)
        self._states = HiddenStates(model, pretrained.id)
        # Known by now, and else the tokenizer warns of every transcript that is longer.
        self._tokenizer.model_max_length = int(1e30)
        tokens = np.array([each for each in range(min(model.config.vocab_size, 10)) if each != self._pad])
        sample = [tokens[: self._positions], tokens[: min(self._positions, 3)]]
        self._states.choose_layer(layer, input_ids=sample[0][None], attention_mask=np.ones((1, len(sample[0])), np.int64))
        self._pads = True
        self._pads = padding_is_harmless(self._batch, sample)
        self._states.place(precision, device)
        self.dim = self._states.dim
        self.provenance: dict[str, Any] = {
            "kind": "transformers",
            "id": pretrained.id,
            "model_type": str(model.config.model_type),
            **pretrained.hashes(),
            "layer": self._states.layer,
            "precision": precision,
            "window_tokens": self._positions,
            "versions": versions("numpy", "tokenizers", "torch", "transformers"),
        }

    def encode(self, inputs: Sequence[str]) -> list[np.ndarray]:
        """See `Encoder`; long transcripts go through window by window, so that memory is bounded.

        Raises:
          InfoserError: for a transcript that is empty or has no token.
        """
        _refuse_empty(inputs)
        found: dict[int, np.ndarray] = {}
        groups: dict[int, list[tuple[int, np.ndarray]]] = {}
        for row, text in enumerate(inputs):
            parts = [np.array(part) for part in self._windows(text)]
            if not len(parts[0]):
                raise InfoserError(f"transcript {text!r} has no token that {self.provenance['id']} knows")
            if len(parts) > 1:
                found[row] = np.concatenate([self._batch([part])[0] for part in parts])
            else:
                groups.setdefault(0 if self._pads else len(parts[0]), []).append((row, parts[0]))
        for group in groups.values():
            frames = self._batch([tokens for _, tokens in group])
            found.update((row, one) for (row, _), one in zip(group, frames, strict=True))
        return [found[row] for row in range(len(inputs))]

    def length(self, one: str) -> int:
        """Tokens, with the special ones."""
        return sum(map(len, self._windows(one)))

    def _batch(self, tokens: list[np.ndarray]) -> list[np.ndarray]:
        ids = np.full((len(tokens), max(map(len, tokens))), self._pad, np.int64)
        mask = np.zeros(ids.shape, np.int64)
        for row, one in enumerate(tokens):
            ids[row, : len(one)], mask[row, : len(one)] = one, 1
        states = self._states(input_ids=ids, attention_mask=mask)
        return [row[: len(one)].copy() for row, one in zip(states, tokens, strict=True)]

    def _windows(self, text: str) -> list[list[int]]:
        """The tokens of a transcript, cut where they are more than the model has positions for."""
        whole = self._tokenizer(text)["input_ids"]
        if len(whole) <= self._positions:
            return [whole]
        plain = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        special = len(whole) - len(plain)
        before = next((n for n in range(special + 1) if whole[n : n + len(plain)] == plain), None)
        room = self._positions - special
        if before is None or room < 1:
            raise InfoserError(f"{len(whole)} tokens of a transcript can't be cut into windows of {self._positions}")
        prefix, suffix = whole[:before], whole[before + len(plain) :]
        return [[*prefix, *plain[start : start + room], *suffix] for start in range(0, len(plain), room)]


def _refuse_empty(inputs: Sequence[str]) -> None:
    if not all(text.strip() for text in inputs):
        raise InfoserError("an empty transcript can't be encoded; leave its utterance without text")


def _reads_both_ways(model: Any) -> bool:
    """Whether transformers knows the model as one that fills in masked words."""
    mapping = extra("transformers.models.auto.modeling_auto").MODEL_FOR_MASKED_LM_MAPPING
    return type(model.config) in mapping


def _positions(model: Any, tokenizer: Any) -> int:
    """The most tokens that a model takes at once; in RoBERTa's kin the first positions stand for padding."""
    torch = extra("torch")
    limits = [int(tokenizer.model_max_length)]
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            reserved = 0 if module.padding_idx is None else module.padding_idx + 1
            limits.append(module.num_embeddings - reserved)
    if len(limits) == 1 and getattr(model.config, "max_position_embeddings", None):
        limits.append(int(model.config.max_position_embeddings))
    return min(limits)
