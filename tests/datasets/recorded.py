"""A corpus without real features from recordings, to make folds of."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from infoser.class_map import map_labels, parse_class_map
from infoser.corpus import Corpus
from infoser.recordings import Recordings


def corpus_of(recordings: Recordings, classes: Sequence[str]) -> Corpus:
    class_map = parse_class_map(classes)
    return Corpus(
        name=recordings.name,
        utterance_id=recordings.utterance_id,
        audio=np.zeros((len(recordings), 1), np.float32),
        text=None,
        label=map_labels(recordings.emotion, class_map, "the labels"),
        classes=tuple(class_map),
        speaker=recordings.speaker,
        session=recordings.session,
        dialogue=recordings.dialogue,
        split=recordings.split,
        columns=recordings.columns,
    )


def row(recordings: Recordings, utterance: str) -> int:
    (found,) = np.flatnonzero(recordings.utterance_id == utterance)
    return int(found)


def files(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
