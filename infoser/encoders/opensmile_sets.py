"""openSMILE's feature sets as audio encoders: functionals of an utterance, or its low-level descriptors."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from infoser.encoders.encoder import extra, versions
from infoser.encoders.layers import refuse_layer
from infoser.errors import InfoserError

_SAMPLE_RATE = 16_000  # of most corpora; the sets look no higher than 8 kHz


class OpenSmileEncoder:
    """One of openSMILE's sets: a single frame of functionals for an utterance, or its descriptors every 10 ms.

    Args:
      name: of the set, in any case (`eGeMAPSv02`, `ComParE_2016`, …).
      layer: must be `last`.
      frames: descriptors instead of functionals.

    Raises:
      InfoserError: if there is no such set.
    """

    def __init__(self, name: str, layer: str, frames: bool):
        smile = extra("opensmile")
        sets = {each.name.lower(): each for each in smile.FeatureSet}
        if name.lower() not in sets:
            known = ", ".join(each.name for each in smile.FeatureSet)
            raise InfoserError(f"encoder opensmile:{name}: there is no such set; choose one of {known}")
        chosen = sets[name.lower()]
        refuse_layer(layer, f"opensmile:{chosen.name}")
        level = smile.FeatureLevel.LowLevelDescriptors if frames else smile.FeatureLevel.Functionals
        self._smile: Any = smile.Smile(feature_set=chosen, feature_level=level)
        self.sample_rate = _SAMPLE_RATE
        self.dim = int(self._smile.num_features)
        self.frames_kept = frames
        self.provenance: dict[str, Any] = {
            "kind": "opensmile",
            "id": f"opensmile:{chosen.name}",
            "level": "low-level descriptors" if frames else "functionals",
            "layer": "last",
            "precision": "float32",
            "sample_rate": _SAMPLE_RATE,
            "window_s": None,
            "versions": versions("numpy", "opensmile", "soundfile", "soxr"),
        }

    def encode(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See `Encoder`.

        Raises:
          InfoserError: if a waveform is too short for the set.
        """
        return [self._one(one) for one in inputs]

    def length(self, one: np.ndarray) -> int:
        """Samples."""
        return len(one)

    def _one(self, samples: np.ndarray) -> np.ndarray:
        found = self._smile.process_signal(samples, self.sample_rate).to_numpy(np.float32)
        if not np.isfinite(found).all():
            raise InfoserError(f"a waveform of {len(samples)} samples is too short for {self.provenance['id']}")
        return found
