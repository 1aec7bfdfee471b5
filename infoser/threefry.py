"""JAX's default random numbers (Threefry-2x32), drawn in one pass: the same bits, sooner where a CPU trains runs one by one.

On a CPU JAX compiles the cipher as a loop over its rounds, which takes a step's arrays through memory once for every four of
them, and whose overhead is most of what the few numbers of a key's split cost. Here the rounds stand one after the other.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def typed_key(data: jax.Array, *, one_pass: bool) -> jax.Array:
    """A typed key from its raw (2,) data.

    Args:
      one_pass: draw as described above; else, and where JAX is set to other bits than its defaults, as JAX does.
    """
    config: Any = jax.config  # its options are attributes that type checkers can't see
    if one_pass and config.jax_threefry_partitionable and config.jax_default_prng_impl == "threefry2x32":
        return jax.random.wrap_key_data(data, impl=_one_pass())
    return jax.random.wrap_key_data(data)


def _encrypted(key: jax.Array, high: Any, low: Any) -> tuple[jax.Array, jax.Array]:
    """Threefry-2x32 with 20 rounds (doi 10.1145/2063384.2063405) of two words."""
    keys = key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(_PARITY)
    high, low = high + keys[0], low + keys[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            high = high + low
            low = high ^ ((low << jnp.uint32(rotation)) | (low >> jnp.uint32(32 - rotation)))
        high, low = high + keys[(group + 1) % 3], low + keys[(group + 2) % 3] + jnp.uint32(group + 1)
    return high, low


def _computed_once(key: jax.Array, function: Any) -> Any:
    """`function()`, kept from being computed anew in everything that reads it, which the compiler would think cheap.

    It can't tell that the condition always holds.
    """
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(function))
    return jax.lax.cond((key[0] | jnp.uint32(1)) > 0, function, lambda: zeros)


def _counts(shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    if math.prod(shape) >= 2**32:
        raise ValueError(f"{shape} are more random numbers at once than a word of 32 bits counts")
    return jnp.zeros(shape, jnp.uint32), jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)


def _split(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return _computed_once(key, lambda: jnp.stack(_encrypted(key, *_counts(shape)), axis=-1))


def _fold_in(key: jax.Array, data: Any) -> jax.Array:
    return _computed_once(key, lambda: jnp.stack(_encrypted(key, jnp.uint32(0), jnp.asarray(data, jnp.uint32))))


def _random_bits(key: jax.Array, bit_width: int, shape: tuple[int, ...]) -> jax.Array:
    def drawn() -> jax.Array:
        high, low = _encrypted(key, *_counts(shape))
        if bit_width == 64:
            return (high.astype(jnp.uint64) << jnp.uint64(32)) | low.astype(jnp.uint64)
        return (high ^ low).astype({8: jnp.uint8, 16: jnp.uint16, 32: jnp.uint32}[bit_width])

    return _computed_once(key, drawn)


def _seed(seed: Any) -> jax.Array:
    return jax.random.key_data(jax.random.key(seed))


@functools.cache
def _one_pass() -> Any:
    """The generator, or None (JAX's own) with a version of JAX that can't be told of another."""
    try:
        from jax.extend.random import define_prng_impl
    except ImportError:
        return None
    return define_prng_impl(
        key_shape=(2,), seed=_seed, split=_split, random_bits=_random_bits, fold_in=_fold_in, name="threefry2x32 in one pass",
        tag="fry1",
    )  # fmt: skip
