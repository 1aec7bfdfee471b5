"""A corpus in memory: aligned feature arrays, labels and who spoke, checked so that no row can be out of step."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from infoser.errors import InfoserError

UNLABELLED = -1


@dataclass(frozen=True)
class Corpus:
    """Utterance-level features and annotations; row i of every array is utterance i.

    Attributes:
      name: the corpus' name.
      utterance_id: (N,) unicode, unique.
      audio: (N, audio_dim) float32, audio-encoder features.
      text: (N, text_dim) float32, text-encoder features, or None.
      label: (N,) int32, index into `classes`, or -1 for an utterance without a label.
      classes: the emotion names, in label order.
      speaker: (N,) unicode.
      session, dialogue, split: (N,) unicode, or None where the corpus has none.
      columns: every other per-utterance array by name, first axis N.
      provenance: what the shards say of their origin (source hash, key and class map, counts, versions, shards_hash).

    Raises:
      InfoserError: from construction, when lengths differ, an id repeats, a feature is not finite, or a label is out of range.
    """

    name: str
    utterance_id: np.ndarray
    audio: np.ndarray
    text: np.ndarray | None
    label: np.ndarray
    classes: tuple[str, ...]
    speaker: np.ndarray
    session: np.ndarray | None = None
    dialogue: np.ndarray | None = None
    split: np.ndarray | None = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_lengths()
        self._check_ids()
        for modality, features in (("audio", self.audio), ("text", self.text)):
            if features is not None:
                self._check_features(modality, features)
        out_of_range = (self.label < UNLABELLED) | (self.label >= len(self.classes))
        if out_of_range.any():
            row = int(np.argmax(out_of_range))
            raise InfoserError(
                f"corpus {self.name!r}: label {self.label[row]} of utterance {str(self.utterance_id[row])!r} (row {row}) "
                f"is not one of the {len(self.classes)} classes"
            )

    def __len__(self) -> int:
        return len(self.utterance_id)

    @property
    def labelled(self) -> np.ndarray:
        """(N,) bool: which utterances have a label."""
        return self.label >= 0

    def _check_lengths(self) -> None:
        named = {"audio": self.audio, "text": self.text, "label": self.label, "speaker": self.speaker}
        named |= {"session": self.session, "dialogue": self.dialogue, "split": self.split, **self.columns}
        for key, array in named.items():
            if array is not None and len(array) != len(self):
                raise InfoserError(
                    f"corpus {self.name!r}: {key!r} has {len(array)} rows, but there are {len(self)} utterance ids; "
                    "every array needs one row per utterance"
                )
        if len(self) == 0:
            raise InfoserError(f"corpus {self.name!r} has no utterances")

    def _check_ids(self) -> None:
        ids, counts = np.unique(self.utterance_id, return_counts=True)
        if (counts > 1).any():
            repeated = ids[np.argmax(counts > 1)]
            rows = np.flatnonzero(self.utterance_id == repeated)[:2].tolist()
            raise InfoserError(
                f"corpus {self.name!r}: utterance id {str(repeated)!r} occurs twice (rows {rows[0]} and {rows[1]}); "
                "ids must be unique"
            )

    def _check_features(self, modality: str, features: np.ndarray) -> None:
        if features.ndim != 2 or features.shape[1] == 0:
            raise InfoserError(
                f"corpus {self.name!r}: {modality!r} has shape {features.shape}; expected (utterances, features)"
            )
        bad = ~np.isfinite(features).all(axis=1)
        if bad.any():
            row = int(np.argmax(bad))
            raise InfoserError(
                f"corpus {self.name!r}: {modality!r} of utterance {str(self.utterance_id[row])!r} (row {row}) is NaN or "
                f"infinite ({int(bad.sum())} such utterances); repair or remove them at the source"
            )
