"""How fast infoser trains, beside PyTorch (eager and compiled), CTGAN, and what this machine can do at most.

By hand: python tests/benchmarks/speed.py [--only steps,heads,group,scaling,table,ctgan,plan] [--quick] [--device gpu]
[--json FILE]. Needs `pip install -e '.[test,benchmark]'`; torch.compile on a CPU needs g++. All sides of a row take turns
in one process, round by round; times are medians of the rounds and ratios medians of the rounds' ratios, so that what else
the machine does concerns all sides. On a CPU one JAX device stands for each core, as in train.py; a single run's step uses
one device, whose products take all cores. PyTorch gets the better of 1 and of all threads. On a machine that is busy with
other work, only `taskset -c 0 … --clock processor` means much: one core for every side, by its own time.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import jax
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from infoser import parallel

PARTS = ("steps", "heads", "group", "scaling", "table", "ctgan", "plan")


CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def seconds_of(sides: Sequence[Any], steps: int, arguments: argparse.Namespace) -> np.ndarray:
    """(rounds, sides) seconds of a step of a run, the sides taking turns."""
    clock, rounds = CLOCKS[arguments.clock], arguments.rounds
    for side in sides:
        side.take(steps)  # to compile and to warm up
    seconds = np.zeros((rounds, len(sides)))
    for number in range(rounds):
        for place in np.roll(np.arange(len(sides)), number):
            start = clock()
            sides[place].take(steps)
            seconds[number, place] = (clock() - start) / steps / sides[place].runs
    return seconds


def ratio(seconds: np.ndarray, slow: int, fast: int) -> float:
    """How many times faster one side is than another."""
    return float(np.median(seconds[:, slow] / seconds[:, fast]))


def steps_part(arguments: argparse.Namespace, out: Console) -> list[dict[str, Any]]:
    """One row for each size: a step's milliseconds by every side, ratios, and the floor."""
    import speed_steps

    speed_steps.clock = CLOCKS[arguments.clock]
    rows, cores = [], len(os.sched_getaffinity(0))
    threads = sorted({1, cores}) if arguments.device == "cpu" else [1]
    torch_device = "cpu" if arguments.device == "cpu" else "cuda"
    for sizes in [speed_steps.SIZES[number] for number in arguments.sizes]:
        torch.compiler.reset()  # else what it compiled for other sizes leads it to dynamic shapes, and in the end to none
        ours, cost = speed_steps.chunked(sizes)
        group = speed_steps.grouped(sizes, 2 * parallel.device_count())
        sides = [ours, speed_steps.per_step(sizes), group]
        for compiled in (False, True):
            sides += [speed_steps.twin(sizes, compiled=compiled, threads=n, device=torch_device) for n in threads]
        sides += [speed_steps.chunked(sizes, kind=speed_steps.PassesApart)[0], speed_steps.products_alone(sizes)]
        flops, moved = speed_steps.flops(sizes), speed_steps.least_bytes(sizes)
        # A chunk copies the state of its runs in and out once; train.py's has 100 steps.
        steps = max(20, round(arguments.seconds * 1e11 / (flops + 1e8)))
        rates = (speed_steps.matrix_rate()(), speed_steps.copy_rate()())
        seconds = seconds_of(sides, steps, arguments)
        rates = tuple(max(one) for one in zip(rates, (speed_steps.matrix_rate()(), speed_steps.copy_rate()()), strict=True))
        middle = np.median(seconds, axis=0)
        eager, compiled = (first + int(np.argmin(middle[first : first + len(threads)])) for first in (3, 3 + len(threads)))
        bound = max(flops / rates[0], moved / rates[1])
        row: dict[str, Any] = {
            "audio": sizes.audio, "text": sizes.text, "batch": sizes.batch, "width": sizes.width, "steps": steps,
            "ms": {side.name: 1e3 * middle[i] for i, side in enumerate(sides)},
            "eager / chunk": ratio(seconds, eager, 0), "compiled / chunk": ratio(seconds, compiled, 0),
            "a call a step / chunk": ratio(seconds, 1, 0), "eager / group": ratio(seconds, eager, 2),
            "compiled / group": ratio(seconds, compiled, 2),
            "flops": flops, "flops_by_xla": cost.get("flops"), "bytes": moved, "bytes_by_xla": cost.get("bytes accessed"),
            "matrix_flops_per_s": rates[0], "copy_bytes_per_s": rates[1], "bound_ms": 1e3 * bound,
            "share_of_matrix_rate": flops / middle[0] / rates[0], "share_in_group": flops / middle[2] / rates[0],
            "share_of_products_alone": flops / middle[-1] / rates[0], "chunk / products alone": ratio(seconds, 0, -1),
            "passes apart / chunk": ratio(seconds, -2, 0),
        }  # fmt: skip
        rows.append(row)
        table = Table(
            "side", "ms a step", "× chunk", title=f"{sizes.audio}+{sizes.text}, batch {sizes.batch}, width {sizes.width}"
        )
        for i, side in enumerate(sides):
            table.add_row(side.name, f"{1e3 * middle[i]:.3f}", f"{ratio(seconds, i, 0):.2f}")
        out.print(table)
        counted, shares = row["flops_by_xla"] / 1e6, [100 * row[name] for name in ("share_of_matrix_rate", "share_in_group")]
        out.print(
            f"{flops / 1e6:,.0f} MFLOP ({counted:,.0f} by XLA), matrix rate {rates[0] / 1e9:.0f} GFLOP/s, "
            f"copy rate {rates[1] / 1e9:.1f} GB/s, bound {1e3 * bound:.3f} ms: {shares[0]:.0f} % of the matrix rate, "
            f"in a group {shares[1]:.0f} %, the products alone {100 * row['share_of_products_alone']:.0f} %"
        )
        ratios = ("eager / chunk", "compiled / chunk", "eager / group", "compiled / group", "passes apart / chunk")
        for name in (*ratios, "chunk / products alone"):
            out.print(f"{name}: {row[name]:.2f}")
    return rows


def heads_part(arguments: argparse.Namespace, out: Console) -> list[dict[str, Any]]:
    """One row for each modality: a step of a head in a group, with products in the place of sums, and by PyTorch."""
    import speed_heads

    threads = sorted({1, len(os.sched_getaffinity(0))}) if arguments.device == "cpu" else [1]
    torch_device, runs, rows = ("cpu" if arguments.device == "cpu" else "cuda"), 2 * parallel.device_count(), []
    for modality in speed_heads.DIMS:
        own = (True, False) if arguments.device == "cpu" else (True,)  # elsewhere there are no sums
        sides = [speed_heads.grouped(modality, runs, sums=sums) for sums in own]
        sides += [speed_heads.twin(modality, n, torch_device) for n in threads]
        seconds = seconds_of(sides, 20 if arguments.quick else 100, arguments)
        rows.append(speed_heads.show(out, modality, sides, seconds, len(own)))
    return rows


def group_part(arguments: argparse.Namespace, out: Console) -> list[dict[str, Any]]:
    """What a run costs in a group, beside a group of one run for each device."""
    import speed_steps

    rows, devices = [], parallel.device_count()
    for sizes in speed_steps.SIZES[:2]:
        counts = [devices * each for each in ((1, 2, 8) if arguments.quick else (1, 2, 8, 32))]
        sides = [speed_steps.grouped(sizes, count) for count in counts]
        seconds = seconds_of(sides, 20 if arguments.quick else 50, arguments)
        table = Table("runs", "ms a step and run", "× one a device", title=f"groups: batch {sizes.batch}, width {sizes.width}")
        for i, count in enumerate(counts):
            relative = ratio(seconds, i, 0)
            table.add_row(str(count), f"{1e3 * np.median(seconds[:, i]):.3f}", f"{relative:.3f}")
            rows.append({"batch": sizes.batch, "width": sizes.width, "runs": count, "relative cost": relative})
        out.print(table)
    return rows


def scaling_part(arguments: argparse.Namespace, out: Console) -> list[dict[str, Any]]:
    """How a step's cost grows with width and with utterances."""
    import speed_steps

    base, rows = speed_steps.SIZES[1], []
    by_width = [(base._replace(width=width), speed_steps.ROWS) for width in (64, 128, 256, 512)]
    by_rows = [(base, count) for count in (4_290, 42_900, 429_000)]
    for what, cases in (("width", by_width), ("utterances", by_rows)):
        sides = [speed_steps.chunked(sizes, count)[0] for sizes, count in cases]
        seconds = seconds_of(sides, 20 if arguments.quick else 50, arguments)
        table = Table(what, "ms a step", "× first", title=f"47+64, batch {base.batch}, by {what}")
        for i, (sizes, count) in enumerate(cases):
            value = sizes.width if what == "width" else count
            table.add_row(f"{value:,}", f"{1e3 * np.median(seconds[:, i]):.3f}", f"{ratio(seconds, i, 0):.2f}")
            rows.append({what: value, "ms": 1e3 * float(np.median(seconds[:, i])), "relative": ratio(seconds, i, 0)})
        out.print(table)
    return rows


def main(argv: Sequence[str]) -> int:
    """Measures the parts that are asked for; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, of {', '.join(PARTS)}")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu" if jax.default_backend() == "cpu" else "gpu")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--sizes", type=int, nargs="+", default=[0, 1, 2, 3], help="steps: which rows")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall", help="processor: for one core (taskset -c 0)")
    parser.add_argument("--seconds", type=float, default=1.0, help="about how long each side's turn takes")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="where `iemocap` is prepared")
    parser.add_argument("--ctgan-epochs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    unknown = set(arguments.only.split(",")) - set(PARTS)
    if unknown:
        parser.error(f"--only {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    out = Console(width=140)
    out.print(f"jax {jax.__version__} on {parallel.device_kind()}, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")
    parts = {"steps": steps_part, "heads": heads_part, "group": group_part, "scaling": scaling_part}
    results: dict[str, Any] = {"jax": jax.__version__, "torch": str(torch.__version__), "devices": parallel.device_kind()}
    for name in arguments.only.split(","):
        if name in parts:
            results[name] = parts[name](arguments, out)
        else:
            import speed_experiment

            results[name] = getattr(speed_experiment, f"{name}_part")(arguments, out)
        if arguments.json:
            arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    if "--device=gpu" not in sys.argv and "gpu" not in sys.argv:
        parallel.use_all_cores()
    sys.exit(main(sys.argv[1:]))
