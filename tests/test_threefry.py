"""Random numbers in one pass: the bits of JAX's own generator, for every draw that steps make."""

import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infoser import lifting, threefry
from infoser.threefry import typed_key

DRAWS: dict[str, Callable[[Any], Any]] = {
    "split": lambda key: jax.random.key_data(jax.random.split(key, 5)),
    "split in two dimensions": lambda key: jax.random.key_data(jax.random.split(key, (2, 3))),
    "fold in": lambda key: jax.random.key_data(jax.random.fold_in(key, 2**31 - 1)),
    "fold in a traced number": lambda key: jax.random.key_data(jax.jit(jax.random.fold_in)(key, 7)),
    "fold in for many": lambda key: jax.random.key_data(jax.vmap(lambda n: jax.random.fold_in(key, n))(jnp.arange(4))),
    "words": lambda key: jax.random.bits(key, (7, 3)),
    "bytes": lambda key: jax.random.bits(key, (33,), jnp.uint8),
    "half words": lambda key: jax.random.bits(key, (9,), jnp.uint16),
    "nothing": lambda key: jax.random.bits(key, (0,)),
    "normal": lambda key: jax.random.normal(key, (50, 3)),
    "one uniform": lambda key: jax.random.uniform(key),
    "integers": lambda key: jax.random.randint(key, (40,), 0, jnp.int32(1000)),
    "permutation": lambda key: jax.random.permutation(key, 20),
    "of split keys": lambda key: jax.vmap(lambda one: jax.random.normal(one, (3,)))(jax.random.split(key, 4)),
    "in a loop over keys": lambda key: jax.lax.map(lambda one: jax.random.bits(one, (3,)), jax.random.split(key, 4)),
}


def both(seed: int) -> tuple[Any, Any]:
    """A typed key as JAX draws from it, and as one that draws in one pass."""
    data = jax.random.key_data(jax.random.key(seed))
    return typed_key(data, one_pass=False), typed_key(data, one_pass=True)


@pytest.mark.parametrize("draw", DRAWS)
def test_the_bits_are_those_of_jax(draw: str) -> None:
    for seed in (0, 2**31 - 1):
        theirs, ours = both(seed)
        assert jax.random.key_impl(theirs) != jax.random.key_impl(ours)
        np.testing.assert_array_equal(DRAWS[draw](theirs), jax.jit(DRAWS[draw])(ours))


def test_long_words() -> None:
    with jax.enable_x64(True):
        theirs, ours = (jax.random.bits(key, (5,), jnp.uint64) for key in both(3))
    assert theirs.dtype == jnp.uint64
    np.testing.assert_array_equal(theirs, ours)


@pytest.mark.parametrize(("option", "value"), [("jax_threefry_partitionable", False), ("jax_default_prng_impl", "rbg")])
def test_other_bits_that_jax_is_set_to_are_drawn(option: str, value: Any) -> None:
    before = jax.config.values[option]
    data = np.arange(4, dtype=np.uint32)[: 4 if value == "rbg" else 2]
    jax.config.update(option, value)
    try:
        theirs, ours = (typed_key(jnp.asarray(data), one_pass=one_pass) for one_pass in (False, True))
        assert jax.random.key_impl(theirs) == jax.random.key_impl(ours)
        np.testing.assert_array_equal(jax.random.bits(theirs, (5,)), jax.random.bits(ours, (5,)))
    finally:
        jax.config.update(option, before)


def test_a_version_of_jax_that_takes_no_generator_draws_as_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax.extend.random", None)
    threefry._one_pass.cache_clear()
    try:
        theirs, ours = both(1)
        assert jax.random.key_impl(theirs) == jax.random.key_impl(ours)
    finally:
        threefry._one_pass.cache_clear()


def test_more_numbers_than_a_word_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="more random numbers at once"):
        jax.jit(lambda key: jax.random.bits(key, (2**16, 2**16))).lower(both(0)[1])


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other devices draw as JAX does")
def test_chunks_on_a_cpu_draw_in_one_pass_and_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    class Noise:
        name, steps, terms = "noise", 4, ("mean",)

        def train_step(self, state: Any, shared: Any, run: Any, key: Any, progress: Any) -> Any:
            state = state + jax.random.normal(key, state.shape)
            return state, {"mean": state.mean()}

    def recorded(data: Any, *, one_pass: bool) -> Any:
        asked.append(one_pass)
        return threefry.typed_key(data, one_pass=one_pass and quick)

    monkeypatch.setattr(lifting, "typed_key", recorded)
    keys, results = jnp.arange(4, dtype=jnp.uint32).reshape(2, 2), []
    for quick in (False, True):  # noqa: B007  # `recorded` reads it
        chunk = jax.jit(lifting.lifted(Noise(), "chunk", (4,)))
        results.append(chunk(jnp.zeros((2, 3)), None, jnp.zeros(2), keys, jnp.int32(0))[0])
    assert asked == [True, True] and np.isfinite(results[0]).all() and np.ptp(results[0]) > 0
    np.testing.assert_array_equal(*results)
