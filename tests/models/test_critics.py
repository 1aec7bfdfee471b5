"""Critics and conditional models: their formulas, the truth they hold, and the same scores and gradients on eight devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from infoser.batch_axis import SINGLE, BatchAxis
from infoser.models.conditionals import CategoricalConditional, GaussianConditional, MixtureConditional
from infoser.models.critics import BilinearCritic, ConcatenatedCritic, DistanceCritic, SeparableCritic

AXIS = BatchAxis("devices", 8)
RNG = np.random.default_rng(0)
X, Y = (jnp.asarray(RNG.standard_normal((16, dim)), jnp.float32) for dim in (3, 2))
CRITICS = {
    "separable": lambda axis: SeparableCritic((5,), 4, axis=axis),
    "separable alone": lambda axis: SeparableCritic((5,), 4, per_side=False, axis=axis),
    "bilinear": lambda axis: BilinearCritic(axis=axis),
    "bilinear alone": lambda axis: BilinearCritic(per_side=False, axis=axis),
    "distance": lambda axis: DistanceCritic(2, axis=axis),
    "concatenated": lambda axis: ConcatenatedCritic((5, 4), squares=True, block=3, axis=axis),
}


def moved(params):
    """Parameters none of which is zero."""
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(1)
    return jax.tree.unflatten(tree, [leaf + 0.3 * rng.standard_normal(leaf.shape).astype(np.float32) for leaf in leaves])


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def dense(params, x):
    return np.asarray(x, np.float64) @ np.asarray(params["kernel"], np.float64) + np.asarray(params.get("bias", 0.0))


def mlp(params, x):
    return dense(params["Dense_1"], leaky(dense(params["Dense_0"], x)))


def quadratic(params, name, side):
    side = np.asarray(side, np.float64)
    form = np.einsum("ik,kl,il->i", side, params[f"{name}_quadratic"]["kernel"], side) / side.shape[1]
    return form + dense(params[f"{name}_linear"], side)[:, 0]


def pair(name, params, x, y):
    """f of one x and one y, (1, dim) each, in float64."""
    if name.startswith("separable"):
        a, b = mlp(params["x"], x)[0], mlp(params["y"], y)[0]
        sides = a[4:].sum() + b[4:].sum()
        return a[:4] @ b[:4] / 2 + sides
    if name == "concatenated":
        joined = dense(params["x"], np.concatenate([x, x**2], axis=1)) + dense(params["y"], np.concatenate([y, y**2], axis=1))
        return mlp(params["pairs"], leaky(joined))[0, 0]
    if name == "bilinear alone":
        return (dense(params["weight"], x) @ y.T)[0, 0] / 2
    sides = quadratic(params, "x", x)[0] + quadratic(params, "y", y)[0] + params["constant"]
    if name == "distance":
        return sides - 0.5 * ((dense(params["x_projection"], x) - dense(params["y_projection"], y)) ** 2).sum()
    return sides + (dense(params["weight"], x) @ y.T)[0, 0] / 2


def head(params, name):
    """A conditional's network of X, with one hidden layer."""
    return dense(params[name], leaky(dense(params[f"{name}_hidden"]["Dense_0"], X)))


@pytest.mark.parametrize("name", CRITICS)
def test_every_pair_is_scored_by_the_formula(name):
    critic = CRITICS[name](SINGLE)
    params = moved(jax.jit(critic.init)(jax.random.key(0), X, Y))
    scores = jax.jit(critic.apply)(params, X, Y)
    assert scores.shape == (16, 16)
    for i, j in ((0, 0), (3, 3), (0, 15), (15, 0), (7, 4)):
        own = (np.asarray(X[i : i + 1], np.float64), np.asarray(Y[j : j + 1], np.float64))
        assert float(scores[i, j]) == pytest.approx(float(pair(name, params["params"], *own)), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", ["separable", "bilinear", "distance", "concatenated"])
def test_eight_devices_score_and_learn_as_one(name):
    whole, divided = CRITICS[name](SINGLE), CRITICS[name](AXIS)
    params = moved(jax.jit(whole.init)(jax.random.key(0), X, Y))
    weight = jnp.asarray(RNG.standard_normal((16, 16)), jnp.float32)

    def value(critic, params, x, y):
        scores = critic.apply(params, x, y)
        return (weight * scores).sum(), scores

    def on_each(_, params):
        own, scores = jax.grad(lambda p: value(divided, p, AXIS.local(X), AXIS.local(Y)), has_aux=True)(params)
        return AXIS.mean(own), scores

    gradients, scores = jax.jit(jax.grad(lambda p: value(whole, p, X, Y), has_aux=True))(params)
    of_devices, their_scores = jax.pmap(on_each, axis_name=AXIS.name, in_axes=(0, None))(np.arange(8), params)
    for device in (0, 7):
        np.testing.assert_allclose(their_scores[device], scores, rtol=1e-5, atol=1e-5)
        for actual, expected in zip(jax.tree.leaves(of_devices), jax.tree.leaves(gradients), strict=True):
            assert np.linalg.norm(actual[device] - expected) <= 1e-5 * max(float(jnp.linalg.norm(expected)), 1e-3)


def test_blocks_of_a_concatenated_critic_change_nothing():
    params = jax.jit(ConcatenatedCritic((5, 4)).init)(jax.random.key(0), X, Y)

    @jax.jit
    def learn(params):
        critics = [ConcatenatedCritic((5, 4), block=block) for block in (1, 5, 16)]
        return [jax.value_and_grad(lambda p, critic=critic: (critic.apply(p, X, Y) ** 2).sum())(params) for critic in critics]

    first, *others = learn(params)
    for value, gradients in others:
        assert float(value) == pytest.approx(float(first[0]), rel=1e-5)
        for actual, expected in zip(jax.tree.leaves(gradients), jax.tree.leaves(first[1]), strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4)


def test_bilinear_and_distance_critics_hold_the_log_ratio_of_gaussians():
    # One dimension, correlation ρ: ½ ln(1/(1−ρ²)) − (ρ²x² + ρ²y² − 2ρxy) / 2(1−ρ²).
    rho = 0.8
    narrow = 1 - rho**2
    x, y = (np.asarray(side[:, :1], np.float64) for side in (X, Y))
    truth = -0.5 * np.log(narrow) - (rho**2 * (x**2 + y.T**2) - 2 * rho * x @ y.T) / (2 * narrow)
    side, none = {"kernel": jnp.full((1, 1), -(rho**2) / (2 * narrow))}, {"kernel": jnp.zeros((1, 1))}
    common = {"constant": jnp.float32(-0.5 * np.log(narrow)), "x_linear": none, "y_linear": none}
    bilinear = common | {"x_quadratic": side, "y_quadratic": side, "weight": {"kernel": jnp.full((1, 1), rho / narrow)}}
    actual = BilinearCritic().apply({"params": bilinear}, X[:, :1], Y[:, :1])
    np.testing.assert_allclose(actual, truth, rtol=1e-4, atol=1e-5)
    rest = {"kernel": jnp.full((1, 1), (rho - rho**2) / (2 * narrow))}
    scale = {"kernel": jnp.full((1, 1), np.sqrt(rho / narrow), jnp.float32)}
    distance = common | {"x_quadratic": rest, "y_quadratic": rest, "x_projection": scale, "y_projection": scale}
    actual = DistanceCritic(1).apply({"params": distance}, X[:, :1], Y[:, :1])
    np.testing.assert_allclose(actual, truth, rtol=1e-4, atol=1e-5)


def test_conditionals_are_log_densities():
    label = jnp.asarray(RNG.integers(0, 3, 16), jnp.int32)
    categorical = CategoricalConditional(3, (5,))
    params = moved(jax.jit(categorical.init)(jax.random.key(0), X, label))
    logits = head(params["params"], "logits")
    expected = (logits - special.logsumexp(logits, axis=1, keepdims=True))[np.arange(16), label]
    np.testing.assert_allclose(jax.jit(categorical.apply)(params, X, label), expected, rtol=1e-4, atol=1e-5)

    gaussian = GaussianConditional(2, (5,))
    params = moved(jax.jit(gaussian.init)(jax.random.key(0), X, Y))
    deviation = np.exp(6 * np.tanh(head(params["params"], "log_variance") / 12))
    of_pairs = stats.norm.logpdf(np.asarray(Y)[None], head(params["params"], "mean")[:, None], deviation[:, None]).sum(axis=-1)
    actual = jax.jit(lambda p: (gaussian.apply(p, X, Y), gaussian.apply(p, X, Y, method="of_pairs")))(params)
    np.testing.assert_allclose(actual[0], np.diagonal(of_pairs), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(actual[1], of_pairs, rtol=1e-4, atol=1e-4)


def test_a_mixture_is_a_density_of_several_modes():
    mixture = MixtureConditional(1, 3, (5,))
    params = moved(jax.jit(mixture.init)(jax.random.key(0), X, Y[:, :1]))
    apart = 8.0 * jnp.arange(3.0)[:, None]
    params["params"]["apart"] = apart
    grid = np.linspace(-40, 60, 4001, dtype=np.float32)
    density = np.exp(jax.jit(mixture.apply)(params, jnp.repeat(X[:1], len(grid), axis=0), jnp.asarray(grid[:, None])))
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=1e-3)
    assert ((density[1:-1] > density[:-2]) & (density[1:-1] > density[2:])).sum() == 3


@pytest.mark.parametrize("hidden", [(), (5,)])
def test_conditionals_begin_as_if_x_told_nothing(hidden):
    same = jnp.tile(Y[:1], (16, 1))
    for module in (GaussianConditional(2, hidden), MixtureConditional(2, 3, hidden)):
        # Not in one program: there the zeros would be constants, by which XLA for CPU (jax 0.10.2) may multiply wrongly.
        said = jax.jit(module.apply)(jax.jit(module.init)(jax.random.key(0), X, same), X, same)
        np.testing.assert_allclose(said, said[0], rtol=1e-6)
