"""Stage 1, align: audio and text encoders over frozen features, into one representation space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from infoser.batch_axis import SINGLE, BatchAxis
from infoser.fold_view import Features, FoldView, draw_class_balanced, draw_rows
from infoser.frame_table import TILE
from infoser.losses import cross_modal
from infoser.losses.mutual_information import MINE_START
from infoser.models import apply
from infoser.models.aligner import Aligned, Aligner
from infoser.models.information import InformationTerm
from infoser.stages.schedule import adamw, adamw_step
from infoser.strata import largest_share


@struct.dataclass
class AlignRun:
    """What differs between runs: the fold's rows, and numbers.

    Attributes:
      view: the rows; rows whose label this aligner must not see are in `view.rows` only.
      numbers: learning_rate, weight_decay, dropout, class_weight, contrastive_weight, temperature, mi_weight.
      text_view: the rows with text among them; None where all have text.
    """

    view: FoldView
    numbers: dict[str, Float[Array, ""]]
    text_view: FoldView | None = None


@struct.dataclass
class AlignState:
    """Parameters and the optimiser's state; `log_average` is that of MINE, and None for the other estimators."""

    params: Any
    optimizer: optax.OptState
    log_average: Float[Array, ""] | None = None


@dataclass(frozen=True)
class TileBounds:
    """The most tiles of frames that each place of a batch can hold, in any run.

    Attributes:
      pairs, labelled: of a batch of rows, and of one of labelled rows.
    """

    pairs: tuple[int, ...]
    labelled: tuple[int, ...]


@dataclass(frozen=True)
class Align:
    """Trains an `Aligner` by class losses on h, t and [h;t], a symmetric contrastive loss and −Î(h;t).

    The contrastive and information terms read rows with and without labels; without text only the class loss is left.
    Where some rows have no text, the class loss on h reads them too, and all other terms do not.

    Attributes:
      label_free: leaves the class losses out altogether (the `encoder` space).
      audio_bounds, text_bounds: of the frames that stand in place of the features; None without. Batches are then drawn
        by strata of length, which is what bounds them.
      compute_dtype: what networks compute in while they train.
      axis: how a batch is spread over devices.
    """

    n_classes: int
    has_text: bool
    label_free: bool
    width: int
    representation_dim: int
    batch_size: int
    steps: int
    mi_estimator: str
    critic: str = "bilinear"
    audio_bounds: TileBounds | None = None
    text_bounds: TileBounds | None = None
    compute_dtype: str = "float32"
    axis: BatchAxis = SINGLE
    name: str = "align"

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the loss terms in the order of their computation."""
        return (
            (() if self.label_free else ("class",))
            + (("contrastive", "mutual_information") if self.has_text else ())
            + (("log_average",) if self._averages else ())
            + ("total",)
        )

    @property
    def _model(self) -> Aligner:
        return Aligner(self.width, self.representation_dim, self.n_classes, self.axis)

    @property
    def _averages(self) -> bool:
        return self.has_text and self.mi_estimator == "mine"

    def _information(self) -> InformationTerm:
        return InformationTerm(self.mi_estimator, self.critic, self.width, dim=self.representation_dim)

    @property
    def _by_length(self) -> bool:
        return self.audio_bounds is not None or self.text_bounds is not None

    def _read(self, shared: Features, view: FoldView, rows: Any, audio_tiles: int = 0, text_tiles: int = 0) -> tuple[Any, Any]:
        """What the model reads of `rows`; their frames fit into so many tiles."""
        audio = shared.pack_audio(view, rows, audio_tiles) if self.audio_bounds else shared.read_audio(view, rows)
        text = shared.pack_text(view, rows, text_tiles) if self.text_bounds else shared.read_text(view, rows)
        return audio, text

    def _align(
        self, params: Any, shared: Features, run: AlignRun, batch: tuple[FoldView, Any, str], key: jax.Array, audio_only: bool
    ) -> Aligned:
        """Of this device's share of a batch, in training; the batch is of a view, its rows, and how they were drawn."""
        view, rows, kind = batch
        bounds = [each and getattr(each, kind) for each in (self.audio_bounds, self.text_bounds)]
        tiles = [largest_share(each, self.axis.size * self.axis.parts) if each else 0 for each in bounds]

        def of_part(axis: BatchAxis, key: jax.Array, rows: Any) -> Aligned:
            audio, text = self._read(shared, view, rows, *tiles)
            arguments = (audio, None if audio_only else text, run.numbers["dropout"])
            model = replace(self, axis=axis)._model
            return apply(model, params, *arguments, train=True, rngs={"dropout": key}, dtype=self.compute_dtype)

        return self.axis.in_parts(of_part, key, self.axis.local(rows))

    def _draw_labelled(self, key: jax.Array, view: FoldView, salt: int) -> tuple[Any, Any]:
        own_key = jax.random.fold_in(key, salt) if salt else key
        return draw_class_balanced(own_key, view, self.batch_size, by_length=self._by_length)

    def _draw_pairs(self, key: jax.Array, view: FoldView) -> Int[Array, " batch"]:
        return draw_rows(key, view, self.batch_size, by_length=self._by_length)

    def init(self, shared: Features, run: AlignRun, key: jax.Array) -> AlignState:
        """Fresh parameters; aligners with the same key start from the same ones."""
        read = self._read(shared, run.view, jnp.zeros(1, jnp.int32), 1, 1)  # shapes count here, not how many frames there are
        params = {"aligner": self._model.init(key, *read)}
        if self.has_text:
            representation = jnp.zeros((1, self.representation_dim))
            params["critic"] = self._information().init(jax.random.fold_in(key, 1), representation, representation)
        return AlignState(params, adamw(0.0, 0.0).init(params), jnp.float32(MINE_START) if self._averages else None)

    def gradients(
        self, state: AlignState, shared: Features, run: AlignRun, key: jax.Array
    ) -> tuple[Any, dict[str, Float[Array, ""]]]:
        """Gradients of the weighted sum of the terms on a fresh batch, and the terms, over the whole batch."""
        pair_key, label_key, dropout_key = jax.random.split(key, 3)
        numbers = run.numbers

        def align(params: Any, view: FoldView, rows: Any, kind: str, salt: int, *, audio_only: bool = False) -> Aligned:
            key = jax.random.fold_in(dropout_key, salt)
            return self._align(params["aligner"], shared, run, (view, rows, kind), key, audio_only)

        def class_losses(params: Any, view: FoldView, salt: int, *, audio_only: bool = False) -> list[Float[Array, ""]]:
            rows, labels = self._draw_labelled(label_key, view, salt)
            label = self.axis.local(labels)
            logits = align(params, view, rows, "labelled", salt, audio_only=audio_only).logits
            return [optax.softmax_cross_entropy_with_integer_labels(head, label).mean() for head in logits]

        def loss(params: Any) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
            total, terms = jnp.zeros(()), {}
            if not self.label_free:
                losses = class_losses(params, run.view, 0, audio_only=run.text_view is not None)
                if run.text_view is not None:  # the head on h learns from every labelled row, the others where there is text
                    losses += class_losses(params, run.text_view, 2)[1:]
                terms["class"] = sum(losses, jnp.zeros(()))
                total += numbers["class_weight"] * terms["class"]
            if self.has_text:
                view = run.view if run.text_view is None else run.text_view
                pairs = align(params, view, self._draw_pairs(pair_key, view), "pairs", 1)
                assert pairs.text is not None
                # Representations of the whole batch: every device's utterances are negatives of all others'.
                audio, text = self.axis.whole(pairs.audio), self.axis.whole(pairs.text)
                terms["contrastive"] = cross_modal.symmetric_contrastive(audio, text, numbers["temperature"]).mean()
                average = MINE_START if state.log_average is None else state.log_average
                said = self._information()(params["critic"], audio, text, average)
                terms["mutual_information"] = said.estimate
                if self._averages:
                    terms["log_average"] = said.log_average
                total += numbers["contrastive_weight"] * terms["contrastive"]
                total -= numbers["mi_weight"] * said.objective
            return total, terms | {"total": total}

        return self.axis.mean(jax.grad(loss, has_aux=True)(state.params))

    def train_step(
        self, state: AlignState, shared: Features, run: AlignRun, key: jax.Array, progress: Float[Array, ""]
    ) -> tuple[AlignState, dict[str, Float[Array, ""]]]:
        """One step of AdamW."""
        gradients, terms = self.gradients(state, shared, run, key)
        stepped = adamw_step(gradients, state.params, state.optimizer, run.numbers, progress)
        return AlignState(*stepped, terms.get("log_average")), terms

    @property
    def reads(self) -> tuple[str, ...]:
        """Which of the features it reads."""
        audio, text = ("audio_frames" if self.audio_bounds else "audio"), ("text_frames" if self.text_bounds else "text")
        return (audio, text) if self.has_text else (audio,)

    def frames_read(self) -> tuple[int, int]:
        """The most frames of audio and of text that a step reads on one device."""

        def of(bounds: TileBounds | None) -> int:
            if bounds is None:
                return 0
            shares = self.axis.size * self.axis.parts
            labelled, pairs = (largest_share(each, shares) * self.axis.parts for each in (bounds.labelled, bounds.pairs))
            return TILE * ((not self.label_free) * (1 + self.has_text) * labelled + self.has_text * pairs)

        return of(self.audio_bounds), of(self.text_bounds)

    def draws_from(self, run: AlignRun) -> Any:
        """As much of a run as `rows_read` needs."""
        return run.view, run.text_view

    def rows_read(self, drawn_from: Any, key: jax.Array) -> Int[Array, "draws batch"]:
        """The rows whose features a step with this key reads."""
        pair_key, label_key, _ = jax.random.split(key, 3)
        view, text_view = drawn_from
        rows = []
        if not self.label_free:
            rows.append(self._draw_labelled(label_key, view, 0)[0])
            if text_view is not None:
                rows.append(self._draw_labelled(label_key, text_view, 2)[0])
        if self.has_text:
            rows.append(self._draw_pairs(pair_key, view if text_view is None else text_view))
        return jnp.stack(rows)

    def embed(
        self,
        state: AlignState,
        shared: Features,
        run: tuple[AlignRun, Int[Array, " rows"]],
        key: jax.Array,
        audio_tiles: int,
        text_tiles: int,
    ) -> tuple[Float[Array, "rows dim"], Float[Array, "rows dim"] | None]:
        """h and t of rows whose frames fit into so many tiles; the caller decides which rows this aligner may embed."""
        align, rows = run
        read = self._read(shared, align.view, rows, audio_tiles, text_tiles)
        aligned = apply(self._model, state.params["aligner"], *read)
        return aligned.audio, aligned.text

    def critic_scores(
        self,
        state: AlignState,
        shared: Features,
        representations: tuple[Float[Array, "batch dim"], Float[Array, "batch dim"]],
        key: jax.Array,
    ) -> Float[Array, "batch batch"]:
        """f(h, t), or ln q(t|h), of all pairs of the given representations."""
        return self._information().scores(state.params["critic"], *representations)
