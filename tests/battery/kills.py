"""Kills training at random moments until it has died often enough, and compares what comes out with an undisturbed run.

By hand: python tests/battery/kills.py [KILLS]. Every experiment is the small demo below; it is started again after each
kill until it finishes, and then has to have the same results and checkpoints, bit for bit.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

ROOT = Path(__file__).parents[2]
FLAGS = "demo --folds session2 --variants none infogan --aligned-variants --checkpoint-every-s 0 --chunk-steps 10".split()
FLAGS += [flag for stage in ("align", "generate", "classify") for flag in (f"--{stage}.width", "16", f"--{stage}.steps", "200")]


def start(run: Path, compiled: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": compiled,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    command = [sys.executable, "train.py", *FLAGS, "--run-dir", str(run), "--data-dir", str(run.parent / "none")]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def contents(run: Path) -> dict[str, bytes]:
    """The results, and the bytes of every array of every final checkpoint."""
    found = {"results.json": (run / "results.json").read_bytes()}
    for state in sorted(run.rglob("step_200/state")):
        for path, leaf in jax.tree_util.tree_flatten_with_path(ocp.load(state.absolute()))[0]:
            found[f"{state.relative_to(run)}{jax.tree_util.keystr(path)}"] = np.asarray(leaf).tobytes()
    return found


def main(kills: int) -> int:
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        base, compiled = Path(folder), str(Path(folder) / "compiled")
        for _ in range(2):  # the second time with everything compiled, so that it tells how long a run takes
            began = time.monotonic()
            reference = base / f"undisturbed{_}"
            assert start(reference, compiled).wait() == 0
        duration, truth = time.monotonic() - began, contents(reference)
        done = experiments = same = 0
        while done < kills:
            experiments += 1
            run = base / f"killed{experiments}"
            while True:
                process = start(run, compiled)
                try:
                    process.wait(draw.uniform(0.3, 1.0) * duration if done < kills else None)
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    done += 1
                    continue
                break
            assert process.returncode == 0, process.stderr and process.stderr.read().decode()
            same += contents(run) == truth
            print(f"{done} kills, {experiments} experiments, {same} bit-identical", flush=True)
    return 0 if same == experiments else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50))
