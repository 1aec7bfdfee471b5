"""How fast a streamed corpus trains beside a resident one, in which memory, and how both grow with the corpus.

By hand: python tests/benchmarks/streaming.py --folder FOLDER [--rows 265000 1000000] [--dim 1024] [--resident-gib 0.5]. In the
folder it writes ROWS × (DIM + DIM) random float32 numbers as plain arrays, and deletes them afterwards. Every measurement is a
process of its own that trains a structure (generators without text, or heads on both modalities, with the default settings)
for as many runs as there are devices; resident and streamed take turns, and the best of the rounds counts. Rates are those of
the steps after the first chunk, which is compiled. Memory is the most that was resident at any time (VmHWM), and the most of it
that was no mapped file.
"""

import argparse
import json
import shutil
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]
CLASSES = 8


def write(folder: Path, rows: int, dim: int) -> None:
    rng = np.random.default_rng(0)
    for modality in ("audio", "text"):
        features = np.lib.format.open_memmap(folder / f"{modality}.npy", "w+", np.float32, (rows, dim))
        for first in range(0, rows, 8192):
            block = features[first : first + 8192]
            block[:] = rng.standard_normal(block.shape, dtype=np.float32)


def status(key: str) -> float:
    """MiB of this process, as the kernel counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key + ":")).split()[1]) / 1024


def train(folder: Path, stage_name: str, streamed: bool, gib: float, steps: int) -> dict[str, Any]:
    """Trains one group; seconds per step after the first chunk, memory, and a checksum of the last state."""
    sys.path.insert(0, str(ROOT))
    import jax

    from infoser import parallel
    from infoser.config import ClassifyConfig, GenerateConfig, numbers
    from infoser.fold_view import Features, FoldView
    from infoser.group import Group, Loaded, RunName
    from infoser.stages.classify import Classify, ClassifyRun, GeneratedRows
    from infoser.stages.generate import Generate, GenerateRun
    from infoser.streaming import Stream

    parallel.use_all_cores()
    most, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            most[0] = max(most[0], status("RssAnon"))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    audio, text = (np.load(folder / f"{modality}.npy", mmap_mode="r") for modality in ("audio", "text"))
    label = (np.arange(len(audio)) * 2654435761 % 2**32 * CLASSES >> 32).astype(np.int32)
    start = time.perf_counter()
    train_rows = np.arange(len(audio))
    view = FoldView.build(
        train_rows,
        label,
        n_classes=CLASSES,
        audio=audio,
        text=text,
        rows_padded=len(audio),
        labelled_padded=len(audio),
    )
    mode, runs = parallel.RunsMode(), parallel.device_count()

    def scalars(config: Any) -> dict[str, Any]:
        return {name: np.float32(value) for name, value in numbers(config).items()}

    stage: Any
    if stage_name == "generate":
        config = GenerateConfig(steps=steps)
        stage = Generate(CLASSES, config.width, config.latent_dim, config.batch_size, steps)
        run: Any = GenerateRun(view, np.int32(0), scalars(config))  # pyright: ignore[reportArgumentType]
    else:
        config = ClassifyConfig(steps=steps)
        stage = Classify(CLASSES, "both", config.width, config.batch_size, steps)
        pool = GeneratedRows(np.zeros((1, 2 * audio.shape[1]), np.float32), np.zeros((1, CLASSES), np.float32), np.int32(1))  # pyright: ignore[reportArgumentType]
        extra = dict.fromkeys(("generated_weight", "by_prior", "focal_gamma", "logit_adjustment"), np.float32(0))
        run = ClassifyRun(view, pool, scalars(config) | extra | dict.fromkeys(("real_weight", "curriculum"), np.float32(1)))  # pyright: ignore[reportArgumentType]
    stacked = jax.tree.map(lambda leaf: np.stack([leaf] * runs), run)
    shared: Any = Features(audio[None], text[None])  # pyright: ignore[reportArgumentType]
    nothing: Any = Features(None, None)  # pyright: ignore[reportArgumentType]
    shared = Stream(audio, text, None, None, nothing, mode, int(gib * 2**30)) if streamed else mode.replicate(shared)
    loaded = Loaded(mode, Group("", stage, [RunName("", seed) for seed in range(runs)], shared, stacked))
    loaded.start()
    length = loaded.begin(0, 100)
    loaded.train(length, 0)
    first = time.perf_counter()
    for at in range(length, steps, length):
        loaded.train(length, at)
    end = time.perf_counter()
    loaded.end()
    done.set()
    watcher.join()
    checksum = 0
    for leaf in jax.tree.leaves(loaded.state()):
        checksum = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), checksum)
    return {
        "start": first - start,
        "step": (end - first) / (steps - length),
        "chunk": length,
        "peak": status("VmHWM"),
        "anonymous": most[0],
        "checksum": checksum,
    }


def in_new_process(flags: argparse.Namespace, folder: Path, stage: str, side: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--folder", str(folder), "--stage", stage, "--side", side]
    command += ["--resident-gib", str(flags.resident_gib), "--steps", str(flags.steps)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[265_000])
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--resident-gib", type=float, default=0.5)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streamed-only", action="store_true", help="for corpora that do not fit in memory")
    parser.add_argument("--stage", choices=("generate", "classify"), help="this structure only")
    parser.add_argument("--side", choices=("resident", "streamed"), help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.side:
        print(json.dumps(train(flags.folder, flags.stage, flags.side == "streamed", flags.resident_gib, flags.steps)))
        return
    sides = ("streamed",) if flags.streamed_only else ("resident", "streamed")
    table = Table(title=f"{flags.dim} + {flags.dim} floats a row; tables of at most {flags.resident_gib} GiB a device")
    for heading in (
        "rows",
        "GB",
        "stage",
        "features",
        "ms/step",
        "rate",
        "state",
        "start s",
        "chunk",
        "peak MiB",
        "anonymous MiB",
    ):
        table.add_column(heading, justify="right")
    for rows in flags.rows:
        folder = flags.folder / "infoser-streaming"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            write(folder, rows, flags.dim)
            for stage in [flags.stage] if flags.stage else ["generate", "classify"]:
                found: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
                for _ in range(flags.rounds):
                    for side, results in found.items():
                        results.append(in_new_process(flags, folder, stage, side))
                best = {side: min(results, key=lambda each: each["step"]) for side, results in found.items()}
                reference = best[sides[0]]
                for side, each in best.items():
                    same = "same" if each["checksum"] == reference["checksum"] else "OTHER"
                    cells = [f"{rows:,}", f"{rows * flags.dim * 8 / 1e9:.2f}", stage, side, f"{1e3 * each['step']:.2f}"]
                    cells += [f"{reference['step'] / each['step']:.0%}", same if side != sides[0] else ""]
                    cells += [f"{each['start']:.1f}", str(each["chunk"]), f"{each['peak']:.0f}", f"{each['anonymous']:.0f}"]
                    table.add_row(*cells)
        finally:
            shutil.rmtree(folder)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
