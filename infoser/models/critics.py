"""Critics f(x, y) for estimates of mutual information: every x of a batch with every y, in families.

All give the scores of the whole batch on every device of its axis: entry (i, j) is f(xᵢ, yⱼ), the diagonal holds joint pairs.
Which family holds the best critic (the log density ratio) depends on the pair: for Gaussians the bilinear one with its
quadratic terms per side does, and so does the distance critic; a network only comes close.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from infoser.batch_axis import SINGLE, BatchAxis
from infoser.models.mlp import MLP


class SeparableCritic(nn.Module):
    """f(x, y) = ⟨a(x), b(y)⟩ / √dim + α(x) + β(y): N passes of a network each side, for N² scores (arXiv 1807.03748).

    Attributes:
      hidden: width of each hidden layer of either side's network.
      dim: width of the inner product.
      per_side: whether there are α and β, which InfoNCE needs no α for but the other estimators do.
      axis: how the batch is spread over devices.
    """

    hidden: Sequence[int]
    dim: int = 32
    per_side: bool = True
    axis: BatchAxis = SINGLE

    @nn.compact
    def __call__(self, x: Float[Array, "batch x_dim"], y: Float[Array, "batch y_dim"]) -> Float[Array, "whole whole"]:
        out = self.dim + self.per_side
        a = self.axis.whole(MLP(self.hidden, out, name="x")(x))
        b = self.axis.whole(MLP(self.hidden, out, name="y")(y))
        scores = a[:, : self.dim] @ b[:, : self.dim].T / jnp.sqrt(self.dim)
        return scores + a[:, self.dim :] + b[:, self.dim :].T if self.per_side else scores


class BilinearCritic(nn.Module):
    """f(x, y) = xᵀ W y / dim_y, and with `per_side` + xᵀ U x / dim_x + yᵀ V y / dim_y + uᵀ x + vᵀ y + c.

    With `per_side` it holds the log density ratio of every pair of jointly Gaussian vectors. All weights begin at zero, and f
    is linear in them: InfoNCE, NWJ, DV and JSD are then concave, so there is one optimum and every seed heads for it.

    Attributes:
      per_side: whether there are the terms of one side each.
      axis: how the batch is spread over devices.
    """

    per_side: bool = True
    axis: BatchAxis = SINGLE

    @nn.compact
    def __call__(self, x: Float[Array, "batch x_dim"], y: Float[Array, "batch y_dim"]) -> Float[Array, "whole whole"]:
        projected = _from_zero("weight", x, y.shape[-1]) / y.shape[-1]
        scores = self.axis.whole(projected) @ self.axis.whole(y).T
        if not self.per_side:
            return scores
        constant = self.param("constant", nn.initializers.zeros_init(), ())
        of_x, of_y = self.axis.whole(_quadratic("x", x)), self.axis.whole(_quadratic("y", y))
        return scores + of_x[:, None] + of_y[None, :] + constant


class DistanceCritic(nn.Module):
    """f(x, y) = −½ ‖A x − B y‖² + xᵀ U x / dim_x + yᵀ V y / dim_y + uᵀ x + vᵀ y + c: `BilinearCritic` with W ∝ AᵀB of low rank.

    It holds the same log ratios up to its rank. A narrow dependence, where W would have to be very large and cancel against
    U and V to many digits, takes only a large A here: with d = 1 and I = 4 nats W is 2,981, A about 55.

    Attributes:
      rank: rows of A and B; the lesser of x's and y's width is enough for Gaussians.
      axis: how the batch is spread over devices.
    """

    rank: int
    axis: BatchAxis = SINGLE

    @nn.compact
    def __call__(self, x: Float[Array, "batch x_dim"], y: Float[Array, "batch y_dim"]) -> Float[Array, "whole whole"]:
        # Small, so that f starts near a constant: NWJ never recovers from a start where all pairs score far below 0, and
        # where there is nothing to learn a constant is the best that there is.
        small = nn.initializers.variance_scaling(1e-4, "fan_in", "normal")
        ax, by = (
            nn.Dense(self.rank, use_bias=False, kernel_init=small, name=f"{n}_projection")(s) for n, s in (("x", x), ("y", y))
        )
        of_x, of_y = (
            _quadratic(name, side) - 0.5 * (projected**2).sum(axis=-1) for name, side, projected in (("x", x, ax), ("y", y, by))
        )
        constant = self.param("constant", nn.initializers.zeros_init(), ())
        scores = self.axis.whole(ax) @ self.axis.whole(by).T
        return scores + self.axis.whole(of_x)[:, None] + self.axis.whole(of_y)[None, :] + constant


class ConcatenatedCritic(nn.Module):
    """f(x, y) = MLP([x; y]) of every pair: the most flexible, at N² passes of the network (MINE, arXiv 1801.04062).

    The first layer is linear in [x; y], so it is computed for N rows of each side and added pair by pair. A block of rows of x
    at a time goes through the rest, again in its turn for gradients: activations in memory are block · N · width numbers.
    On several devices each scores its own rows of x with all of y.

    Attributes:
      hidden: width of each hidden layer; at least one.
      squares: whether the network reads the features' squares too, which quadratic log ratios need.
      block: rows of x at a time.
      axis: how the batch is spread over devices.
    """

    hidden: Sequence[int]
    squares: bool = False
    block: int = 64
    axis: BatchAxis = SINGLE

    @nn.compact
    def __call__(self, x: Float[Array, "batch x_dim"], y: Float[Array, "batch y_dim"]) -> Float[Array, "whole whole"]:
        if self.squares:
            x, y = (jnp.concatenate([side, side**2], axis=-1) for side in (x, y))
        of_x = nn.Dense(self.hidden[0], name="x")(x)
        of_y = self.axis.whole(nn.Dense(self.hidden[0], use_bias=False, name="y")(y))
        # The rest is a module of its own, with its parameters made here: one bound to this cannot be called inside a map.
        rest = MLP(tuple(self.hidden[1:]), 1)
        params = self.param("pairs", lambda key: rest.init(key, of_y[:1])["params"])

        @jax.checkpoint
        def of_row(row: Array) -> Array:
            return rest.apply({"params": params}, jax.nn.leaky_relu(row + of_y, 0.2))[:, 0]  # pyright: ignore

        return self.axis.whole(jax.lax.map(of_row, of_x, batch_size=min(self.block, len(of_x))))


def _from_zero(name: str, features: Array, out: int) -> Array:
    return nn.Dense(out, use_bias=False, kernel_init=nn.initializers.zeros_init(), name=name)(features)


def _quadratic(name: str, side: Array) -> Float[Array, " batch"]:
    """A quadratic form over the width, and a linear one; both begin at zero. To be called in a module."""
    form = _from_zero(f"{name}_quadratic", side, side.shape[-1]) * side
    return form.sum(axis=-1) / side.shape[-1] + _from_zero(f"{name}_linear", side, 1)[:, 0]
