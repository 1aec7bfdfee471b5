"""Confidence intervals over speakers for UA and for the paired difference of UA, and p-values of the latter.

What the intervals are about: speakers are taken as drawn independently from a population, each bringing n_c utterances of class
c of which k_c are recognised. The truth is mean_c E[k_c] / E[n_c] with the expectations over that population: the UA that the
pooled score approaches as speakers are added. The trained models are taken as given (averaged over the seeds), so an interval
says nothing of what other training speakers or seeds would have given, nor of any dependence between partners.

The method is the bootstrap-t (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 12.5) with whole speakers
resampled and, in every resample, the infinitesimal-jackknife standard error (Jaeckel, 1972) of the ratio. By simulation
(tests/metrics/test_intervals.py prints it) a nominal 95 % covers 93 to 96 % for 5 to 12 speakers. In the same simulation
percentile and BCa intervals covered 81 to 93 %; bootstrap-t with 3 speakers covered 81 to 84 %, and with 4 was one and a
half times as wide as with 5: hence `MIN_SPEAKERS`.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Num

MIN_SPEAKERS = 5
_NO_SPREAD = 1e-9  # of a standard error; one utterance in a million makes more than this
_MAX_ROUNDS = 100
_FINER = 8  # so that a correction for hundreds of comparisons leaves something to be seen


def ua_interval(
    confusion: Num[np.ndarray, "seeds speakers classes classes"],
    *,
    level: float = 0.95,
    n_resamples: int = 4000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Interval for the UA averaged over seeds, in [0, 1]; None with fewer than `MIN_SPEAKERS` speakers that have utterances.

    The bootstrap-t is taken on the log-odds of UA, which keeps it inside (0, 1). Resamples that lose a class of the
    truth, or have no spread between speakers, are drawn again; None where nearly all do. Speakers without any spread
    give (UA, UA).

    Args:
      confusion: counts of (true, predicted) class for each seed and speaker.
      level: nominal coverage.
      n_resamples: bootstrap resamples of the speakers.
      seed: of the resampling; the same for the same number of speakers, so that intervals are reproducible and comparable.

    Raises:
      ValueError: when the true counts are not the same for every seed.
    """
    total = _true_counts(confusion)
    correct = _correct(confusion)
    return _bootstrap_t(correct, total, level=level, n_resamples=n_resamples, seed=seed, log_odds=True)


def ua_difference_interval(
    confusion: Num[np.ndarray, "seeds speakers classes classes"],
    reference: Num[np.ndarray, "seeds2 speakers2 classes2 classes2"],
    *,
    level: float = 0.95,
    n_resamples: int = 4000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Interval, in [-1, 1], for the UA of one variant minus that of a reference, paired by seed and speaker.

    Both are scored on the same utterances, so the difference is itself a mean of ratios, (k_c - k'_c) / n_c. Variants
    that are right equally often for each speaker and class give (0, 0). Otherwise as `ua_interval`.

    Raises:
      ValueError: when the two differ in shape or in their true counts, or seeds differ in true counts.
    """
    if confusion.shape != reference.shape:
        raise ValueError(f"a difference needs the same seeds and speakers: {confusion.shape} against {reference.shape}")
    total = _true_counts(confusion)
    if not np.array_equal(total, _true_counts(reference)):
        raise ValueError("a paired difference needs both variants to be scored on the same utterances")
    gained = _correct(confusion) - _correct(reference)
    interval = _bootstrap_t(gained, total, level=level, n_resamples=n_resamples, seed=seed, log_odds=False)
    return None if interval is None else (max(interval[0], -1.0), min(interval[1], 1.0))


def ua_difference_p(
    confusion: Num[np.ndarray, "seeds speakers classes classes"],
    reference: Num[np.ndarray, "seeds2 speakers2 classes2 classes2"],
    *,
    n_resamples: int = 4000,
    seed: int = 0,
) -> float | None:
    """Two-sided p-value of a UA that is the reference's, paired by seed and speaker: 1 minus the level of the widest
    `ua_difference_interval` that excludes 0, so that both always say the same.

    The smallest that so many resamples can say is 2 / (n_resamples + 1); below 0.01 they are `_FINER` times as many. None
    with fewer than `MIN_SPEAKERS` speakers, or without any spread between them (1 if nothing differs at all).

    Raises:
      ValueError: as `ua_difference_interval`.
    """
    total = _true_counts(confusion)
    if confusion.shape != reference.shape or not np.array_equal(total, _true_counts(reference)):
        raise ValueError("a paired difference needs both variants to be scored on the same utterances")
    gained = _correct(confusion) - _correct(reference)
    classes, speakers = total.any(axis=0), total.any(axis=1)
    gained, total = gained[speakers][:, classes], total[speakers][:, classes].astype(np.float64)
    if len(total) < MIN_SPEAKERS:
        return None
    estimates, errors, _ = _ratio_statistics(gained, total, np.ones((1, len(total))))
    if errors[0] < _NO_SPREAD:
        return 1.0 if abs(estimates[0]) < _NO_SPREAD else None
    p = _inverted(gained, total, estimates[0], errors[0], n_resamples, seed)
    return p if p is None or p >= 0.01 else _inverted(gained, total, estimates[0], errors[0], _FINER * n_resamples, seed)


def _inverted(
    gained: np.ndarray, total: np.ndarray, estimate: float, error: float, n_resamples: int, seed: int
) -> float | None:
    """Twice the share of the bootstrap-t distribution beyond estimate / error, on its nearer side."""
    resamples = _resampled_statistics(gained, total, n_resamples, seed)
    if resamples is None:
        return None
    resampled, resampled_error = resamples
    t = (resampled - estimate) / resampled_error
    beyond = min(int((t >= estimate / error).sum()), int((t <= estimate / error).sum()))
    return min(1.0, 2 * (beyond + 1) / (n_resamples + 1))


def holm(p_values: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """P-values that hold together: Holm's step-down adjustment (Scandinavian Journal of Statistics 6, 1979, 65 to 70).

    The i-th smallest of m is multiplied by m − i + 1, and none may be below one that was smaller before; at most 1. The
    chance of any false rejection among the m is at most the level, whatever the tests' dependence.
    """
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1)))
    return adjusted


def _true_counts(confusion: np.ndarray) -> Num[np.ndarray, "speakers classes"]:
    counts = confusion.sum(axis=-1)
    if not (counts == counts[:1]).all():
        raise ValueError("the seeds are not scored on the same utterances")
    return counts[0]


def _correct(confusion: np.ndarray) -> Float[np.ndarray, "speakers classes"]:
    return np.diagonal(confusion, axis1=-2, axis2=-1).mean(axis=0)


def _bootstrap_t(
    correct: Float[np.ndarray, "speakers classes"],
    total: Num[np.ndarray, "speakers classes"],
    *,
    level: float,
    n_resamples: int,
    seed: int,
    log_odds: bool,
) -> tuple[float, float] | None:
    from scipy.special import expit, logit  # SciPy takes 0.3 s to import, which the first step need not wait for

    classes, speakers = total.any(axis=0), total.any(axis=1)
    correct, total = correct[speakers][:, classes], total[speakers][:, classes].astype(np.float64)
    n_speakers = len(total)
    if n_speakers < MIN_SPEAKERS:
        return None
    estimates, errors, _ = _ratio_statistics(correct, total, np.ones((1, n_speakers)))
    estimate, error = float(estimates[0]), float(errors[0])
    if error < _NO_SPREAD:
        return estimate, estimate
    resamples = _resampled_statistics(correct, total, n_resamples, seed)
    if resamples is None:
        return None
    resampled, resampled_error = resamples
    if log_odds:
        # d logit(x) = dx / (x (1 - x)); 0 and 1 have no spread and were drawn again
        error /= estimate * (1 - estimate)
        resampled_error = resampled_error / (resampled * (1 - resampled))
        estimate, resampled = float(logit(estimate)), logit(resampled)
    upper_t, lower_t = np.quantile((resampled - estimate) / resampled_error, [(1 + level) / 2, (1 - level) / 2])
    low, high = estimate - upper_t * error, estimate - lower_t * error
    return (float(expit(low)), float(expit(high))) if log_odds else (float(low), float(high))


def _resampled_statistics(
    correct: np.ndarray, total: np.ndarray, n_resamples: int, seed: int
) -> tuple[Float[np.ndarray, " resamples"], Float[np.ndarray, " resamples"]] | None:
    """The estimates and standard errors of `n_resamples` usable resamples; None where usable ones are too rare."""
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    n_kept = 0
    for draw in range(_MAX_ROUNDS):
        weights = _resample_weights(len(total), n_resamples, seed, draw)
        estimates, errors, complete = _ratio_statistics(correct, total, weights)
        usable = complete & (errors > _NO_SPREAD)
        kept.append((estimates[usable], errors[usable]))
        n_kept += int(usable.sum())
        if n_kept >= n_resamples:
            estimates, errors = (np.concatenate(values)[:n_resamples] for values in zip(*kept, strict=True))
            return estimates, errors
    return None


@lru_cache(maxsize=4)
def _resample_weights(n_speakers: int, n_resamples: int, seed: int, draw: int) -> Float[np.ndarray, "resamples speakers"]:
    """How often each speaker is in each resample; kept, since every score of an evaluation asks for the same."""
    rng = np.random.default_rng([seed, draw])
    weights = rng.multinomial(n_speakers, np.full(n_speakers, 1 / n_speakers), size=n_resamples).astype(np.float64)
    weights.flags.writeable = False
    return weights


def _ratio_statistics(
    correct: Float[np.ndarray, "speakers classes"],
    total: Float[np.ndarray, "speakers classes"],
    weights: Float[np.ndarray, "resamples speakers"],
) -> tuple[Float[np.ndarray, " resamples"], Float[np.ndarray, " resamples"], Bool[np.ndarray, " resamples"]]:
    """mean_c of r_c = sum_s w_s k_sc / sum_s w_s n_sc, its standard error, and whether every class is there.

    The influence of speaker s is u_s = mean_c (k_sc - r_c n_sc) / sum_s w_s n_sc, and the variance S/(S-1) sum_s w_s u_s^2.
    """
    n_speakers, n_classes = total.shape
    weighted_total = weights @ total
    complete = np.all(weighted_total > 0, axis=1)
    per_utterance = 1 / np.where(weighted_total > 0, weighted_total, np.inf)
    ratio = (weights @ correct) * per_utterance
    influence = (per_utterance @ correct.T - (ratio * per_utterance) @ total.T) / n_classes
    variance = n_speakers / (n_speakers - 1) * (weights * influence**2).sum(axis=1)
    return ratio.mean(axis=1), np.sqrt(variance), complete
