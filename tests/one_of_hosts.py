"""One host of several, as a script: python one_of_hosts.py PORT COUNT INDEX DEVICES WHAT FOLDER. Run by test_hosts.py."""

import functools
import importlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import test_data_mode

from infoser import exchange, hosts, parallel
from infoser.commandline import run_command
from infoser.config import Hosts
from infoser.errors import InfoserError

SILENCE_S = 4.0
CASES = ("align", "classify")
DRAWS = 5
RATES = [0.1, 0.2, 0.3, 0.4, 0.5]


def gradients(corpus: Any, case: str, *, divided: bool) -> Any:
    """The raw gradients of a stage at some parameters, draws on axis 0: of whole batches, or of parts on all devices.

    In float64: what differs is then the arithmetic, not the rounding of terms that nearly cancel.
    """
    with jax.enable_x64(True):
        return _gradients(corpus, case, divided)


def _gradients(corpus: Any, case: str, divided: bool) -> Any:
    stage, one, functions = test_data_mode.CASES[case](corpus)
    shared, rng = corpus.features(), np.random.default_rng(0)
    shapes = jax.eval_shape(stage.init, shared, one, jax.random.key(0))
    states = [
        jax.tree.map(lambda leaf: (0.3 * rng.standard_normal(leaf.shape)).astype(leaf.dtype), shapes) for _ in range(DRAWS)
    ]
    states, shared, one = (test_data_mode.as_float64(tree) for tree in (states, shared, one))

    def of(stage: Any, seed: Any, *inputs: Any) -> Any:
        return [getattr(stage, function)(*inputs, jax.random.key(seed)) for function in functions]

    if divided:
        parts = parallel.DataMode().stage(stage)
        mapped = jax.pmap(
            lambda _, *inputs: of(parts, *inputs),
            axis_name=parts.axis.name,
            in_axes=(0, None, None, None, None),
            devices=exchange.all_devices(),
        )
        own = np.arange(jax.local_device_count())
        found = [mapped(own, np.uint32(seed), state, shared, one) for seed, state in enumerate(states)]
        # Any device of this host: that they agree is a test of its own.
        found = [jax.tree.map(lambda leaf: np.asarray(leaf.addressable_shards[-1].data)[0], each) for each in found]
    else:
        whole = jax.jit(functools.partial(of, stage))
        found = [jax.tree.map(np.asarray, whole(np.uint32(seed), state, shared, one)) for seed, state in enumerate(states)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)


def trained(name: str, quadratic: Any) -> Any:
    """States and reports of a small training, on this host."""
    mode, stage, runs = parallel.make_mode(name), quadratic(name=f"hosts {name}"), quadratic.runs(RATES)
    shared, spread = mode.replicate(np.array([1.0, -2.0], np.float32)), mode.spread(runs)
    keys = mode.spread(parallel.run_keys(range(len(RATES)), ["a"] * len(RATES)))
    divided = mode.stage(stage)
    state, reports = mode.init_runs(divided, shared, spread, keys), []
    for start in range(0, 10, 4):
        state, *of_chunk = mode.train_chunk(divided, 4, state, shared, spread, keys, start)
        reports.append(mode.gather(tuple(of_chunk), len(RATES)))
    said = mode.gather(mode.outputs(divided, "outputs", state, shared, spread, keys, 2), len(RATES))
    return {"state": mode.gather(state, len(RATES)), "reports": reports, "outputs": said}


def save(path: Path, tree: Any) -> None:
    leaves = {jax.tree_util.keystr(where): leaf for where, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    np.savez(path, **leaves)


def compute(folder: Path) -> None:
    """Everything that two hosts compute together, into files of each host."""
    import conftest

    index = hosts.index()
    corpus = conftest.SmallCorpus(**np.load(folder / "corpus.npz"))
    for case in CASES:
        save(folder / f"{case}.{index}.npz", gradients(corpus, case, divided=True))
    for mode in ("runs", "data"):
        save(folder / f"{mode}.{index}.npz", trained(mode, conftest.Quadratic))
    big = np.arange(3 * exchange._PIECE // 8 + 1)  # not a whole number of pieces
    sent = exchange.from_primary(lambda: {"big": big, "none": None, "zero": np.float32(-0.0)})
    assert np.array_equal(sent["big"], big) and sent["none"] is None and np.signbit(sent["zero"])
    assert exchange.agree(index, -index, 7) == (1, 0, 7)
    hosts.check_same("settings", "the same")
    assert hosts.meet("here", 30.0)
    print("computed", exchange.agree(0) == (0,), parallel.device_kind())


def end(host: int, error: BaseException | None) -> None:
    """Goes on until this host is the one to end, by an error or by a kill."""
    for number in range(10**6):
        exchange.agree(number)
        if number == 5 and hosts.index() == host:
            if error is None:
                os.kill(os.getpid(), signal.SIGKILL)
            else:
                raise error
        time.sleep(0.01)


def main(argv: list[str]) -> None:
    importlib.import_module("conftest")  # this folder's, which sets JAX's options; a test run has others by this name
    port, count, index, devices, what, folder = argv
    jax.config.update("jax_num_cpu_devices", int(devices))
    with hosts.connected(Hosts(f"127.0.0.1:{port}", int(count), int(index), wait_s=60.0, silence_s=SILENCE_S)):
        if what == "compute":
            compute(Path(folder))
        elif what == "differ":
            hosts.check_same("settings", f"those of {index}")
            end(-1, None)
        else:
            kind, host = what.split()
            end(int(host), InfoserError("the disk is full") if kind == "error" else None)


if __name__ == "__main__":
    sys.exit(run_command(main))
