"""Information by fresh models on held-out rows: closed forms, ceilings, nulls, and what is refused."""

import math

import numpy as np
import pytest

from infoser.errors import InfoserError
from infoser.metrics import information
from infoser.metrics.information import ESTIMATORS, mutual_information
from infoser.models.conditionals import CategoricalConditional, GaussianConditional
from infoser.models.critics import BilinearCritic, DistanceCritic

ROWS, PARTS = 6144, 3
SETTINGS = {"parts": PARTS, "steps": 200, "batch_size": 128, "reading_size": 512}


def pairs(rows, dim, truth, seed=0):
    """Correlated Gaussians with I = truth nats, off centre and of any scale, and h(y)."""
    rng, rho = np.random.default_rng(seed), math.sqrt(-math.expm1(-2 * truth / dim))
    x = rng.standard_normal((rows, dim))
    y = rho * x + math.sqrt(1 - rho**2) * rng.standard_normal((rows, dim))
    scale = np.linspace(0.5, 3, dim)
    entropy = dim * 0.5 * math.log(2 * math.pi * math.e) + np.log(scale).sum()
    return (5 + 10 * x).astype(np.float32), (scale * y - 3).astype(np.float32), float(entropy)


def near(found, truth, tolerance=0.05):
    sampling = 4 * found.standard_error
    return abs(found.estimate_nats - truth) < tolerance * truth + sampling


@pytest.mark.parametrize("name", ["infonce", "mine", "jsd"])
def test_critics_reach_the_closed_form(name):
    x, y, _ = pairs(ROWS, 1, 0.5)
    found = mutual_information(DistanceCritic(1), x, y, estimator=ESTIMATORS[name], learning_rate=0.1, **SETTINGS)
    assert [reading for reading, _ in ESTIMATORS[name].readings] == list(found)
    for reading in found.values():
        assert near(reading, 0.5), reading
        assert reading.standard_error < 0.03
        assert abs(reading.null_nats) < 4 * reading.null_standard_error + 0.005
        assert reading.batches.shape == (1, PARTS, 4)
        assert reading.estimate_nats == pytest.approx(reading.batches.mean())
    if name == "infonce":
        assert found["infonce"].ceiling_nats == pytest.approx(math.log(512))
    else:
        assert all(reading.ceiling_nats is None for reading in found.values())


def test_barber_agakov_and_club_of_a_gaussian_in_many_dimensions():
    x, y, entropy = pairs(ROWS, 20, 2.0)
    q = GaussianConditional(20)
    settings = SETTINGS | {"learning_rate": 0.03}
    found = mutual_information(q, x, y, estimator=ESTIMATORS["barber-agakov"], entropy_nats=entropy, **settings)
    assert near(found["barber-agakov"], 2.0)
    assert abs(found["barber-agakov"].null_nats) < 4 * found["barber-agakov"].null_standard_error
    upper = mutual_information(q, x, y, estimator=ESTIMATORS["club"], **settings)["club"]
    squared = -math.expm1(-0.2)
    assert near(upper, 20 * squared / (1 - squared))
    assert abs(upper.null_nats) < 4 * upper.null_standard_error + 0.01


def test_infonce_of_nearly_equal_pairs_stops_at_its_ceiling():
    x, y, _ = pairs(400, 20, 60.0)
    settings = SETTINGS | {"reading_size": 32, "learning_rate": 0.3}
    found = mutual_information(BilinearCritic(), x, y, estimator=ESTIMATORS["infonce"], **settings)["infonce"]
    assert found.ceiling_nats == pytest.approx(math.log(32))
    assert (found.batches <= found.ceiling_nats + 1e-6).all()
    assert found.batches.max() > 0.95 * found.ceiling_nats


def test_a_class_is_bounded_by_its_entropy():
    rng = np.random.default_rng(1)
    label = rng.choice(3, 1200, p=[0.5, 0.3, 0.2]).astype(np.int32)
    x = (20.0 * np.eye(3)[label] + rng.standard_normal((1200, 3))).astype(np.float32)
    settings = SETTINGS | {"learning_rate": 0.1, "seeds": 2}
    found = mutual_information(CategoricalConditional(3), x, label, estimator=ESTIMATORS["barber-agakov"], **settings)[
        "barber-agakov"
    ]
    frequency = np.bincount(label) / len(label)
    entropy = -(frequency * np.log(frequency)).sum()
    assert found.ceiling_nats == pytest.approx(entropy)
    assert found.batches.shape == (2, PARTS, 1)
    assert 0.97 * entropy < found.estimate_nats
    # The entropy of a part differs a little from that of all rows; with every row read once the mean is bounded.
    assert found.estimate_nats <= entropy + 1e-6
    assert abs(found.null_nats) < 4 * found.null_standard_error + 0.02


def test_rows_are_dealt_once_and_shuffled_within_their_set():
    rows = information._deal(103, parts=4, seeds=2, seed=0)
    sizes = {"read": 25, "choose": 8, "fit": 67}
    assert {name: array.shape for name, array in rows.items()} == {name: (16, size, 2) for name, size in sizes.items()}
    real, null = ({name: array[half] for name, array in rows.items()} for half in (slice(8), slice(8, 16)))
    for run in range(8):
        sets = [set(real[name][run, :, 0]) for name in sizes]
        assert len(set().union(*sets)) == sum(map(len, sets)) == 100
        for name in sizes:
            assert (real[name][run, :, 0] == real[name][run, :, 1]).all()
            np.testing.assert_array_equal(null[name][run, :, 0], real[name][run, :, 0])
            assert set(null[name][run, :, 1]) == set(real[name][run, :, 0])
        assert (null["fit"][run, :, 0] == null["fit"][run, :, 1]).mean() < 0.2
    for seed in range(2):
        read = real["read"][4 * seed : 4 * seed + 4, :, 0]
        assert len(np.unique(read)) == 100


def test_the_error_is_that_of_one_dealing():
    batches = np.random.default_rng(2).standard_normal((3, 5, 2))
    mean, error = information._mean_and_error(batches)
    by_part = batches.mean(axis=2)
    assert mean == pytest.approx(by_part.mean())
    assert error == pytest.approx(math.sqrt(np.mean([np.var(one, ddof=1) / 5 for one in by_part])))


def test_the_same_seed_gives_the_same_estimate_however_many_at_once():
    x, y, entropy = pairs(400, 2, 1.0)
    settings = {"parts": 2, "steps": 20, "batch_size": 32, "learning_rate": 0.1, "entropy_nats": entropy}
    one, again, side_by_side, other = (
        mutual_information(GaussianConditional(2), x, y, estimator=ESTIMATORS["barber-agakov"], **settings, **changes)
        for changes in ({}, {}, {"at_once": 4}, {"seed": 1})
    )
    batches = one["barber-agakov"].batches
    np.testing.assert_array_equal(again["barber-agakov"].batches, batches)
    np.testing.assert_allclose(side_by_side["barber-agakov"].batches, batches, rtol=1e-3, atol=1e-4)
    assert np.abs(other["barber-agakov"].batches - batches).max() > 1e-3


def test_what_cannot_be_measured_is_refused():
    x, y, _ = pairs(400, 2, 1.0)
    with pytest.raises(InfoserError, match="entropy_nats"):
        mutual_information(GaussianConditional(2), x, y, estimator=ESTIMATORS["barber-agakov"])
    with pytest.raises(InfoserError, match="400 rows of x, but 399 of y"):
        mutual_information(BilinearCritic(), x, y[:-1], estimator=ESTIMATORS["nwj"])
    for changes in ({"parts": 1}, {"parts": 11}):
        with pytest.raises(InfoserError, match="at least 2 parts of 40 rows"):
            mutual_information(BilinearCritic(), x, y, estimator=ESTIMATORS["nwj"], **changes)
