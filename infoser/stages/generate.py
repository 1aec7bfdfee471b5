"""Stage 2, generate: an InfoGAN over features."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from infoser.batch_axis import SINGLE, BatchAxis
from infoser.fold_view import Features, FoldView, draw_class_balanced, draw_of_classes
from infoser.losses import adversarial, mutual_information
from infoser.models import apply
from infoser.models.generator import Discriminator, Generator, PairCritic, Recogniser, Recovered
from infoser.stages.schedule import adam, moving_average

_ADAM = {"b1": 0.5, "b2": 0.9}
Terms = dict[str, Float[Array, ""]]


@struct.dataclass
class GenerateRun:
    """What differs between runs: the fold's rows, and numbers.

    Attributes:
      view: the fold's training rows.
      aligner: which layer of `Features.condition` holds this run's text representations.
      numbers: generator_learning_rate, discriminator_learning_rate, dropout, r1_weight, class_mi_weight,
        text_mi_weight, pair_mi_weight, ema_decay.
      lenders: where the view has rows without text, those that have it: they lend theirs to audio made from the class.
    """

    view: FoldView
    aligner: Int[Array, ""]
    numbers: dict[str, Float[Array, ""]]
    lenders: FoldView | None = None


@struct.dataclass
class GenerateState:
    """Parameters and optimiser states; G, Q and the pair critic share an optimiser, `average` is G's moving average."""

    players: dict[str, Any]
    discriminator: Any
    average: Any
    players_optimizer: optax.OptState
    discriminator_optimizer: optax.OptState


class Pool(NamedTuple):
    """Generated rows: standardised audio features and emotions; the text that goes with each.

    `text` is generated too when pairs are; otherwise `text_row` is the corpus row that lends its own.
    """

    audio: Float[Array, "pool audio_dim"]
    label: Int[Array, " pool"]
    text_row: Int[Array, " pool"]
    text: Float[Array, "pool text_dim"] | None


class _Draw(NamedTuple):
    """A whole batch of rows and their emotions, and this device's share of labels, text conditions and features."""

    rows: Int[Array, " batch"]
    labels: Int[Array, " batch"]
    label: Int[Array, " local"]
    text: Float[Array, "local text_dim"] | None


@dataclass(frozen=True)
class Generate:
    """G(z, c, t) → ĥ against a projection discriminator D(h | c, t), with Q recovering (c, t) from ĥ.

    Minimises the hinge losses plus R1 at real features, and for G and Q jointly
    −λ_c·E[ln q(c|ĥ)] − λ_t·E[ln q(t|ĥ)] / dim t, the Barber–Agakov bound on I((c,t);ĥ) up to constants
    (arXiv 1606.03657, eq. 5). With both weights 0 this is a conditional GAN.

    Paired, G(z, c) → (ĥ, t̂): D judges pairs, Q reads ĥ, and −λ_p·Î(ĥ;t̂) takes the place of the text term.

    Attributes:
      with_text: conditions on t too (c alone otherwise).
      paired: generates text features along with the audio features; excludes `with_text`.
      width, latent_dim: of the networks, and of z.
      batch_size, steps: of training.
      compute_dtype: what networks compute in while they train; the critic of pairs in float32.
      axis: how a batch is spread over devices; that critic reads it whole, whatever its parts.
    """

    n_classes: int
    with_text: bool
    width: int
    latent_dim: int
    batch_size: int
    steps: int
    paired: bool = False
    compute_dtype: str = "float32"
    axis: BatchAxis = SINGLE
    name: str = "generate"

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the loss terms in the order of their computation."""
        text = ("text_log_likelihood",) if self.with_text else ("pair_information",) if self.paired else ()
        return ("discriminator", "r1", "generator", "class_log_likelihood", *text)

    def _generator(self, shared: Features) -> Generator:
        text_dim = shared.text.shape[-1] if self.paired and shared.text is not None else 0
        return Generator(self.width, shared.audio.shape[-1] + text_dim, self.n_classes)

    @property
    def _discriminator(self) -> Discriminator:
        return Discriminator(self.width, self.n_classes, self.axis)

    def _recogniser(self, shared: Features) -> Recogniser:
        text_dim = shared.condition.shape[-1] if self.with_text and shared.condition is not None else 0
        return Recogniser(self.width, self.n_classes, text_dim)

    @property
    def _critic(self) -> PairCritic:
        return PairCritic(self.width, axis=self.axis)

    def _draw(self, shared: Features, run: GenerateRun, key: jax.Array, batch_size: int) -> _Draw:
        rows, labels = draw_class_balanced(key, run.view, batch_size)
        text = None
        if self.with_text:
            assert shared.condition is not None
            text = shared.condition[run.aligner, self.axis.local(rows)]
        return _Draw(rows, labels, self.axis.local(labels), text)

    def _real(self, shared: Features, view: FoldView, rows: Int[Array, " local"]) -> Float[Array, "local dim"]:
        audio = shared.read_audio(view, rows)
        text = shared.read_text(view, rows) if self.paired else None
        return audio if text is None else jnp.concatenate([audio, text], axis=-1)

    def _generate(
        self, shared: Features, params: Any, condition: _Draw, key: jax.Array, dtype: str = "float32"
    ) -> Float[Array, "local dim"]:
        noise = self.axis.local(jax.random.normal(key, (len(condition.rows), self.latent_dim)))

        def of_part(axis: BatchAxis, key: jax.Array, *given: Any) -> Any:
            return apply(self._generator(shared), params, *given, dtype=dtype)

        return self.axis.in_parts(of_part, key, noise, condition.label, condition.text)

    def _score(self, run: GenerateRun, params: Any, features: Any, condition: _Draw, key: jax.Array) -> Float[Array, " local"]:
        def of_part(axis: BatchAxis, key: jax.Array, *given: Any) -> Any:
            model, rngs = Discriminator(self.width, self.n_classes, axis), {"dropout": key}
            return apply(model, params, *given, run.numbers["dropout"], train=True, rngs=rngs, dtype=self.compute_dtype)

        return self.axis.in_parts(of_part, key, features, condition.label, condition.text)

    def _recover(self, shared: Features, params: Any, audio: Any, key: jax.Array) -> Recovered:
        def of_part(axis: BatchAxis, key: jax.Array, audio: Any) -> Recovered:
            return apply(self._recogniser(shared), params, audio, dtype=self.compute_dtype)

        return self.axis.in_parts(of_part, key, audio)

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
        """The rows whose features a step with this key reads: the real ones that D sees; conditions are at hand."""
        discriminator_key, _ = jax.random.split(key)
        real_key = jax.random.split(discriminator_key, 5)[0]
        return draw_class_balanced(real_key, drawn_from, self.batch_size)[0][None]

    def init(self, shared: Features, run: GenerateRun, key: jax.Array) -> GenerateState:
        """Fresh parameters of G, Q and D."""
        keys = jax.random.split(key, 5)
        condition = self._draw(shared, run, keys[0], 2 * self.axis.size)
        features = self._real(shared, run.view, self.axis.local(condition.rows))
        audio = features[:, : shared.audio.shape[-1]]
        players = {
            "generator": self._generator(shared).init(
                keys[1], jnp.zeros((2, self.latent_dim)), condition.label, condition.text
            ),
            "recogniser": self._recogniser(shared).init(keys[2], audio),
        }
        if self.paired:
            players["critic"] = self._critic.init(keys[4], audio, features[:, shared.audio.shape[-1] :])
        discriminator = self._discriminator.init(keys[3], features, condition.label, condition.text)
        optimizer = adam(0.0, **_ADAM)
        return GenerateState(
            players=players,
            discriminator=discriminator,
            # A copy: the state is donated, and one buffer may not be given away twice.
            average=jax.tree.map(jnp.array, players["generator"]),
            players_optimizer=optimizer.init(players),
            discriminator_optimizer=optimizer.init(discriminator),
        )

    def discriminator_gradients(
        self, state: GenerateState, shared: Features, run: GenerateRun, key: jax.Array
    ) -> tuple[Any, Terms]:
        """Gradients of D's loss on a fresh batch, and its terms, over the whole batch."""
        real_key, condition_key, noise_key, *dropout_keys = jax.random.split(key, 5)
        real = self._draw(shared, run, real_key, self.batch_size)
        features = self._real(shared, run.view, self.axis.local(real.rows))
        imagined = self._draw(shared, run, condition_key, self.batch_size)
        generated = self._generate(shared, state.players["generator"], imagined, noise_key, self.compute_dtype)

        def loss(params: Any) -> tuple[Float[Array, ""], Terms]:
            score, penalty = adversarial.score_and_r1(lambda x: self._score(run, params, x, real, dropout_keys[0]), features)
            judged = self._score(run, params, generated, imagined, dropout_keys[1])
            hinge, r1 = adversarial.hinge_discriminator(score, judged).mean(), penalty.mean()
            return hinge + run.numbers["r1_weight"] * r1, {"discriminator": hinge, "r1": r1}

        return self.axis.mean(jax.grad(loss, has_aux=True)(state.discriminator))

    def player_gradients(self, state: GenerateState, shared: Features, run: GenerateRun, key: jax.Array) -> tuple[Any, Terms]:
        """Gradients of the loss of G, Q and the pair critic on a fresh batch, and its terms, over the whole batch."""
        condition_key, noise_key, dropout_key = jax.random.split(key, 3)
        condition = self._draw(shared, run, condition_key, self.batch_size)

        def loss(players: Any) -> tuple[Float[Array, ""], Terms]:
            generated = self._generate(shared, players["generator"], condition, noise_key, self.compute_dtype)
            audio, text = jnp.split(generated, [shared.audio.shape[-1]], axis=-1)
            judged = self._score(run, state.discriminator, generated, condition, dropout_key)
            terms = {"generator": adversarial.hinge_generator(judged).mean()}
            recovered = self._recover(shared, players["recogniser"], audio, dropout_key)
            log_q = mutual_information.categorical_log_likelihood(recovered.logits, condition.label).mean()
            terms["class_log_likelihood"] = log_q
            total = terms["generator"] - run.numbers["class_mi_weight"] * log_q
            if self.with_text:
                read_back: Any = (recovered.text_mean, recovered.text_log_variance, condition.text)
                log_q_text = mutual_information.gaussian_log_likelihood_per_dimension(*read_back).mean()
                terms["text_log_likelihood"] = log_q_text
                total -= run.numbers["text_mi_weight"] * log_q_text
            if self.paired:
                information = mutual_information.jsd(apply(self._critic, players["critic"], audio, text)).mean()
                terms["pair_information"] = information
                total -= run.numbers["pair_mi_weight"] * information
            return total, terms

        return self.axis.mean(jax.grad(loss, has_aux=True)(state.players))

    def train_step(
        self, state: GenerateState, shared: Features, run: GenerateRun, key: jax.Array, progress: Float[Array, ""]
    ) -> tuple[GenerateState, Terms]:
        """One step of D, then one of G and Q, on fresh draws."""
        numbers = run.numbers
        discriminator_key, players_key = jax.random.split(key)
        gradients, terms = self.discriminator_gradients(state, shared, run, discriminator_key)
        updates, discriminator_optimizer = adam(numbers["discriminator_learning_rate"], **_ADAM).update(
            gradients, state.discriminator_optimizer
        )
        state = replace(
            state,
            discriminator=optax.apply_updates(state.discriminator, updates),
            discriminator_optimizer=discriminator_optimizer,
        )
        gradients, player_terms = self.player_gradients(state, shared, run, players_key)
        updates, players_optimizer = adam(numbers["generator_learning_rate"], **_ADAM).update(
            gradients, state.players_optimizer
        )
        players: Any = optax.apply_updates(state.players, updates)
        average = moving_average(players["generator"], state.average, numbers["ema_decay"], progress * self.steps)
        state = replace(state, players=players, players_optimizer=players_optimizer, average=average)
        return state, terms | player_terms

    def outputs(self, state: GenerateState, shared: Features, run: GenerateRun, key: jax.Array, size: int) -> Pool:
        """`size` rows from the moving average of G, for class-balanced conditions (c, t) of labelled training rows."""
        condition_key, noise_key = jax.random.split(jax.random.fold_in(key, self.steps))
        condition = self._draw(shared, run, condition_key, size)
        generated = self._generate(shared, state.average, condition, noise_key)
        audio, text = jnp.split(generated, [shared.audio.shape[-1]], axis=-1)
        rows = condition.rows
        if run.lenders is not None:
            rows = draw_of_classes(jax.random.fold_in(condition_key, 1), run.lenders, condition.labels)
        return Pool(audio, condition.labels, rows, text if self.paired else None)
