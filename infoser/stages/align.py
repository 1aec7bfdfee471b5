"""Stage 1, align: audio and text encoders over frozen features, into one representation space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from infoser.batch_axis import SINGLE, BatchAxis
from infoser.fold_view import Features, FoldView, draw_class_balanced, draw_rows
from infoser.losses import cross_modal, mutual_information
from infoser.models import apply
from infoser.models.aligner import Aligned, Aligner
from infoser.stages.schedule import adamw, adamw_step
from infoser.strata import largest_share

ESTIMATORS = {"infonce": mutual_information.infonce, "nwj": mutual_information.nwj, "jsd": mutual_information.jsd}


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
    params: Any
    optimizer: optax.OptState


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
    audio_bounds: TileBounds | None = None
    text_bounds: TileBounds | None = None
    axis: BatchAxis = SINGLE
    name: str = "align"

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the loss terms in the order of their computation."""
        return (
            (() if self.label_free else ("class",))
            + (("contrastive", "mutual_information") if self.has_text else ())
            + ("total",)
        )

    @property
    def _model(self) -> Aligner:
        return Aligner(self.width, self.representation_dim, self.n_classes, self.axis)

    @property
    def _by_length(self) -> bool:
        return self.audio_bounds is not None or self.text_bounds is not None

    def _read(self, shared: Features, view: FoldView, rows: Any, audio_tiles: int = 0, text_tiles: int = 0) -> tuple[Any, Any]:
        """What the model reads of `rows`; their frames fit into so many tiles."""
        audio = shared.pack_audio(view, rows, audio_tiles) if self.audio_bounds else shared.read_audio(view, rows)
        text = shared.pack_text(view, rows, text_tiles) if self.text_bounds else shared.read_text(view, rows)
        return audio, text

    def _batch(self, shared: Features, view: FoldView, rows: Any, kind: str) -> tuple[Any, Any]:
        """What the model reads of this device's share of a batch; `kind` says how it was drawn."""
        bounds = [each and getattr(each, kind) for each in (self.audio_bounds, self.text_bounds)]
        tiles = [largest_share(each, self.axis.size) if each else 0 for each in bounds]
        return self._read(shared, view, self.axis.local(rows), *tiles)

    def init(self, shared: Features, run: AlignRun, key: jax.Array) -> AlignState:
        """Fresh parameters; aligners with the same key start from the same ones."""
        read = self._read(shared, run.view, jnp.zeros(1, jnp.int32), 1, 1)  # shapes count here, not how many frames there are
        params = self._model.init(key, *read)
        return AlignState(params, adamw(0.0, 0.0).init(params))

    def gradients(
        self, state: AlignState, shared: Features, run: AlignRun, key: jax.Array
    ) -> tuple[Any, dict[str, Float[Array, ""]]]:
        """Gradients of the weighted sum of the terms on a fresh batch, and the terms, over the whole batch."""
        pair_key, label_key, dropout_key = jax.random.split(key, 3)
        numbers, by_length = run.numbers, self._by_length

        def align(params: Any, read: Any, salt: int) -> Aligned:
            rngs = {"dropout": jax.random.fold_in(dropout_key, salt)}
            return apply(self._model, params, *read, numbers["dropout"], train=True, rngs=rngs)

        def class_losses(params: Any, view: FoldView, salt: int, *, audio_only: bool = False) -> list[Float[Array, ""]]:
            own_key = jax.random.fold_in(label_key, salt) if salt else label_key
            rows, labels = draw_class_balanced(own_key, view, self.batch_size, by_length=by_length)
            audio, text = self._batch(shared, view, rows, "labelled")
            label = self.axis.local(labels)
            logits = align(params, (audio, None if audio_only else text), salt).logits
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
                # Representations and scores of the whole batch: every device's utterances are negatives of all others'.
                view = run.view if run.text_view is None else run.text_view
                rows = draw_rows(pair_key, view, self.batch_size, by_length=by_length)
                pairs = align(params, self._batch(shared, view, rows, "pairs"), 1)
                assert pairs.text is not None and pairs.scores is not None
                contrastive = cross_modal.symmetric_contrastive(pairs.audio, pairs.text, numbers["temperature"])
                terms["contrastive"] = contrastive.mean()
                terms["mutual_information"] = ESTIMATORS[self.mi_estimator](pairs.scores).mean()
                total += numbers["contrastive_weight"] * terms["contrastive"]
                total -= numbers["mi_weight"] * terms["mutual_information"]
            return total, terms | {"total": total}

        return self.axis.mean(jax.grad(loss, has_aux=True)(state.params))

    def train_step(
        self, state: AlignState, shared: Features, run: AlignRun, key: jax.Array, progress: Float[Array, ""]
    ) -> tuple[AlignState, dict[str, Float[Array, ""]]]:
        """One step of AdamW."""
        gradients, terms = self.gradients(state, shared, run, key)
        return AlignState(*adamw_step(gradients, state.params, state.optimizer, run.numbers, progress)), terms

    def outputs(
        self, state: AlignState, shared: Features, run: AlignRun, key: jax.Array
    ) -> tuple[Float[Array, "rows dim"], Float[Array, "rows dim"] | None]:
        """h and t of every row of the corpus; the caller decides which rows this aligner may embed."""
        chunks = shared.chunks
        if chunks is None:
            aligned = apply(self._model, state.params, *self._read(shared, run.view, jnp.arange(shared.audio.shape[1])))
            return aligned.audio, aligned.text

        def embed(rows: Int[Array, " size"]) -> tuple[Any, Any]:
            read = self._read(shared, run.view, rows, chunks.audio_tiles, chunks.text_tiles)
            aligned = apply(self._model, state.params, *read)
            return aligned.audio, aligned.text

        embedded = jax.lax.map(embed, chunks.rows)
        return jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1])[chunks.place], embedded)

    def critic_scores(
        self, state: AlignState, shared: Features, run: tuple[AlignRun, Int[Array, " batch"]], key: jax.Array
    ) -> Float[Array, "batch batch"]:
        """f(h, t) between all pairs of the given rows."""
        align, rows = run
        if self._by_length:
            audio, text = self.outputs(state, shared, align, key)
            assert text is not None
            return audio[rows] @ state.params["params"]["critic"]["kernel"] @ text[rows].T / self.representation_dim
        return apply(self._model, state.params, *self._read(shared, align.view, rows)).scores
