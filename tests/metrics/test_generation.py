"""Bounds on information in generated features against closed forms."""

import math

import numpy as np
import pytest
from scipy import integrate, special, stats

from infoser.metrics.generation import (
    audio_text_information_given_class,
    class_information_lower_bound,
    mean_and_error,
)


def two_gaussians(rng, counts, distance):
    """Features of two classes at ±distance/2 with unit noise; log posterior under a uniform prior; labels."""
    label = np.repeat([0, 1], counts)
    feature = (label - 0.5) * distance + rng.standard_normal(len(label))
    return special.log_softmax(np.stack([-distance * feature / 2, distance * feature / 2], axis=1), axis=1), label


def information(distance):
    """I(c;h) of the two Gaussians by quadrature, in nats."""

    def integrand(x):
        posterior = special.expit(distance * x)
        return stats.norm.pdf(x, distance / 2) * (math.log(2) + math.log(posterior))

    return integrate.quad(integrand, -12, 12 + distance)[0]


@pytest.mark.parametrize("distance", [0.5, 2.0, 5.0])
@pytest.mark.parametrize("counts", [(20_000, 20_000), (36_000, 4_000)])
def test_the_true_posterior_reaches_the_truth_whatever_the_frequencies(distance, counts):
    log_posterior, label = two_gaussians(np.random.default_rng(0), counts, distance)
    own = np.take_along_axis(log_posterior, label[:, None], axis=1)[:, 0]
    error = 0.5 * math.sqrt(sum(own[label == one].var() / counts[one] for one in (0, 1)))
    assert abs(class_information_lower_bound(log_posterior, label) - information(distance)) < 4 * error


def test_a_wrong_q_gives_less_and_no_q_more_than_the_entropy():
    log_posterior, label = two_gaussians(np.random.default_rng(1), (20_000, 20_000), 2.0)
    truth = class_information_lower_bound(log_posterior, label)
    for scale in (0.3, 3.0):
        assert class_information_lower_bound(special.log_softmax(scale * log_posterior, axis=1), label) < truth
    sure = special.log_softmax(1e4 * np.eye(2)[label], axis=1)
    assert truth < class_information_lower_bound(sure, label) <= math.log(2)
    # A q that knows nothing, and one that is wrong.
    assert class_information_lower_bound(np.full((40_000, 2), -math.log(2)), label) == pytest.approx(0, abs=1e-12)
    assert class_information_lower_bound(log_posterior[:, ::-1], label) < 0


@pytest.mark.parametrize("classes", [2, 4, 7])
def test_the_ceiling_is_that_of_the_classes_that_occur(classes):
    label = np.repeat(np.arange(classes), 3)
    log_probability = special.log_softmax(100.0 * np.eye(classes + 2)[label], axis=1).astype(np.float32)
    bound = class_information_lower_bound(log_probability, label)
    assert bound == pytest.approx(math.log(classes)) and bound <= math.log(classes)


def test_mean_and_error():
    assert mean_and_error({"session1": [1.0, 3.0]}) == (2.0, None)  # seeds of one fold are no independent estimates
    mean, error = mean_and_error({"a": [0.0, 2.0], "b": [2.0], "c": [3.0, 3.0], "d": [5.0, 7.0]})
    assert mean == 3.0
    assert error == pytest.approx(stats.sem([1.0, 2.0, 3.0, 6.0]))


def critic_scores(rng, label, dim, rho):
    """ln p(x, y | c) / p(x | c) p(y | c) for deviations x, y from the class centres, correlated by rho."""
    x = rng.standard_normal((len(label), dim))
    y = rho * x + math.sqrt(1 - rho**2) * rng.standard_normal(x.shape)
    a, b = x[:, None], y[None]
    return (-0.5 * math.log(1 - rho**2) - (rho**2 * (a**2 + b**2) - 2 * rho * a * b) / (2 * (1 - rho**2))).sum(axis=2)


@pytest.mark.parametrize(("dim", "rho"), [(1, 0.5), (1, 0.8), (4, 0.5)])
def test_infonce_within_classes_is_near_the_truth_and_below(dim, rho):
    rng = np.random.default_rng(2)
    label = np.repeat([0, 1, 3], [300, 200, 100])
    truth = -0.5 * dim * math.log(1 - rho**2)
    bounds = [audio_text_information_given_class(critic_scores(rng, label, dim, rho), label) for _ in range(30)]
    error = np.std(bounds, ddof=1) / math.sqrt(len(bounds))
    assert np.mean(bounds) < truth + 3 * error
    assert np.mean(bounds) > 0.95 * truth - 3 * error


def test_what_the_class_alone_tells_does_not_count():
    # A critic that sees nothing but the class scores all pairs of a class alike.
    label = np.repeat([0, 1], [30, 50])
    scores = np.where(label[:, None] == label, 50.0, -50.0)
    assert audio_text_information_given_class(scores, label) == pytest.approx(0, abs=1e-12)


def test_infonce_within_classes_by_hand():
    label = np.array([0, 1, 0, 2, 1, 1])
    scores = np.random.default_rng(3).standard_normal((6, 6)).astype(np.float32)
    by_class = []
    for rows in ([0, 2], [1, 4, 5]):  # class 2 has one row: nothing to tell it from
        own = scores[np.ix_(rows, rows)].astype(float)
        by_class.append(np.mean([own[i, i] - math.log(np.mean(np.exp(own[i]))) for i in range(len(rows))]))
    assert audio_text_information_given_class(scores, label) == pytest.approx(np.mean(by_class))
    assert audio_text_information_given_class(1e4 * np.eye(6), label) == pytest.approx((math.log(2) + math.log(3)) / 2)
    assert audio_text_information_given_class(scores[:3, :3], np.array([0, 1, 2])) == 0.0
