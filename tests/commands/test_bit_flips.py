"""Three hundred single-bit flips over the files of shards and checkpoints: none is used, each is named."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infoser.checkpoints import Checkpoints
from infoser.errors import InfoserError
from infoser.shards import read_corpus

FLIPS = 300


def test_no_flipped_bit_is_used(demo: Any, run_prepare: Any, tmp_path: Path) -> None:
    run, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(demo.folder, run)
    assert run_prepare("demo", "--data-dir", data).status == 0
    files = [path for step in run.rglob("step_*") for path in step.rglob("*") if path.is_file() and path.stat().st_size]
    shards = [path for path in data.rglob("*") if path.is_file() and path.stat().st_size]
    generator = np.random.default_rng(20260)
    named = 0
    for number in range(FLIPS):
        of_shards = number % 3 == 0
        path = Path(str(generator.choice(np.array([str(one) for one in (shards if of_shards else files)]))))
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[generator.integers(len(whole))] ^= 1 << int(generator.integers(8))
        path.write_bytes(flipped)
        step = next((parent for parent in path.parents if parent.name.startswith("step_")), path.parent)
        with pytest.raises(InfoserError) as refusal:
            if of_shards:
                read_corpus(data, "demo")
            else:
                Checkpoints(step.parent).restore({})
        # The file, or what it spoils: the folder whose list of digests it is, the corpus whose description.
        named += path.name in str(refusal.value) or step.name in str(refusal.value) or "'demo'" in str(refusal.value)
        path.write_bytes(whole)
    assert read_corpus(data, "demo").name == "demo"  # unharmed, it is read
    assert named == FLIPS
