"""Speaker bootstrap-t intervals: coverage by simulation, and what must hold exactly.

`python tests/metrics/test_intervals.py` prints the coverage for more numbers of speakers and kinds of population than the
tests have time for.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit, logit

from infoser.metrics.intervals import MIN_SPEAKERS, _ratio_statistics, _resample_weights, ua_difference_interval, ua_interval

N_SEEDS = 3
# class shares, their concentration over speakers, and the spread of the log-odds of recall over speakers, over
# speakers and classes, and between the two variants
POPULATIONS = {
    "moderate": ((0.20, 0.30, 0.31, 0.19), 30, 0.25, 0.35, 0.15),
    "strong": ((0.12, 0.33, 0.40, 0.15), 12, 0.40, 0.60, 0.30),
    "mild": ((0.20, 0.30, 0.31, 0.19), 60, 0.10, 0.15, 0.05),
}


def draw_speakers(rng, n_speakers, population):
    """Class counts' expectations (S, C) and the recalls of two variants (S, C) of speakers from the population."""
    shares, concentration, sd_speaker, sd_class, sd_variant = POPULATIONS[population]
    size = rng.integers(300, 651, size=(n_speakers, 1))
    mix = rng.dirichlet(np.array(shares) * concentration, size=n_speakers)
    log_odds = logit([0.75, 0.40, 0.55, 0.65]) + sd_speaker * rng.standard_normal((n_speakers, 1))
    log_odds = log_odds + sd_class * rng.standard_normal((n_speakers, 4))
    return size, mix, log_odds, log_odds + 0.08 + sd_variant * rng.standard_normal((n_speakers, 4))


def population_truth(population):
    size, mix, first, second = draw_speakers(np.random.default_rng(99), 400_000, population)
    expected = size * mix
    ua_first, ua_second = ((expected * expit(odds)).sum(0) / expected.sum(0) for odds in (first, second))
    return ua_first.mean(), (ua_second - ua_first).mean()


def draw_confusions(rng, n_speakers, population):
    """(2 variants, seeds, S, C, C) counts; variants and seeds agree more than chance on which utterances are hard."""
    size, mix, *log_odds = draw_speakers(rng, n_speakers, population)
    total = np.stack([rng.multinomial(int(n), shares) for n, shares in zip(size[:, 0], mix, strict=True)])
    cell = np.repeat(np.arange(total.size), total.ravel())
    shared = rng.logistic(size=len(cell))
    confusion = np.zeros((2, N_SEEDS, n_speakers, 4, 4))
    for variant, odds in enumerate(log_odds):
        for seed in range(N_SEEDS):
            difficulty = np.where(rng.random(len(cell)) < 0.7, shared, rng.logistic(size=len(cell)))
            hits = np.bincount(cell[difficulty < odds.ravel()[cell]], minlength=total.size).reshape(total.shape)
            confusion[variant, seed, :, range(4), range(4)] = hits.T
            confusion[variant, seed, :, range(4), [1, 2, 3, 0]] = (total - hits).T
    return confusion


def coverage(n_speakers, population, n_simulations):
    """Shares of simulations whose 95 % interval holds the truth, and median widths: (UA, difference) each."""
    rng = np.random.default_rng(n_speakers)
    truth = population_truth(population)
    held, width = [], []
    for _ in range(n_simulations):
        first, second = draw_confusions(rng, n_speakers, population)
        intervals = ua_interval(first), ua_difference_interval(second, first)
        held.append([low <= value <= high for (low, high), value in zip(intervals, truth, strict=True)])
        width.append([high - low for low, high in intervals])
    return np.mean(held, axis=0), np.median(width, axis=0)


@pytest.mark.parametrize("n_speakers", [6, 10])
def test_nominal_95_percent_covers_92_to_98(n_speakers):
    shares, _ = coverage(n_speakers, "moderate", n_simulations=1500)
    assert ((shares >= 0.92) & (shares <= 0.98)).all(), shares


def test_a_gain_that_is_the_same_for_every_speaker_has_no_spread():
    rng = np.random.default_rng(0)
    reference = np.zeros((2, 8, 2, 2))
    hits = rng.integers(10, 90, size=(2, 8, 2))
    reference[:, :, range(2), range(2)] = hits
    reference[:, :, range(2), [1, 0]] = 100 - hits
    better = reference.copy()
    better[:, :, range(2), range(2)] += 2
    better[:, :, range(2), [1, 0]] -= 2
    assert_allclose(ua_difference_interval(better, reference), (0.02, 0.02))


def test_identical_variants_differ_by_zero():
    first, _ = draw_confusions(np.random.default_rng(1), 10, "moderate")
    assert ua_difference_interval(first, first.copy()) == (0.0, 0.0)


def test_the_interval_is_reproducible_and_surrounds_the_estimate():
    first, second = draw_confusions(np.random.default_rng(2), 10, "moderate")
    low, high = ua_interval(first)
    recalls = np.diagonal(first.mean(0).sum(0)) / first.mean(0).sum(0).sum(-1)
    assert 0 < low < recalls.mean() < high < 1
    assert ua_interval(first) == (low, high)
    assert ua_interval(first[:, ::-1]) != (low, high)  # resampling noise, of the order of the speakers
    assert_allclose(ua_interval(first[:, ::-1]), (low, high), atol=0.01)
    forth, back = ua_difference_interval(second, first), ua_difference_interval(first, second)
    assert_allclose(forth, (-back[1], -back[0]), atol=1e-12)
    wide = ua_interval(first, level=0.99)
    assert wide[0] < low and high < wide[1]


def test_standard_error_is_that_of_the_numerical_influence():
    first, _ = draw_confusions(np.random.default_rng(3), 7, "strong")
    total = first[0].sum(-1)
    correct = np.diagonal(first[0], axis1=-2, axis2=-1)

    def ua(weights):
        return ((weights @ correct) / (weights @ total)).mean()

    weights = np.array([2.0, 0, 1, 1, 3, 0, 0])
    step = 1e-5
    influence = np.array([(ua(weights + step * e) - ua(weights - step * e)) / (2 * step) for e in np.eye(7)])
    used = weights > 0
    estimate, error, complete = _ratio_statistics(correct, total, weights[None])
    assert complete.all()
    assert_allclose(estimate, ua(weights))
    assert_allclose(error, np.sqrt(7 / 6 * (weights[used] * influence[used] ** 2).sum()), rtol=1e-6)


def test_interval_is_the_textbook_bootstrap_t():
    """A speaker at a time, for a skewed set of speakers, in which swapping the two tails would show."""
    first, second = draw_confusions(np.random.default_rng(8), 8, "strong")
    second[:, 0] = second[:, 0, :, [1, 2, 3, 0]].transpose(1, 2, 0)  # one speaker is hardly ever recognised
    total = first[0].sum(-1)
    gained = np.diagonal(second - first, axis1=-2, axis2=-1).mean(0)

    def difference_and_error(speakers):
        recalls = gained[speakers].sum(0) / total[speakers].sum(0)
        influence = ((gained[speakers] - recalls * total[speakers]) / total[speakers].sum(0)).mean(1)
        return recalls.mean(), np.sqrt(8 / 7 * (influence**2).sum())

    estimate, error = difference_and_error(np.arange(8))
    t = []
    for weights in _resample_weights(8, 500, 0, 0):
        resampled, resampled_error = difference_and_error(np.repeat(np.arange(8), weights.astype(int)))
        t.append((resampled - estimate) / resampled_error)
    expected = estimate - np.quantile(t, [0.975, 0.025]) * error
    interval = ua_difference_interval(second, first, n_resamples=500)
    assert_allclose(interval, np.clip(expected, -1, 1))
    assert abs(expected.mean() - estimate) > 0.1 * error  # it is lopsided


def test_too_few_speakers_give_no_interval():
    first, second = draw_confusions(np.random.default_rng(4), MIN_SPEAKERS - 1, "moderate")
    assert ua_interval(first) is None
    assert ua_difference_interval(first, second) is None
    silent = np.concatenate([first, np.zeros_like(first)], axis=1)  # speakers without utterances are no speakers
    assert ua_interval(silent) is None


def test_classes_that_nobody_or_one_speaker_has():
    first, second = draw_confusions(np.random.default_rng(5), 10, "moderate")
    first[:, 1:, 3] = 0
    second[:, 1:, 3] = 0
    assert all(np.isfinite(ua_interval(first)))  # resamples without speaker 0 were drawn again
    assert all(np.isfinite(ua_difference_interval(first, second)))
    first[:, :, 3] = 0
    three_classes = first[..., :3, :3].copy()
    three_classes[..., 2, 0] += first[..., 2, 3]  # class 2 is only ever mistaken for class 3
    assert ua_interval(first) == ua_interval(three_classes)


def test_perfect_recognition_has_no_spread():
    perfect = np.zeros((1, 6, 2, 2))
    perfect[..., range(2), range(2)] = 5
    assert ua_interval(perfect) == (1.0, 1.0)


def test_unpaired_counts_are_refused():
    first, second = draw_confusions(np.random.default_rng(6), 6, "moderate")
    with pytest.raises(ValueError, match="same seeds and speakers"):
        ua_difference_interval(first, second[:2])
    second[:, 0, 0, 0] += 1
    with pytest.raises(ValueError, match="same utterances"):
        ua_difference_interval(first, second)
    first[0, 0, 0, 0] += 1
    with pytest.raises(ValueError, match="seeds"):
        ua_interval(first)


if __name__ == "__main__":
    for population in POPULATIONS:
        for n_speakers in (5, 6, 9, 10, 12):
            shares, widths = coverage(n_speakers, population, n_simulations=2000)
            print(
                f"{population:9} {n_speakers:2} speakers: UA {shares[0]:.1%} (width {widths[0]:.3f}), "
                f"difference {shares[1]:.1%} (width {widths[1]:.3f})",
                flush=True,
            )
