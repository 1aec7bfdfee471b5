"""Programs that compile fast, and two small sets of rows."""

import functools
from collections.abc import Iterator

import jax
import numpy as np
import pytest


@pytest.fixture(scope="session")
def quick_options() -> dict[str, bool]:
    """Options of the compiler that save more than half of its time; none where it does not know them."""
    options = {"xla_cpu_use_fusion_emitters": False}
    try:
        jax.jit(lambda x: x + 1, compiler_options=options)(1.0)
    except Exception:  # whatever another version says of an option that it does not have
        return {}
    return options


@pytest.fixture(autouse=True)
def quickly_compiled(quick_options, monkeypatch) -> Iterator[None]:
    """Estimators are fitted in dozens of shapes here, and compiling is all that such fits cost."""
    monkeypatch.setattr(jax, "jit", functools.partial(jax.jit, compiler_options=quick_options))
    yield


@pytest.fixture(scope="session")
def emotions() -> tuple[np.ndarray, np.ndarray]:
    """60 rows of three emotions, 6, 18 and 36, easy to tell apart; four columns of very different units."""
    rng = np.random.default_rng(0)
    emotion = np.repeat(["angry", "neutral", "sad"], [6, 18, 36])
    centre = 3.0 * np.eye(3, 4)[np.unique(emotion, return_inverse=True)[1]]
    order = rng.permutation(60)
    X = (centre + 0.5 * rng.standard_normal((60, 4))) * [1.0, 1e-4, 100.0, 1.0] + [0.0, 5.0, -1e4, 1e6]
    return X[order], emotion[order]
