"""P-values of paired differences say what the intervals say, hold under the null, and hold together after Holm.

By hand, `python tests/metrics/test_significance.py [simulations]` prints how often a true null is rejected at 5 % and 1 %.
"""

import sys

import numpy as np
import pytest

from infoser.metrics.intervals import holm, ua_difference_interval, ua_difference_p


def confusions(
    rng: np.random.Generator, speakers: int, gain: float, spread: float, n: int = 40
) -> tuple[np.ndarray, np.ndarray]:
    """(1, speakers, 3, 3) counts of a variant and its reference, whose recalls differ by `gain` and a speaker's own share."""
    base = np.clip(0.6 + 0.1 * rng.standard_normal((speakers, 1)), 0.2, 0.9)
    own = np.clip(base + gain + spread * rng.standard_normal((speakers, 1)), 0.02, 0.98)

    def counts(recall: np.ndarray) -> np.ndarray:
        right = rng.binomial(n, np.broadcast_to(recall, (speakers, 3)))
        made = np.zeros((1, speakers, 3, 3), np.int64)
        for one in range(3):
            made[0, :, one, one] = right[:, one]
            made[0, :, one, (one + 1) % 3] = n - right[:, one]
        return made

    return counts(own), counts(base)


@pytest.mark.parametrize("seed", range(25))
def test_p_is_the_level_at_which_the_interval_excludes_zero(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = confusions(rng, int(rng.integers(5, 13)), rng.uniform(-0.06, 0.06), 0.03)
    p = ua_difference_p(one, other)
    assert p is not None and 0 < p <= 1
    for level in (0.5, 0.9, 0.95):
        interval = ua_difference_interval(one, other, level=level)
        assert interval is not None
        excludes = interval[0] > 0 or interval[1] < 0
        if abs(p - (1 - level)) > 0.002:  # quantiles are interpolated
            assert excludes == (p < 1 - level), (p, level, interval)
    swapped = ua_difference_p(other, one)
    assert swapped == pytest.approx(p, abs=0.002)


def test_without_speakers_or_spread_there_is_no_p() -> None:
    one, other = confusions(np.random.default_rng(0), 4, 0.0, 0.03)
    assert ua_difference_p(one, other) is None
    one, _ = confusions(np.random.default_rng(0), 8, 0.0, 0.03)
    assert ua_difference_p(one, one) == 1.0
    better = one.copy()
    better[0, :] = np.diag([10, 10, 10])
    worse = better.copy()
    worse[0, :, 0] = [5, 5, 0]
    assert ua_difference_p(better, worse) is None
    with pytest.raises(ValueError, match="same utterances"):
        ua_difference_p(one, 2 * one)


def test_a_clear_gain_is_told_beyond_what_the_first_resamples_say() -> None:
    one, other = confusions(np.random.default_rng(3), 12, 0.2, 0.01, n=200)
    p = ua_difference_p(one, other)
    assert p is not None and 2 / 32001 <= p < 2 / 4001


def rejected(level: float, simulations: int, speakers: int) -> float:
    rng = np.random.default_rng(speakers)
    drawn = (confusions(rng, speakers, 0.0, 0.04) for _ in range(simulations))
    found = [ua_difference_p(*pair, n_resamples=1000) for pair in drawn]
    return float(np.mean([p is not None and p < level for p in found]))


def test_a_true_null_is_rarely_rejected() -> None:
    # 300 simulations: 5 % come out below 9 % with a probability of 0.998.
    assert 0.01 < rejected(0.05, 300, 10) < 0.09


def test_holm_by_hand_and_by_definition() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.5, 0.9])) == pytest.approx([1.0, 1.0])
    assert holm(np.zeros(0)).shape == (0,)
    rng = np.random.default_rng(0)
    for _ in range(20):
        p = rng.random(7) ** 3
        order, stopped = np.argsort(p), False
        for level in (0.01, 0.05, 0.2):
            stopped = False
            for rank, number in enumerate(order):  # the step-down procedure itself
                stopped |= p[number] > level / (len(p) - rank)
                assert (holm(p)[number] <= level) == (not stopped)


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    for speakers in (5, 6, 8, 10, 12):
        shares = [f"{rejected(level, count, speakers):.1%} at {level:.0%}" for level in (0.05, 0.01)]
        print(f"{speakers} speakers, {count} simulations of a true null: rejected {', '.join(shares)}")
