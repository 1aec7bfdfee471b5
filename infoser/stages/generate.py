"""Stage 2, generate: an InfoGAN over features."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from infoser.batch_axis import SINGLE
from infoser.fold_view import Features, FoldView, draw_class_balanced, draw_rows
from infoser.losses import adversarial, likelihoods
from infoser.losses.mutual_information import MINE_START
from infoser.models import apply
from infoser.models.discriminator import SPECTRAL, Judged
from infoser.models.generator import condition_of
from infoser.stages.conditions import GenerateRun, Pool, draw_for_pool, draw_lent, read_condition
from infoser.stages.networks import UNKNOWN, Networks
from infoser.stages.schedule import adam, moving_average

_ADAM = {"b1": 0.5, "b2": 0.9}
Terms = dict[str, Float[Array, ""]]


@struct.dataclass
class GenerateState:
    """Parameters and optimiser states.

    G, Q and the critics of information share an optimiser; `average` is G's moving average; `log_averages` are those of MINE.
    """

    players: dict[str, Any]
    discriminator: Any
    average: Any
    players_optimizer: optax.OptState
    discriminator_optimizer: optax.OptState
    log_averages: dict[str, Float[Array, ""]] = struct.field(default_factory=dict)


@dataclass(frozen=True)
class Generate(Networks):
    """G(z, c, t) → ĥ against a discriminator D(h | c, t), with Q recovering (c, t) from ĥ.

    Minimises an adversarial loss with a gradient penalty, and for G and Q jointly −λ_c·Î(c;ĥ) − λ_t·Î(t;ĥ): by default the
    Barber–Agakov bounds E[ln q(c|ĥ)] and E[ln q(t|ĥ)] / dim t up to constants (arXiv 1606.03657, eq. 5). With both weights 0
    this is a conditional GAN. Paired, G(z, c) → (ĥ, t̂): D judges pairs, Q reads ĥ, and −λ_p·Î(ĥ;t̂) takes the place of the
    text term.
    """

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

    def _discriminator_keys(self, key: jax.Array) -> list[jax.Array]:
        """A key for each of D's steps before one of G."""
        return list(jax.random.split(key, self.critic_steps))

    def rows_read(self, drawn_from: FoldView, key: jax.Array) -> Int[Array, "draws batch"]:
        """The rows whose features a step with this key reads: the real ones that D and Q see; conditions are at hand."""
        discriminator_key, players_key = jax.random.split(key)
        rows = []
        for own in self._discriminator_keys(discriminator_key):
            packed = self._packs_from(drawn_from)
            rows.append(draw_class_balanced(jax.random.split(own, 5)[0], packed, self.batch_size)[0])
            if self.unlabelled:
                rows.append(draw_rows(_unlabelled_key(own), packed, self.batch_size))
        if self.labels_itself:
            rows.append(draw_class_balanced(_labelled_key(players_key), drawn_from, self.batch_size)[0])
        return jnp.stack(rows)

    def init(self, shared: Features, run: GenerateRun, key: jax.Array) -> GenerateState:
        """Fresh parameters of G, Q, D and the critics."""
        keys = jax.random.split(key, 5)
        condition = self._draw(shared, run, keys[0], 2 * self.axis.size * self.pack)
        features = self._real(shared, run.view, self.axis.local(condition.rows))
        audio, text = jnp.split(features, [shared.audio_dim], axis=-1)
        given = condition_of(condition.label if self.by_class else None, self.n_classes, condition.text, len(audio))
        label = condition.label if self.by_class and not self._classifies else None
        judged = condition_of(label, self.n_classes, condition.text, len(audio))
        players = {
            "generator": self._generator(shared).init(keys[1], jnp.zeros((len(audio), self.latent_dim)), given),
            "recogniser": self._recogniser(shared).init(keys[2], audio),
        }
        others = {"class": condition.label, "text": condition.text, "pair": text}
        for number, (name, term) in enumerate(self.critics().items()):
            players[f"{name}_critic"] = term.init(jax.random.fold_in(keys[4], number), audio, others[name])  # pyright: ignore
        discriminator = self._discriminator(self.axis).init(keys[3], features, judged)
        optimizer = adam(0.0, **_ADAM)
        return GenerateState(
            players=players,
            discriminator=discriminator,
            # A copy: the state is donated, and one buffer may not be given away twice.
            average=jax.tree.map(jnp.array, players["generator"]),
            players_optimizer=optimizer.init(players),
            discriminator_optimizer=optimizer.init(discriminator),
            log_averages={name: jnp.float32(MINE_START) for name, term in self.critics().items() if term.estimator == "mine"},
        )

    def discriminator_gradients(
        self, state: GenerateState, shared: Features, run: GenerateRun, key: jax.Array
    ) -> tuple[Any, Terms]:
        """Gradients of D's loss on a fresh batch, and its terms, over the whole batch."""
        real_key, condition_key, noise_key, *dropout_keys = jax.random.split(key, 5)
        numbers, game = run.numbers, adversarial.GAMES[self.loss]
        real = self._draw(shared, run, real_key, self.batch_size)
        features = self._real(shared, run.view, self.axis.local(real.rows))
        imagined = self._draw(shared, run, condition_key, self.batch_size)
        generated = self._generate(shared, state.players["generator"], imagined, noise_key, self.compute_dtype)

        def mixing() -> tuple[Any, Any, Any]:
            """Packs of real and generated rows, and the shares in which a gradient penalty mixes them."""
            share = self.axis.local(jax.random.uniform(jax.random.fold_in(key, 5), (self.batch_size // self.pack,)))
            return self._packed(features), self._packed(generated), share

        def judge(params: Any, x: Any, label: Any, text: Any, number: int) -> Judged:
            own = dropout_keys[number] if number < 2 else jax.random.fold_in(key, number)
            return self._judge(numbers, params, x, label, text, own)

        def together(params: Any) -> tuple[Judged, Judged, Float[Array, " packs"]]:
            """What is said of real and of generated rows, and the penalty."""
            batches = [generated, features]
            if self.loss == "wasserstein":
                batches.append(self._apart(adversarial.between(*mixing())))
            scores, input_gradients = self._judge_together(numbers, params, batches, [imagined, real], dropout_keys[0])
            penalty_of = adversarial.gradient_penalty_of if self.loss == "wasserstein" else adversarial.r1_of
            return Judged(scores[1], None), Judged(scores[0], None), penalty_of(input_gradients)

        def apart(params: Any) -> tuple[Judged, Judged, Float[Array, " packs"]]:
            """The same from any D."""

            def judge_real(packs: Any, number: int = 0) -> Any:
                return tuple(judge(params, self._apart(packs), real.label, real.text, number))

            of_generated = judge(params, generated, imagined.label, imagined.text, 1)
            if self.loss == "wasserstein":
                of_real = Judged(*judge_real(self._packed(features)))
                return of_real, of_generated, adversarial.gradient_penalty(lambda packs: judge_real(packs, 6)[0], *mixing())
            score, penalty, logits = adversarial.score_and_r1(judge_real, self._packed(features))
            return Judged(score, logits), of_generated, penalty

        def loss(params: Any) -> tuple[Float[Array, ""], Terms]:
            of_real, of_generated, penalty = (together if self._judges_together else apart)(params)
            terms = {"discriminator": game.discriminator(of_real.score, of_generated.score).mean()}
            terms[self._penalty] = penalty.mean()
            total = terms["discriminator"] + numbers[f"{self._penalty}_weight"] * terms[self._penalty]
            if self._classifies:
                pairs: Any = ((of_real.logits, real.label), (of_generated.logits, imagined.label))
                terms["auxiliary"] = -sum(
                    (likelihoods.categorical_log_likelihood(*pair).mean() for pair in pairs), jnp.zeros(())
                )
                total += numbers["auxiliary_weight"] * terms["auxiliary"]
            if self.unlabelled:
                drawn = draw_rows(_unlabelled_key(key), self._packs_from(run.view), self.batch_size)
                rows, text_key = self.axis.local(drawn), jax.random.fold_in(key, 10)
                unknown = jnp.full(rows.shape, UNKNOWN)
                text = read_condition(text_key, shared, run, drawn, self.axis) if self.with_text else None
                of_all = judge(params, self._real(shared, run.view, rows), unknown, text, 8).score
                of_any = judge(params, generated, unknown, imagined.text, 9).score
                terms["unlabelled"] = game.discriminator(of_all, of_any).mean()
                total += numbers["unlabelled_weight"] * terms["unlabelled"]
            return total, terms

        return self.axis.mean(jax.grad(loss, has_aux=True)(state.discriminator))

    def player_gradients(self, state: GenerateState, shared: Features, run: GenerateRun, key: jax.Array) -> tuple[Any, Terms]:
        """Gradients of the loss of G, Q and the critics on a fresh batch, and its terms, over the whole batch."""
        condition_key, noise_key, dropout_key = jax.random.split(key, 3)
        numbers = run.numbers
        condition = self._draw(shared, run, condition_key, self.batch_size)

        def loss(players: Any) -> tuple[Float[Array, ""], Terms]:
            generated = self._generate(shared, players["generator"], condition, noise_key, self.compute_dtype)
            audio, text = jnp.split(generated, [shared.audio_dim], axis=-1)
            judged = self._judge(numbers, state.discriminator, generated, condition.label, condition.text, dropout_key)
            terms = {"generator": adversarial.GAMES[self.loss].generator(judged.score).mean()}
            total = terms["generator"]
            if judged.logits is not None:
                total -= numbers["auxiliary_weight"] * likelihoods.categorical_log_likelihood(
                    judged.logits, condition.label
                ).mean()  # fmt: skip
            recovered = self._recover(shared, players["recogniser"], audio, dropout_key)
            others = {"class": condition.label, "text": condition.text, "pair": text}
            critics, averages = self.critics(), {}
            for term in self.informed:
                if term in critics:
                    said = critics[term](
                        players[f"{term}_critic"], audio, others[term], state.log_averages.get(term, MINE_START)
                    )  # pyright: ignore
                    objective, estimate = said.objective, said.estimate
                    if term in state.log_averages:
                        averages[f"{term}_log_average"] = said.log_average
                elif term == "class":
                    objective = estimate = likelihoods.categorical_log_likelihood(recovered.logits, condition.label).mean()
                else:
                    read: Any = (recovered.text_mean, recovered.text_log_variance, condition.text)
                    objective = estimate = likelihoods.gaussian_log_likelihood_per_dimension(*read).mean()
                terms[self.name_of(term)] = estimate
                total -= numbers[f"{term}_mi_weight"] * objective
            if self.labels_itself:
                rows, labels = draw_class_balanced(_labelled_key(key), run.view, self.batch_size)
                real = shared.read_audio(run.view, self.axis.local(rows))
                logits = self._recover(shared, players["recogniser"], real, dropout_key).logits
                terms["recogniser"] = -likelihoods.categorical_log_likelihood(logits, self.axis.local(labels)).mean()
                total += terms["recogniser"]
            return total, terms | averages

        return self.axis.mean(jax.grad(loss, has_aux=True)(state.players))

    def _discriminator_step(
        self, state: GenerateState, shared: Features, run: GenerateRun, key: jax.Array
    ) -> tuple[GenerateState, Terms]:
        gradients, terms = self.discriminator_gradients(state, shared, run, key)
        updates, optimizer = adam(run.numbers["discriminator_learning_rate"], **_ADAM).update(
            gradients, state.discriminator_optimizer
        )
        discriminator: Any = optax.apply_updates(state.discriminator, updates)
        if self.spectral_norm:  # the power iteration goes on with the weights as they are now, whatever the rows
            dim = discriminator["params"]["first"]["kernel"].shape[0] // self.pack
            of_condition = discriminator["params"].get("projection", {"kernel": jnp.zeros((0, 1))})["kernel"].shape[0]
            rows = jnp.zeros((self.pack, dim)), jnp.zeros((self.pack, of_condition // self.pack))
            model = self._discriminator(SINGLE)
            _, refreshed = model.apply(discriminator, *rows, refresh=True, mutable=[SPECTRAL])
            discriminator = {**discriminator, **refreshed}
        return replace(state, discriminator=discriminator, discriminator_optimizer=optimizer), terms

    def train_step(
        self, state: GenerateState, shared: Features, run: GenerateRun, key: jax.Array, progress: Float[Array, ""]
    ) -> tuple[GenerateState, Terms]:
        """The steps of D, then one of G and Q, on fresh draws."""
        numbers = run.numbers
        discriminator_key, players_key = jax.random.split(key)
        if self.critic_steps == 1:
            state, terms = self._discriminator_step(state, shared, run, self._discriminator_keys(discriminator_key)[0])
        else:
            keys = jnp.stack(self._discriminator_keys(discriminator_key))
            state, every = jax.lax.scan(lambda own, k: self._discriminator_step(own, shared, run, k), state, keys)
            terms = jax.tree.map(lambda values: values.mean(), every)
        gradients, player_terms = self.player_gradients(state, shared, run, players_key)
        updates, players_optimizer = adam(numbers["generator_learning_rate"], **_ADAM).update(
            gradients, state.players_optimizer
        )
        players: Any = optax.apply_updates(state.players, updates)
        average = moving_average(players["generator"], state.average, numbers["ema_decay"], progress * self.steps)
        log_averages = {name: player_terms[f"{name}_log_average"] for name in state.log_averages}
        state = replace(state, players=players, players_optimizer=players_optimizer, average=average, log_averages=log_averages)
        return state, terms | player_terms

    def outputs(self, state: GenerateState, shared: Features, run: GenerateRun, key: jax.Array, size: int) -> Pool:
        """`size` rows from the moving average of G, for class-balanced conditions (c, t) of labelled training rows."""
        return self._pool(state, shared, run, key, size, self.text)

    def outputs_of_wrong_text(
        self, state: GenerateState, shared: Features, run: GenerateRun, key: jax.Array, size: int
    ) -> Pool:
        """`outputs` where each class goes with the text of another class: which of both is followed?"""
        return self._pool(state, shared, run, key, size, "wrong")

    def _pool(self, state: GenerateState, shared: Features, run: GenerateRun, key: jax.Array, size: int, text: str) -> Pool:
        condition_key, noise_key = jax.random.split(jax.random.fold_in(key, self.steps))
        condition, run = draw_for_pool(condition_key, shared, run, size, text)
        plain = replace(self, axis=SINGLE)
        generated = plain._generate(shared, state.average, condition, noise_key)
        audio, made_text = jnp.split(generated, [shared.audio_dim], axis=-1)
        log_q = jax.nn.log_softmax(apply(self._recogniser(shared), state.players["recogniser"], audio).logits)
        label = condition.labels if self.by_class or self.with_text else log_q.argmax(axis=1).astype(condition.labels.dtype)
        lent = condition.text_rows
        if run.lenders is not None or not (self.by_class or self.with_text):
            lent = draw_lent(condition_key, run, label)
        score = plain._score_alone(state.discriminator, generated, condition)
        return Pool(audio, label, lent, made_text if self.paired else None, score, log_q)


def _unlabelled_key(key: jax.Array) -> jax.Array:
    return jax.random.fold_in(key, 7)


def _labelled_key(key: jax.Array) -> jax.Array:
    return jax.random.fold_in(key, 3)
