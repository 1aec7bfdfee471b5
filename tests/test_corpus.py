"""`Corpus` refuses what would train on misaligned or broken rows, and names the utterance."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infoser.corpus import Corpus, Frames
from infoser.errors import InfoserError


def fields(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "name": "tiny",
        "utterance_id": np.array(["u0", "u1", "u2", "u3"]),
        "audio": rng.normal(size=(4, 3)).astype(np.float32),
        "text": rng.normal(size=(4, 2)).astype(np.float32),
        "label": np.array([0, 1, -1, 1], np.int32),
        "classes": ("calm", "angry"),
        "speaker": np.array(["a", "a", "b", "b"]),
        "session": np.array(["1", "1", "2", "2"]),
        **changes,
    }


def nan_at(row: int, value: float) -> np.ndarray:
    audio = np.ones((4, 3), np.float32)
    audio[row, 1] = value
    return audio


def test_a_sound_corpus() -> None:
    corpus = Corpus(**fields())
    assert len(corpus) == 4
    assert corpus.labelled.tolist() == [True, True, False, True]
    assert corpus.columns == {} and corpus.dialogue is None
    assert Corpus(**fields(text=None, session=None)).text is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speaker": np.array(["a", "b", "c"])}, "'speaker' has 3 rows, but there are 4 utterance ids"),
        ({"text": np.ones((5, 2), np.float32)}, "'text' has 5 rows"),
        ({"session": np.array(["1"])}, "'session' has 1 rows"),
        ({"columns": {"duration_s": np.ones(3)}}, "'duration_s' has 3 rows"),
        ({"utterance_id": np.array(["u0", "u1", "u2", "u1"])}, "'u1' occurs twice (rows 1 and 3)"),
        ({"audio": nan_at(2, np.nan)}, "'audio' of utterance 'u2' (row 2) is NaN or infinite (1 such utterances)"),
        ({"audio": nan_at(1, -np.inf)}, "'audio' of utterance 'u1' (row 1) is NaN or infinite"),
        ({"text": nan_at(3, np.inf)}, "'text' of utterance 'u3' (row 3) is NaN or infinite"),
        ({"audio": np.ones((4, 3, 2), np.float32)}, "'audio' has shape (4, 3, 2)"),
        ({"audio": np.ones((4, 0), np.float32)}, "'audio' has shape (4, 0)"),
        ({"label": np.array([0, 1, 2, 0])}, "label 2 of utterance 'u2' (row 2) is not one of the 2 classes"),
        ({"label": np.array([0, -2, 1, 0])}, "label -2 of utterance 'u1' (row 1)"),
    ],
)
def test_an_unsound_corpus_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InfoserError) as caught:
        Corpus(**fields(**changes))
    assert "corpus 'tiny'" in str(caught.value)
    assert message in str(caught.value)


def test_an_empty_corpus_is_refused() -> None:
    empty: dict[str, Any] = {key: value[:0] if isinstance(value, np.ndarray) else value for key, value in fields().items()}
    with pytest.raises(InfoserError, match="has no utterances"):
        Corpus(**empty)


HAS_TEXT = np.array([True, False, True, True])
TEXT = np.array([[1, 2], [0, 0], [3, 4], [5, 6]], np.float32)
VALUES = np.arange(14, dtype=np.float32).reshape(7, 2)


def with_gaps(**changes: Any) -> dict[str, Any]:
    """Fields of a corpus with frames, in which u1 has no transcript."""
    audio = Frames(VALUES, np.array([3, 0, 4, 5]), np.array([1, 3, 1, 2], np.int32))
    text = Frames(VALUES[:4].astype(np.float16), np.array([0, 2, 2, 3]), np.array([2, 0, 1, 1], np.int32))
    return fields(**{"text": TEXT, "has_text": HAS_TEXT, "audio_frames": audio, "text_frames": text} | changes)


def frames(start: list[int], count: list[int], values: np.ndarray = VALUES) -> Frames:
    return Frames(values, np.array(start), np.array(count, np.int32))


def test_missing_transcripts_and_frames() -> None:
    corpus = Corpus(**with_gaps())
    assert corpus.with_text.tolist() == [True, False, True, True]
    assert corpus.audio_frames is not None and corpus.text_frames is not None
    assert corpus.audio_frames.of(1).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert [len(corpus.text_frames.of(row)) for row in range(4)] == [2, 0, 1, 1]
    audio_only = corpus.without_text()
    assert audio_only.text is audio_only.has_text is audio_only.text_frames is None
    assert audio_only.audio_frames is corpus.audio_frames
    assert audio_only.with_text.tolist() == [False] * 4
    assert Corpus(**fields()).with_text.tolist() == [True] * 4


def test_frames_may_be_a_memory_map(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "frames", np.float16, "w+", shape=(7, 2))
    corpus = Corpus(**with_gaps(audio_frames=frames([3, 0, 4, 5], [1, 3, 1, 2], mapped)))
    assert corpus.audio_frames is not None and isinstance(corpus.audio_frames.values, np.memmap)


def broken(value: float) -> np.ndarray:
    values = VALUES.copy()
    values[4, 1] = value
    return values


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"has_text": np.array([True, False, False, True])}, "'u2' (row 2) has no transcript, but text features (1 such"),
        ({"has_text": np.zeros(4, bool)}, "no utterance has a transcript; leave out its text features"),
        ({"has_text": np.ones(4, np.int8)}, "'has_text' is int8 of shape (4,)"),
        ({"has_text": np.ones(3, bool)}, "'has_text' has 3 rows"),
        ({"text": None, "text_frames": None}, "says which utterances have text, but has no text features"),
        ({"text": None, "has_text": None}, "'text_frames' are there, but 'text' is not"),
        ({"text_frames": frames([0, 2, 2, 3], [2, 1, 1, 1])}, "'u1' (row 1) are there, but no transcript (1 such utterances)"),
        (
            {"text_frames": frames([0, 2, 2, 3], [2, 0, 0, 0])},
            "'text_frames' of utterance 'u2' (row 2) are none at all (2 such",
        ),
        ({"audio_frames": frames([0, 1, 2, 3], [1, 0, 1, 1])}, "'audio_frames' of utterance 'u1' (row 1) are none at all"),
        ({"audio_frames": frames([0, 1, 2, 6], [1, 1, 1, 2])}, "'u3' (row 3) lie outside the 7 that there are"),
        ({"audio_frames": frames([0, -1, 2, 3], [1, 1, 1, 2])}, "'u1' (row 1) lie outside the 7"),
        ({"audio_frames": frames([0, 1, 2], [1, 1, 1])}, "'audio_frames' has 3 rows"),
        ({"audio_frames": frames([0, 1, 2], [1, 1, 1, 1])}, "'audio_frames' begin at 3 places, but there are 4 utterances"),
        ({"audio_frames": frames([0, 1, 2, 3], [1] * 4, VALUES.astype(float))}, "'audio_frames' are float64 of shape (7, 2)"),
        ({"audio_frames": frames([0, 1, 2, 3], [1] * 4, VALUES[:, :0])}, "'audio_frames' are float32 of shape (7, 0)"),
        ({"audio_frames": frames([3, 0, 4, 5], [1, 3, 1, 2], broken(np.nan))}, "frame 4, of utterance 'u2' (row 2), is NaN"),
        ({"audio_frames": frames([0, 1, 2, 3], [1] * 4, broken(np.inf))}, "frame 4, of no utterance, is NaN or infinite"),
    ],
)
def test_text_and_frames_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InfoserError) as caught:
        Corpus(**with_gaps(**changes))
    assert "corpus 'tiny'" in str(caught.value)
    assert message in str(caught.value)


def test_frames_beyond_the_first_chunk_are_looked_at() -> None:
    many = np.zeros((70_000, 1), np.float16)
    corpus = Corpus(**with_gaps(audio_frames=frames([0, 1, 2, 60_000], [1, 1, 1, 10_000], many)))
    assert corpus.audio_frames is not None
    many[69_999] = np.nan
    with pytest.raises(InfoserError, match="frame 69999, of utterance 'u3'"):
        replace(corpus)
