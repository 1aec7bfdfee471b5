"""Multiples of the labels, against curves whose inverse is known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from infoser.metrics.label_multiplier import Multiplier, label_multiplier, monotone

FRACTIONS = (0.05, 0.1, 0.25, 1.0)
#: UA = 0.6 + 0.05 ln f, whose inverse is f = exp((UA - 0.6) / 0.05).
CURVE = {fraction: 0.6 + 0.05 * math.log(fraction) for fraction in FRACTIONS}


@pytest.mark.parametrize("at", FRACTIONS)
@pytest.mark.parametrize("more", [0.5, 0.8, 1.0, 1.25, 2.0, 3.0])
def test_a_curve_that_is_linear_in_the_log_is_inverted(at: float, more: float) -> None:
    found = label_multiplier(0.05 * math.log(more), at, CURVE)
    if more * at > 1:
        assert found == (1 / at, ">")
    elif more * at < 0.05:
        assert found == (0.05 / at, "<")
    else:
        assert found.bound == "" and found.value == pytest.approx(more)


FALLING = {1.0: 0.60, 0.25: 0.52, 0.1: 0.53, 0.05: 0.45}


@pytest.mark.parametrize("curve", [CURVE, FALLING, {1.0: 0.48, 0.1: 0.50}, {1.0: 0.5, 0.1: 0.5}])
def test_a_gain_of_nothing_is_no_multiple(curve: dict[float, float]) -> None:
    assert all(label_multiplier(0.0, at, curve) == (1.0, "") for at in curve)


def test_between_two_fractions_the_curve_is_straight_in_the_log() -> None:
    curve = {1.0: 0.6, 0.01: 0.4}
    assert label_multiplier(0.1, 0.01, curve) == (pytest.approx(10.0), "")
    assert label_multiplier(0.05, 0.01, curve) == (pytest.approx(math.sqrt(10)), "")


def test_beyond_the_ends_only_that_is_said() -> None:
    assert label_multiplier(0.01, 1.0, {1.0: 0.6}) == (1.0, ">")
    assert label_multiplier(-0.01, 1.0, {1.0: 0.6}) == (1.0, "<")
    assert str(label_multiplier(0.3, 0.1, CURVE)) == "> 10" and str(label_multiplier(-0.4, 0.1, CURVE)) == "< 0.5"
    assert str(Multiplier(2.714, "")) == "2.7"


def test_where_the_curve_falls_both_have_their_mean_and_level_parts_their_first() -> None:
    curve = {0.05: 0.40, 0.1: 0.52, 0.25: 0.48, 1.0: 0.60}  # 0.5 at both in the middle
    assert label_multiplier(0.1, 0.05, curve) == (pytest.approx(2.0), "")
    # Above the level part, from its last fraction on; gains count from the mean, not from what was seen.
    assert label_multiplier(0.05, 0.25, curve) == (pytest.approx(2.0), "")
    assert label_multiplier(0.05, 0.1, curve) == (pytest.approx(5.0), "")


@pytest.mark.parametrize("curve, at", [({}, 0.1), ({0.0: 0.5}, 0.0), ({0.1: 0.5}, 0.2)])
def test_no_curve_no_multiple(curve: dict[float, float], at: float) -> None:
    with pytest.raises(ValueError, match="learning curve"):
        label_multiplier(0.1, at, curve)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_pooling_is_the_isotonic_regression(values: list[float]) -> None:
    expected = IsotonicRegression().fit_transform(np.arange(len(values)), values)
    found = monotone(np.array(values))
    assert (np.diff(found) >= 0).all() and found == pytest.approx(expected)
