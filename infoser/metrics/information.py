"""Mutual information in nats: a fresh critic or q, read on rows that it was not fitted to, beside its ceiling and its null.

Rows are dealt into parts. For each part a model is fitted to the other parts, from a seed of its own, and read on that part;
the estimate is the mean over parts. The same is done with the pairs shuffled, which is what the estimate would be of nothing.
All fits, with the null's among them, are one compiled program.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Num

from infoser.errors import InfoserError
from infoser.losses import mutual_information as mi

#: How often a fit is looked at, to keep the parameters that are best on rows set aside for it.
CHECKS = 20
#: Of the rows that a model is fitted to, the share set aside to choose among its parameters.
CHOOSING_SHARE = 0.1
LEAST_ROWS = 40

Said = Float[Array, "*said"]  # a score matrix (batch, batch), or a log-likelihood per row (batch,)
Objective = Callable[[Any, Array], tuple[Array, Array]]


@dataclass(frozen=True)
class Information:
    """An estimate of mutual information, in nats.

    Attributes:
      reading: the name of the estimator.
      estimate_nats: mean over parts (and seeds).
      standard_error: over parts, whose rows are disjoint; of one dealing, since dealings anew share the rows.
      ceiling_nats: what this estimator can't exceed: ln N of its batches, or H(c); None where nothing bounds it.
      null_nats, null_standard_error: the same of shuffled pairs.
      batches: the estimate of every batch that was read: (seeds, parts, batches).
    """

    reading: str
    estimate_nats: float
    standard_error: float
    ceiling_nats: float | None
    null_nats: float
    null_standard_error: float
    batches: Float[np.ndarray, "seeds parts batches"]


@dataclass(frozen=True)
class Estimator:
    """What a model is fitted by, and how it is then read.

    Attributes:
      objective: what the model says of a batch and a running average → what is maximised, per example, and the next average.
      readings: name → what the model says → estimate per example.
      reads: the method of the model that is read.
      bounded: whether ln N of a batch bounds it.
      density: whether the model gives ln q(y|x), to be completed by the entropy of y.
    """

    objective: Objective
    readings: tuple[tuple[str, Callable[[Any], Array]], ...]
    reads: str = "__call__"
    bounded: bool = False
    density: bool = False


def _by(loss: Callable[[Any], Array]) -> Objective:
    return lambda said, average: (loss(said), average)


def _itself(said: Array) -> Array:
    return said


def _nwj_of_log_ratio(scores: Float[Array, "batch batch"]) -> Float[Array, " batch"]:
    # NWJ's best critic is 1 + ln ratio. Asked for the log ratio instead, a critic that starts at 0 starts at the best of
    # shuffled pairs, as it does for the other estimators.
    return mi.nwj(scores + 1.0)


#: What may be asked for. A critic goes with the first five, a module of `models.conditionals` with the others ("club": one
#: that has `of_pairs`). The critic of "jsd" is the log ratio itself, so it is read in three ways.
ESTIMATORS: Mapping[str, Estimator] = MappingProxyType(
    {
        "infonce": Estimator(_by(mi.infonce), (("infonce", mi.infonce),), bounded=True),
        "nwj": Estimator(_by(_nwj_of_log_ratio), (("nwj", _nwj_of_log_ratio),)),
        "dv": Estimator(_by(mi.dv), (("dv", mi.dv),)),
        "mine": Estimator(mi.mine, (("mine", mi.dv),)),
        "jsd": Estimator(
            _by(mi.jsd), (("jsd, read by nwj", _nwj_of_log_ratio), ("jsd, read by dv", mi.dv), ("smile", mi.smile))
        ),
        "barber-agakov": Estimator(_by(_itself), (("barber-agakov", _itself),), density=True),
        "club": Estimator(_by(_itself), (("club", mi.club),), reads="of_pairs"),
    }
)


def mutual_information(
    model: nn.Module,
    x: Float[np.ndarray, "rows x_dim"],
    y: Num[np.ndarray, "y_rows *y_dim"],
    *,
    estimator: Estimator,
    entropy_nats: float | None = None,
    parts: int = 4,
    seeds: int = 1,
    steps: int = 1000,
    batch_size: int = 256,
    reading_size: int = 2048,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    seed: int = 0,
    at_once: int = 1,
) -> dict[str, Information]:
    """Î(x;y) by models fitted afresh, for each reading of the estimator.

    Features are standardised with the moments of the rows that a model is fitted to; a log-likelihood is that of y as given.

    Args:
      model: called with a batch of x and y; hashable (its sequences tuples), of a kind that goes with the estimator.
      x, y: row i of both belongs together; y holds features, or classes as integers. All rows should be different.
      estimator: from `ESTIMATORS`.
      entropy_nats: h(y), for Barber–Agakov of features; of classes it is taken from their frequencies.
      parts: how many times a model is fitted, each time to all rows but a part; at least 2.
      seeds: how often the rows are dealt anew.
      steps: of Adam, at a learning rate that falls to 0 as a cosine.
      batch_size, reading_size: rows of a batch while fitting and while reading; no more than there are.
      seed: of dealing, shuffling, first parameters and batches.
      at_once: how many fits are done side by side; more costs memory, and pays on an accelerator.

    Raises:
      InfoserError: when x and y have different lengths, too few rows are left, or the entropy is missing.
    """
    entropy = _entropy(y, entropy_nats) if estimator.density else 0.0
    if len(x) != len(y):
        raise InfoserError(f"information needs pairs: {len(x)} rows of x, but {len(y)} of y")
    if parts < 2 or len(x) < parts * LEAST_ROWS:
        least = f"at least 2 parts of {LEAST_ROWS} rows each"
        raise InfoserError(f"information needs {least}, not {len(x)} rows in {parts} parts: give more rows or other parts")
    features = jnp.asarray(x, jnp.float32), jnp.asarray(y) if _are_classes(y) else jnp.asarray(y, jnp.float32)
    rows: dict[str, np.ndarray] = dict(_deal(len(x), parts, seeds, seed))
    rows["x_mean"], rows["x_deviation"] = _moments(x, rows["fit"][..., 0])
    if not _are_classes(y):
        rows["y_mean"], rows["y_deviation"] = _moments(y, rows["fit"][..., 1])
    keys = jax.random.split(jax.random.key(seed), 2 * seeds * parts)
    by_batch = _fit_and_read(
        model,
        estimator,
        steps,
        min(batch_size, rows["fit"].shape[1]),
        min(reading_size, rows["read"].shape[1]),
        at_once,
        *features,
        rows,
        _first(model, keys, features[0][:2], features[1][:2]),
        keys,
        jnp.float32(learning_rate),
        jnp.float32(weight_decay),
    )
    found = {}
    for (name, _), values in zip(estimator.readings, by_batch, strict=True):
        real, null = np.asarray(values, np.float64).reshape(2, seeds, parts, -1) + entropy
        ceiling = math.log(min(reading_size, rows["read"].shape[1])) if estimator.bounded else None
        if estimator.density and _are_classes(y):
            ceiling = entropy
        found[name] = Information(name, *_mean_and_error(real), ceiling, *_mean_and_error(null), real)
    return found


def _mean_and_error(batches: Float[np.ndarray, "seeds parts batches"]) -> tuple[float, float]:
    by_part = batches.mean(axis=2)
    variance = by_part.var(axis=1, ddof=1) / by_part.shape[1]
    return float(by_part.mean()), float(math.sqrt(variance.mean()))


def _are_classes(y: np.ndarray) -> bool:
    return np.issubdtype(y.dtype, np.integer)


def _entropy(y: np.ndarray, given: float | None) -> float:
    if given is not None:
        return given
    if not _are_classes(y):
        raise InfoserError("Barber–Agakov of features needs their entropy h(y): give entropy_nats, or use a critic")
    frequency = np.unique(y, return_counts=True)[1] / len(y)
    return float(-(frequency * np.log(frequency)).sum())


def _deal(n: int, parts: int, seeds: int, seed: int) -> dict[str, Int[np.ndarray, "runs count 2"]]:
    """Rows of x and of y for every run: to fit to, to choose by, to read; real pairs first, then the shuffled ones.

    Left-over rows, fewer than parts, are of no part, and anew for each seed.
    """
    rng = np.random.default_rng(seed)
    size = n // parts
    chosen = max(round(CHOOSING_SHARE * size * (parts - 1)), 2)
    runs: dict[bool, list[list[np.ndarray]]] = {False: [], True: []}
    for _ in range(seeds):
        dealt = rng.permutation(n)[: size * parts].reshape(parts, size)
        for part in range(parts):
            others = np.delete(dealt, part, axis=0).ravel()
            rng.shuffle(others)
            for shuffled, own in runs.items():
                sets = (others[chosen:], others[:chosen], dealt[part])
                own.append([np.stack([rows, rng.permutation(rows) if shuffled else rows], axis=1) for rows in sets])
    together = zip(*(runs[False] + runs[True]), strict=True)
    return {name: np.stack(rows).astype(np.int32) for name, rows in zip(("fit", "choose", "read"), together, strict=True)}


def _moments(features: Float[np.ndarray, "rows dim"], fit: Int[np.ndarray, "runs count"]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the rows that every run is fitted to, (runs, dim)."""
    mean, deviation = zip(
        *((features[rows].mean(0, np.float64), features[rows].std(0, dtype=np.float64)) for rows in fit), strict=True
    )
    return np.array(mean, np.float32), np.maximum(np.array(deviation, np.float32), 1e-6)


@partial(jax.jit, static_argnums=0)
def _first(model: nn.Module, keys: Array, x: Array, y: Array) -> Any:
    """The parameters that every run starts from.

    A program of its own, so that in the next one they are no constants: XLA for CPU (jax 0.10.2) multiplies by a constant
    matrix of zeros wrongly, in about every fourth compilation.
    """
    return jax.lax.map(lambda key: model.init(key, x, y), keys)


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4, 5))
def _fit_and_read(
    model: nn.Module,
    estimator: Estimator,
    steps: int,
    batch_size: int,
    reading_size: int,
    at_once: int,
    x: Array,
    y: Array,
    rows: Any,
    first: Any,
    keys: Array,
    learning_rate: Array,
    weight_decay: Array,
) -> tuple[Float[Array, "runs batches"], ...]:
    """Every run's estimates on its held-out batches, one array for each reading."""
    classes = y.ndim == 1

    def one(run: Any) -> tuple[Array, ...]:
        own, first, key = run
        fit, choose, read = (own[name] for name in ("fit", "choose", "read"))

        def batch(pairs: Array) -> tuple[Array, Array]:
            features = (x[pairs[:, 0]] - own["x_mean"]) / own["x_deviation"]
            others = y[pairs[:, 1]]
            return features, others if classes else (others - own["y_mean"]) / own["y_deviation"]

        def say(params: Any, pairs: Array, method: str = "__call__") -> Any:
            return model.apply(params, *batch(pairs), method=method)

        def objective(params: Any, average: Array, pairs: Array) -> tuple[Array, Array]:
            return estimator.objective(say(params, pairs), average)

        def loss(params: Any, average: Array, pairs: Array) -> tuple[Array, Array]:
            values, average = objective(params, average, pairs)
            return -values.mean(), average

        per_check = -(-steps // CHECKS)
        batches = _batches(jax.random.fold_in(key, 1), fit, CHECKS * per_check, batch_size)
        schedule = optax.cosine_decay_schedule(learning_rate, CHECKS * per_check)  # pyright: ignore[reportArgumentType]
        # A term of one side alone has no gradient at a constant critic but for rounding, which Adam would blow up: hence eps.
        optimizer = optax.adamw(schedule, b2=0.99, eps=1e-6, weight_decay=weight_decay)  # pyright: ignore[reportArgumentType]

        def step(state: Any, pairs: Array) -> tuple[Any, None]:
            params, moments, average = state
            gradients, average = jax.grad(loss, has_aux=True)(params, average, pairs)
            updates, moments = optimizer.update(gradients, moments, params)
            return (optax.apply_updates(params, updates), moments, average), None

        def set_aside(params: Any) -> Array:
            """The objective of every row set aside."""
            average = jnp.float32(mi.MINE_START)
            return jax.lax.map(lambda pairs: objective(params, average, pairs)[0], _whole(choose, batch_size)).ravel()

        def check(carry: Any, pairs: Array) -> tuple[Any, None]:
            state, best, before = carry
            state, _ = jax.lax.scan(step, state, pairs)
            values = set_aside(state[0])
            gain = values - before
            # By more than its standard error, or chance would choose among models of nothing. Never where it is not a number.
            better = gain.mean() > gain.std() / math.sqrt(len(gain))
            best, before = jax.tree.map(lambda new, old: jnp.where(better, new, old), (state[0], values), (best, before))
            return (state, best, before), None

        start = (first, optimizer.init(first), jnp.float32(mi.MINE_START))
        in_checks = batches.reshape(CHECKS, per_check, batch_size, 2)
        (_, best, _), _ = jax.lax.scan(check, (start, first, set_aside(first)), in_checks)

        def reading(pairs: Array) -> tuple[Array, ...]:
            said = say(best, pairs, estimator.reads)
            return tuple(value(said).mean() for _, value in estimator.readings)

        found = jax.lax.map(reading, _whole(read, reading_size))
        if estimator.density and not classes:
            found = tuple(values - jnp.log(own["y_deviation"]).sum() for values in found)
        return found

    return jax.lax.map(one, (rows, first, keys), batch_size=at_once)


def _batches(key: Array, rows: Array, steps: int, batch_size: int) -> Int[Array, "steps batch_size 2"]:
    """Every row once in each epoch, but for what does not fill a batch; no row twice in a batch."""
    per_epoch = len(rows) // batch_size
    epochs = -(-steps // per_epoch)
    dealt = jax.vmap(lambda each: jax.random.permutation(each, rows)[: per_epoch * batch_size])(jax.random.split(key, epochs))
    return dealt.reshape(-1, batch_size, 2)[:steps]


def _whole(rows: Array, size: int) -> Int[Array, "batches size 2"]:
    """Batches of a size, or one of all rows where there are fewer; what does not fill a batch is left out."""
    size = min(size, len(rows))
    return rows[: len(rows) // size * size].reshape(-1, size, 2)
