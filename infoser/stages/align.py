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
from infoser.stages.schedule import adamw

ESTIMATORS = {"infonce": mutual_information.infonce, "nwj": mutual_information.nwj, "jsd": mutual_information.jsd}


@struct.dataclass
class AlignRun:
    """What differs between runs: the fold's rows, and numbers.

    Attributes:
      view: the rows; rows whose label this aligner must not see are in `view.rows` only.
      numbers: learning_rate, weight_decay, dropout, class_weight, contrastive_weight, temperature, mi_weight.
    """

    view: FoldView
    numbers: dict[str, Float[Array, ""]]


@struct.dataclass
class AlignState:
    params: Any
    optimizer: optax.OptState


@dataclass(frozen=True)
class Align:
    """Trains an `Aligner` by class losses on h, t and [h;t], a symmetric contrastive loss and −Î(h;t).

    The contrastive and information terms read rows with and without labels; without text only the class loss is left.

    Attributes:
      label_free: leaves the class losses out altogether (the `encoder` space).
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

    def _read(self, shared: Features, view: FoldView, rows: Any) -> tuple[Any, Any]:
        return shared.read_audio(view, rows), shared.read_text(view, rows)

    def init(self, shared: Features, run: AlignRun, key: jax.Array) -> AlignState:
        """Fresh parameters; aligners with the same key start from the same ones."""
        params = self._model.init(key, *self._read(shared, run.view, jnp.zeros(1, jnp.int32)))
        return AlignState(params, adamw(0.0, 0.0).init(params))

    def gradients(
        self, state: AlignState, shared: Features, run: AlignRun, key: jax.Array
    ) -> tuple[Any, dict[str, Float[Array, ""]]]:
        """Gradients of the weighted sum of the terms on a fresh batch, and the terms, over the whole batch."""
        pair_key, label_key, dropout_key = jax.random.split(key, 3)
        numbers = run.numbers

        def align(params: Any, rows: Any, salt: int) -> Aligned:
            rngs = {"dropout": jax.random.fold_in(dropout_key, salt)}
            read = self._read(shared, run.view, self.axis.local(rows))
            return apply(self._model, params, *read, numbers["dropout"], train=True, rngs=rngs)

        def loss(params: Any) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
            total, terms = jnp.zeros(()), {}
            if not self.label_free:
                rows, labels = draw_class_balanced(label_key, run.view, self.batch_size)
                label = self.axis.local(labels)
                logits = align(params, rows, 0).logits
                losses = [optax.softmax_cross_entropy_with_integer_labels(head, label).mean() for head in logits]
                terms["class"] = sum(losses, jnp.zeros(()))
                total += numbers["class_weight"] * terms["class"]
            if self.has_text:
                # Representations and scores of the whole batch: every device's utterances are negatives of all others'.
                pairs = align(params, draw_rows(pair_key, run.view, self.batch_size), 1)
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
        updates, optimizer = adamw(run.numbers["learning_rate"], run.numbers["weight_decay"], progress).update(
            gradients, state.optimizer, state.params
        )
        return AlignState(optax.apply_updates(state.params, updates), optimizer), terms

    def outputs(
        self, state: AlignState, shared: Features, run: AlignRun, key: jax.Array
    ) -> tuple[Float[Array, "rows dim"], Float[Array, "rows dim"] | None]:
        """h and t of every row of the corpus; the caller decides which rows this aligner may embed."""
        aligned = apply(self._model, state.params, *self._read(shared, run.view, jnp.arange(shared.audio.shape[1])))
        return aligned.audio, aligned.text

    def critic_scores(
        self, state: AlignState, shared: Features, run: tuple[AlignRun, Int[Array, " batch"]], key: jax.Array
    ) -> Float[Array, "batch batch"]:
        """f(h, t) between all pairs of the given rows."""
        align, rows = run
        return apply(self._model, state.params, *self._read(shared, align.view, rows)).scores
