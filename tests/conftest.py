"""The whole test run's settings (virtual devices, checked signatures), and a small corpus and stage that many tests use."""

import os

# On virtual CPU devices, wherever the tests run, unless the environment asks for an accelerator.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import functools
import math
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import jaxtyping

import infoser

if jax.__version_info__ < (0, 11):  # a version that knows no such flag would end the process
    # Compiles in two thirds of the time; set, if only to nothing, the variable keeps what is compiled for users.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")
jax.config.update("jax_num_cpu_devices", 8)
# Compiling is nearly all that such small tests cost. Tests of what training gives to the last bit optimise; see below.
jax.config.update("jax_disable_most_optimizations", True)
# No test reads what an earlier run compiled, or leaves anything in the user's cache; tests/commands has a cache of its own.
jax.config.update("jax_enable_compilation_cache", False)

# Shapes and types in signatures are checked while tests run. Left out are
# - config: the parser's sentinel for a missing value stands in for a str;
# - corpus: checking a tuple draws random numbers, which Hypothesis forbids where it makes corpora;
# - parallel, lifting, batch_axis, fold_view, frame_table and stages: run arrays are NumPy on the host and containers of other
#   things inside JAX, and the protocol of a stage is not for run-time checks;
# - sklearn: checks of scikit-learn call estimators with what is of no right type, and want the estimators' own errors;
# - progress: a method that returns Self can only be checked within a class.
_UNCHECKED = {
    f"infoser.{name}"
    for name in (
        "batch_axis",
        "config",
        "corpus",
        "fold_view",
        "frame_table",
        "lifting",
        "parallel",
        "presets",
        "progress",
        "sklearn",
        "stages",
    )
}
jaxtyping.install_import_hook(
    [module.name for module in pkgutil.iter_modules(infoser.__path__, "infoser.") if module.name not in _UNCHECKED],
    "beartype.beartype",
)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

from infoser import progress  # noqa: E402
from infoser.batch_axis import SINGLE, BatchAxis  # noqa: E402
from infoser.compilation_cache import forget_if_many  # noqa: E402
from infoser.corpus import Frames  # noqa: E402
from infoser.fold_view import Features, FoldView  # noqa: E402

CLASSES, AUDIO_DIM, TEXT_DIM, CONDITION_DIM = 3, 4, 3, 2


@pytest.fixture(autouse=True, scope="module")
def few_programs() -> Iterator[None]:
    """Hundreds of tests in one process compile more programs than it may have memory maps; so that no test meets the bound."""
    yield
    forget_if_many(0.1)


@pytest.fixture(autouse=True)
def progress_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps lines of progress out of stderr: whether there are any depends on how fast the machine is just then."""
    monkeypatch.setattr(progress, "_QUIET_S", math.inf)


@pytest.fixture
def optimised() -> Iterator[None]:
    """Compiles as users do."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def figures_on_the_page_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws a report's figures for its page, not once more as PNG and PDF: for tests that do not look at those files."""
    from infoser.report import style

    monkeypatch.setattr(style, "save", lambda *_: None)


@pytest.fixture
def strict_arrays() -> Iterator[None]:
    """Refuses implicit promotions of types and ranks, which hide mistakes in shapes."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@dataclass(frozen=True)
class SmallCorpus:
    """Forty rows of three classes in both modalities, easy to tell apart.

    The training part does not contain row 0, which is what row tables are padded with, and has unlabelled rows. There are
    two layers of conditions, as from two aligners.
    """

    audio: np.ndarray
    text: np.ndarray
    condition: np.ndarray
    label: np.ndarray
    train: np.ndarray = field(default_factory=lambda: np.arange(6, 34))

    @property
    def outside(self) -> np.ndarray:
        return np.setdiff1d(np.arange(len(self.label)), self.train)

    def view(self, **changes: Any) -> FoldView:
        arguments = {"audio": self.audio, "text": self.text, "label": self.label, "rows_padded": 40, "labelled_padded": 30}
        arguments |= changes
        return FoldView.build(arguments.pop("rows", self.train), arguments.pop("label"), n_classes=CLASSES, **arguments)

    def features(self, **changes: Any) -> Features:
        layers = {"audio": self.audio[None], "text": self.text[None], "condition": self.condition}
        layers |= {name: array[None] if name != "condition" and array is not None else array for name, array in changes.items()}
        return Features(**{name: None if array is None else jnp.asarray(array) for name, array in layers.items()})

    def frames(self, modality: str, longest: int = 30) -> Frames:
        """One to `longest` noisy copies of each row's features."""
        features, rng = getattr(self, modality), np.random.default_rng(longest)
        count = rng.integers(1, longest + 1, len(features)).astype(np.int32)
        values = np.repeat(features, count, axis=0) + 0.3 * rng.standard_normal((count.sum(), features.shape[1]))
        return Frames(values.astype(np.float32), np.cumsum(count, dtype=np.int64) - count, count)


@pytest.fixture(scope="session")
def corpus() -> SmallCorpus:
    rng = np.random.default_rng(0)
    emotion = np.resize(np.arange(CLASSES), 40)
    common = 2.0 * np.eye(CLASSES, AUDIO_DIM)[emotion] + 0.3 * rng.standard_normal((40, AUDIO_DIM))
    audio = 3.0 + common + 0.3 * rng.standard_normal((40, AUDIO_DIM))
    text = common[:, :TEXT_DIM] + 0.3 * rng.standard_normal((40, TEXT_DIM))
    condition = text @ rng.standard_normal((2, TEXT_DIM, CONDITION_DIM))
    label = np.where(np.arange(40) % 4 == 1, -1, emotion).astype(np.int32)
    return SmallCorpus(*(array.astype(np.float32) for array in (audio, text, condition)), label=label)


@functools.cache
def _compiled(stage: Any) -> tuple[Any, Any]:
    return jax.jit(stage.init), jax.jit(stage.train_step)


def _train(stage: Any, shared: Any, run: Any, steps: int, *, state: Any = None, seed: int = 0) -> tuple[Any, Any]:
    init, step = _compiled(stage)
    key, history = jax.random.key(seed), []
    if state is None:
        state = init(shared, run, key)
    for number in range(steps):
        state, terms = step(state, shared, run, jax.random.fold_in(key, number), np.float32(number / stage.steps))
        history.append(terms)
    return jax.tree.map(np.asarray, state), {name: np.array([terms[name] for terms in history]) for name in stage.terms}


@pytest.fixture(scope="session")
def train() -> Any:
    """train(stage, shared, run, steps): the state after so many steps of one run, and each term's history.

    Compiled once for each stage, so tests of a stage should agree on its structure and change arrays only.
    """
    return _train


def _same(one: Any, other: Any) -> bool:
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in leaves)


@pytest.fixture(scope="session")
def same() -> Any:
    """same(one, other): whether two trees of arrays are equal to the last bit."""
    return _same


@dataclass(frozen=True)
class Quadratic:
    """A stage that compiles in no time: noisy descent towards `shared`, by numbers of the run.

    Its term `distance` is NaN from the run's step `bad_distance` on, and `noise` from `bad_noise` on.
    """

    steps: int = 10
    axis: BatchAxis = SINGLE
    name: str = "quadratic"
    terms: tuple[str, ...] = ("noise", "distance")

    def init(self, shared: Any, run: Any, key: jax.Array) -> Any:
        return {"weights": jax.random.normal(key, shared.shape), "count": jnp.int32(0)}

    def train_step(self, state: Any, shared: Any, run: Any, key: jax.Array, progress: jax.Array) -> Any:
        noise = self.axis.mean(self.axis.local(jax.random.normal(key, (8, *shared.shape))).mean(axis=0))
        difference = state["weights"] - shared
        weights = state["weights"] - run["rate"] * (1.0 - progress) * (difference + noise)
        terms = {"distance": (difference**2).sum(), "noise": noise.sum()}
        for name in terms:
            terms[name] = jnp.where(state["count"] >= run[f"bad_{name}"], jnp.nan, terms[name])
        return {"weights": weights, "count": state["count"] + 1}, terms

    def outputs(self, state: Any, shared: Any, run: Any, key: jax.Array, repeats: int) -> jax.Array:
        return jnp.tile(state["weights"], repeats)

    @staticmethod
    def runs(rates: Any, **bad: Any) -> Any:
        never = np.full(len(rates), 1000, np.int32)
        return {"rate": np.array(rates, np.float32), "bad_distance": never, "bad_noise": never} | bad


@pytest.fixture(scope="session")
def quadratic() -> type[Quadratic]:
    return Quadratic
