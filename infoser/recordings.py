"""A corpus before encoding: where each utterance's audio is, what was said, by whom, and with which emotion."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from infoser.errors import InfoserError


@dataclass(frozen=True)
class Recordings:
    """Annotations of recordings; row i of every array is utterance i.

    Attributes:
      name: the corpus' name.
      root: the folder that holds all audio.
      utterance_id: (N,) unicode, unique.
      audio: (N,) unicode, paths relative to `root`, with `/`; checked to lie under it.
      emotion: (N,) unicode, the corpus' own consensus codes; '' for none.
      speaker: (N,) unicode.
      transcript: (N,) unicode, '' where it is missing; None where the corpus has none.
      session, dialogue, split: (N,) unicode, or None where the corpus has none.
      start_s, end_s: (N,) float64, the utterance's part of its file in seconds, NaN for the file's start and end; or None
        where every utterance is a whole file.
      columns: every other per-utterance array by name (dimensional labels, gender), first axis N.
      provenance: what decided the rows: release, counts, what was missing (plain JSON values).

    Raises:
      InfoserError: from construction, when lengths differ, an id repeats or is empty, or a path leaves `root`.
    """

    name: str
    root: Path
    utterance_id: np.ndarray
    audio: np.ndarray
    emotion: np.ndarray
    speaker: np.ndarray
    transcript: np.ndarray | None = None
    session: np.ndarray | None = None
    dialogue: np.ndarray | None = None
    split: np.ndarray | None = None
    start_s: np.ndarray | None = None
    end_s: np.ndarray | None = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = {key: value for key, value in vars(self).items() if isinstance(value, np.ndarray)} | dict(self.columns)
        for key, array in named.items():
            if len(array) != len(self):
                raise InfoserError(f"{self.name}: {key!r} has {len(array)} rows, but there are {len(self)} utterance ids")
        if len(self) == 0:
            raise InfoserError(f"{self.name}: no utterance was found in {self.root}")
        ids, counts = np.unique(self.utterance_id, return_counts=True)
        if (counts > 1).any():
            raise InfoserError(f"{self.name}: utterance id {str(ids[np.argmax(counts)])!r} occurs twice; ids must be unique")
        if not ids[0]:
            raise InfoserError(f"{self.name}: an utterance has an empty id")
        for utterance, path in zip(self.utterance_id.tolist(), self.audio.tolist(), strict=True):
            check_inside(path, f"{self.name}: audio path of utterance {utterance!r}")

    def __len__(self) -> int:
        return len(self.utterance_id)

    @property
    def has_transcript(self) -> np.ndarray:
        """(N,) bool: which utterances have a transcript that says something."""
        if self.transcript is None:
            return np.zeros(len(self), bool)
        return np.array([bool(each.strip()) for each in self.transcript])  # no copy as wide as the longest

    def path(self, row: int) -> Path:
        """The audio file of an utterance."""
        return self.root / str(self.audio[row])


def check_inside(path: str, what: str) -> None:
    """Refuses a relative path that could leave its root: absolute, with a drive, or through `..`.

    Raises:
      InfoserError: saying `what` it is.
    """
    parts = path.replace("\\", "/").split("/")
    if not path.strip() or path.startswith(("/", "\\", "~")) or ".." in parts or ":" in parts[0] or "\0" in path:
        raise InfoserError(f"{what}: {path!r} is empty or leaves its folder; give a path relative to it, without '..'")
