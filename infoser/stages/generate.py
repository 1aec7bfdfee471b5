"""Stage 2, generate: an InfoGAN over features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from infoser.fold_view import Features, FoldView, draw_class_balanced
from infoser.losses import adversarial, mutual_information
from infoser.models import apply
from infoser.models.generator import Discriminator, Generator, Recogniser, Recovered
from infoser.stages.schedule import adam


@struct.dataclass
class GenerateRun:
    """What differs between runs: the fold's rows, and numbers.

    Attributes:
      view: the fold's training rows.
      aligner: which layer of `Features.condition` holds this run's text representations.
      numbers: generator_learning_rate, discriminator_learning_rate, dropout, r1_weight, class_mi_weight,
        text_mi_weight, ema_decay.
    """

    view: FoldView
    aligner: Int[Array, ""]
    numbers: dict[str, Float[Array, ""]]


@struct.dataclass
class GenerateState:
    """Parameters and optimiser states; G and Q share an optimiser, `average` is the moving average of G."""

    players: dict[str, Any]
    discriminator: Any
    average: Any
    players_optimizer: optax.OptState
    discriminator_optimizer: optax.OptState


class Pool(NamedTuple):
    """Generated rows: standardised audio features, emotions, and the corpus row that lent its text to each."""

    audio: Float[Array, "pool audio_dim"]
    label: Int[Array, " pool"]
    text_row: Int[Array, " pool"]


class _Condition(NamedTuple):
    rows: Int[Array, " batch"]
    label: Int[Array, " batch"]
    text: Float[Array, "batch text_dim"] | None


@dataclass(frozen=True)
class Generate:
    """G(z, c, t) → ĥ against a projection discriminator D(h | c, t), with Q recovering (c, t) from ĥ.

    Minimises the hinge losses plus R1 at real features, and for G and Q jointly
    −λ_c·E[ln q(c|ĥ)] − λ_t·E[ln q(t|ĥ)] / dim t, the Barber–Agakov bound on I((c,t);ĥ) up to constants
    (arXiv 1606.03657, eq. 5). With both weights 0 this is a conditional GAN.

    Attributes:
      with_text: conditions on t too (c alone otherwise).
      width, latent_dim: of the networks, and of z.
      batch_size, steps: of training.
    """

    n_classes: int
    with_text: bool
    width: int
    latent_dim: int
    batch_size: int
    steps: int
    name: str = "generate"

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the loss terms in the order of their computation."""
        text = ("text_log_likelihood",) if self.with_text else ()
        return ("discriminator", "r1", "generator", "class_log_likelihood", *text)

    def _generator(self, shared: Features) -> Generator:
        return Generator(self.width, shared.audio.shape[-1], self.n_classes)

    @property
    def _discriminator(self) -> Discriminator:
        return Discriminator(self.width, self.n_classes)

    def _recogniser(self, shared: Features) -> Recogniser:
        text_dim = shared.condition.shape[-1] if self.with_text and shared.condition is not None else 0
        return Recogniser(self.width, self.n_classes, text_dim)

    def _draw(self, shared: Features, run: GenerateRun, key: jax.Array, batch_size: int) -> _Condition:
        rows, label = draw_class_balanced(key, run.view, batch_size)
        if not self.with_text:
            return _Condition(rows, label, None)
        assert shared.condition is not None
        return _Condition(rows, label, shared.condition[run.aligner, rows])

    def init(self, shared: Features, run: GenerateRun, key: jax.Array) -> GenerateState:
        """Fresh parameters of G, Q and D."""
        keys = jax.random.split(key, 4)
        condition = self._draw(shared, run, keys[0], 2)
        audio = shared.read_audio(run.view, condition.rows)
        noise = jnp.zeros((2, self.latent_dim))
        players = {
            "generator": self._generator(shared).init(keys[1], noise, condition.label, condition.text),
            "recogniser": self._recogniser(shared).init(keys[2], audio),
        }
        discriminator = self._discriminator.init(keys[3], audio, condition.label, condition.text)
        optimizer = adam(0.0, b1=0.5, b2=0.9)
        return GenerateState(
            players=players,
            discriminator=discriminator,
            # A copy: the state is donated, and one buffer may not be given away twice.
            average=jax.tree.map(jnp.array, players["generator"]),
            players_optimizer=optimizer.init(players),
            discriminator_optimizer=optimizer.init(discriminator),
        )

    def train_step(
        self, state: GenerateState, shared: Features, run: GenerateRun, key: jax.Array, progress: Float[Array, ""]
    ) -> tuple[GenerateState, dict[str, Float[Array, ""]]]:
        """One step of D, then one of G and Q, on fresh draws."""
        real_key, condition_key, noise_key, dropout_key, played_key, played_noise_key = jax.random.split(key, 6)
        real = self._draw(shared, run, real_key, self.batch_size)
        features = shared.read_audio(run.view, real.rows)
        numbers = run.numbers

        def generate(params: Any, condition: _Condition, key: jax.Array) -> Float[Array, "batch audio_dim"]:
            noise = jax.random.normal(key, (self.batch_size, self.latent_dim))
            return apply(self._generator(shared), params, noise, condition.label, condition.text)

        def score(params: Any, features: Any, condition: _Condition, salt: int) -> Float[Array, " batch"]:
            rngs = {"dropout": jax.random.fold_in(dropout_key, salt)}
            arguments = (features, condition.label, condition.text, numbers["dropout"])
            return apply(self._discriminator, params, *arguments, train=True, rngs=rngs)

        imagined = self._draw(shared, run, condition_key, self.batch_size)
        generated = generate(state.players["generator"], imagined, noise_key)

        def discriminator_loss(params: Any) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
            hinge = adversarial.hinge_discriminator(
                score(params, features, real, 0), score(params, generated, imagined, 1)
            ).mean()
            r1 = adversarial.r1_penalty(lambda x: score(params, x, real, 2), features).mean()
            return hinge + numbers["r1_weight"] * r1, {"discriminator": hinge, "r1": r1}

        gradients, terms = jax.grad(discriminator_loss, has_aux=True)(state.discriminator)
        updates, discriminator_optimizer = adam(numbers["discriminator_learning_rate"], b1=0.5, b2=0.9).update(
            gradients, state.discriminator_optimizer
        )
        discriminator = optax.apply_updates(state.discriminator, updates)

        played = self._draw(shared, run, played_key, self.batch_size)

        def players_loss(players: Any) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
            generated = generate(players["generator"], played, played_noise_key)
            terms = {"generator": adversarial.hinge_generator(score(discriminator, generated, played, 3)).mean()}
            recovered: Recovered = apply(self._recogniser(shared), players["recogniser"], generated)
            log_q = mutual_information.categorical_log_likelihood(recovered.logits, played.label).mean()
            terms["class_log_likelihood"] = log_q
            total = terms["generator"] - numbers["class_mi_weight"] * log_q
            if self.with_text:
                read_back: Any = (recovered.text_mean, recovered.text_log_variance, played.text)
                log_q_text = mutual_information.gaussian_log_likelihood_per_dimension(*read_back).mean()
                terms["text_log_likelihood"] = log_q_text
                total -= numbers["text_mi_weight"] * log_q_text
            return total, terms

        gradients, player_terms = jax.grad(players_loss, has_aux=True)(state.players)
        updates, players_optimizer = adam(numbers["generator_learning_rate"], b1=0.5, b2=0.9).update(
            gradients, state.players_optimizer
        )
        players: Any = optax.apply_updates(state.players, updates)
        state = GenerateState(
            players=players,
            discriminator=discriminator,
            average=optax.incremental_update(players["generator"], state.average, 1.0 - numbers["ema_decay"]),
            players_optimizer=players_optimizer,
            discriminator_optimizer=discriminator_optimizer,
        )
        return state, terms | player_terms

    def outputs(self, state: GenerateState, shared: Features, run: GenerateRun, key: jax.Array, size: int) -> Pool:
        """`size` rows from the moving average of G, for class-balanced conditions (c, t) of labelled training rows."""
        condition_key, noise_key = jax.random.split(jax.random.fold_in(key, self.steps))
        condition = self._draw(shared, run, condition_key, size)
        noise = jax.random.normal(noise_key, (size, self.latent_dim))
        audio = apply(self._generator(shared), state.average, noise, condition.label, condition.text)
        return Pool(audio, condition.label, condition.rows)
