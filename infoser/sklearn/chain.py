"""What `SpeechEmotionClassifier` trains: an aligner and a generator where its variant has one, added rows, and the head."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from infoser.augmenters import AUGMENTERS, Rows
from infoser.config import AlignConfig, numbers
from infoser.corpus import UNLABELLED
from infoser.fold_view import Features, FoldView
from infoser.sklearn import generators, training
from infoser.sklearn.tables import Standardisation
from infoser.stages.align import Align, AlignRun
from infoser.stages.classify import Classify, ClassifyRun, GeneratedRows
from infoser.stages.schedule import decay_for
from infoser.variants import GENERATORS

Losses = dict[str, dict[str, Any]]


def fit(
    features: Float[np.ndarray, "rows dim"],
    label: Int[np.ndarray, " rows"],
    *,
    variant: str,
    text_columns: int,
    settings: Mapping[str, Any],
    seed: int,
) -> tuple[Any, Losses, int]:
    """Trains what a variant needs, and the head.

    Args:
      features: standardised.
      label: 0 … C − 1, each of which occurs.
      variant: of `infoser.variants`, but for those that need a teacher.
      text_columns: how many of the last columns are text.
      settings: the configurations `align`, `generate`, `augment` and `classify`, and the numbers `ratio` and `row_weight`.
      seed: of all stages, which draw apart from one another.

    Returns:
      The head's parameters; the loss terms of every stage; and how many rows were added.
    """
    audio, text = np.split(features, [features.shape[1] - text_columns], axis=1)
    own_text = text if text_columns else None
    n_classes = int(label.max()) + 1
    losses: Losses = {}
    condition = None
    if variant in GENERATORS and GENERATORS[variant].conditioned_on_text:
        condition = _condition(audio, text, n_classes, settings["align"], seed, losses)
    shared, view = training.tables(label, n_classes, audio, own_text, condition)
    added = _added(features, label, shared, view, variant, settings, seed, losses)
    head = _head(shared, view, added, variant, settings, seed, losses)
    return head, losses, 0 if added is None else len(added.target)


def _condition(
    audio: np.ndarray, text: np.ndarray, n_classes: int, config: AlignConfig, seed: int, losses: Losses
) -> Float[np.ndarray, "rows dim"]:
    """Text representations of all rows by an aligner that saw no label, standardised."""
    stage = Align(
        n_classes=n_classes,
        has_text=True,
        label_free=True,
        width=config.width,
        representation_dim=config.representation_dim,
        batch_size=config.batch_size,
        steps=config.steps,
        mi_estimator=config.mi_estimator,
        critic=config.critic,
    )
    shared, view = training.tables(np.full(len(audio), UNLABELLED), n_classes, audio, text)
    run = AlignRun(view, training.as_numbers(numbers(config)))
    trained = training.train(stage, shared, run, seed)
    losses["align"] = trained.losses
    every = np.minimum(np.arange(shared.audio.shape[1], dtype=np.int32), len(audio) - 1)
    _, said = trained.outputs("embed", 0, 0, of=(run, every))
    representation = said[: len(audio)]
    return Standardisation.of(representation).apply(representation)


def _added(
    features: np.ndarray,
    label: np.ndarray,
    shared: Features,
    view: FoldView,
    variant: str,
    settings: Mapping[str, Any],
    seed: int,
    losses: Losses,
) -> Rows | None:
    """The rows that the variant adds, standardised as the real ones are; None if it adds none."""
    if variant not in GENERATORS and variant not in AUGMENTERS:
        return None
    config, identity = settings["generate"], np.eye(len(view.class_count), dtype=np.float32)
    size = max(1, round(settings["ratio"] * len(label)))
    if size > config.pool_limit:
        warnings.warn(f"added rows are limited to {config.pool_limit:,} of {size:,} (generate: pool_limit)", stacklevel=4)
        size = config.pool_limit
    if variant in AUGMENTERS:
        generator = np.random.default_rng(seed)
        return AUGMENTERS[variant](Rows(features, identity[label]), size, generator, settings["augment"])
    recipe = GENERATORS[variant]
    trained = generators.train(variant, config, len(identity), shared, view, seed)
    losses["generate"] = trained.losses
    pool = trained.outputs("outputs_of_wrong_text" if recipe.wrong_text else "outputs", training.padded(size))
    parts = [pool.audio[:size]]
    if shared.text is not None:  # of its own making, or lent by a real row
        parts.append(np.asarray(shared.text[0])[pool.text_row[:size]] if pool.text is None else pool.text[:size])
    target = np.exp(pool.log_q) if recipe.group == "nothing" else identity[pool.label]
    return Rows(np.concatenate(parts, axis=1), target[:size])


def _head(
    shared: Features,
    view: FoldView,
    added: Rows | None,
    variant: str,
    settings: Mapping[str, Any],
    seed: int,
    losses: Losses,
) -> Any:
    """The head's parameters, which are their moving average."""
    config, n_classes = settings["classify"], len(view.class_count)
    stage = Classify(
        n_classes=n_classes,
        modality="audio" if shared.text is None else "both",
        width=config.width,
        batch_size=config.batch_size,
        steps=config.steps,
    )
    augment, count = settings["augment"], 0 if added is None else len(added.target)
    # As `infoser.runs` has them: by these numbers alone do variants differ.
    values = numbers(config) | {
        "weight_decay": decay_for(int(view.class_count.sum()), config.weight_decay, config.learning_rate),
        "real_weight": 1.0,
        "generated_weight": 0.0 if added is None else settings["ratio"] * settings["row_weight"],
        "by_prior": 1.0 if variant in ("natural", "logit-adjust") else 0.0,
        "focal_gamma": augment.focal_gamma if variant == "focal" else 0.0,
        "logit_adjustment": augment.logit_adjustment if variant == "logit-adjust" else 0.0,
        "curriculum": 1.0,
    }
    length = training.padded(max(count, 1))
    dim = shared.audio_dim + shared.text_dim
    features, target = np.zeros((length, dim), np.float32), np.zeros((length, n_classes), np.float32)
    if added is not None:
        features[:count], target[:count] = added
    pool: Any = {"features": features, "target": target, "count": np.int32(count)}
    run = ClassifyRun(view, GeneratedRows(**pool), training.as_numbers(values))
    trained = training.train(stage, shared, run, seed)
    losses["classify"] = trained.losses
    return trained.average()
