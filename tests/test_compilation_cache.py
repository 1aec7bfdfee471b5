"""Compiled programs kept between processes: where, unless told otherwise; the same numbers; never more than the bound."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache as jax_cache

from infoser import compilation_cache
from infoser.compilation_cache import forget_if_many, keep_compiled
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


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux bounds a process' memory maps")
def test_programs_are_forgotten_before_their_memory_maps_run_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    double = jax.jit(lambda x: 2 * x)
    traces: list[int] = []
    count = jax.jit(lambda x: traces.append(1) or x + 1)
    assert not forget_if_many()
    assert count(1) == 2 and count(1) == 2 and double(2) == 4 and len(traces) == 1
    most = tmp_path / "max_map_count"
    monkeypatch.setattr(compilation_cache, "_MOST_MAPS", most)
    most.write_text("10\n")
    assert forget_if_many()
    assert count(1) == 2 and double(2) == 4 and len(traces) == 2
    most.unlink()
    assert not forget_if_many()
