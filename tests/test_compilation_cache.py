"""Compiled programs kept between processes: where, unless told otherwise; the same numbers; never more than the bound."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache as jax_cache

from infoser import compilation_cache
from infoser.compilation_cache import Compiled, cpu_options, forget_if_many, keep_compiled, with_fewer_copies
from infoser.host_resources import user_cache_folder

OPTIONS = ("jax_compilation_cache_dir", "jax_enable_compilation_cache", "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture(autouse=True)
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache folder of the test's own, and JAX's options as a new process has them; taken back afterwards."""
    config: Any = jax.config
    before = {name: config.values[name] for name in OPTIONS}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compilation_cache, "_refused", set())
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_enable_compilation_cache", True)
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    jax_cache.reset_cache()


def set_folder() -> Any:
    config: Any = jax.config
    return config.jax_compilation_cache_dir


def test_the_folder_is_the_users_own(tmp_path: Path) -> None:
    folder = keep_compiled()
    assert folder == tmp_path / "infoser" / "compiled" and set_folder() == str(folder)
    assert folder.stat().st_mode & 0o077 == 0
    assert not list(folder.iterdir())


@pytest.mark.parametrize("named", ["", "relative/folder"])
def test_the_home_is_where_nothing_else_is_named(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", named)
    monkeypatch.setenv("HOME", "/somewhere")
    assert user_cache_folder() == Path("/somewhere/.cache")


def test_what_jax_was_told_comes_first(tmp_path: Path) -> None:
    jax.config.update("jax_compilation_cache_dir", "/elsewhere")
    assert keep_compiled() is None and set_folder() == "/elsewhere"
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_enable_compilation_cache", False)
    assert keep_compiled() is None and set_folder() is None
    assert not list(tmp_path.iterdir())


def test_a_folder_that_takes_nothing_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert keep_compiled() is None and keep_compiled() is None and set_folder() is None
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("compiled programs are not kept: ") and "Not a directory" in line


def test_the_least_recently_used_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = keep_compiled()
    assert folder is not None
    for age, name in enumerate(("d", "a", "c", "b")):  # d was used last
        (folder / f"{name}-cache").write_bytes(bytes(100))
        os.utime(folder / f"{name}-cache", (1000 - age, 500))
    (folder / "other").write_bytes(bytes(1000))
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setattr(compilation_cache, "LARGEST", 250)
    keep_compiled()
    assert sorted(path.name for path in folder.iterdir()) == ["a-cache", "d-cache", "other"]


PROGRAM = """
import hashlib, json
import jax, jax.numpy as jnp
from infoser.compilation_cache import keep_compiled

events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name))
keep_compiled()

@jax.jit
def program(key):
    def step(state, key):
        noise = jax.random.normal(key, state.shape)
        return jnp.tanh(state @ state.T / 8 + noise), (state ** 2).mean()
    return jax.lax.scan(step, jax.random.normal(key, (64, 64)), jax.random.split(key, 20))

leaves = jax.tree.leaves(program(jax.random.key(0)))
print(json.dumps({
    "hash": hashlib.sha256(b"".join(leaf.tobytes() for leaf in map(jax.device_get, leaves))).hexdigest(),
    "found": events.count("/jax/compilation_cache/cache_hits"),
    "compiled": events.count("/jax/compilation_cache/cache_misses"),
}))
"""


def test_a_program_that_is_found_gives_the_same_numbers(tmp_path: Path) -> None:
    kept = {"XDG_CACHE_HOME": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    results = []
    for environment in (kept, kept, {"JAX_ENABLE_COMPILATION_CACHE": "0"}):
        without = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=without | environment, check=True, capture_output=True, text=True
        )
        results.append(json.loads(done.stdout))
        assert not done.stderr
    first, second, off = results
    assert first["compiled"] > 0 and first["found"] == 0
    assert second["compiled"] == 0 and second["found"] == first["compiled"]
    assert off["found"] == off["compiled"] == 0
    assert first["hash"] == second["hash"] == off["hash"]


def adam_steps(length: int) -> Any:
    """Gradients, moments and parameters in a loop: what training steps carry."""

    def step(_: Any, carry: Any) -> Any:
        params, mean, square, noise = carry
        gradient = jnp.tanh(noise @ params)
        new = 0.5 * mean + 0.5 * gradient, 0.9 * square + 0.1 * gradient**2
        return params - 1e-2 * new[0] / (jnp.sqrt(new[1]) + 1e-8), *new, noise + params.mean()

    def train(carry: Any) -> Any:
        return jax.lax.fori_loop(0, length, step, carry)

    return train


def carried() -> tuple[jax.Array, ...]:
    params, noise = (jax.random.normal(jax.random.key(number), (128, 128)) for number in range(2))
    return params, jnp.zeros_like(params), jnp.zeros_like(params), noise


@pytest.mark.usefixtures("optimised")
@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the option is of the compiler for CPUs")
def test_fewer_copies_give_the_same_numbers() -> None:
    assert cpu_options()
    plain = jax.jit(adam_steps(20), donate_argnums=0)
    quick = with_fewer_copies(jax.jit(adam_steps(20), donate_argnums=0))
    for one, other in zip(plain(carried()), quick(carried()), strict=True):
        np.testing.assert_array_equal(one, other)
    copies = [
        len(re.findall(r"= f32\[128,128\]\S* copy\(", plain.lower(carried()).compile(options).as_text()))
        for options in (None, cpu_options())
    ]
    assert copies[0] > copies[1] == 0


def test_a_compiler_that_does_not_know_the_option_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation_cache, "_FEWER_COPIES", {"xla_cpu_no_such_option": True})
    compilation_cache._knows_options.cache_clear()
    try:
        function = jax.jit(lambda x: x + 1)
        assert cpu_options() == {} and with_fewer_copies(function) is function
    finally:
        compilation_cache._knows_options.cache_clear()


def test_with_fewer_copies_is_compiled_once_for_each_type_and_structure() -> None:
    traces: list[int] = []
    double = with_fewer_copies(jax.jit(lambda tree, x: traces.append(1) or jax.tree.map(lambda leaf: 2 * leaf + x, tree)))
    for _ in range(2):
        np.testing.assert_array_equal(double({"a": np.arange(3.0)}, 1.0)["a"], [1.0, 3.0, 5.0])
    assert len(traces) == 1
    assert double({"a": np.arange(3)}, 1)["a"].dtype == np.int32 and len(traces) == 2
    assert double([np.arange(4.0)], 1.0)[0].shape == (4,) and len(traces) == 3


def test_what_is_prepared_is_the_program_that_is_called() -> None:
    traces: list[int] = []

    def function(tree: Any, x: Any) -> Any:
        traces.append(1)
        return {"sum": jax.tree.map(lambda leaf: leaf + x, tree), "count": jnp.int32(len(tree))}

    prepared = Compiled(jax.jit(function))
    shapes = prepared.prepare({"a": jax.ShapeDtypeStruct((3,), np.float32)}, jnp.float32(0))
    said = prepared({"a": np.arange(3, dtype=np.float32)}, jnp.float32(1))
    assert len(traces) == 1
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), shapes) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), said
    )
    np.testing.assert_array_equal(said["sum"]["a"], [1.0, 2.0, 3.0])
    assert prepared.prepare(said["sum"], jnp.float32(2)) is None, "compiled before"
    np.testing.assert_array_equal(prepared(said["sum"], jnp.float32(2))["sum"]["a"], [3.0, 4.0, 5.0])
    assert len(traces) == 1


def test_what_could_not_be_prepared_is_compiled_when_it_is_called() -> None:
    class Fails:
        """Compiles at the given try."""

        out_info: Any = ()

        def __init__(self, compiles_at: int) -> None:
            self.tries, self.compiles_at = 0, compiles_at

        def lower(self, *_: Any) -> Any:
            return self

        def compile(self, _: Any) -> Any:
            self.tries += 1
            if self.tries < self.compiles_at:
                raise MemoryError(f"no room at try {self.tries}")
            return lambda x: x + 1

    function = Fails(2)
    prepared = Compiled(function)
    prepared.prepare(np.zeros(2))
    np.testing.assert_array_equal(prepared(np.zeros(2)), [1.0, 1.0])
    assert function.tries == 2
    never = Compiled(Fails(3))
    never.prepare(np.zeros(2))
    with pytest.raises(MemoryError, match="no room at try 2"):
        never(np.zeros(2))
    np.testing.assert_array_equal(never(np.zeros(2)), [1.0, 1.0])


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux bounds a process' memory maps")
def test_programs_are_forgotten_before_their_memory_maps_run_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    double = jax.jit(lambda x: 2 * x)
    traces: list[int] = []
    count = with_fewer_copies(jax.jit(lambda x: traces.append(1) or x + 1))
    assert not forget_if_many()
    assert count(1) == 2 and count(1) == 2 and double(2) == 4 and len(traces) == 1
    most = tmp_path / "max_map_count"
    monkeypatch.setattr(compilation_cache, "_MOST_MAPS", most)
    most.write_text("10\n")
    assert forget_if_many()
    assert count(1) == 2 and double(2) == 4 and len(traces) == 2
    most.unlink()
    assert not forget_if_many()
