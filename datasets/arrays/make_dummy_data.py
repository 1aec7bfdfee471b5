"""Writes `dummy_data/arrays.npz`: invented rows in the layout that `prepare.py arrays` reads, for tests and as an example."""

from pathlib import Path

import numpy as np

DUMMY_DATA = Path(__file__).parent / "dummy_data" / "arrays.npz"


def dummy_arrays(utterances: int = 24) -> dict[str, np.ndarray]:
    """Two sessions of two speakers, three emotions in the task and one outside it."""
    rng = np.random.default_rng(0)
    row = np.arange(utterances)
    session = 1 + 2 * row // utterances
    letter = np.array(["F", "M"])[row % 2]
    return {
        "utterance_id": np.array([f"s{s}_{g}_{i:02d}" for s, g, i in zip(session, letter, row, strict=True)]),
        "audio": rng.normal(size=(utterances, 5)).astype(np.float32),
        "text": rng.normal(size=(utterances, 3)).astype(np.float16),
        "emotion": np.array(["angry", "joyful", "calm", "other"])[row // 2 % 4],
        "speaker": np.array([f"s{s}_{g}" for s, g in zip(session, letter, strict=True)]),
        "session": session.astype(np.int8),
        "dialogue": np.array([f"s{s}_d{i // 6}" for s, i in zip(session, row, strict=True)]),
        "duration_s": rng.uniform(1, 9, size=utterances).astype(np.float32),
        "audio_names": np.array([f"feature_{i}" for i in range(5)]),
    }


if __name__ == "__main__":
    DUMMY_DATA.parent.mkdir(exist_ok=True)
    np.savez(DUMMY_DATA, **dummy_arrays())  # pyright: ignore[reportArgumentType]  # numpy types **kwargs as allow_pickle
