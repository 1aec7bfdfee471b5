"""A term of information in a loss: it says what its estimator says, and leads whom it says it leads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infoser.losses import mutual_information as mi
from infoser.models.information import InformationTerm

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.standard_normal((24, 3)), jnp.float32)
Y = jnp.asarray(np.asarray(X[:, :2]) + 0.5 * RNG.standard_normal((24, 2)), jnp.float32)
LABEL = jnp.asarray(RNG.integers(0, 4, 24))
BY_SCORES = {
    "infonce": mi.infonce,
    "nwj": lambda f: mi.nwj(f + 1.0),
    "dv": mi.dv,
    "jsd": mi.jsd,
    "smile": mi.smile,
    "club": mi.club,
}
BY_SCORES |= {"mine": mi.dv}
CRITICS = ("separable", "bilinear", "distance", "concatenated")


def made(estimator, critic="separable", y=Y, n_classes=0):
    """The term, and parameters that are not those it starts from."""
    term = InformationTerm(estimator, critic, 8, n_classes=n_classes, dim=4)
    params = term.init(jax.random.key(0), X, y)
    keys = iter(jax.random.split(jax.random.key(1), 100))
    return term, jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(next(keys), leaf.shape), params)


@pytest.mark.parametrize("estimator", BY_SCORES)
def test_the_estimate_is_that_of_the_scores(estimator):
    term, params = made(estimator)
    scores = term.scores(params, X, Y)
    assert scores.shape == (24, 24)
    said = jax.jit(term)(params, X, Y)
    np.testing.assert_allclose(said.estimate, BY_SCORES[estimator](scores).mean(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(said.objective, said.estimate, rtol=1e-5)


def test_club_of_a_class_is_that_of_the_scores():
    term, params = made("club", y=LABEL, n_classes=4)
    np.testing.assert_allclose(term(params, X, LABEL).estimate, mi.club(term.scores(params, X, LABEL)).mean(), rtol=1e-4)


@pytest.mark.parametrize("critic", CRITICS)
def test_every_critic_reads_features_and_classes(critic):
    for y, n_classes in ((Y, 0), (LABEL, 4)):
        term, params = made("infonce", critic, y, n_classes)
        said = term(params, X, y)
        assert np.isfinite(said.estimate) and said.estimate <= np.log(24) + 1e-5
        one_hot = jax.nn.one_hot(y, 4) if n_classes else y
        np.testing.assert_allclose(term.scores(params, X, y), made("infonce", critic, one_hot)[0].scores(params, X, one_hot))


@pytest.mark.parametrize("estimator", ["barber-agakov", "mixture"])
def test_a_likelihood_is_given_per_dimension(estimator):
    term, params = made(estimator)
    diagonal = jnp.diagonal(term.scores(params, X, Y))
    np.testing.assert_allclose(term(params, X, Y).estimate, diagonal.mean() / 2, rtol=1e-4)


def test_the_likelihood_of_a_class_is_not_divided():
    term, params = made("barber-agakov", y=LABEL, n_classes=4)
    log_q = term.scores(params, X, LABEL)
    np.testing.assert_allclose(term(params, X, LABEL).estimate, jnp.diagonal(log_q).mean(), rtol=1e-5)
    assert (log_q < 0).all()


@pytest.mark.parametrize(("estimator", "leader"), [("smile", "jsd"), ("club", "likelihood")])
def test_whom_smile_and_club_lead(estimator, leader):
    """Features follow the estimate, the critic another objective: neither the other's."""
    term, params = made(estimator)

    def objective(params, x):
        return term(params, x, Y).objective

    of_params, of_x = jax.grad(objective, argnums=(0, 1))(params, X)
    _, estimate_x = jax.grad(lambda p, x: BY_SCORES[estimator](term.scores(p, x, Y)).mean(), argnums=(0, 1))(params, X)
    np.testing.assert_allclose(of_x, estimate_x, rtol=1e-3, atol=1e-6)

    def led(params):
        scores = term.scores(params, X, Y)
        return mi.jsd(scores).mean() if leader == "jsd" else jnp.diagonal(scores).mean()

    for one, other in zip(jax.tree.leaves(of_params), jax.tree.leaves(jax.grad(led)(params)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_mine_keeps_an_average_that_corrects_its_gradient():
    term, params = made("mine")
    first = term(params, X, Y)
    second = term(params, X, Y, first.log_average)
    values, average = mi.mine(term.scores(params, X, Y), first.log_average)
    np.testing.assert_allclose(second.log_average, average, rtol=1e-6)
    np.testing.assert_allclose(second.estimate, values.mean(), rtol=1e-6)
    # A larger average makes shuffled pairs count for less.
    small, large = (
        jax.grad(lambda p, a=average: term(p, X, Y, a).objective)(params) for average in (jnp.float32(0.0), jnp.float32(5.0))
    )
    assert any(not np.allclose(one, other) for one, other in zip(jax.tree.leaves(small), jax.tree.leaves(large), strict=True))
    other, of_other = made("dv")
    assert float(other(of_other, X, Y, 3.0).log_average) == 3.0


def test_training_a_term_finds_the_information_there_is():
    """Ascent on the objective raises each estimate above what it says of shuffled pairs."""
    shuffled = jnp.roll(Y, 7, axis=0)
    for estimator in ("infonce", "nwj", "dv", "jsd", "smile"):
        term = InformationTerm(estimator, "bilinear", 8)
        params = term.init(jax.random.key(0), X, Y)
        step = jax.jit(jax.grad(lambda p, term=term: term(p, X, Y).objective))
        for _ in range(60):
            params = jax.tree.map(lambda leaf, slope: leaf + 0.2 * slope, params, step(params))
        real, null = term(params, X, Y).estimate, term(params, X, shuffled).estimate
        assert real > null + 0.1, estimator
