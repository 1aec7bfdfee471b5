"""How long commands take to start: help, and the demo up to its first training step, without and with warm caches.

By hand: python tests/benchmarks/startup.py [--rounds 3]. The first start of the demo finds an empty cache of compiled programs,
the second the one that the first filled; both in a new process and run folder, in turns. "first step": with --chunk-steps 1,
until the loss terms of the first step are written; "first chunk": as users start it, until those of the first 100 steps are,
which are much the same work in both. Best of the rounds.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]
HELP = (("train.py", "iemocap", "--help"), ("train.py", "--help"), ("eval.py", "score", "--help"))


def environment(cache: Path) -> dict[str, str]:
    """This process' own, with a folder of its own for what is kept between processes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION_CACHE")}
    return kept | {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}


def help_s(argv: tuple[str, ...], cache: Path) -> float:
    """Seconds until the command has printed its help."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *argv], cwd=ROOT, env=environment(cache), check=True, capture_output=True)
    return time.perf_counter() - start


def first_metrics_s(cache: Path, *flags: str) -> float:
    """Seconds until the demo has written its first line of loss terms; it is then ended."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as said:
        run = Path(folder, "run")
        command = [sys.executable, "train.py", "demo", "--data-dir", folder, "--run-dir", str(run), *flags]
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=environment(cache), stdout=said, stderr=said)
        try:
            while not any(path.stat().st_size for path in run.rglob("metrics.jsonl")):
                if process.poll() is not None:
                    said.seek(0)
                    raise SystemExit(f"the demo ended before its first step: {said.read()}")
                time.sleep(0.005)
            return time.perf_counter() - start
        finally:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = range(parser.parse_args().rounds)
    table = Table(title=f"start-up, best of {len(rounds)}")
    for heading in ("what", "first s", "second s", "ratio"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    with tempfile.TemporaryDirectory() as folder:
        for argv in HELP:
            seconds = min(help_s(argv, Path(folder)) for _ in rounds)
            table.add_row(" ".join(argv), f"{seconds:.2f}", "", "")
    for what, flags in (("first step", ("--chunk-steps", "1")), ("first chunk", ())):
        first, second = [], []
        for _ in rounds:
            with tempfile.TemporaryDirectory() as folder:
                first.append(first_metrics_s(Path(folder), *flags))
                second.append(first_metrics_s(Path(folder), *flags))
        table.add_row(f"train.py demo: {what}", f"{min(first):.2f}", f"{min(second):.2f}", f"{min(first) / min(second):.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
