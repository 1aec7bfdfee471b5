"""Trains a stage of the library on arrays in memory: one run, on JAX's default device, without files.

A program is compiled once for a structure and the shapes of what it reads. Row tables are padded to powers of two, so that
the folds of a cross-validation share one; what is padded is never drawn, and changes no result.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from infoser.config import Config
from infoser.fold_view import Features, FoldView
from infoser.lifting import NEVER, lifted, trace_counts
from infoser.models import apply
from infoser.models.classifier import Classifier
from infoser.models.generator import Generator, condition_of

#: Rows that are made, or read by a head, in one call.
BLOCK = 512
_FEWEST = 64


class Trained(NamedTuple):
    """A run after its last step.

    Attributes:
      run, key, state: stacked on an axis of one run.
      losses: for each loss term its means over the chunks of steps that a compiled call takes.
    """

    stage: Any
    shared: Features
    run: Any
    key: Any
    state: Any
    losses: dict[str, Float[np.ndarray, " chunks"]]

    def outputs(self, function: str, *static: int, of: Any = None) -> Any:
        """What `stage.<function>` gives of this run, on the host; of what `of` holds for it, if anything."""
        run = self.run if of is None else _stacked(of)
        said = _compiled(self.stage, function, static)(self.state, self.shared, run, self.key)
        return jax.tree.map(lambda leaf: np.asarray(leaf[0]), said)

    def average(self) -> Any:
        """The moving average of the parameters, which is what is used, on the host."""
        return jax.tree.map(lambda leaf: np.asarray(leaf[0]), self.state.average)


def train(stage: Any, shared: Features, run: Any, seed: int) -> Trained:
    """Takes all steps of a stage.

    Args:
      stage: the structure.
      shared: what `tables` gives.
      run: the stage's run, on the host.
      seed: from 0 to 2³¹ − 1; with the stage's name and the step it determines every draw.

    Raises:
      ValueError: if a loss term stops being finite.
    """
    length = Config.chunk_steps
    run, key = _stacked(run), jax.random.key_data(jax.random.key(seed))[None]
    state = _compiled(stage, "init", ())(shared, run, key)
    chunk, means = _compiled(stage, "chunk", (length,)), []
    for start in range(0, stage.steps, length):
        state, mean, first_bad = chunk(state, shared, run, key, np.int32(start))
        first = {term: int(first_bad[term][0]) for term in stage.terms}
        worst = min(stage.terms, key=lambda term: first[term])  # of those that went in the same step, the first computed
        if first[worst] != NEVER:
            raise ValueError(
                f"the loss term {worst!r} of stage {stage.name} is not finite at step {first[worst]}; lower this stage's "
                "learning rates or its terms' weights"
            )
        means.append({term: float(mean[term][0]) for term in stage.terms})
    losses = {term: np.array([one[term] for one in means]) for term in stage.terms}
    return Trained(stage, shared, run, key, state, losses)


def _stacked(run: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[None], run)


def tables(
    label: Int[np.ndarray, " rows"],
    n_classes: int,
    audio: Float[np.ndarray, "rows audio_dim"],
    text: Float[np.ndarray, "rows text_dim"] | None = None,
    condition: Float[np.ndarray, "rows condition_dim"] | None = None,
) -> tuple[Features, FoldView]:
    """Standardised features as stages read them, and the view that has all rows.

    Args:
      label: 0 … n_classes − 1.
      condition: text representations, standardised.
    """
    count = len(label)
    length = padded(count)

    def layer(rows: np.ndarray | None) -> Any:
        return None if rows is None else np.pad(rows, ((0, length - count), (0, 0)))[None]

    view = FoldView.build(
        np.arange(count),
        label,
        n_classes=n_classes,
        audio=audio,
        text=text,
        rows_padded=length,
        labelled_padded=length,
        standardise=_as_they_are,
    )
    return Features(layer(audio), layer(text), layer(condition)), view


def _as_they_are(features: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(features.shape[1]), np.ones(features.shape[1])


def padded(count: int) -> int:
    """The power of two that so many rows are padded to."""
    return max(_FEWEST, 1 << (count - 1).bit_length())


def as_numbers(values: Mapping[str, float]) -> dict[str, Any]:
    """A run's numbers, on the host."""
    return {name: np.float32(value) for name, value in values.items()}


def generated(params: Any, *, width: int, latent_dim: int, label: np.ndarray, n_classes: int, dim: int, seed: int) -> Any:
    """Rows of the given classes from a generator that knows of nothing but the class.

    A row depends on its place, its class and the seed alone, not on how many there are.

    Returns:
      (rows, dim) float32, standardised.
    """
    made, key = _generate(width, latent_dim, n_classes, dim), jax.random.key(seed)
    blocks = [
        np.asarray(made(params, _block(label, start), jax.random.fold_in(key, start))) for start in range(0, len(label), BLOCK)
    ]
    return np.concatenate([*blocks, np.zeros((0, dim), np.float32)])[: len(label)]


def log_probabilities(params: Any, features: np.ndarray, *, width: int, n_classes: int) -> Any:
    """(rows, classes) ln p(c | features) by a head, for standardised features."""
    said = _read(width, n_classes)
    blocks = [np.asarray(said(params, _block(features, start))) for start in range(0, len(features), BLOCK)]
    return np.concatenate(blocks)[: len(features)]


def _block(rows: np.ndarray, start: int) -> np.ndarray:
    block = rows[start : start + BLOCK]
    return np.pad(block, [(0, BLOCK - len(block))] + [(0, 0)] * (rows.ndim - 1))


@functools.lru_cache(maxsize=128)
def _compiled(stage: Any, name: str, static: tuple[int, ...]) -> Callable[..., Any]:
    """A function of a stage, lifted to a stack of runs as elsewhere in the library; built once for equal stages."""
    return jax.jit(lifted(stage, name, static), donate_argnums=(0,) if name == "chunk" else ())


@functools.lru_cache(maxsize=128)
def _generate(width: int, latent_dim: int, n_classes: int, dim: int) -> Callable[..., Any]:
    def made(params: Any, label: Any, key: Any) -> Any:
        trace_counts["sklearn", "generate"] += 1
        noise = jax.random.normal(key, (len(label), latent_dim))
        return apply(Generator(width, dim), params, noise, condition_of(label, n_classes, None, len(label)))

    return jax.jit(made)


@functools.lru_cache(maxsize=128)
def _read(width: int, n_classes: int) -> Callable[..., Any]:
    def said(params: Any, features: Any) -> Any:
        trace_counts["sklearn", "read"] += 1
        return jax.nn.log_softmax(apply(Classifier(width, n_classes), params, jnp.asarray(features)))

    return jax.jit(said)
