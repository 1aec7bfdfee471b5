"""Two small sets of rows."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def emotions() -> tuple[np.ndarray, np.ndarray]:
    """60 rows of three emotions, 6, 18 and 36, easy to tell apart; four columns of very different units."""
    rng = np.random.default_rng(0)
    emotion = np.repeat(["angry", "neutral", "sad"], [6, 18, 36])
    centre = 3.0 * np.eye(3, 4)[np.unique(emotion, return_inverse=True)[1]]
    order = rng.permutation(60)
    X = (centre + 0.5 * rng.standard_normal((60, 4))) * [1.0, 1e-4, 100.0, 1.0] + [0.0, 5.0, -1e4, 1e6]
    return X[order], emotion[order]
