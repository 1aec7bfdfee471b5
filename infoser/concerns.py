"""Which variants a setting can change: only those are trained in a cell that overrides it."""

from __future__ import annotations

from collections.abc import Callable, Collection

from infoser.config import Config
from infoser.variants import CONTROLS, GENERATORS, Variant

_OF_CONTROLS = {
    "augment.noise-scale": "noise",
    "augment.mixup-alpha": "mixup",
    "augment.smote-neighbours": "smote",
    "augment.focal-gamma": "focal",
    "augment.logit-adjustment": "logit-adjust",
}
#: Settings of generators of either kind, and of what becomes of their rows.
_OF_ALL_GENERATORS = ("width", "steps", "batch-size", "ema-decay", "fill", "curriculum", "keep-by", "label-by")
_OF_ADDED_ROWS = ("ratio", "row-weight", "pool-limit")
_OF_DIFFUSION = ("noise-levels", "diffusion-learning-rate", "condition-dropout", "guidance")
_BY_Q = ("discriminator", "recogniser", "consensus")
#: Settings that have a say only while others have certain values.
_IN_EFFECT: dict[str, Callable[[Config], bool]] = {
    "generate.keep-share": lambda config: config.generate.keep_by != "all-rows",
    "generate.r1-weight": lambda config: config.generate.loss != "wasserstein",
    "generate.gradient-penalty-weight": lambda config: config.generate.loss == "wasserstein",
    "generate.auxiliary-weight": lambda config: config.generate.discriminator == "auxiliary",
    **{f"align.{name}": lambda config: config.align.mi_weight != 0 for name in ("mi-estimator", "critic")},
    "align.class-weight": lambda config: config.space == "aligned",
    "align.cross-fits": lambda config: config.space == "aligned",
    "align.joined-weight": lambda config: config.space == "joined",
}


def concerns(key: str, variant: Variant, config: Config) -> bool:
    """Whether a setting can change what a variant comes to.

    Args:
      key: the setting's canonical name.
      variant: the variant.
      config: with the setting changed, and all others of its cell.
    """
    if key in _IN_EFFECT and not _IN_EFFECT[key](config):
        return False
    stage, _, name = key.rpartition(".")
    recipe = GENERATORS.get(variant)
    if stage == "align":
        return config.space != "encoder" or (recipe is not None and recipe.conditioned_on_text)
    if stage == "augment":
        if name == "teacher-parts":
            return variant == "teacher" or (recipe is not None and asks_teacher(config))
        return variant == _OF_CONTROLS[key]
    if stage != "generate":
        return True
    if name in _OF_ADDED_ROWS:
        return recipe is not None or variant in CONTROLS or variant == "teacher"
    if recipe is None:
        return False
    if name in _OF_ALL_GENERATORS or name == "keep-share":
        return True
    if name == "text-noise":
        return recipe.conditioned_on_text
    if name in _OF_DIFFUSION:
        return recipe.model == "diffusion"
    if recipe.model != "gan":
        return False
    informed = {"class": recipe.by_class, "text": recipe.conditioned_on_text, "pair": recipe.text == "made"}
    term = name.partition("-mi-")[0]
    weight = {one: getattr(config.generate, f"{one}_mi_weight") for one in informed}
    if term in informed:
        return recipe.information and informed[term] and (name.endswith("weight") or weight[term] != 0)
    if name == "critic":
        by_critic = {
            one: getattr(config.generate, f"{one}_mi_estimator") != "barber-agakov" or one == "pair" for one in informed
        }
        return recipe.information and any(informed[one] and by_critic[one] and weight[one] != 0 for one in informed)
    if name in ("discriminator", "auxiliary-weight"):
        return recipe.by_class
    return True


def asks_teacher(config: Config) -> bool:
    """Whether a teacher has a say in what becomes of generated rows."""
    settings = config.generate
    return "teacher" in (settings.label_by, settings.keep_by) or settings.keep_by == "consensus"


def can_follow(variant: Variant, config: Config) -> bool:
    """Whether a variant can be trained under these settings: diffusion has neither discriminator nor recogniser to ask."""
    settings = config.generate
    if variant not in GENERATORS or GENERATORS[variant].model != "diffusion":
        return True
    by_q = {settings.keep_by, settings.label_by} & set(_BY_Q)
    unsure = settings.curriculum < 1 and settings.keep_by != "teacher"
    return not (by_q or unsure or (variant == "diffusion-unconditional" and settings.label_by != "teacher"))


def concerned(keys: Collection[str], variants: Collection[Variant], config: Config) -> tuple[Variant, ...]:
    """The variants that some of the settings can change."""
    return tuple(variant for variant in variants if any(concerns(key, variant, config) for key in keys))
