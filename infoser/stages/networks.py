"""The networks of the generate stage: which there are, and how a batch is read by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from infoser.batch_axis import SINGLE, BatchAxis, dropout_factors
from infoser.fold_view import Features, FoldView
from infoser.losses import likelihoods
from infoser.models import apply, in_dtype
from infoser.models.discriminator import Discriminator, Judged
from infoser.models.generator import Generator, Recogniser, Recovered, condition_of
from infoser.models.information import InformationTerm
from infoser.models.input_gradients import scores_and_input_gradients
from infoser.stages.conditions import Draw, GenerateRun, draw, unstratified

#: A class whose one-hot code is zeros: such rows are judged whatever theirs is.
UNKNOWN = -1


@dataclass(frozen=True)
class Networks:
    """The structure of a generator, its discriminator, Q, and the critics of information.

    Attributes:
      width, latent_dim: of the networks, and of z.
      batch_size, steps: of training.
      by_class: conditions on c.
      text: what t is: "none"; "own" text of the row that D sees; "other": text of another row of its class.
      paired: generates text features along with the audio features; excludes text.
      loss: of `adversarial.GAMES`. The wasserstein one takes the gradient penalty between real and generated rows, the others
        R1 at real ones.
      auxiliary: D reads the class by a classifier, not by projection.
      spectral_norm, pack: of D.
      critic_steps: steps of D for each of G.
      class_estimator, text_estimator, pair_estimator, critic: of the information terms.
      unlabelled: D also tells rows of the whole training part, their class unknown, from generated ones.
      labels_itself: Q learns from real labelled rows too, so that what it says of a class is not only G's own convention.
      compute_dtype: what networks compute in while they train; critics of information in float32.
      axis: how a batch is spread over devices; those critics read it whole, whatever its parts.
    """

    n_classes: int
    width: int
    latent_dim: int
    batch_size: int
    steps: int
    by_class: bool = True
    text: str = "none"
    paired: bool = False
    loss: str = "hinge"
    auxiliary: bool = False
    spectral_norm: bool = False
    pack: int = 1
    critic_steps: int = 1
    class_estimator: str = "barber-agakov"
    text_estimator: str = "barber-agakov"
    pair_estimator: str = "jsd"
    critic: str = "separable"
    unlabelled: bool = False
    labels_itself: bool = False
    compute_dtype: str = "float32"
    axis: BatchAxis = SINGLE
    name: str = "generate"

    @property
    def with_text(self) -> bool:
        """Whether t is part of the condition."""
        return self.text != "none"

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the loss terms in the order of their computation."""
        discriminator = ("discriminator", self._penalty)
        discriminator += ("auxiliary",) if self._classifies else ()
        discriminator += ("unlabelled",) if self.unlabelled else ()
        information = [self.name_of(term) for term in self.informed]
        averages = [f"{term}_log_average" for term, one in self.critics().items() if one.estimator == "mine"]
        return (*discriminator, "generator", *information, *(("recogniser",) if self.labels_itself else ()), *averages)

    @property
    def _penalty(self) -> str:
        return "gradient_penalty" if self.loss == "wasserstein" else "r1"

    @property
    def _classifies(self) -> bool:
        return self.auxiliary and self.by_class

    @property
    def informed(self) -> dict[str, str]:
        """The information terms, and their estimators."""
        terms = {"class": self.class_estimator} if self.by_class else {}
        terms |= {"text": self.text_estimator} if self.with_text else {}
        return terms | ({"pair": self.pair_estimator} if self.paired else {})

    def read_by_q(self, term: str) -> bool:
        return term != "pair" and self.informed[term] == "barber-agakov"

    def name_of(self, term: str) -> str:
        """The name under which an information term is reported: a likelihood alone is no information."""
        return f"{term}_log_likelihood" if self.read_by_q(term) else f"{term}_information"

    def critics(self) -> dict[str, InformationTerm]:
        """The information terms that Q does not read."""
        return {
            term: InformationTerm(estimator, self.critic, self.width, self.axis, self.n_classes if term == "class" else 0)
            for term, estimator in self.informed.items()
            if not self.read_by_q(term)
        }

    def _generator(self, shared: Features) -> Generator:
        return Generator(self.width, shared.audio_dim + (shared.text_dim if self.paired else 0))

    def _discriminator(self, axis: BatchAxis) -> Discriminator:
        return Discriminator(self.width, self.n_classes * self._classifies, self.spectral_norm, self.pack, axis)

    def _recogniser(self, shared: Features) -> Recogniser:
        reads_text = self.with_text and self.read_by_q("text") and shared.condition is not None
        return Recogniser(self.width, self.n_classes, shared.condition.shape[-1] if reads_text else 0)  # pyright: ignore

    def _draw(self, shared: Features, run: GenerateRun, key: jax.Array, batch_size: int) -> Draw:
        run = run.replace(view=self._packs_from(run.view))  # pyright: ignore[reportAttributeAccessIssue]
        return draw(key, shared, run, batch_size, self.axis, self.text)

    def _packs_from(self, view: FoldView) -> FoldView:
        """What D's rows are drawn from. Those of a pack have to be independent: others D would know for real by that alone."""
        return unstratified(view) if self.pack > 1 else view

    def _real(self, shared: Features, view: FoldView, rows: Int[Array, " local"]) -> Float[Array, "local dim"]:
        audio = shared.read_audio(view, rows)
        text = shared.read_text(view, rows) if self.paired else None
        return audio if text is None else jnp.concatenate([audio, text], axis=-1)

    def _generate(
        self, shared: Features, params: Any, condition: Draw, key: jax.Array, dtype: str = "float32"
    ) -> Float[Array, "local dim"]:
        noise = self.axis.local(jax.random.normal(key, (len(condition.rows), self.latent_dim)))

        def of_part(axis: BatchAxis, key: jax.Array, noise: Any, label: Any, text: Any) -> Any:
            given = condition_of(label if self.by_class else None, self.n_classes, text, len(noise))
            return apply(self._generator(shared), params, noise, given, dtype=dtype)

        return self.axis.in_parts(of_part, key, noise, condition.label, condition.text)

    def _judge(self, numbers: Any, params: Any, features: Any, label: Any, text: Any, key: jax.Array) -> Judged:
        """D in training; rows of the class _UNKNOWN are judged whatever theirs is."""

        def of_part(axis: BatchAxis, key: jax.Array, features: Any, label: Any, text: Any) -> Any:
            given = condition_of(label if self.by_class and not self._classifies else None, self.n_classes, text, len(features))
            model, rngs = self._discriminator(axis), {"dropout": key}
            return apply(model, params, features, given, numbers["dropout"], train=True, rngs=rngs, dtype=self.compute_dtype)

        return self.axis.in_parts(of_part, key, features, label, text)

    @property
    def _judges_together(self) -> bool:
        """Whether D is of the kind whose scores and input gradients come from one pass of real and generated rows."""
        return not (self.spectral_norm or self._classifies)

    def _judge_together(self, numbers: Any, params: Any, rows: list[Any], draws: list[Draw], key: jax.Array) -> Any:
        """`_judge` of two batches as (2, packs); ∇ₓD at the second, or at a third under the second's conditions."""

        def of_part(axis: BatchAxis, key: jax.Array, rows: list[Any], conditions: list[Any]) -> Any:
            packed = jnp.stack([self._packed(batch) for batch in rows])
            given = tuple(
                self._packed(condition_of(label if self.by_class else None, self.n_classes, text, len(rows[0])))
                for label, text in conditions
            )
            shape = len(rows), len(packed[0]), self.width
            # In bfloat16 these are rounded too, unlike `drop`'s: by up to 1 in 512.
            factors = dropout_factors(shape, numbers["dropout"], key, axis)
            scores, gradients = in_dtype(scores_and_input_gradients, self.compute_dtype)(params, packed, given, factors)
            return scores.T, gradients

        conditions = [(one.label, one.text) for one in draws]
        scores, gradients = self.axis.in_parts(of_part, key, rows, conditions)
        return scores.T, gradients

    def _recover(self, shared: Features, params: Any, audio: Any, key: jax.Array) -> Recovered:
        def of_part(axis: BatchAxis, key: jax.Array, audio: Any) -> Recovered:
            return apply(self._recogniser(shared), params, audio, dtype=self.compute_dtype)

        return self.axis.in_parts(of_part, key, audio)

    def _packed(self, rows: Float[Array, "local dim"]) -> Float[Array, "packs packed_dim"]:
        """What one score is of, as one row."""
        return rows.reshape(len(rows) // self.pack, -1)

    def _apart(self, packs: Float[Array, "packs packed_dim"]) -> Float[Array, "local dim"]:
        return packs.reshape(len(packs) * self.pack, -1)

    def _score_alone(self, params: Any, features: Float[Array, "rows dim"], condition: Draw) -> Float[Array, " rows"]:
        """D's score of each row, without dropout, in a pack of its own copies; with an auxiliary classifier, plus ln p(c|ĥ)."""
        label = condition.label if self.by_class and not self._classifies else None
        given = condition_of(label, self.n_classes, condition.text, len(features))
        judged = apply(self._discriminator(SINGLE), params, *(jnp.repeat(x, self.pack, axis=0) for x in (features, given)))
        if judged.logits is None:
            return judged.score
        own = judged.logits.reshape(len(features), self.pack, -1)[:, 0]
        return judged.score + likelihoods.categorical_log_likelihood(own, condition.label)
