"""The controls: rows made without learning a generator, on the host, from standardised features of one modality."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from infoser.config import AugmentConfig


class Rows(NamedTuple):
    """Rows to train on: features standardised like the real ones, and class probabilities (one-hot for a label)."""

    features: Float[np.ndarray, "rows dim"]
    target: Float[np.ndarray, "rows classes"]


Augmenter = Callable[[Rows, int, np.random.Generator, AugmentConfig], Rows]


def labels(rows: Rows) -> Int[np.ndarray, " rows"]:
    """The likeliest class of each row."""
    return rows.target.argmax(axis=1)


def class_balanced_rows(label: Int[np.ndarray, " rows"], size: int, generator: np.random.Generator) -> Int[np.ndarray, " size"]:
    """Positions in `label`, drawn with replacement so that every class that occurs is equally likely."""
    classes, inverse, count = np.unique(label, return_inverse=True, return_counts=True)
    probability = 1.0 / (len(classes) * count[inverse])
    return generator.choice(len(label), size=size, p=probability)


def noise(real: Rows, size: int, generator: np.random.Generator, config: AugmentConfig) -> Rows:
    """Class-balanced copies of real rows with Gaussian noise of `noise_scale` standard deviations of a feature."""
    chosen = class_balanced_rows(labels(real), size, generator)
    blur = config.noise_scale * generator.standard_normal((size, real.features.shape[1]))
    return Rows((real.features[chosen] + blur).astype(np.float32), real.target[chosen])


def mixup(real: Rows, size: int, generator: np.random.Generator, config: AugmentConfig) -> Rows:
    """Convex combinations of class-balanced pairs, features and targets alike (arXiv 1710.09412).

    The share of the first row is drawn from Beta(`mixup_alpha`, `mixup_alpha`).
    """
    first, second = (class_balanced_rows(labels(real), size, generator) for _ in range(2))
    share = generator.beta(config.mixup_alpha, config.mixup_alpha, (size, 1)).astype(np.float32)
    return Rows(*(share * part[first] + (1 - share) * part[second] for part in real))


def oversample(real: Rows, size: int, generator: np.random.Generator, config: AugmentConfig) -> Rows:
    """Class-balanced copies of real rows, by imbalanced-learn's RandomOverSampler."""
    from imblearn.over_sampling import RandomOverSampler

    return _shuffled(_resampled(RandomOverSampler, real, _shares(labels(real), size), generator), generator)


def smote(real: Rows, size: int, generator: np.random.Generator, config: AugmentConfig) -> Rows:
    """Points between a real row and one of its `smote_neighbours` nearest of the same class (doi 10.1613/jair.953).

    Class-balanced, by imbalanced-learn's SMOTE. A class with fewer rows takes all its other rows as neighbours; a class
    of a single row is copied.
    """
    from imblearn.over_sampling import SMOTE

    label = labels(real)
    count = np.bincount(label, minlength=real.target.shape[1])
    alone = np.flatnonzero(count[label] == 1)
    doubled = Rows(*(np.concatenate([part, part[alone]]) for part in real))
    shares = _shares(label, size)
    neighbours = {one: min(config.smote_neighbours, max(int(count[one]), 2) - 1) for one in shares}
    parts = [
        _resampled(SMOTE, doubled, {one: shares[one] for one in shares if neighbours[one] == k}, generator, k_neighbors=k)
        for k in sorted(set(neighbours.values()))
    ]
    return _shuffled(Rows(*map(np.concatenate, zip(*parts, strict=True))), generator)


def class_gaussian(real: Rows, size: int, generator: np.random.Generator, config: AugmentConfig) -> Rows:
    """Draws from a Gaussian fitted to each class, with a shrunk full covariance.

    The shrinkage is that of Ledoit and Wolf (doi 10.1016/S0047-259X(03)00096-4). A class of a single row takes the
    covariance of all rows about their class means.
    """
    from sklearn.covariance import LedoitWolf

    label = labels(real)
    means = {one: real.features[label == one].mean(axis=0) for one in np.unique(label)}
    centred = real.features - np.stack([means[one] for one in label])
    features, targets = [], []
    for one, extra in _shares(label, size).items():
        own = centred[label == one]
        covariance = LedoitWolf(assume_centered=True).fit(own if len(own) > 1 else centred).covariance_
        root = np.linalg.cholesky(covariance + 1e-6 * np.eye(len(covariance)))
        features.append(means[one] + generator.standard_normal((extra, len(covariance))) @ root.T)
        targets.append(np.repeat(real.target[label == one][:1], extra, axis=0))
    return _shuffled(Rows(np.concatenate(features).astype(np.float32), np.concatenate(targets)), generator)


#: The controls that add rows, by their variant's name.
AUGMENTERS: dict[str, Augmenter] = {
    "noise": noise,
    "mixup": mixup,
    "oversample": oversample,
    "smote": smote,
    "class-gaussian": class_gaussian,
}


def _shares(label: np.ndarray, size: int) -> dict[int, int]:
    """How many of `size` rows each class that occurs gets: equally many, up to one."""
    occurring = np.unique(label)
    parts = np.array_split(np.arange(size), len(occurring))
    return {int(one): len(part) for one, part in zip(occurring, parts, strict=True)}


def _resampled(sampler: Callable, real: Rows, extra: dict[int, int], generator: np.random.Generator, **settings: int) -> Rows:
    """The `extra` rows of some classes that an over-sampler of imbalanced-learn adds; it returns the real ones first."""
    label = labels(real)
    one_hot = np.eye(real.target.shape[1], dtype=np.float32)
    if len(np.unique(label)) == 1:  # imbalanced-learn needs two classes
        chosen = generator.choice(len(label), sum(extra.values()))
        return Rows(real.features[chosen], real.target[chosen])
    target_count = {one: int((label == one).sum()) + more for one, more in extra.items()}
    seed = int(generator.integers(2**31))
    features, resampled = sampler(sampling_strategy=target_count, random_state=seed, **settings).fit_resample(
        real.features, label
    )
    return Rows(np.asarray(features[len(label) :], np.float32), one_hot[resampled[len(label) :]])


def _shuffled(rows: Rows, generator: np.random.Generator) -> Rows:
    order = generator.permutation(len(rows.target))
    return Rows(*(part[order] for part in rows))
