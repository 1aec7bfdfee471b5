"""Audio encoders: openSMILE's sets, and pretrained models that give hidden states of a waveform."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from infoser.encoders.encoder import Encoder, extra, versions
from infoser.encoders.hidden_states import (
    EachAlone,
    HiddenStates,
    check_precision,
    load_model,
    loading,
    padding_is_harmless,
)
from infoser.encoders.opensmile_sets import OpenSmileEncoder
from infoser.encoders.pretrained import Pretrained, find_pretrained
from infoser.errors import InfoserError

OPENSMILE = "opensmile:"
_PACKAGES = ("numpy", "soundfile", "soxr", "torch", "transformers")
_WHISPER_TOGETHER = 8  # windows in a batch: each is padded to 30 s, however short its audio
#: Modules that may let padding leak, in the order in which running them alone is tried, and their output's axis of time.
_LEAKING = (("feature_extractor", 2), ("encoder.pos_conv_embed", 1))


def load_audio_encoder(
    spec: str,
    *,
    layer: str = "last",
    precision: str = "float32",
    device: str = "auto",
    frames: bool = False,
    window_s: float = 30.0,
) -> Encoder:
    """Loads a frozen audio encoder.

    Args:
      spec: `opensmile:SET`; or a Hugging Face id or local folder of a model that gives hidden states of a waveform
        (wav2vec2, HuBERT, WavLM, data2vec-audio and kin) or of a spectrogram (Whisper's encoder).
      layer: hidden layer of a pretrained model, see `layers.resolve_layer`.
      precision: arithmetic of a pretrained model. openSMILE has its own.
      device: of a pretrained model: `auto` (CUDA where there is one, else the CPU) or PyTorch's name for it.
      frames: of openSMILE, the low-level descriptors every 10 ms instead of functionals. Pretrained models always give
        sequences.
      window_s: longer recordings go through a pretrained model in windows of this length. Whisper's are always its own.

    Raises:
      InfoserError: if the encoder can't be had, or has no such layer.
    """
    check_precision(precision)
    if not 1.0 <= window_s < math.inf:
        raise InfoserError(f"windows of {window_s:g} s: give at least one second")
    if spec.startswith(OPENSMILE):
        return OpenSmileEncoder(spec.removeprefix(OPENSMILE), layer, frames)
    pretrained = find_pretrained(spec)
    model = load_model(pretrained, "waveforms", ("input_values", "input_features"))
    transformers = extra("transformers")
    if isinstance(model, transformers.WhisperModel):
        return WhisperEncoder(model.get_encoder(), pretrained, layer, precision, device)
    if model.main_input_name != "input_values":
        raise InfoserError(
            f"encoder {pretrained.id}: {model.config.model_type} models take spectrograms of their own, which "
            "are not supported (of that sort Whisper's encoder is)"
        )
    return WaveformEncoder(model, pretrained, layer, precision, device, window_s)


def windows(samples: int, window: int, least: int) -> list[tuple[int, int]]:
    """Cuts a length into windows; a last one shorter than `least` is joined to the one before."""
    starts = list(range(0, samples, window)) or [0]
    if len(starts) > 1 and samples - starts[-1] < least:
        starts.pop()
    return list(zip(starts, [*starts[1:], samples], strict=True))


class WaveformEncoder:
    """A model of the wav2vec2 family: normalised samples in, a frame about every 20 ms out.

    A recording is normalised as a whole, then cut into windows, whose frames follow one another.

    Raises:
      InfoserError: from construction, as `load_audio_encoder`.
    """

    frames_kept = True

    def __init__(self, model: Any, pretrained: Pretrained, layer: str, precision: str, device: str, window_s: float):
        self._extractor = _feature_extractor(pretrained, "Wav2Vec2FeatureExtractor")
        self.sample_rate = int(self._extractor.sampling_rate)
        self._window = round(window_s * self.sample_rate)
        config: Any = model.config
        if not isinstance(getattr(config, "conv_kernel", None), list | tuple):
            raise InfoserError(f"encoder {pretrained.id}: {config.model_type} models are not of the wav2vec2 family")
        self._convolutions = list(zip(config.conv_kernel, config.conv_stride, strict=True))
        self._least = int(getattr(config, "squeeze_factor", 1))  # SEW averages neighbouring frames
        for kernel, stride in reversed(self._convolutions):
            self._least = (self._least - 1) * stride + kernel
        self._states = HiddenStates(model, pretrained.id)
        self._alone: list[EachAlone] = []
        # Two lengths, of which the shorter is padded by more than any convolution reaches.
        sample = [np.sin(np.arange(n, dtype=np.float32) ** 1.5 / 50) for n in (self._least + 6400, self._least + 1777)]
        self._states.choose_layer(layer, input_values=sample[0][None])
        self._pads = self._find_padding(sample)
        self._states.place(precision, device)
        self.dim = self._states.dim
        self.provenance = _provenance(pretrained, model, self._states.layer, precision, self.sample_rate, window_s)

    def encode(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See `Encoder`; recordings of several windows go through one by one, so that memory is bounded.

        Raises:
          InfoserError: if a waveform is too short for a single frame.
        """
        for one in inputs:
            if len(one) < self._least:
                raise InfoserError(f"a waveform of {len(one)} samples: one frame needs {self._least}")
        normalised = [self._normalise(one) for one in inputs]
        found: dict[int, np.ndarray] = {}
        groups: dict[int, list[int]] = {}
        for row, one in enumerate(normalised):
            parts = windows(len(one), self._window, self._least)
            if len(parts) > 1:
                found[row] = np.concatenate([self._batch([one[start:stop]])[0] for start, stop in parts])
            else:
                groups.setdefault(0 if self._pads else len(one), []).append(row)
        for rows in groups.values():
            found.update(zip(rows, self._batch([normalised[row] for row in rows]), strict=True))
        return [found[row] for row in range(len(inputs))]

    def length(self, one: np.ndarray) -> int:
        """Samples."""
        return len(one)

    def _normalise(self, one: np.ndarray) -> np.ndarray:
        found = self._extractor(one, sampling_rate=self.sample_rate, return_tensors="np", padding=False)
        return np.asarray(found["input_values"][0], np.float32)

    def _batch(self, waveforms: list[np.ndarray]) -> list[np.ndarray]:
        lengths = [len(one) for one in waveforms]
        if min(lengths) == max(lengths):
            return list(self._states(input_values=np.stack(waveforms)))
        values = np.zeros((len(lengths), max(lengths)), np.float32)
        mask = np.zeros(values.shape, np.int64)
        for row, one in enumerate(waveforms):
            values[row, : len(one)], mask[row, : len(one)] = one, 1
        counts = [self._frames(length) for length in lengths]
        for module, own in zip(self._alone, (lengths, counts), strict=False):
            module.lengths = own
        try:
            states = self._states(input_values=values, attention_mask=mask)
        finally:
            for module in self._alone:
                module.lengths = None
        return [row[:count].copy() for row, count in zip(states, counts, strict=True)]

    def _frames(self, samples: int) -> int:
        """How many frames the convolutions make of so many samples."""
        for kernel, stride in self._convolutions:
            samples = (samples - kernel) // stride + 1
        return samples

    def _find_padding(self, sample: list[np.ndarray]) -> bool:
        """Whether recordings of different lengths may share a padded batch, and what has to be run alone for that.

        Not taken on trust: models differ in what they mask, so a sample is encoded both ways.
        """
        try:
            for name, axis in ((None, 0), *_LEAKING):
                if name is not None:
                    self._alone.append(EachAlone(self._states.model.get_submodule(name), axis))
                if padding_is_harmless(self._batch, sample):
                    return True
        except (AttributeError, RuntimeError, TypeError, ValueError):  # it is built otherwise, or takes no mask
            pass
        for module in self._alone:
            module.remove()
        self._alone = []
        return False


class WhisperEncoder:
    """Whisper's encoder: every window is padded with silence to 30 s, as in its training; frames beyond the audio are cut.

    Raises:
      InfoserError: from construction, as `load_audio_encoder`.
    """

    frames_kept = True

    def __init__(self, model: Any, pretrained: Pretrained, layer: str, precision: str, device: str):
        self._extractor = _feature_extractor(pretrained, "WhisperFeatureExtractor")
        self.sample_rate = int(self._extractor.sampling_rate)
        self._window = int(self._extractor.n_samples)
        self._hop = int(self._extractor.hop_length) * math.prod(conv.stride[0] for conv in (model.conv1, model.conv2))
        self._states = HiddenStates(model, pretrained.id)
        self._states.choose_layer(layer, input_features=self._spectrograms([np.zeros(self.sample_rate, np.float32)]))
        self._states.place(precision, device)
        self.dim = self._states.dim
        window_s = self._window / self.sample_rate
        self.provenance = _provenance(pretrained, model, self._states.layer, precision, self.sample_rate, window_s)

    def encode(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See `Encoder`."""
        parts = [(row, one[start:stop]) for row, one in enumerate(inputs) for start, stop in windows(len(one), self._window, 1)]
        found: list[list[np.ndarray]] = [[] for _ in inputs]
        for first in range(0, len(parts), _WHISPER_TOGETHER):
            batch = parts[first : first + _WHISPER_TOGETHER]
            states = self._states(input_features=self._spectrograms([one for _, one in batch]))
            for (row, one), frames in zip(batch, states, strict=True):
                found[row].append(frames[: math.ceil(len(one) / self._hop)].copy())
        return [np.concatenate(each) for each in found]

    def length(self, one: np.ndarray) -> int:
        """Samples."""
        return len(one)

    def _spectrograms(self, waveforms: list[np.ndarray]) -> np.ndarray:
        return self._extractor(waveforms, sampling_rate=self.sample_rate, return_tensors="np")["input_features"]


def _feature_extractor(pretrained: Pretrained, kind: str) -> Any:
    """What says the sample rate and how samples are normalised."""
    transformers = extra("transformers")
    if not any((pretrained.folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json")):
        raise InfoserError(
            f"encoder {pretrained.id}: no preprocessor_config.json, which says the sample rate and how samples are normalised; "
            "save the model's feature extractor beside it"
        )
    with loading(pretrained.id):
        found = transformers.AutoFeatureExtractor.from_pretrained(
            pretrained.folder, local_files_only=True, trust_remote_code=False
        )
    if type(found).__name__ != kind:
        raise InfoserError(
            f"encoder {pretrained.id}: its preprocessor is a {type(found).__name__}, and only {kind} is supported"
        )
    return found


def _provenance(
    pretrained: Pretrained, model: Any, layer: str, precision: str, sample_rate: int, window_s: float
) -> dict[str, Any]:
    return {
        "kind": "transformers",
        "id": pretrained.id,
        "model_type": str(model.config.model_type),
        **pretrained.hashes(),
        "layer": layer,
        "precision": precision,
        "sample_rate": sample_rate,
        "window_s": float(window_s),
        "versions": versions(*_PACKAGES),
    }
