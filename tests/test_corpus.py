"""`Corpus` refuses what would train on misaligned or broken rows, and names the utterance."""

from typing import Any

import numpy as np
import pytest

from infoser.corpus import Corpus
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
    empty = {key: value[:0] if isinstance(value, np.ndarray) else value for key, value in fields().items()}
    with pytest.raises(InfoserError, match="has no utterances"):
        Corpus(**empty)
