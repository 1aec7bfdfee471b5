"""The generators that the arms of a branch need: each is trained once, those of one structure together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infoser.arms import Arm
from infoser.config import Config, numbers
from infoser.group import Loaded
from infoser.matrix import Matrix, as_count, as_numbers
from infoser.spaces import Space
from infoser.stages.conditions import GenerateRun
from infoser.stages.diffuse import Diffuse
from infoser.stages.generate import Generate
from infoser.variants import GENERATORS, Recipe

#: Numbers of `GenerateConfig` that say what becomes of generated rows: generators that differ in these alone are one.
_OF_ROWS = ("ratio", "row_weight", "keep_share", "curriculum")
#: All such settings, as overrides name them.
_OVERRIDES_OF_ROWS = tuple(
    f"generate.{name}="
    for name in ("ratio", "row-weight", "keep-share", "curriculum", "keep-by", "label-by", "fill", "pool-limit")
)


@dataclass(frozen=True)
class _Identity:
    """What a generator is, whatever its unit: arms that agree in it draw from the same one."""

    stage: Generate | Diffuse
    variant: str
    numbers: tuple[tuple[str, float], ...]


class GeneratorGroup:
    """Generators of one structure, for every unit: those of a unit stand beside each other.

    Attributes:
      arms: that draw from them.
      trained: the generators.
    """

    def __init__(self, trained: Loaded, identities: Sequence[_Identity], arms: dict[Arm, _Identity]):
        self.trained, self.arms = trained, list(arms)
        self._place = {arm: identities.index(own) for arm, own in arms.items()}
        self._each = len(identities)

    def run_of(self, number: int, arm: Arm) -> int:
        """The number, among those trained together, of the generator that an arm draws from for unit `number`."""
        return number * self._each + self._place[arm]


class Generators:
    """Trains or restores the generators of a branch.

    Args:
      matrix: the folds and seeds.
      space: what is read.
      arms: those that have a generator.

    Attributes:
      groups: of each structure.
    """

    def __init__(self, matrix: Matrix, space: Space, arms: Sequence[Arm]):
        self._matrix, self._space = matrix, space
        needed = {arm: _identity(arm, matrix.n_classes) for arm in arms}
        self.groups = [
            self._train(place, identities, {arm: one for arm, one in needed.items() if one in identities})
            for place, identities in self._groups(needed).items()
        ]

    def _groups(self, needed: dict[Arm, _Identity]) -> dict[tuple[str, str], dict[_Identity, Arm]]:
        """The groups that hold what is needed, by their folders and names: each generator with the arm that named it.

        What an earlier part trained is taken from there, with all that its group holds.
        """
        places = self._matrix.places
        found: dict[tuple[str, str], dict[_Identity, Arm]] = {}
        known: set[_Identity] = set()
        for folder, arms in (*places.earlier, (places.folder, tuple(needed))):
            generating = [arm for arm in arms if arm.variant in GENERATORS]
            new: dict[_Identity, Arm] = {}
            for arm in generating:
                identity = _identity(arm, self._matrix.n_classes)
                if identity not in known:
                    new.setdefault(identity, arm)
            known |= new.keys()
            for recipe_group in dict.fromkeys(GENERATORS[arm.variant].group for arm in new.values()):
                own = {one: arm for one, arm in new.items() if GENERATORS[arm.variant].group == recipe_group}
                for count, stage in enumerate(dict.fromkeys(one.stage for one in own), start=1):
                    name = f"generate/{recipe_group}" + (f"-{count}" if count > 1 else "")
                    found[folder, name] = {one: arm for one, arm in own.items() if one.stage == stage}
        wanted = set(needed.values())
        return {place: identities for place, identities in found.items() if wanted & identities.keys()}

    def _train(self, place: tuple[str, str], identities: dict[_Identity, Arm], arms: dict[Arm, _Identity]) -> GeneratorGroup:
        """One structure of generators for every unit."""
        matrix, (folder, group) = self._matrix, place
        stage = next(iter(identities)).stage
        runs, units, names = [], [], []
        for number, unit in enumerate(matrix.units):
            for identity, arm in identities.items():
                own = GENERATORS[identity.variant]
                runs.append(
                    GenerateRun(
                        self._space.view(number, "both" if own.needs_text else "audio"),
                        as_count(number),
                        as_numbers(_trained_numbers(arm.config, own)),
                        None if own.needs_text or not matrix.partial_text else self._space.view(number, "text"),
                    )
                )
                units.append(unit)
                names.append(_name(identity.variant, arm))
        trained = matrix.train(group, stage, units, runs, self._space.features, names, folder)
        return GeneratorGroup(trained, list(identities), arms)


def _name(variant: str, arm: Arm) -> str:
    """What tells a generator from the others of its structure: the overrides that training reads."""
    read = [one for one in arm.rest.split(" ") if one.startswith("generate.") and not one.startswith(_OVERRIDES_OF_ROWS)]
    return " ".join([variant, *read])


def new_structures(plan_arms: Sequence[Arm], earlier: Sequence[Arm], n_classes: int) -> list[tuple[str, int, int]]:
    """What arms have to train that earlier ones did not: for each structure its stage's name, its steps, and how many."""
    known = {_identity(arm, n_classes) for arm in earlier if arm.variant in GENERATORS}
    new = dict.fromkeys(_identity(arm, n_classes) for arm in plan_arms if arm.variant in GENERATORS)
    fresh = [one for one in new if one not in known]
    count = Counter(one.stage for one in fresh)
    return [(stage.name, stage.steps, number) for stage, number in count.items()]


def _identity(arm: Arm, n_classes: int) -> _Identity:
    # A probe draws from what is trained as the variant that it probes: the same run, under one name.
    recipe = GENERATORS[arm.variant]
    variant = ("diffusion" if recipe.model == "diffusion" else "infogan") if recipe.wrong_text else arm.variant
    trained = _trained_numbers(arm.config, GENERATORS[variant])
    kept = tuple((name, value) for name, value in trained.items() if name not in _OF_ROWS)
    return _Identity(_stage(arm.config, recipe, n_classes), variant, kept)


def _trained_numbers(config: Config, recipe: Recipe) -> dict[str, float]:
    settings: dict[str, float] = numbers(config.generate)
    return settings if recipe.information else settings | {name: 0.0 for name in settings if name.endswith("_mi_weight")}


def _stage(config: Config, recipe: Recipe, n_classes: int) -> Generate | Diffuse:
    settings = config.generate
    common: dict[str, Any] = {"n_classes": n_classes, "width": settings.width, "batch_size": settings.batch_size}
    common |= {"steps": settings.steps, "by_class": recipe.by_class, "paired": recipe.text == "made"}
    common |= {"compute_dtype": config.compute_dtype, "text": recipe.text if recipe.conditioned_on_text else "none"}
    if recipe.model == "diffusion":
        return Diffuse(**common, guided=settings.guidance != 0, noise_levels=settings.noise_levels)
    # Q then has a say in what becomes of generated rows, and learns from real rows too.
    asks_q = settings.label_by == "recogniser" or settings.keep_by in ("recogniser", "consensus") or settings.curriculum < 1
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
        labels_itself=asks_q or recipe.group == "nothing",
    )
