"""How fast a corpus of the size of MSP-Podcast is loaded, and what memory that takes: first from shards, then from the cache.

By hand: python tests/benchmarks/loading.py --folder FOLDER [--rows 265000] [--dim 1024] [--keep]. In the folder it writes
shards of ROWS × (DIM + DIM) random float32 numbers with the project's own writer, and deletes them afterwards; five times the
data must fit there. Every load is a process of its own, timed from after its own imports on. Reading copies all bytes of
the loaded arrays into one small buffer, block by block; raw reading does so with the cache's files. "cold" is after the
system was asked to forget the files' pages; raw and cached reading take turns. Memory is the most that was resident at any
time (VmHWM), and the most of it that was not a mapped file (RssAnon, seen every 5 ms).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]
NAME = "large"
BUFFER = 2**20


def write_shards(folder: Path, rows: int, dim: int) -> float:
    """Writes the shards from arrays on the disk; returns the seconds that the writer took."""
    sys.path.insert(0, str(ROOT / "datasets"))
    from arrays.arrays_dataset_builder import Builder

    from infoser.corpus import Corpus
    from infoser.shard_writer import write_corpus

    rng = np.random.default_rng(0)
    features = {}
    for modality in ("audio", "text"):
        features[modality] = np.memmap(folder / modality, np.float32, "w+", shape=(rows, dim))
        for first in range(0, rows, 8192):
            block = features[modality][first : first + 8192]
            block[:] = rng.standard_normal(block.shape, dtype=np.float32)
    corpus = Corpus(
        name=NAME,
        utterance_id=np.array([f"MSP-PODCAST_{row // 20:04d}_{row:07d}" for row in range(rows)]),
        label=(np.arange(rows) % 8).astype(np.int32),
        classes=tuple("abcdefgh"),
        speaker=np.array([f"speaker{row % 2000}" for row in range(rows)]),
        split=np.resize(np.array(["train", "dev", "test"]), rows),
        columns={"arousal": rng.random(rows)},
        provenance={"source": "random numbers", "settings": {}},
        **features,
    )
    start = time.perf_counter()
    write_corpus(Builder, corpus, folder / "data")
    seconds = time.perf_counter() - start
    for modality in features:
        (folder / modality).unlink()
    return seconds


def files_of(folder: Path, kind: str) -> list[Path]:
    """The shards' or the cache's files."""
    return sorted(
        path for path in (folder / "data" / NAME).rglob("*") if path.is_file() and (".cache-" in str(path)) == (kind == "cache")
    )


def forget(folder: Path) -> None:
    """Asks the system to drop what it holds of these files in memory."""
    os.sync()
    for path in files_of(folder, "cache") + files_of(folder, "shards"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def status(key: str) -> float:
    """MiB of this process, as the kernel counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key + ":")).split()[1]) / 1024


def load(folder: Path, cache: bool) -> dict[str, Any]:
    """Loads the corpus, then copies all its features into a small buffer."""
    from infoser.shards import read_corpus

    most, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            most[0] = max(most[0], status("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    corpus = read_corpus(folder / "data", NAME, cache=cache)
    loaded = time.perf_counter()
    arrays = [array for array in (corpus.audio, corpus.text) if array is not None]
    buffer = np.empty(BUFFER, np.uint8)
    for array in arrays:
        contents = array.reshape(-1).view(np.uint8)
        for first in range(0, len(contents), BUFFER):
            block = contents[first : first + BUFFER]
            buffer[: len(block)] = block
    end = time.perf_counter()
    done.set()
    watcher.join()
    size = sum(array.nbytes for array in arrays)
    return {"load": loaded - start, "read": end - loaded, "bytes": size, "peak": status("VmHWM"), "anonymous": most[0]}


def raw(folder: Path) -> dict[str, Any]:
    """Reads the files of the cache's features as they are."""
    buffer = bytearray(BUFFER)
    size, start = 0, time.perf_counter()
    for path in sorted(files_of(folder, "cache"), key=lambda path: path.stat().st_size)[-2:]:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                size += count
    return {
        "load": 0.0,
        "read": time.perf_counter() - start,
        "bytes": size,
        "peak": status("VmHWM"),
        "anonymous": status("RssAnon"),
    }


SIDES = {"shards": lambda folder: load(folder, False), "cache": lambda folder: load(folder, True), "raw": raw}


def in_new_process(folder: Path, side: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--folder", str(folder), "--side", side]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


def measure(folder: Path, rounds: int) -> list[tuple[str, dict[str, Any]]]:
    found = []
    forget(folder)
    found.append(("shards into memory, cold", in_new_process(folder, "shards")))
    found.append(("shards into memory, warm", in_new_process(folder, "shards")))
    forget(folder)
    found.append(("first load: shards to cache, cold", in_new_process(folder, "cache")))
    for path in files_of(folder, "cache")[:1]:
        shutil.rmtree(path.parent)
    found.append(("first load: shards to cache, warm", in_new_process(folder, "cache")))
    for state in ("warm", "cold"):
        turns: dict[str, list[dict[str, Any]]] = {"raw": [], "cache": []}
        for _ in range(rounds):
            for side, results in turns.items():
                if state == "cold":
                    forget(folder)
                results.append(in_new_process(folder, side))
        for side, what in (("raw", "raw reading of the cache"), ("cache", "later load from the cache")):
            best = min(turns[side], key=lambda each: each["load"] + each["read"])
            found.append((f"{what}, {state}", best))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=265_000)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="keep the shards, and use those that are there")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.side:
        print(json.dumps(SIDES[flags.side](flags.folder)))
        return
    folder = flags.folder / "infoser-loading"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if not files_of(folder, "shards"):
            print(f"written in {write_shards(folder, flags.rows, flags.dim):.0f} s")
        for path in files_of(folder, "cache")[:1]:
            shutil.rmtree(path.parent)
        found = measure(folder, flags.rounds)
    finally:
        if not flags.keep:
            shutil.rmtree(folder)
    data = found[0][1]["bytes"]
    table = Table(title=f"{data / 1e9:.2f} GB of features; best of {flags.rounds} for reading")
    for heading in ("what", "load s", "read s", "GB/s", "of raw", "peak / data", "anonymous / data"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    raws = {what.rsplit(", ", 1)[1]: each["load"] + each["read"] for what, each in found if what.startswith("raw")}
    for what, each in found:
        seconds = each["load"] + each["read"]
        cells = [f"{each['load']:.2f}", f"{each['read']:.2f}", f"{each['bytes'] / seconds / 1e9:.2f}"]
        cells.append(f"{raws[what.rsplit(', ', 1)[1]] / seconds:.0%}" if "cache," in what and "first" not in what else "")
        cells += [f"{each[key] * 2**20 / data:.2f}" for key in ("peak", "anonymous")]
        table.add_row(what, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
