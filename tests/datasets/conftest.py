"""The dataset scripts are started from `datasets/`, so their tests import them from there; and an .npz to prepare."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

DATASETS = Path(__file__).parents[2] / "datasets"
sys.path.insert(0, str(DATASETS))


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    """Twelve invented utterances with every role and a column of every kind."""
    rng = np.random.default_rng(3)
    rows = 12
    return {
        "utterance_id": np.array([f"utt_é{i:02d}" for i in rng.permutation(rows)]),
        "audio": rng.normal(size=(rows, 4)).astype(np.float32),
        "text": rng.normal(size=(rows, 3)).astype(np.float16),
        "emotion": np.array(["ang", "hap", "exc", "neu", "sad", "fru"] * 2),
        "label": np.array([0, 1, 1, 2, 3, -1] * 2, np.int8),
        "label_names": np.array(["ang", "hap+exc", "neu", "sad"]),
        "speaker": np.array(["a", "b", "c", "d"] * 3),
        "session": np.array([1] * 6 + [2] * 6, np.int8),
        "dialogue": np.array(["d1", "d2", "d3"] * 4),
        "split": np.array(["train"] * 8 + ["test"] * 4),
        "flag": rng.random(rows) < 0.5,
        "small": rng.integers(-100, 100, rows).astype(np.int8),
        "large": rng.integers(0, 2**63, rows).astype(np.uint64) * np.uint64(2),
        "half": rng.normal(size=rows).astype(np.float16),
        "double": np.append(rng.normal(size=rows - 2), [np.nan, 1e300]),
        "big_endian": rng.normal(size=rows).astype(">f4"),
        "vector": rng.normal(size=(rows, 2)),
        "matrix": rng.normal(size=(rows, 2, 3)).astype(np.float32),
        "words": np.array([["", f"wörd{i}"] for i in range(rows)]),
        "raw": np.array([b"one", b"three"] * 6),
        "audio_names": np.array([f"feature{i}" for i in range(4)]),
    }


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def save(arrays: dict[str, np.ndarray], name: str = "source.npz") -> Path:
        np.savez(tmp_path / name, **arrays)
        return tmp_path / name

    return save
