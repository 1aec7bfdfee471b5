"""Stage 2 by another method: a conditional denoising-diffusion generator of features, the rival of the InfoGAN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from infoser.batch_axis import SINGLE, BatchAxis
from infoser.fold_view import Features, FoldView, draw_class_balanced
from infoser.losses import diffusion
from infoser.models import apply
from infoser.models.denoiser import Denoiser
from infoser.models.generator import condition_of
from infoser.stages.conditions import Draw, GenerateRun, Pool, draw, draw_for_pool, draw_lent
from infoser.stages.schedule import adam, moving_average

_ADAM = {"b1": 0.9, "b2": 0.999}


@struct.dataclass
class DiffuseState:
    """The denoiser's parameters, their moving average, which generates, and the optimiser's state."""

    denoiser: Any
    average: Any
    optimizer: optax.OptState


@dataclass(frozen=True)
class Diffuse:
    """Learns to say what noise was mixed into a feature of a condition (c, t), and makes features by taking noise away.

    Conditions, draws and what `outputs` returns are those of `Generate`, except that there is neither a D nor a Q to ask.

    Attributes:
      width: of the denoiser.
      batch_size, steps: of training.
      by_class: conditions on c.
      text: conditions on t: "none", "own" (the row's) or "other" (another row's of its class).
      paired: makes text features along with the audio features; excludes text.
      noise_levels: T.
      guided: the run's number `guidance` may be other than 0; makes drawing twice as dear.
      compute_dtype: what the denoiser computes in while it trains.
      axis: how a batch is spread over devices.
    """

    n_classes: int
    width: int
    batch_size: int
    steps: int
    by_class: bool = True
    text: str = "none"
    paired: bool = False
    noise_levels: int = 100
    guided: bool = False
    compute_dtype: str = "float32"
    axis: BatchAxis = SINGLE
    name: str = "diffuse"
    terms: tuple[str, ...] = ("denoising",)

    @property
    def reads(self) -> tuple[str, ...]:
        """Which of the features it reads."""
        return ("audio", "text") if self.paired else ("audio",)

    def frames_read(self) -> tuple[int, int]:
        """It reads no frames."""
        return 0, 0

    def draws_from(self, run: GenerateRun) -> FoldView:
        """As much of a run as `rows_read` needs."""
        return run.view

    def rows_read(self, drawn_from: FoldView, key: jax.Array) -> Int[Array, "draws batch"]:
        """The rows whose features a step with this key reads."""
        return draw_class_balanced(jax.random.split(key, 4)[0], drawn_from, self.batch_size)[0][None]

    def init(self, shared: Features, run: GenerateRun, key: jax.Array) -> DiffuseState:
        """Fresh parameters."""
        row_key, model_key = jax.random.split(key)
        given = self._draw(shared, run, row_key, 2 * self.axis.size)
        level = jnp.ones(len(given.label), jnp.int32)
        blank = jnp.zeros((len(level), self._dim(shared)))
        denoiser = self._denoiser.init(model_key, blank, level, self._condition(given))
        # A copy: the state is donated, and one buffer may not be given away twice.
        optimizer = adam(0.0, **_ADAM).init(denoiser)
        return DiffuseState(denoiser, jax.tree.map(jnp.array, denoiser), optimizer)

    def gradients(
        self, state: DiffuseState, shared: Features, run: GenerateRun, key: jax.Array
    ) -> tuple[Any, dict[str, Float[Array, ""]]]:
        """Gradients of the loss on a fresh batch, and its terms, over the whole batch."""
        row_key, level_key, noise_key, hide_key = jax.random.split(key, 4)
        given = self._draw(shared, run, row_key, self.batch_size)
        data = self._real(shared, run.view, self.axis.local(given.rows))
        level = self.axis.local(jax.random.randint(level_key, (self.batch_size,), 1, self.noise_levels + 1))
        noise = self.axis.local(jax.random.normal(noise_key, (self.batch_size, data.shape[-1])))
        hidden = self.axis.local(jax.random.bernoulli(hide_key, run.numbers["condition_dropout"], (self.batch_size,)))
        condition = jnp.where(hidden[:, None], 0.0, self._condition(given))
        share = self._shares[level]
        noisy, true = diffusion.noised(data, noise, share), diffusion.velocity(data, noise, share)

        def loss(params: Any) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
            def of_part(axis: BatchAxis, key: jax.Array, noisy: Any, level: Any, condition: Any) -> Any:
                return apply(self._denoiser, params, noisy, level, condition, dtype=self.compute_dtype)

            said = self.axis.in_parts(of_part, key, noisy, level, condition)
            mean = diffusion.velocity_loss(said, true).mean()
            return mean, {"denoising": mean}

        return self.axis.mean(jax.grad(loss, has_aux=True)(state.denoiser))

    def train_step(
        self, state: DiffuseState, shared: Features, run: GenerateRun, key: jax.Array, progress: Float[Array, ""]
    ) -> tuple[DiffuseState, dict[str, Float[Array, ""]]]:
        """A step on a fresh class-balanced batch of labelled rows, each at a level of its own."""
        numbers = run.numbers
        gradients, terms = self.gradients(state, shared, run, key)
        updates, optimizer = adam(numbers["diffusion_learning_rate"], **_ADAM).update(gradients, state.optimizer)
        denoiser: Any = optax.apply_updates(state.denoiser, updates)
        average = moving_average(denoiser, state.average, numbers["ema_decay"], progress * self.steps)
        return DiffuseState(denoiser, average, optimizer), terms

    def outputs(self, state: DiffuseState, shared: Features, run: GenerateRun, key: jax.Array, size: int) -> Pool:
        """`size` rows for class-balanced conditions (c, t) of labelled training rows, from noise down all levels.

        Each level is a draw from q of arXiv 2006.11239, eq. 7, at the data that the denoiser says (its algorithm 2).
        """
        return self._pool(state, shared, run, key, size, self.text)

    def outputs_of_wrong_text(self, state: DiffuseState, shared: Features, run: GenerateRun, key: jax.Array, size: int) -> Pool:
        """`outputs` where each class goes with the text of another class: which of both is followed?"""
        return self._pool(state, shared, run, key, size, "wrong")

    def _pool(self, state: DiffuseState, shared: Features, run: GenerateRun, key: jax.Array, size: int, text: str) -> Pool:
        condition_key, noise_key = jax.random.split(jax.random.fold_in(key, self.steps))
        given, run = draw_for_pool(condition_key, shared, run, size, text)
        condition = self._condition(given)
        shares = self._shares

        def nearer(k: Int[Array, ""], x: Float[Array, "size dim"]) -> Float[Array, "size dim"]:
            level = jnp.broadcast_to(self.noise_levels - k, (size,))
            said = apply(self._denoiser, state.average, x, level, condition)
            if self.guided:
                of_nothing = apply(self._denoiser, state.average, x, level, jnp.zeros_like(condition))
                said = diffusion.guided(said, of_nothing, run.numbers["guidance"])
            share = shares[level]
            mean, variance = diffusion.posterior(x, diffusion.data_of_velocity(x, said, share), share, shares[level - 1])
            return mean + jnp.sqrt(variance)[:, None] * jax.random.normal(jax.random.fold_in(noise_key, k), x.shape)

        pure = jax.random.normal(jax.random.fold_in(noise_key, self.noise_levels), (size, self._dim(shared)))
        made = jax.lax.fori_loop(0, self.noise_levels, nearer, pure)
        audio, made_text = jnp.split(made, [shared.audio_dim], axis=-1)
        lent = given.text_rows
        if run.lenders is not None:
            lent = draw_lent(condition_key, run, given.labels)
        nothing = jnp.zeros((size, self.n_classes))
        return Pool(audio, given.labels, lent, made_text if self.paired else None, nothing[:, 0], nothing)

    @property
    def _denoiser(self) -> Denoiser:
        return Denoiser(self.width, self.noise_levels)

    @property
    def _shares(self) -> Float[Array, " levels"]:
        return jnp.asarray(diffusion.cosine_schedule(self.noise_levels))

    def _dim(self, shared: Features) -> int:
        return shared.audio_dim + (shared.text_dim if self.paired else 0)

    def _draw(self, shared: Features, run: GenerateRun, key: jax.Array, batch_size: int) -> Draw:
        return draw(key, shared, run, batch_size, self.axis, self.text)

    def _condition(self, given: Draw) -> Float[Array, "local condition_dim"]:
        return condition_of(given.label if self.by_class else None, self.n_classes, given.text, len(given.label))

    def _real(self, shared: Features, view: FoldView, rows: Int[Array, " local"]) -> Float[Array, "local dim"]:
        audio = shared.read_audio(view, rows)
        text = shared.read_text(view, rows) if self.paired else None
        return audio if text is None else jnp.concatenate([audio, text], axis=-1)
