"""Sides of the benchmark of heads: their steps as train.py takes them, in a group, beside PyTorch's loop over runs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import speed_steps
import torch
from rich.console import Console
from rich.table import Table
from speed_experiment import head_step
from speed_steps import Side

from infoser import lifting, parallel
from infoser.compilation_cache import with_fewer_copies
from infoser.config import ClassifyConfig, numbers
from infoser.fold_view import Features, FoldView
from infoser.models import narrow
from infoser.stages.classify import Classify, ClassifyRun, GeneratedRows

DIMS = {"audio": 47, "text": 512, "both": 559}
_ADDED = 4000


def grouped(modality: str, runs: int, *, sums: bool) -> Side:
    """A group of heads on both real and generated rows.

    Args:
      modality: what they read.
      runs: how many.
      sums: whether the gradients of their last layer are sums of rows, as they are; else XLA's products.
    """
    sizes = speed_steps.Sizes(DIMS["audio"], DIMS["text"], 0, 0)
    data, rng, rows = speed_steps.tables(sizes), np.random.default_rng(0), np.arange(speed_steps.ROWS)
    view = FoldView.build(
        rows, data["label"], n_classes=sizes.classes, audio=data["audio"], text=data["text"], rows_padded=len(rows),
        labelled_padded=len(rows),
    )  # fmt: skip
    target = np.eye(sizes.classes, dtype=np.float32)[rng.integers(0, sizes.classes, _ADDED)]
    generated: Any = GeneratedRows(rng.standard_normal((_ADDED, DIMS[modality]), np.float32), target, np.int32(_ADDED))  # type: ignore
    settings = numbers(ClassifyConfig()) | {"real_weight": 1.0, "generated_weight": 0.3, "curriculum": 1.0}
    settings |= {"by_prior": 0.0, "focal_gamma": 0.0, "logit_adjustment": 0.0}
    run = ClassifyRun(view, generated, {name: jnp.float32(value) for name, value in settings.items()})
    stage = Classify(sizes.classes, modality, ClassifyConfig.width, ClassifyConfig.batch_size, 2**30)
    mode = parallel.RunsMode()
    shared = mode.replicate(Features(data["audio"][None], data["text"][None]))  # type: ignore
    spread = mode.spread(jax.tree.map(lambda leaf: np.stack([np.asarray(leaf)] * runs), run))
    keys = mode.spread(parallel.run_keys(range(runs), ["fold"] * runs))
    held: list[Any] = [mode.init_runs(stage, shared, spread, keys), 0]
    compiled: dict[int, Any] = {}

    def chunk(n: int) -> Any:
        most, narrow.MOST = narrow.MOST, narrow.MOST if sums else 0
        try:
            lifted = jax.pmap(lifting.lifted(stage, "chunk", (n,)), in_axes=(0, None, 0, 0, None), donate_argnums=0)
            function = with_fewer_copies(lifted)
            return function, function(held[0], shared, spread, keys, jnp.int32(held[1]))
        finally:
            narrow.MOST = most

    def take(n: int) -> None:
        if n not in compiled:
            compiled[n], (held[0], means, _) = chunk(n)
        else:
            held[0], means, _ = compiled[n](held[0], shared, spread, keys, jnp.int32(held[1]))
        jax.block_until_ready(means)
        held[1] += n

    return Side(f"infoser, group of {runs}" + ("" if sums else ", gradients as products"), take, runs)


def twin(modality: str, threads: int, device: str) -> Side:
    """PyTorch's eager loop over the steps of a run."""
    step = head_step(DIMS[modality], device)

    def take(n: int) -> None:
        torch.set_num_threads(threads)
        for _ in range(n):
            step()
        if device == "cuda":
            torch.cuda.synchronize()

    return Side(f"PyTorch eager, {threads} threads", take)


def show(out: Console, modality: str, sides: list[Side], seconds: np.ndarray, own: int) -> dict[str, Any]:
    """The row of one modality; of PyTorch's sides, those after infoser's `own`, the better counts."""
    middle = np.median(seconds, axis=0)
    eager = own + int(np.argmin(middle[own:]))
    ratios = {"eager / group": float(np.median(seconds[:, eager] / seconds[:, 0]))}
    if own > 1:
        ratios["products / sums"] = float(np.median(seconds[:, 1] / seconds[:, 0]))
    table = Table("side", "ms a step", title=f"heads on {modality}, {DIMS[modality]} columns")
    for side, each in zip(sides, middle, strict=True):
        table.add_row(side.name, f"{1e3 * each:.3f}")
    out.print(table, ", ".join(f"{name}: {value:.2f}" for name, value in ratios.items()))
    return {"modality": modality, "ms": {side.name: 1e3 * each for side, each in zip(sides, middle, strict=True)}, **ratios}
