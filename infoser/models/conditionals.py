"""Conditional models q(y|x) as modules that give ln q in nats: the heads of Barber–Agakov bounds and of vCLUB.

Each is called with x and y alike and returns ln q(yᵢ|xᵢ) for every row, summed over the dimensions of y. Without hidden layers
everything is linear in x; all of them begin as if x told nothing.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from infoser.batch_axis import SINGLE, BatchAxis
from infoser.losses import likelihoods
from infoser.models.mlp import MLP

#: ln σ² is kept inside ± this: a variance can neither vanish nor explode.
LARGEST_LOG_VARIANCE = 12.0


def _from_zero(x: Array, hidden: Sequence[int], out: int, name: str) -> Float[Array, "batch out"]:
    """A network that begins as 0 for every x, which is all there is to know of x where it tells nothing."""
    if hidden:
        x = jax.nn.leaky_relu(MLP(tuple(hidden[:-1]), hidden[-1], name=f"{name}_hidden")(x), 0.2)
    return nn.Dense(out, kernel_init=nn.initializers.zeros_init(), name=name)(x)


def _bounded(log_variance: Array) -> Array:
    return LARGEST_LOG_VARIANCE * jnp.tanh(log_variance / LARGEST_LOG_VARIANCE)


class CategoricalConditional(nn.Module):
    """ln q(c|x) of a class c.

    Attributes:
      n_classes: number of classes.
      hidden: width of each hidden layer.
      axis: how the batch is spread over devices; only `of_pairs` reads the whole of it.
    """

    n_classes: int
    hidden: Sequence[int] = ()
    axis: BatchAxis = SINGLE

    @nn.compact
    def _logits(self, x: Array) -> Float[Array, "batch classes"]:
        return _from_zero(x, self.hidden, self.n_classes, "logits")

    def __call__(self, x: Float[Array, "batch x_dim"], label: Int[Array, " batch"]) -> Float[Array, " batch"]:
        return likelihoods.categorical_log_likelihood(self._logits(x), label)

    def of_pairs(self, x: Float[Array, "batch x_dim"], label: Int[Array, " batch"]) -> Float[Array, "whole whole"]:
        """ln q(cⱼ|xᵢ) for every pair of the whole batch."""
        return self.axis.whole(jax.nn.log_softmax(self._logits(x))[:, self.axis.whole(label)])

    def of_all(self, x: Float[Array, "batch x_dim"], label: Int[Array, " batch"]) -> Float[Array, " batch"]:
        """(1/N) Σⱼ ln q(cⱼ|xᵢ) over the whole batch, for every row."""
        share = jax.nn.one_hot(self.axis.whole(label), self.n_classes).mean(axis=0, keepdims=True)
        return (jax.nn.log_softmax(self._logits(x)) * share).sum(axis=-1)


class GaussianConditional(nn.Module):
    """ln q(y|x) of a diagonal Gaussian whose mean and log-variance are networks of x.

    Attributes:
      dim: width of y.
      hidden: width of each hidden layer of either network.
      axis: how the batch is spread over devices; only `of_pairs` reads the whole of it.
    """

    dim: int
    hidden: Sequence[int] = ()
    axis: BatchAxis = SINGLE

    @nn.compact
    def _parameters(self, x: Array) -> tuple[Array, Array]:
        return _from_zero(x, self.hidden, self.dim, "mean"), _bounded(_from_zero(x, self.hidden, self.dim, "log_variance"))

    def __call__(self, x: Float[Array, "batch x_dim"], y: Float[Array, "batch dim"]) -> Float[Array, " batch"]:
        return likelihoods.gaussian_log_likelihood(*self._parameters(x), y)

    def of_pairs(self, x: Float[Array, "batch x_dim"], y: Float[Array, "batch dim"]) -> Float[Array, "whole whole"]:
        """ln q(yⱼ|xᵢ) for every pair of the whole batch."""
        return self.axis.whole(likelihoods.gaussian_log_likelihood_of_pairs(*self._parameters(x), self.axis.whole(y)))

    def of_all(self, x: Float[Array, "batch x_dim"], y: Float[Array, "batch dim"]) -> Float[Array, " batch"]:
        """(1/N) Σⱼ ln q(yⱼ|xᵢ) over the whole batch, for every row; at the cost of a row, not of N."""
        return likelihoods.gaussian_log_likelihood_of_all(*self._parameters(x), self.axis.whole(y))


class MixtureConditional(nn.Module):
    """ln q(y|x) of a mixture of diagonal Gaussians whose weights, means and log-variances are one network of x each.

    Attributes:
      dim: width of y.
      components: how many Gaussians.
      hidden: width of each hidden layer of either network.
    """

    dim: int
    components: int
    hidden: Sequence[int] = ()

    @nn.compact
    def __call__(self, x: Float[Array, "batch x_dim"], y: Float[Array, "batch dim"]) -> Float[Array, " batch"]:
        shape = (len(x), self.components, self.dim)
        # The components start apart, or they would stay together.
        apart = self.param("apart", nn.initializers.normal(1.0), shape[1:])
        mean, log_variance = (
            _from_zero(x, self.hidden, self.components * self.dim, name).reshape(shape) for name in ("mean", "log_variance")
        )
        logits = _from_zero(x, self.hidden, self.components, "logits")
        return likelihoods.gaussian_mixture_log_likelihood(logits, mean + apart[None], _bounded(log_variance), y)
