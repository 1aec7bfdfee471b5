"""One term ±Î(x;y) of a loss: an estimator by its name, with the critic or conditional model that it reads.

What is estimated, and with which guarantees, is said in `losses.mutual_information` and `losses.likelihoods`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Num

from infoser.batch_axis import SINGLE, BatchAxis
from infoser.losses import mutual_information as mi
from infoser.models import apply
from infoser.models.conditionals import CategoricalConditional, GaussianConditional, MixtureConditional
from infoser.models.critics import BilinearCritic, ConcatenatedCritic, DistanceCritic, SeparableCritic

#: Estimators that read a conditional model q(y|x); all others read a critic.
CONDITIONAL = ("barber-agakov", "mixture", "club")
#: Gaussians of "mixture".
COMPONENTS = 4


class Said(NamedTuple):
    """What a term says of a batch.

    Attributes:
      objective: to be maximised in x, y and the term's own parameters, which it may lead by other ways than `estimate`.
      estimate: Î(x;y) as its estimator defines it.
      log_average: of "mine", the moving average for the next batch; else as it was given.
    """

    objective: Float[Array, ""]
    estimate: Float[Array, ""]
    log_average: Float[Array, ""]


@dataclass(frozen=True)
class InformationTerm:
    """Î(x;y) of a batch, maximised.

    - infonce, nwj, dv, jsd: the critic is led by the estimate itself;
    - mine: dv in value, its gradient corrected by a moving average;
    - smile: the critic is led by jsd, x and y by SMILE with that critic held fixed, as its authors do;
    - barber-agakov, mixture: ln q(y|x) per dimension of y, which bounds I(x;y) up to the constant h(y) (H(c) for classes);
    - club: q is led by its likelihood, x and y by vCLUB with q held fixed. CLUB bounds from above: raising it need not raise
      the information.

    NWJ and JSD are asked for the log ratio itself (NWJ's own best critic is 1 + that), so a critic that starts near 0 starts
    at the best of independent pairs.

    Attributes:
      estimator: one of the names above.
      critic: separable, bilinear, distance or concatenated; not read by the estimators of CONDITIONAL.
      width: of the hidden layers.
      axis: how the batch is spread over devices.
      n_classes: where y is a class; 0 for features.
      dim: of the separable critic's inner product, and the distance critic's rank.
    """

    estimator: str
    critic: str
    width: int
    axis: BatchAxis = SINGLE
    n_classes: int = 0
    dim: int = 32

    def _model(self, y: Num[Array, "batch *dim"]) -> nn.Module:
        hidden = (self.width,)
        if self.estimator in CONDITIONAL:
            if self.n_classes:
                return CategoricalConditional(self.n_classes, hidden, self.axis)
            if self.estimator == "mixture":
                return MixtureConditional(y.shape[-1], COMPONENTS, hidden)
            return GaussianConditional(y.shape[-1], hidden, self.axis)
        if self.critic == "bilinear":
            return BilinearCritic(axis=self.axis)
        if self.critic == "distance":
            return DistanceCritic(self.dim, axis=self.axis)
        if self.critic == "concatenated":
            return ConcatenatedCritic((self.width, self.width), axis=self.axis)
        return SeparableCritic(hidden, self.dim, axis=self.axis)

    def _read(self, y: Num[Array, "batch *dim"]) -> Any:
        """y as the model takes it: critics read classes by their one-hot codes."""
        return jax.nn.one_hot(y, self.n_classes) if self.n_classes and self.estimator not in CONDITIONAL else y

    def init(self, key: jax.Array, x: Float[Array, "batch x_dim"], y: Num[Array, "batch *dim"]) -> Any:
        """Parameters of the critic or of q."""
        return self._model(y).init(key, x, self._read(y))

    def scores(self, params: Any, x: Float[Array, "batch x_dim"], y: Num[Array, "batch *dim"]) -> Float[Array, "whole whole"]:
        """f(xᵢ, yⱼ), or ln q(yⱼ|xᵢ), of all pairs of a batch; a mixture is read pair by pair."""
        model, y = self._model(y), self._read(y)
        if self.estimator == "mixture":

            def of_pairs(one: Any) -> Any:
                return apply(model, params, jnp.broadcast_to(one, (len(y), *one.shape)), y)

            return jax.lax.map(of_pairs, x)
        return apply(model, params, x, y, method="of_pairs" if self.estimator in CONDITIONAL else None)

    def __call__(
        self,
        params: Any,
        x: Float[Array, "batch x_dim"],
        y: Num[Array, "batch *dim"],
        log_average: Float[Array, ""] | float = mi.MINE_START,
    ) -> Said:
        """The term on this device's rows of a batch; means are over them, or over the whole batch where pairs are read."""
        average = jnp.asarray(log_average, jnp.float32)
        fixed, (x_fixed, y_fixed) = jax.lax.stop_gradient(params), jax.lax.stop_gradient((x, y))
        if self.estimator in ("barber-agakov", "mixture"):
            dim = 1 if self.n_classes else y.shape[-1]
            estimate = apply(self._model(y), params, x, y).mean() / dim
            return Said(estimate, estimate, average)
        if self.estimator == "club":
            likelihood = apply(self._model(y), params, x_fixed, y_fixed).mean()
            # `mi.club` of all pairs, of which only each row's mean counts.
            of_all = apply(self._model(y), fixed, x, y, method="of_all")
            estimate = (apply(self._model(y), fixed, x, y) - of_all).mean()
            return Said(estimate + _led_by(likelihood), estimate, average)
        if self.estimator == "smile":
            estimate = mi.smile(self.scores(fixed, x, y)).mean()
            return Said(estimate + _led_by(mi.jsd(self.scores(params, x_fixed, y_fixed)).mean()), estimate, average)
        scores = self.scores(params, x, y)
        if self.estimator == "mine":
            values, average = mi.mine(scores, average)
            return Said(values.mean(), values.mean(), average)
        by_name = {"infonce": mi.infonce, "nwj": lambda f: mi.nwj(f + 1.0), "dv": mi.dv, "jsd": mi.jsd}
        estimate = by_name[self.estimator](scores).mean()
        return Said(estimate, estimate, average)


def _led_by(value: Float[Array, ""]) -> Float[Array, ""]:
    """Zero, with the gradient of a value."""
    return value - jax.lax.stop_gradient(value)
