"""Losses that tie the audio and the text representation of the same utterance together."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def _unit(vectors: Float[Array, "batch dim"]) -> Float[Array, "batch dim"]:
    # The small constant sits inside the root so that a zero vector has a finite gradient.
    return vectors * jax.lax.rsqrt((vectors**2).sum(axis=-1, keepdims=True) + 1e-12)


def symmetric_contrastive(
    audio: Float[Array, "batch dim"], text: Float[Array, "batch dim"], temperature: Float[Array, ""] | float
) -> Float[Array, " batch"]:
    """Mean of the audio→text and text→audio InfoNCE losses on cosine similarities (arXiv 2103.00020, fig. 3), per pair.

    Row i of both inputs is the same utterance; all other rows of the batch serve as its negatives.

    Args:
      audio, text: representations, any scale.
      temperature: divides the cosine similarity; positive.
    """
    similarity = _unit(audio) @ _unit(text).T / temperature
    own = jnp.diagonal(similarity)
    to_text = jax.nn.logsumexp(similarity, axis=1) - own
    to_audio = jax.nn.logsumexp(similarity, axis=0) - own
    return 0.5 * (to_text + to_audio)
