"""The controls: class-balanced rows by copying, noise, mixing, interpolation and class Gaussians."""

import numpy as np
import pytest
from scipy import stats

from infoser.augmenters import AUGMENTERS, Rows, class_balanced_rows, labels
from infoser.config import AugmentConfig

LABEL = np.array([0] * 30 + [2] * 6 + [3] * 4)
CENTRES = 10.0 * np.eye(5, 3)
CONFIG = AugmentConfig()


def real(label=LABEL) -> Rows:
    features = CENTRES[label] + np.random.default_rng(0).standard_normal((len(label), 3))
    return Rows(features.astype(np.float32), np.eye(5, dtype=np.float32)[label])


def make(name, size, seed=1, label=LABEL, **settings) -> Rows:
    return AUGMENTERS[name](real(label), size, np.random.default_rng(seed), AugmentConfig(**settings))


def test_every_class_that_occurs_is_equally_likely():
    rows = class_balanced_rows(LABEL, 9000, np.random.default_rng(1))
    by_class = np.bincount(LABEL[rows], minlength=5)
    np.testing.assert_array_equal(np.flatnonzero(by_class), [0, 2, 3])
    assert stats.chisquare(by_class[[0, 2, 3]]).pvalue > 0.01
    for start, stop in ((0, 30), (30, 36), (36, 40)):
        assert stats.chisquare(np.bincount(rows, minlength=40)[start:stop]).pvalue > 0.01


@pytest.mark.parametrize("name", AUGMENTERS)
def test_rows_are_made_to_order(name):
    made = make(name, 301)
    assert made.features.shape == (301, 3) and made.target.shape == (301, 5)
    assert made.features.dtype == made.target.dtype == np.float32
    np.testing.assert_allclose(made.target.sum(axis=1), 1, rtol=1e-6)
    assert (made.target[:, [1, 4]] == 0).all()  # classes that do not occur are not made
    again, other = make(name, 301), make(name, 301, seed=2)
    for part, same, different in zip(made, again, other, strict=True):
        np.testing.assert_array_equal(part, same)
        assert not np.array_equal(part, different)


@pytest.mark.parametrize("name", AUGMENTERS)
def test_classes_are_balanced_in_every_part_of_the_pool(name):
    # A head draws from a part, and some rows are held out from the end: both must be balanced.
    made = make(name, 3000)
    for part in (slice(None, 1500), slice(1500, None)):
        share = made.target[part].sum(axis=0)[[0, 2, 3]] / 1500
        assert np.abs(share - 1 / 3).max() < 4 * np.sqrt(2 / 9 / 1500)


@pytest.mark.parametrize("name", ["noise", "oversample", "smote", "class-gaussian"])
def test_features_are_near_their_class(name):
    made = make(name, 300)
    assert set(np.unique(made.target)) == {0.0, 1.0}
    distance = np.linalg.norm(made.features[:, None] - CENTRES[[0, 2, 3]], axis=2)
    # Class 3 has its centre at the origin, the others far along an axis.
    np.testing.assert_array_equal(np.array([0, 2, 3])[distance.argmin(axis=1)], labels(made))


def nearest(made):
    """For each row, the real row nearest to it, and how far away it is."""
    distance = np.linalg.norm(made.features[:, None] - real().features, axis=2)
    return distance.argmin(axis=1), distance.min(axis=1)


@pytest.mark.parametrize(("name", "settings"), [("oversample", {}), ("noise", {"noise_scale": 0.0})])
def test_copies_are_copies(name, settings):
    made = make(name, 400, **settings)
    position, distance = nearest(made)
    np.testing.assert_array_equal(distance, 0)
    np.testing.assert_array_equal(LABEL[position], labels(made))
    assert set(position) == set(range(40))


@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_noise_has_its_size_in_every_feature(scale):
    size = 20_000
    made, plain = make("noise", size, noise_scale=scale), make("noise", size, noise_scale=0.0)
    np.testing.assert_array_equal(made.target, plain.target)
    difference = (made.features - plain.features).astype(np.float64)
    assert (np.abs(difference.mean(axis=0)) < 4 * scale / size**0.5).all()
    assert (np.abs(difference.std(axis=0) - scale) < 4 * scale / (2 * size) ** 0.5).all()
    assert np.abs(np.corrcoef(difference.T) - np.eye(3)).max() < 4 / size**0.5


def test_mixup_mixes_features_and_targets_alike():
    # With every row on its class centre, the target says where a mixture must lie.
    exact = Rows(CENTRES[LABEL].astype(np.float32), real().target)
    made = AUGMENTERS["mixup"](exact, 5000, np.random.default_rng(3), AugmentConfig(mixup_alpha=0.4))
    np.testing.assert_allclose(made.features, made.target @ CENTRES, rtol=1e-4, atol=1e-4)
    # A share is Beta(α, α), whichever of two different classes comes first.
    mixed = made.target[(made.target > 0).sum(axis=1) == 2]
    share = mixed[mixed > 0].reshape(-1, 2)[:, 0]
    assert stats.kstest(share, stats.beta(0.4, 0.4).cdf).pvalue > 0.01


def test_smote_interpolates_between_neighbours_of_a_class():
    made = make("smote", 300)
    rows = real().features.astype(np.float64)
    for feature, label in zip(made.features[:60], labels(made), strict=False):
        own = rows[label == LABEL]
        start, end = own[:, None], own[None, :]
        span = ((end - start) ** 2).sum(axis=2)
        along = ((feature - start) * (end - start)).sum(axis=2) / np.where(span > 0, span, 1)
        off = np.linalg.norm(start + np.clip(along, 0, 1)[..., None] * (end - start) - feature, axis=2)
        assert off.min() < 1e-4


def test_smote_of_a_small_class_leaves_the_others_their_neighbours():
    # Of the large class, only a second neighbour is reached across the triangle's long side, off both axes.
    features = np.array([[0, 0], [1, 0], [0, 3], [50, 50], [51, 50]], np.float32)
    rows = Rows(features, np.eye(2, dtype=np.float32)[[0, 0, 0, 1, 1]])
    large = [
        made.features[labels(made) == 0]
        for k in (1, 2)
        for made in [AUGMENTERS["smote"](rows, 200, np.random.default_rng(0), AugmentConfig(smote_neighbours=k))]
    ]
    off_axes = [(part > 1e-3).all(axis=1) for part in large]
    assert len(large[0]) == len(large[1]) == 100
    assert not off_axes[0].any() and 10 < off_axes[1].sum() < 90


def test_class_gaussians_have_their_class_mean_and_covariance():
    label = np.repeat([0, 2], [4000, 2000])
    generator = np.random.default_rng(4)
    root = generator.standard_normal((3, 3))
    features = CENTRES[label] + generator.standard_normal((6000, 3)) @ root.T
    rows = Rows(features.astype(np.float32), np.eye(5, dtype=np.float32)[label])
    made = AUGMENTERS["class-gaussian"](rows, 20_000, generator, CONFIG)
    for one in (0, 2):
        own = made.features[labels(made) == one]
        np.testing.assert_allclose(own.mean(axis=0), features[label == one].mean(axis=0), atol=0.1)
        np.testing.assert_allclose(np.cov(own.T), root @ root.T, atol=0.25)


@pytest.mark.parametrize("name", AUGMENTERS)
@pytest.mark.parametrize("label", [np.array([0] * 9 + [2]), np.array([2] * 5), np.array([0, 2])], ids=str)
def test_rare_classes_and_single_ones(name, label):
    made = make(name, 20, label=label)
    assert made.features.shape == (20, 3) and np.isfinite(made.features).all()
    assert set(labels(made)) <= set(label)
    if name in ("oversample", "smote", "class-gaussian"):
        np.testing.assert_array_equal(np.bincount(labels(made), minlength=3)[np.unique(label)], 20 // len(set(label)))
