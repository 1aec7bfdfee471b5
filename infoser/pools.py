"""The rows that each variant adds to the real ones: by a control, a teacher, or a trained generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from infoser.augmenters import AUGMENTERS, Rows
from infoser.config import numbers
from infoser.group import Loaded
from infoser.matrix import Matrix, as_count, as_numbers
from infoser.progress import Progress
from infoser.selection import drawn_for, select, wanted_by_class, within_class_rank
from infoser.spaces import Space
from infoser.stages.conditions import GenerateRun, Pool
from infoser.stages.diffuse import Diffuse
from infoser.stages.generate import Generate
from infoser.teacher import Teacher
from infoser.variants import GENERATORS, Recipe

#: Added rows that no classifier trains on: the information they hold about their class is measured on them.
HELD_OUT = 2048


class Pools:
    """The added rows of every unit and variant; trains the generators that the configuration's variants need.

    Args:
      matrix: the folds and seeds.
      space: what is read.
    """

    def __init__(self, matrix: Matrix, space: Space):
        self._matrix, self._space = matrix, space
        config = matrix.config
        wanted = [self._wanted(number, "audio") for number in range(len(matrix.units))]
        if max(wanted) > config.generate.pool_limit:
            matrix.notes.append(
                f"added rows are limited to {config.generate.pool_limit:,} of {max(wanted):,} (--generate.pool-limit)"
            )
        #: The most rows that a variant adds, in any unit.
        self.largest = min(max(wanted), config.generate.pool_limit)
        if (
            any(GENERATORS[variant].text != "made" for variant in config.variants if variant in GENERATORS)
            and matrix.corpus.text is not None
        ):
            matrix.notes.append(
                "generators other than paired ones make audio: the text beside it, and all that they add to the text heads, is "
                "real text of training rows of the class (infogan-wrong-text: of another class)"
            )
        settings = config.generate
        taught = "teacher" in (settings.label_by, settings.keep_by) or settings.keep_by == "consensus"
        recipes = {variant: GENERATORS[variant] for variant in config.variants if variant in GENERATORS}
        #: Whether Q has a say in what becomes of generated rows; it then learns from real rows too.
        self._asks_q = (
            settings.label_by == "recogniser" or settings.keep_by in ("recogniser", "consensus") or settings.curriculum < 1
        )
        self._teacher = Teacher(matrix, space) if "teacher" in config.variants or (taught and recipes) else None
        if self._teacher is not None and "teacher" in config.variants:
            self.largest = max(self.largest, max(len(self._taught(number)) for number in range(len(matrix.units))))
        #: How many rows are drawn from a generator: those that are kept, held out, and refused.
        self._drawn = self._rows_to_draw()
        #: What was trained, whom it makes rows for, which runs those are, and by which function.
        self._generators: list[tuple[Loaded, list[tuple[int, str]], list[int], str]] = []
        self._generated: dict[tuple[int, str], Any] = {}
        self._taught_rows: dict[tuple[int, str], np.ndarray] = {}
        for group in dict.fromkeys(recipe.group for recipe in recipes.values()):
            self._generate({variant: recipe for variant, recipe in recipes.items() if recipe.group == group})

    def _labelled(self, number: int, modality: str) -> np.ndarray:
        """The labelled training rows of unit `number` that have what a head of this modality reads."""
        unit, corpus = self._matrix.units[number], self._matrix.corpus
        return np.flatnonzero((unit.label >= 0) & (corpus.with_text if modality != "audio" else True))

    def _known(self, number: int, modality: str) -> np.ndarray:
        """The rows that a control makes others from: the labelled ones; of a large corpus as many as the pool may have."""
        limit, real = self._matrix.config.generate.pool_limit, self._labelled(number, modality)
        if len(real) <= limit:
            return real
        self._matrix.notes.append(
            f"oversample, noise, mixup, smote and class-gaussian make rows from {limit:,} drawn labelled ones of each fold "
            "(--generate.pool-limit)"
        )
        unit = self._matrix.units[number]
        order = unit.generator("known", modality).permutation(real)
        # Class by class in turn, so that small classes are kept whole.
        label = unit.label[order]
        turn = np.zeros(len(order), np.int64)
        for one in np.unique(label):
            turn[label == one] = np.arange((label == one).sum())
        return np.sort(order[np.argsort(turn, kind="stable")[:limit]])

    def _wanted(self, number: int, modality: str) -> int:
        return max(1, round(self._matrix.config.generate.ratio * len(self._labelled(number, modality))))

    def adds_rows(self, variant: str) -> bool:
        """Whether a variant trains on more than the real rows."""
        return variant in GENERATORS or variant in AUGMENTERS or variant == "teacher"

    def probed(self, variant: str) -> bool:
        """Whether heads see a variant's added rows alone, to say what these hold and teach; a teacher's are real ones."""
        return self.adds_rows(variant) and variant != "teacher"

    def rows(self, number: int, variant: str, modality: str) -> tuple[Rows, Rows]:
        """What a variant adds for unit `number`: the rows to train on, and up to HELD_OUT further ones.

        Features are standardised as the unit's real ones are. Rows for `both` are audio and text side by side. The surest ones
        come first where there is a curriculum.
        """
        matrix = self._matrix
        size = self._size(number, modality)
        identity = np.eye(matrix.n_classes, dtype=np.float32)
        if variant == "teacher":
            assert self._teacher is not None
            rows = self._taught(number)
            made = Rows(self._space.real(number, modality, rows), self._teacher.of_rows(number, rows).astype(np.float32))
            return made, Rows(*(part[:0] for part in made))
        if variant in AUGMENTERS:
            unit, real = matrix.units[number], self._known(number, modality)
            known = Rows(self._space.real(number, modality, real), identity[unit.label[real]])
            generator = unit.generator(variant, modality)
            made = AUGMENTERS[variant](known, size + HELD_OUT, generator, matrix.config.augment)
            return Rows(*(part[:size] for part in made)), Rows(*(part[-HELD_OUT:] for part in made))
        pool: Any = self._generated[number, variant]
        made = Rows(self._features(number, pool, modality), self._target(number, variant))
        chosen, held = self._selected(number, variant, modality, made.target)
        return Rows(*(part[chosen] for part in made)), Rows(*(part[held] for part in made))

    def lent_text(self, number: int, variant: str, modality: str) -> np.ndarray:
        """The corpus rows whose text goes with a generator's rows: with those to train on, then with the further ones."""
        selected = self._selected(number, variant, modality, self._target(number, variant))
        return np.asarray(self._generated[number, variant].text_row)[np.concatenate(selected)]

    def _selected(self, number: int, variant: str, modality: str, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which rows of a pool are trained on, in the order of the curriculum if there is one, and which are kept back."""
        matrix, size = self._matrix, self._size(number, modality)
        settings = matrix.config.generate
        if settings.fill == "balanced" and settings.keep_by == "all-rows" and settings.curriculum == 1:
            every = np.arange(len(target))
            return every[:size], every[-HELD_OUT:]
        label = target.argmax(axis=1)
        sure = self._sureness(number, variant, target)
        real = np.bincount(matrix.units[number].label[self._labelled(number, modality)], minlength=matrix.n_classes)
        wanted = wanted_by_class(settings.fill, real, size)
        kept = None if settings.keep_by == "all-rows" else sure
        chosen, held = select(label, kept, settings.keep_share, wanted, HELD_OUT)
        if len(chosen) < size:
            self._note(
                f"{variant}: too few rows were drawn of some classes to fill them as --generate.fill {settings.fill} asks; "
                "what there is was taken"
            )
        if settings.curriculum < 1:
            chosen = chosen[np.argsort(-sure[chosen], kind="stable")]
        return chosen, held

    def _note(self, note: str) -> None:
        if note not in self._matrix.notes:
            self._matrix.notes.append(note)

    def _size(self, number: int, modality: str) -> int:
        return min(self._wanted(number, modality), self._matrix.config.generate.pool_limit)

    def _taught(self, number: int) -> np.ndarray:
        """The real rows that the variant teacher adds; of more than the pool may have, as many are drawn."""
        assert self._teacher is not None
        rows, limit = self._teacher.rows(number), self._matrix.config.generate.pool_limit
        if len(rows) <= limit:
            return rows
        self._note(f"teacher: {limit:,} drawn training rows of each fold are taught (--generate.pool-limit)")
        return np.sort(self._matrix.units[number].generator("taught").choice(rows, limit, replace=False))

    def _rows_to_draw(self) -> int:
        settings = self._matrix.config.generate
        if settings.fill == "balanced" and settings.keep_by == "all-rows" and settings.curriculum == 1:
            return self.largest + HELD_OUT
        share = 1.0 if settings.keep_by == "all-rows" else settings.keep_share
        needed = []
        for number, unit in enumerate(self._matrix.units):
            real = np.bincount(unit.label[self._labelled(number, "audio")], minlength=self._matrix.n_classes)
            wanted = wanted_by_class(settings.fill, real, self._size(number, "audio"))
            needed.append(drawn_for(wanted, int((real > 0).sum()), HELD_OUT, share))
        return max(needed)

    def _features(self, number: int, pool: Pool, modality: str) -> np.ndarray:
        """What a head of this modality reads of generated rows."""
        parts: list[Any] = [pool.audio] if modality in ("audio", "both") else []
        if modality in ("text", "both"):
            parts.append(self._space.real(number, "text", np.asarray(pool.text_row)) if pool.text is None else pool.text)
        return np.concatenate(parts, axis=-1)

    def _target(self, number: int, variant: str) -> np.ndarray:
        """(rows, classes) class probabilities of a pool's rows."""
        pool, label_by = self._generated[number, variant], self._matrix.config.generate.label_by
        if label_by == "teacher":
            return self._by_teacher(number, variant).astype(np.float32)
        if label_by == "recogniser" or GENERATORS[variant].group == "nothing":
            return np.exp(pool.log_q)
        return np.eye(self._matrix.n_classes, dtype=np.float32)[pool.label]

    def _by_teacher(self, number: int, variant: str) -> np.ndarray:
        """What the teacher says of a pool; asked for all units that are loaded at once, since its heads are one program."""
        if (number, variant) not in self._taught_rows:
            assert self._teacher is not None
            loaded = [unit for unit in range(len(self._matrix.units)) if (unit, variant) in self._generated]
            pools = {unit: self._features(unit, self._generated[unit, variant], self._teacher.modality) for unit in loaded}
            blank = np.zeros_like(next(iter(pools.values())))
            said = self._teacher.of_features(np.stack([pools.get(unit, blank) for unit in range(len(self._matrix.units))]))
            self._taught_rows |= {(unit, variant): said[unit] for unit in loaded}
        return self._taught_rows[number, variant]

    def _sureness(self, number: int, variant: str, target: np.ndarray) -> np.ndarray:
        """Rank within its class of each row of a pool, by those that --generate.keep-by names (Q if none)."""
        pool, keep_by, label = self._generated[number, variant], self._matrix.config.generate.keep_by, target.argmax(axis=1)

        def own(probability: np.ndarray) -> np.ndarray:
            return np.take_along_axis(probability, label[:, None], axis=1)[:, 0]

        ranks = []
        if keep_by in ("discriminator", "consensus"):
            ranks.append(within_class_rank(pool.score, label))
        if keep_by in ("recogniser", "consensus", "all-rows"):
            ranks.append(within_class_rank(own(pool.log_q), label))
        if keep_by in ("teacher", "consensus"):
            ranks.append(within_class_rank(own(self._by_teacher(number, variant)), label))
        return np.min(ranks, axis=0)

    def _stage(self, recipe: Recipe) -> Generate | Diffuse:
        config, settings = self._matrix.config, self._matrix.config.generate
        common: dict[str, Any] = {
            "n_classes": self._matrix.n_classes,
            "width": settings.width,
            "batch_size": settings.batch_size,
        }
        common |= {"steps": settings.steps, "by_class": recipe.by_class, "paired": recipe.text == "made"}
        common |= {"compute_dtype": config.compute_dtype, "text": recipe.text if recipe.conditioned_on_text else "none"}
        if recipe.model == "diffusion":
            return Diffuse(**common, guided=settings.guidance != 0, noise_levels=settings.noise_levels)
        return Generate(
            **common,
            latent_dim=settings.latent_dim,
            loss=settings.loss,
            auxiliary=settings.discriminator == "auxiliary",
            spectral_norm=settings.spectral_norm,
            pack=settings.pack,
            critic_steps=settings.critic_steps,
            class_estimator=settings.class_mi_estimator,
            text_estimator=settings.text_mi_estimator,
            pair_estimator=settings.pair_mi_estimator,
            critic=settings.critic,
            unlabelled=settings.unlabelled_weight > 0,
            labels_itself=self._asks_q or recipe.group == "nothing",
        )

    def _generate(self, recipes: dict[str, Recipe]) -> None:
        """Trains one structure of generators for every unit and variant."""
        matrix = self._matrix
        recipe = next(iter(recipes.values()))
        stage = self._stage(recipe)
        settings: dict[str, float] = numbers(matrix.config.generate)
        without_information = settings | {name: 0.0 for name in settings if name.endswith("_mi_weight")}
        # A probe draws from what is trained as the variant that it probes: the same run, under one name.
        trained_as = {variant: "infogan" if own.wrong_text else variant for variant, own in recipes.items()}
        names = list(dict.fromkeys(trained_as.values()))
        runs, units = [], []
        for number, unit in enumerate(matrix.units):
            for name in names:
                own = GENERATORS[name]
                runs.append(
                    GenerateRun(
                        self._space.view(number, "both" if own.needs_text else "audio"),
                        as_count(number),
                        as_numbers(settings if own.information else without_information),
                        None if own.needs_text or not matrix.partial_text else self._space.view(number, "text"),
                    )
                )
                units.append(unit)
        trained = matrix.train(f"generate/{recipe.group}", stage, units, runs, self._space.features, names * len(matrix.units))
        for wrong in (False, True):
            members = [
                (number, variant)
                for number in range(len(matrix.units))
                for variant, own in recipes.items()
                if own.wrong_text == wrong
            ]
            if members:
                which = [number * len(names) + names.index(trained_as[variant]) for number, variant in members]
                self._generators.append((trained, members, which, "outputs_of_wrong_text" if wrong else "outputs"))

    def load(self, part: Sequence[int]) -> None:
        """Draws the generated rows of some units; of all of them at once, and for good, if they take no more than allowed."""
        members = [member for _, own, _, _ in self._generators for member in own]
        if all(member in self._generated for member in members if member[0] in part):
            return
        size, dim = self._drawn, self._space.host.audio_dim + self._space.host.text_dim
        if len(members) * size * dim * 4 <= self._matrix.config.max_group_gib * 2**30:
            part = range(len(self._matrix.units))
        self._generated.clear()
        self._taught_rows.clear()
        with Progress("drawing generated rows", size * sum(number in part for number, _ in members), unit="rows") as progress:
            for trained, own, which, function in self._generators:
                wanted = [i for i, (number, _) in enumerate(own) if number in part]
                asked = [which[i] for i in wanted]
                everyone = asked == list(range(len(trained.group.names)))
                drawn: Any = trained.outputs(function, size, only=None if everyone else asked)
                for i, position in enumerate(wanted):
                    rows: Any = (None if each is None else each[i] for each in drawn)
                    self._generated[own[position]] = Pool(*rows)
                progress.update(len(self._generated) * size)

    def generator(self, number: int, variant: str) -> tuple[Loaded, int, str]:
        """What was trained for a variant of unit `number`: the group, which of its runs, and the function that makes rows."""
        for trained, members, which, function in self._generators:
            if (number, variant) in members:
                return trained, which[members.index((number, variant))], function
        raise KeyError(variant)

    def judged(self, number: int, variant: str, pool: Pool) -> tuple[np.ndarray, np.ndarray | None]:
        """Class probabilities of rows that `generator` made, and their ranks by --generate.keep-by (None if all are kept)."""
        self._generated[number, variant] = pool
        self._taught_rows.pop((number, variant), None)
        try:
            target = self._target(number, variant)
            all_kept = self._matrix.config.generate.keep_by == "all-rows"
            return target, None if all_kept else self._sureness(number, variant, target)
        finally:
            del self._generated[number, variant]
