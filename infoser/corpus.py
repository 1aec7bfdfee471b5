"""A corpus in memory: aligned feature arrays, labels and who spoke, checked so that no row can be out of step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from infoser.errors import InfoserError

UNLABELLED = -1
_CHUNK = 2**22  # numbers that are looked at together: a memory map is not read whole


@dataclass(frozen=True)
class Frames:
    """Ragged sequences of feature vectors, laid end to end; those of row i are values[start[i] : start[i] + count[i]].

    Attributes:
      values: (total, dim) float32 or float16; may be a memory map.
      start: (N,) int64.
      count: (N,) int32.
    """

    values: np.ndarray
    start: np.ndarray
    count: np.ndarray

    def __len__(self) -> int:
        return len(self.count)

    def of(self, row: int) -> np.ndarray:
        """(count, dim) the sequence of one row."""
        return self.values[self.start[row] : self.start[row] + self.count[row]]


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
      has_text: (N,) bool, which utterances have a transcript, or None where all have (or there is no text at all). The
        text features of an utterance without one are zeros that nothing reads.
      audio_frames, text_frames: the sequences that `audio` and `text` were pooled from, or None.
      checked: whether features and frames that are memory maps for reading only are known to be finite, and zeros where
        there is no transcript: they are then not read through again.

    Raises:
      InfoserError: from construction, when lengths differ, an id repeats, a feature is not finite, a label is out of
        range, an utterance without a transcript has text features, or frames do not fit the utterances.
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
    has_text: np.ndarray | None = None
    audio_frames: Frames | None = None
    text_frames: Frames | None = None
    checked: bool = field(default=False, repr=False)

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
        self._check_has_text()
        for modality, frames in (("audio", self.audio_frames), ("text", self.text_frames)):
            if frames is not None:
                self._check_frames(modality, frames)

    def __len__(self) -> int:
        return len(self.utterance_id)

    @property
    def labelled(self) -> np.ndarray:
        """(N,) bool: which utterances have a label."""
        return self.label >= 0

    @property
    def with_text(self) -> np.ndarray:
        """(N,) bool: which utterances have text features."""
        if self.has_text is not None:
            return self.has_text
        return np.full(len(self), self.text is not None)

    def without_text(self) -> Self:
        """The same corpus, with audio only."""
        return replace(self, text=None, has_text=None, text_frames=None)

    def _check_lengths(self) -> None:
        named = {"audio": self.audio, "text": self.text, "label": self.label, "speaker": self.speaker}
        named |= {"session": self.session, "dialogue": self.dialogue, "split": self.split, **self.columns}
        named |= {"has_text": self.has_text, "audio_frames": self.audio_frames, "text_frames": self.text_frames}
        for key, array in named.items():
            if array is not None and len(array) != len(self):
                raise InfoserError(
                    f"corpus {self.name!r}: {key!r} has {len(array)} rows, but there are {len(self)} utterance ids; "
                    "every array needs one row per utterance"
                )
        if len(self) == 0:
            raise InfoserError(f"corpus {self.name!r} has no utterances")

    def _check_ids(self) -> None:
        if len(set(self.utterance_id.tolist())) < len(self):  # five times as fast as sorting them
            ids, counts = np.unique(self.utterance_id, return_counts=True)
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
        bad = [] if self._known(features) else _not_finite(features)
        if len(bad):
            raise InfoserError(
                f"corpus {self.name!r}: {modality!r} of utterance {str(self.utterance_id[bad[0]])!r} (row {bad[0]}) is NaN or "
                f"infinite ({len(bad)} such utterances); repair or remove them at the source"
            )

    def _check_has_text(self) -> None:
        if self.has_text is None:
            return
        if self.text is None:
            raise InfoserError(f"corpus {self.name!r} says which utterances have text, but has no text features")
        if self.has_text.dtype != bool or self.has_text.ndim != 1:
            raise InfoserError(
                f"corpus {self.name!r}: 'has_text' is {self.has_text.dtype} of shape {self.has_text.shape}; expected one bool "
                "for each utterance"
            )
        if not self.has_text.any():
            raise InfoserError(f"corpus {self.name!r}: no utterance has a transcript; leave out its text features altogether")
        without = np.flatnonzero(~self.has_text)
        filled = [] if self._known(self.text) else _rows(self.text, lambda block: block.any(axis=1), without)
        if len(filled):
            raise InfoserError(
                f"corpus {self.name!r}: utterance {str(self.utterance_id[filled[0]])!r} (row {filled[0]}) has no transcript, "
                f"but text features ({len(filled)} such utterances); they must be zeros"
            )

    def _check_frames(self, modality: str, frames: Frames) -> None:
        name, values = f"corpus {self.name!r}: '{modality}_frames'", frames.values
        if modality == "text" and self.text is None:
            raise InfoserError(f"{name} are there, but 'text' is not: every modality needs its pooled features too")
        if values.ndim != 2 or values.shape[1] == 0 or values.dtype not in (np.float32, np.float16):
            raise InfoserError(
                f"{name} are {values.dtype} of shape {values.shape}; expected (frames, features) in float32 or float16"
            )
        if len(frames.start) != len(self):
            raise InfoserError(f"{name} begin at {len(frames.start)} places, but there are {len(self)} utterances")
        start, count = frames.start.astype(np.int64), frames.count.astype(np.int64)
        expected = np.ones(len(self), bool) if modality == "audio" else self.with_text
        for wrong, reason in (
            ((start < 0) | (count < 0) | (start + count > len(values)), f"lie outside the {len(values)} that there are"),
            (expected & (count == 0), "are none at all"),
            (~expected & (count > 0), "are there, but no transcript"),
        ):
            if wrong.any():
                row = int(np.argmax(wrong))
                raise InfoserError(
                    f"{name} of utterance {str(self.utterance_id[row])!r} (row {row}) {reason} ({int(wrong.sum())} such "
                    "utterances)"
                )
        bad = [] if self._known(values) else _not_finite(values)
        if len(bad):
            frame = int(bad[0])
            owners = np.flatnonzero((start <= frame) & (frame < start + count))
            whose = f"utterance {str(self.utterance_id[owners[0]])!r} (row {owners[0]})" if len(owners) else "no utterance"
            raise InfoserError(f"{name}: frame {frame}, of {whose}, is NaN or infinite; repair or remove it at the source")

    def _known(self, values: np.ndarray) -> bool:
        """Whether these values were looked at when they were written, and can't have changed."""
        return self.checked and isinstance(values, np.memmap) and not values.flags.writeable


def _not_finite(values: np.ndarray) -> np.ndarray:
    """The rows that hold a number that is not finite."""
    return _rows(values, lambda block: ~np.isfinite(block).all(axis=1))


def _rows(values: np.ndarray, found: Callable[[np.ndarray], Any], among: np.ndarray | None = None) -> np.ndarray:
    """The rows (of those in `among`, or of all) for which `found` says true, looked at some at a time."""
    at_once = max(1, _CHUNK // values.shape[1])
    total = len(values) if among is None else len(among)
    parts = [np.zeros(0, np.int64)]
    for first in range(0, total, at_once):
        rows: Any = slice(first, first + at_once) if among is None else among[first : first + at_once]
        here = np.flatnonzero(found(values[rows]))
        parts.append(here + first if among is None else among[first + here])
    return np.concatenate(parts)
