"""Denoising diffusion (arXiv 2006.11239): how rows are drowned in noise level by level, and the way back.

Level 0 is the data and level T pure noise; ᾱₖ is the share of the data's variance that is left at level k.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Level = Float[Array, "*batch"]

#: The most noise that one level may add, as in arXiv 2102.09672, section 3.2: the last one would divide by zero.
_MOST = 0.999


def cosine_schedule(levels: int, offset: float = 0.008) -> np.ndarray:
    """ᾱ₀ … ᾱ_T with ᾱₖ ∝ cos²(π/2 · (k/T + s)/(1 + s)) (arXiv 2102.09672, eq. 17), each βₖ = 1 − ᾱₖ/ᾱₖ₋₁ at most 0.999.

    Args:
      levels: T.
      offset: s, which keeps the first levels from being too small.

    Returns:
      (T + 1,) float32, from 1 down.

    Raises:
      ValueError: no levels.
    """
    if levels < 1:
        raise ValueError(f"{levels} levels of noise; there must be at least one")
    share = np.cos(0.5 * np.pi * (np.arange(levels + 1) / levels + offset) / (1.0 + offset)) ** 2
    beta = np.minimum(1.0 - share[1:] / share[:-1], _MOST)
    return np.concatenate([[1.0], np.cumprod(1.0 - beta)]).astype(np.float32)


def noised(
    data: Float[Array, "*batch dim"], noise: Float[Array, "*batch dim"], share: Float[Array, "*batch"]
) -> Float[Array, "*batch dim"]:
    """x = √ᾱ·x₀ + √(1 − ᾱ)·ε: a row at the level whose ᾱ is `share` (arXiv 2006.11239, eq. 4)."""
    share = share[..., None]
    return jnp.sqrt(share) * data + jnp.sqrt(1.0 - share) * noise


def velocity(
    data: Float[Array, "*batch dim"], noise: Float[Array, "*batch dim"], share: Float[Array, "*batch"]
) -> Float[Array, "*batch dim"]:
    """v = √ᾱ·ε − √(1 − ᾱ)·x₀: what the denoiser learns to say (arXiv 2202.00512, section 4).

    Both ends of the schedule ask for something of unit variance: the noise where there is little, the data where there is
    nothing else. A denoiser that says ε has its errors multiplied by √((1 − ᾱ)/ᾱ) in the data, without bound at the noisy end.
    """
    share = share[..., None]
    return jnp.sqrt(share) * noise - jnp.sqrt(1.0 - share) * data


def data_of_velocity(
    noisy: Float[Array, "*batch dim"], said: Float[Array, "*batch dim"], share: Float[Array, "*batch"]
) -> Float[Array, "*batch dim"]:
    """x₀ = √ᾱ·x − √(1 − ᾱ)·v: the data that a velocity at x says (arXiv 2202.00512, appendix D)."""
    share = share[..., None]
    return jnp.sqrt(share) * noisy - jnp.sqrt(1.0 - share) * said


def velocity_loss(said: Float[Array, "batch dim"], true: Float[Array, "batch dim"]) -> Float[Array, " batch"]:
    """‖v̂ − v‖² / dim, per example: the simple loss (arXiv 2006.11239, eq. 14), of v for ε.

    ‖v̂ − v‖² = ‖ε̂ − ε‖² / ᾱ at a given x: relative to the loss of ε, noisy levels weigh more.
    """
    return ((said - true) ** 2).mean(axis=-1)


def posterior(
    noisy: Float[Array, "*batch dim"],
    data: Float[Array, "*batch dim"],
    share: Float[Array, "*batch"],
    share_before: Float[Array, "*batch"],
) -> tuple[Float[Array, "*batch dim"], Float[Array, "*batch"]]:
    """Mean and variance of the row one level nearer to the data, given the row and the data (arXiv 2006.11239, eq. 7).

    Args:
      share: ᾱₖ of the row's level, below 1.
      share_before: ᾱₖ₋₁; where it is 1, the mean is the data and the variance 0.
    """
    kept = share / share_before
    beta, rest = 1.0 - kept, 1.0 - share
    mean = (jnp.sqrt(share_before) * beta / rest)[..., None] * data
    mean += (jnp.sqrt(kept) * (1.0 - share_before) / rest)[..., None] * noisy
    return mean, (1.0 - share_before) / rest * beta


def guided(
    said: Float[Array, "*batch dim"], said_of_nothing: Float[Array, "*batch dim"], guidance: Float[Array, ""] | float
) -> Float[Array, "*batch dim"]:
    """(1 + w)·v(c) − w·v(∅): the condition exaggerated w times (classifier-free guidance; arXiv 2207.12598, eq. 6)."""
    return (1.0 + guidance) * said - guidance * said_of_nothing
