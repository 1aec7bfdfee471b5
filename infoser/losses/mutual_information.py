"""Variational estimates of mutual information, in nats, per example.

Critic estimators read a score matrix whose entry (i, j) scores audio i with text j: the diagonal holds joint pairs,
the rest products of marginals. An estimate of a batch is the mean of what is returned. Which of them bound I(h;t):

- from below, in expectation, for any critic: InfoNCE (also at most ln N on every batch) and NWJ;
- from below for any critic, but only in the limit of a large batch: DV (MINE), whose logarithm of a batch mean overshoots;
- not at all: SMILE, which is low or high as its clipping says, and JSD, which is not in nats;
- from above, with the true conditional density: CLUB; with a learned one (vCLUB) only where that is close to the truth.

The likelihoods that Barber–Agakov bounds are made of are in `losses.likelihoods`.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from infoser.losses.likelihoods import categorical_log_likelihood as categorical_log_likelihood
from infoser.losses.likelihoods import gaussian_log_likelihood_per_dimension as gaussian_log_likelihood_per_dimension

#: The running average of `mine` before its first batch.
MINE_START = -math.inf


def infonce(scores: Float[Array, "batch batch"]) -> Float[Array, " batch"]:
    """f(i,i) − ln (1/N) Σⱼ exp f(i,j): a lower bound in expectation (arXiv 1807.03748); at most ln N on every batch."""
    return jnp.diagonal(scores) - jax.nn.logsumexp(scores, axis=1) + jnp.log(scores.shape[0])


def nwj(scores: Float[Array, "batch batch"]) -> Float[Array, " batch"]:
    """f(i,i) − e⁻¹ · mean over j≠i of exp f(i,j): a lower bound in expectation (arXiv 0809.0853), tight at f = 1 + ln ratio."""
    return jnp.diagonal(scores) - _mean_of_others(lambda score: jnp.exp(score - 1.0), scores)


def dv(scores: Float[Array, "batch batch"]) -> Float[Array, " batch"]:
    """f(i,i) − ln mean over all i≠j of exp f(i,j) (Donsker and Varadhan, 1983; MINE: arXiv 1801.04062, section 3).

    The second term is one number for the whole batch. It is the logarithm of a mean over the batch, so it overshoots where few
    pairs carry the mean: a lower bound only in the limit. Any constant added to f leaves it as it is.
    """
    return jnp.diagonal(scores) - _log_mean_exp_of_others(scores)


def mine(
    scores: Float[Array, "batch batch"], log_average: Float[Array, ""] | float, decay: float = 0.99
) -> tuple[Float[Array, " batch"], Float[Array, ""]]:
    """`dv` in value, with MINE's gradient: ∇f(i,i) − E[exp f · ∇f] / A (arXiv 1801.04062, section 3.2).

    A is a moving average of E[exp f] over batches. The gradient of `dv` divides by this batch's own mean instead,
    which biases it. The average includes this batch, A ← decay · A + (1 − decay) · E[exp f], and no gradient goes through it.

    Args:
      log_average: ln A after the batch before; `MINE_START` before the first, whose gradient is then that of `dv`.
      decay: of the average, in [0, 1); 0 gives the gradient of `dv`.

    Returns:
      The estimate per example, and ln A for the next batch.
    """
    log_mean = _log_mean_exp_of_others(scores)
    fixed = jax.lax.stop_gradient(log_mean)
    # A logarithm of 1 − decay for the batch; a decay of 0 makes that of the average −inf, which logaddexp takes.
    kept = jnp.asarray(log_average, fixed.dtype) + jnp.log(jnp.asarray(decay, fixed.dtype))
    average = jnp.where(jnp.isneginf(kept), fixed, jnp.logaddexp(kept, fixed + jnp.log1p(jnp.asarray(-decay, fixed.dtype))))
    average = jax.lax.stop_gradient(average)
    # Zero in value; its gradient is ∇E[exp f] / A.
    corrected = jnp.exp(fixed - average) * (log_mean - fixed)
    return jnp.diagonal(scores) - (fixed + corrected), average


def jsd(scores: Float[Array, "batch batch"]) -> Float[Array, " batch"]:
    """−softplus(−f(i,i)) − mean over j≠i of softplus f(i,j): the Jensen–Shannon objective (arXiv 1808.06670, eq. 4).

    An objective, not an estimate in nats: its best critic is the log density ratio; read that critic through `nwj` (f + 1),
    `dv` or `smile`.
    """
    return -jax.nn.softplus(-jnp.diagonal(scores)) - _mean_of_others(jax.nn.softplus, scores)


def smile(scores: Float[Array, "batch batch"], clip: float = 5.0) -> Float[Array, " batch"]:
    """f(i,i) − ln mean over all i≠j of exp clip(f(i,j), −τ, τ): `dv` with less variance, and a bias (SMILE, arXiv 1910.06222).

    f must be near the log density ratio itself, not up to a constant, so its authors train f by `jsd`. Neither bound; a τ
    above all scores gives `dv`. Scores beyond τ have no gradient in the second term.

    Args:
      clip: τ, in nats, positive.
    """
    return jnp.diagonal(scores) - _log_mean_exp_of_others(jnp.clip(scores, -clip, clip))


def club(log_density: Float[Array, "batch batch"]) -> Float[Array, " batch"]:
    """ln p(tᵢ|hᵢ) − (1/N) Σⱼ ln p(tⱼ|hᵢ): an upper bound in expectation, with the true conditional p (CLUB, arXiv 2006.12013).

    With a learned q in place of p it is vCLUB, an upper bound only where q is close enough to p; q is fitted by likelihood
    (`likelihoods.gaussian_log_likelihood`), never by this. As in the paper the mean is over all j with i among them, so the
    expectation is (N − 1)/N times that over independent pairs.

    Args:
      log_density: entry (i, j) is ln p(tⱼ|hᵢ), such as from `likelihoods.gaussian_log_likelihood_of_pairs`.
    """
    return jnp.diagonal(log_density) - log_density.mean(axis=1)


def sampled_club(own: Float[Array, " batch"], other: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """ln q(tᵢ|hᵢ) − ln q(tₖ|hᵢ), one k drawn for each i: `club` at the cost of two rows (vCLUB-S, arXiv 2006.12013).

    Args:
      own: ln q of each row's own text.
      other: ln q of another row's text given the same audio. k drawn uniformly, i among them, gives the expectation of
        `club`; a k that is never i gives N/(N − 1) times that.
    """
    return own - other


def _mean_of_others(function: Callable[[Array], Array], scores: Float[Array, "batch batch"]) -> Float[Array, " batch"]:
    # The diagonal is taken out before and after: a large joint score must neither overflow nor swallow the others.
    diagonal = jnp.eye(scores.shape[0], dtype=bool)
    others = jnp.where(diagonal, 0.0, function(jnp.where(diagonal, 0.0, scores)))
    return others.sum(axis=1) / (scores.shape[0] - 1)


def _log_mean_exp_of_others(scores: Float[Array, "batch batch"]) -> Float[Array, ""]:
    n = scores.shape[0]
    return jax.nn.logsumexp(jnp.where(jnp.eye(n, dtype=bool), -jnp.inf, scores)) - math.log(n * (n - 1))
