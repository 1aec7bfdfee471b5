"""Stage 3, classify: the same head for every variant, on real and generated rows."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from infoser.batch_axis import SINGLE, BatchAxis
from infoser.fold_view import Features, FoldView, draw_class_balanced
from infoser.losses import classification
from infoser.models import apply
from infoser.models.classifier import Classifier
from infoser.stages.schedule import adamw, adamw_step, moving_average

MODALITIES = ("audio", "text", "both")


@struct.dataclass
class GeneratedRows:
    """A pool of rows to train on besides the real ones, standardised like them.

    Attributes:
      features, target: the rows and their class probabilities; padded at the end.
      count: how many rows are meant.
    """

    features: Float[Array, "pool dim"]
    target: Float[Array, "pool classes"]
    count: Int[Array, ""]


@struct.dataclass
class ClassifyRun:
    """What differs between runs: the fold's rows, the generated rows, and numbers.

    Attributes:
      view: the fold's training rows.
      generated: the pool that generated rows are drawn from.
      numbers: learning_rate, weight_decay, dropout, input_dropout, label_smoothing, ema_decay; audio_scaling_power,
        text_scaling_power and block_scaling, by which columns count more or less (`Classify.column_factors`);
        real_weight and generated_weight, the shares of real and generated rows in the loss; by_prior (0: class-balanced
        batches, 1: by prior), focal_gamma and logit_adjustment (0 for none), by which imbalance controls differ; curriculum,
        the share of the generated rows, from the first on, that training begins with (1: all).
    """

    view: FoldView
    generated: GeneratedRows
    numbers: dict[str, Float[Array, ""]]


@struct.dataclass
class ClassifyState:
    """Parameters, their moving average (which predicts) and the optimiser's state."""

    params: Any
    average: Any
    optimizer: optax.OptState


@dataclass(frozen=True)
class Classify:
    """Cross-entropy on class-balanced real rows, and on as many generated ones, in the shares that the numbers say.

    Every variant draws the same real batches and takes the same steps; a variant without generated rows gives them
    weight 0.

    Attributes:
      modality: which features the head reads: audio, text, or both side by side.
      compute_dtype: what networks compute in while they train.
      axis: how a batch is spread over devices.
    """

    n_classes: int
    modality: str
    width: int
    batch_size: int
    steps: int
    compute_dtype: str = "float32"
    axis: BatchAxis = SINGLE
    name: str = "classify"

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the loss terms in the order of their computation."""
        return ("real", "generated", "total")

    @property
    def _model(self) -> Classifier:
        return Classifier(self.width, self.n_classes, self.axis)

    def read(self, shared: Features, view: FoldView, rows: Int[Array, " batch"]) -> Float[Array, "batch dim"]:
        """The features of `rows` that this head reads, standardised."""
        parts = {name: getattr(shared, f"read_{name}")(view, rows) for name in self.reads}
        return jnp.concatenate([parts[part] for part in self.reads], axis=-1)

    @property
    def reads(self) -> tuple[str, ...]:
        """Which of the features it reads."""
        return MODALITIES[:2] if self.modality == "both" else (self.modality,)

    def frames_read(self) -> tuple[int, int]:
        """It reads no frames."""
        return 0, 0

    def draws_from(self, run: ClassifyRun) -> Any:
        """As much of a run as `rows_read` needs."""
        return run.view, run.numbers["by_prior"]

    def rows_read(self, drawn_from: Any, key: jax.Array) -> Int[Array, "draws batch"]:
        """The rows whose features a step with this key reads."""
        view, by_prior = drawn_from
        return draw_class_balanced(jax.random.split(key, 3)[0], view, self.batch_size, by_prior)[0][None]

    def init(self, shared: Features, run: ClassifyRun, key: jax.Array) -> ClassifyState:
        """Fresh parameters: the same for all variants of a fold and seed."""
        params = self._model.init(key, self.read(shared, run.view, jnp.zeros(1, jnp.int32)))
        params = jax.tree.map(jnp.multiply, params, self._multipliers(params, shared, run))
        return ClassifyState(params, jax.tree.map(jnp.array, params), adamw(0.0, 0.0).init(params))

    def column_factors(self, shared: Features, run: ClassifyRun) -> Float[Array, " dim"]:
        """What each standardised column is multiplied by, in effect, before the head reads it (see `_multipliers`).

        With standard deviation σ and scaling power p: σ^(1 − p), over a modality divided by the root of its mean square.
        p = 1 is autoscaling, p = 0.5 Pareto scaling and p = 0 plain centring (doi 10.1186/1471-2164-7-142). A constant column,
        whose scale is 1, and representations that are appended to the features keep 1. For heads on both, a modality of n
        columns is multiplied by (N / n)^(b / 2), N the larger number: with block scaling b = 1 both have the same variance.
        """
        view, numbers = run.view, run.numbers
        own = {"audio": view.audio_scale, "text": view.text_scale}
        whole = {"audio": shared.audio_dim, "text": shared.text_dim}
        largest = max(own[name].shape[-1] for name in self.reads)
        smallest = jnp.finfo(jnp.float32).tiny
        parts = []
        for name in self.reads:
            scale = jnp.asarray(own[name])
            varies, columns = scale != 1.0, scale.shape[-1]
            factor = jnp.where(varies, scale ** (numbers[f"{name}_scaling_power"] - 1.0), 0.0)
            factor /= jnp.maximum(factor.max(), smallest)  # the squares of small features would be 0
            mean_square = (factor**2).sum() / jnp.maximum(varies.sum(), 1)
            factor = jnp.where(varies, factor / jnp.sqrt(jnp.maximum(mean_square, smallest)), 1.0)
            block = (largest / columns) ** (0.5 * numbers["block_scaling"])
            parts += [block * factor, jnp.ones(whole[name] - columns)]
        return jnp.concatenate(parts)

    def _multipliers(self, params: Any, shared: Features, run: ClassifyRun) -> Any:
        """What the first layer's weights at the start and Adam's steps are multiplied by: a row for each column, else 1.

        A layer that reads f·x and one that reads x with weights f times as large say the same, and Adam's step does not
        depend on the scale of a gradient: so the head is that of columns multiplied by `column_factors`, and reads x itself.
        """
        ones = jax.tree.map(lambda leaf: jnp.ones((1,) * leaf.ndim), params)
        ones["params"]["MLP_0"]["Dense_0"]["kernel"] = self.column_factors(shared, run)[:, None]
        return ones

    def gradients(
        self, state: ClassifyState, shared: Features, run: ClassifyRun, key: jax.Array
    ) -> tuple[Any, dict[str, Float[Array, ""]]]:
        """Gradients of the loss on a fresh batch, and its terms, over the whole batch."""
        real_key, generated_key, dropout_key = jax.random.split(key, 3)
        numbers, pool = run.numbers, run.generated
        rows, labels = draw_class_balanced(real_key, run.view, self.batch_size, numbers["by_prior"])
        drawn = jax.random.randint(generated_key, (self.batch_size,), 0, jnp.maximum(pool.count, 1))
        rows, label, drawn = self.axis.local(rows), self.axis.local(labels), self.axis.local(drawn)
        batches = {
            "real": lambda: (self.read(shared, run.view, rows), jax.nn.one_hot(label, self.n_classes)),
            "generated": lambda: (pool.features[drawn], pool.target[drawn]),
        }
        # Under the prior's sampling, logits raised by ln π learn the balanced posterior (arXiv 2007.07314, eq. 10).
        share = jnp.maximum(run.view.class_count, 1) / jnp.maximum(run.view.class_count.sum(), 1)
        adjustment = numbers["logit_adjustment"] * jnp.log(share)

        def term(params: Any, name: str, key: jax.Array) -> Float[Array, ""]:
            features, target = batches[name]()
            logits = self._logits(params, features, numbers, key) + adjustment
            target = optax.smooth_labels(target, numbers["label_smoothing"])
            return classification.focal_cross_entropy(logits, target, numbers["focal_gamma"]).mean()

        def loss(params: Any) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
            terms, total = {}, jnp.zeros(())
            for salt, name in enumerate(batches):
                weight, key = numbers[f"{name}_weight"], jax.random.fold_in(dropout_key, salt)
                of_batch = functools.partial(term, params, name, key)
                # Where runs train one by one, no step is spent on generated rows that a variant has not.
                wanted = (name == "real") | (weight > 0)
                terms[name] = jax.lax.cond(wanted, of_batch, lambda: jnp.zeros(()))
                total += weight * terms[name]
            total /= numbers["real_weight"] + numbers["generated_weight"]
            return total, terms | {"total": total}

        return self.axis.mean(jax.grad(loss, has_aux=True)(state.params))

    def _logits(self, params: Any, features: Any, numbers: Any, key: jax.Array) -> Float[Array, "local classes"]:
        """Of this device's rows, in training."""

        def of_part(axis: BatchAxis, key: jax.Array, features: Any) -> Any:
            model, rates = replace(self, axis=axis)._model, (numbers["dropout"], numbers["input_dropout"])
            return apply(model, params, features, *rates, train=True, rngs={"dropout": key}, dtype=self.compute_dtype)

        return self.axis.in_parts(of_part, key, features)

    def train_step(
        self, state: ClassifyState, shared: Features, run: ClassifyRun, key: jax.Array, progress: Float[Array, ""]
    ) -> tuple[ClassifyState, dict[str, Float[Array, ""]]]:
        """One step of AdamW, and of the moving average."""
        share = run.numbers["curriculum"] + (1.0 - run.numbers["curriculum"]) * progress
        shown = jnp.ceil(share * run.generated.count).astype(jnp.int32)
        run = replace(run, generated=replace(run.generated, count=shown))
        gradients, terms = self.gradients(state, shared, run, key)
        multipliers = self._multipliers(state.params, shared, run)
        params, optimizer = adamw_step(gradients, state.params, state.optimizer, run.numbers, progress, multipliers)
        average = moving_average(params, state.average, run.numbers["ema_decay"], progress * self.steps)
        return ClassifyState(params, average, optimizer), terms

    def outputs(
        self, state: ClassifyState, shared: Features, run: tuple[ClassifyRun, Int[Array, " rows"]], key: jax.Array
    ) -> Float[Array, "rows classes"]:
        """ln p(c | features) of the given rows."""
        own, rows = run
        return self.log_probabilities_of(state, shared, self.read(shared, own.view, rows), key)

    def log_probabilities_of(
        self, state: ClassifyState, shared: Features, features: Float[Array, "batch dim"], key: jax.Array
    ) -> Float[Array, "batch classes"]:
        """ln p(c | features) by the moving average of the head, for any standardised features."""
        return jax.nn.log_softmax(apply(self._model, state.average, features))
