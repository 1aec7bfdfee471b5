"""Trains one of the library's generators, by the name of its variant, on arrays in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from infoser.config import GenerateConfig, numbers
from infoser.fold_view import Features, FoldView
from infoser.sklearn import training
from infoser.stages.conditions import GenerateRun
from infoser.stages.diffuse import Diffuse
from infoser.stages.generate import Generate
from infoser.variants import GENERATORS


def train(
    variant: str, config: GenerateConfig, n_classes: int, shared: Features, view: FoldView, seed: int
) -> training.Trained:
    """Trains the generator of a variant.

    Args:
      variant: of `GENERATORS`.
      config: the settings; those that say what becomes of its rows are not read.
      shared, view: from `training.tables`, with text where the variant needs it.
      seed: see `training.train`.

    Raises:
      ValueError: if a loss term stops being finite.
    """
    recipe, values = GENERATORS[variant], numbers(config)
    if not recipe.information:
        values |= {name: 0.0 for name in values if name.endswith("_mi_weight")}
    run: Any = GenerateRun(view, np.int32(0), training.as_numbers(values))  # pyright: ignore[reportArgumentType]
    return training.train(_stage(variant, config, n_classes), shared, run, seed)


def _stage(variant: str, config: GenerateConfig, n_classes: int) -> Generate | Diffuse:
    recipe = GENERATORS[variant]
    common: dict[str, Any] = {
        "n_classes": n_classes,
        "width": config.width,
        "batch_size": config.batch_size,
        "steps": config.steps,
        "by_class": recipe.by_class,
        "paired": recipe.text == "made",
        "text": recipe.text if recipe.conditioned_on_text else "none",
    }
    if recipe.model == "diffusion":
        return Diffuse(**common, guided=config.guidance != 0, noise_levels=config.noise_levels)
    return Generate(
        **common,
        latent_dim=config.latent_dim,
        loss=config.loss,
        auxiliary=config.discriminator == "auxiliary",
        spectral_norm=config.spectral_norm,
        pack=config.pack,
        critic_steps=config.critic_steps,
        class_estimator=config.class_mi_estimator,
        text_estimator=config.text_mi_estimator,
        pair_estimator=config.pair_mi_estimator,
        critic=config.critic,
        unlabelled=config.unlabelled_weight > 0,
        labels_itself=recipe.group == "nothing",
    )
