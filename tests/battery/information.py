"""Trained estimators of mutual information against closed forms: one table, with every estimate's error and null.

By hand: python tests/battery/information.py [DIM ...] (1 and 20 where none is given). Pairs are Gaussian, with one correlation
in each of d dimensions, so that I = −(d/2) ln(1 − ρ²). Critics and q's are fitted by `infoser.metrics.information` to three
parts of the rows and read on the fourth, in batches of 2,048. The aim is the closed form, but for SMILE what the best critic
(the true log ratio) would read, and for CLUB dρ²/(1 − ρ²) · (N − 1)/N. `off` is the distance from it, marked where over 5 %.
A second table has other critics, of which none but the bilinear one holds the truth.
"""

import math
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from infoser.losses import likelihoods
from infoser.losses import mutual_information as mi
from infoser.metrics.information import ESTIMATORS, mutual_information
from infoser.models.conditionals import GaussianConditional, MixtureConditional
from infoser.models.critics import BilinearCritic, ConcatenatedCritic, DistanceCritic, SeparableCritic

PARTS, N = 4, 2048
CELLS = [(dim, truth) for dim in (1, 20) for truth in (0.5, 2.0, 4.0)]
ENTROPY = 0.5 * math.log(2 * math.pi * math.e)  # of one standard Gaussian


def correlation(dim: int, truth: float) -> float:
    return math.sqrt(-math.expm1(-2 * truth / dim))


def pairs(rows: int, dim: int, rho: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, dim))
    y = rho * x + math.sqrt(1 - rho**2) * rng.standard_normal((rows, dim))
    return x.astype(np.float32), y.astype(np.float32)


@jax.jit
def log_ratio(x: jax.Array, y: jax.Array, rho: jax.Array) -> jax.Array:
    """ln p(x, y) / p(x) p(y) for all pairs of a batch: ln p(y|x) − ln p(y)."""
    shape = x.shape
    conditional = likelihoods.gaussian_log_likelihood_of_pairs(rho * x, jnp.full(shape, jnp.log1p(-(rho**2))), y)
    return conditional - likelihoods.gaussian_log_likelihood(jnp.zeros(shape), jnp.zeros(shape), y)[None]


def best(name: str, dim: int, rho: float, batches: int = 40) -> tuple[float, float]:
    """What the best critic (for CLUB the true conditional) reads from fresh batches: mean, and its standard error."""
    reading = jax.jit({"smile": mi.smile, "club": mi.club, "infonce": mi.infonce}[name])
    values = []
    for batch in range(batches):
        x, y = map(jnp.asarray, pairs(N, dim, rho, 10_000 + batch))
        values.append(float(reading(log_ratio(x, y, jnp.float32(rho))).mean()))
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(batches))


class Report:
    def __init__(self, title: str) -> None:
        self.table = Table("d", "I", "estimator", "model", "estimate", "aim", "off", "null", "of ln N, most", "s", title=title)
        self.missed = 0

    def add(self, cell: tuple[int, float], found: Any, model: str, aim: float, seconds: float) -> None:
        off = 100 * (found.estimate_nats - aim) / aim
        self.missed += abs(off) > 5
        share = "" if found.ceiling_nats is None else f"{found.batches.max() / found.ceiling_nats:.3f}"
        null = f"{found.null_nats:+.4f} ± {found.null_standard_error:.4f}"
        estimate = f"{found.estimate_nats:.3f} ± {found.standard_error:.3f}"
        marked = f"{off:+.1f} %" + (" *" if abs(off) > 5 else "")
        row = [
            str(cell[0]),
            f"{cell[1]:g}",
            found.reading,
            model,
            estimate,
            f"{aim:.3f}",
            marked,
            null,
            share,
            f"{seconds:.0f}",
        ]
        self.table.add_row(*row)
        print(*row, sep="\t", file=sys.stderr, flush=True)


def fit(report: Report, cell: tuple[int, float], rows: int, name: str, model: Any, **settings: Any) -> None:
    dim, truth = cell
    rho = correlation(dim, truth)
    x, y = pairs(rows, dim, rho, 1)
    start = time.perf_counter()
    found = mutual_information(model, x, y, estimator=ESTIMATORS[name], parts=PARTS, reading_size=N, **settings)
    seconds = time.perf_counter() - start
    for reading in found.values():
        aim = truth
        if reading.reading == "smile":
            aim = best("smile", dim, rho)[0]
        if reading.reading == "club":
            aim = dim * rho**2 / (1 - rho**2) * (N - 1) / N
        report.add(cell, reading, type(model).__name__, aim, seconds)


def with_the_truth(report: Report, cell: tuple[int, float], name: str) -> None:
    """What the best critic reads from fresh batches (for CLUB: the true conditional), beside the closed form."""
    dim, truth = cell
    rho = correlation(dim, truth)
    aim = dim * rho**2 / (1 - rho**2) * (N - 1) / N if name == "club" else truth
    mean, error = best(name, dim, rho)
    row = [
        str(dim),
        f"{truth:g}",
        name,
        "the truth",
        f"{mean:.3f} ± {error:.3f}",
        f"{aim:.3f}",
        f"{100 * (mean - aim) / aim:+.1f} %",
    ]
    report.table.add_row(*row)
    print(*row, sep="\t", file=sys.stderr, flush=True)


def main(dims: list[int]) -> None:
    rows = PARTS * N * 20
    report = Report(f"{rows:,} rows, {PARTS} parts")
    for dim, truth in (cell for cell in CELLS if cell[0] in dims):
        cell = (dim, truth)
        for name in ("infonce", "smile", "club"):
            with_the_truth(report, cell, name)
        for name in ("infonce", "nwj", "dv", "mine", "jsd"):
            # The narrower the dependence, the larger the critic's weights have to grow.
            fast = {"learning_rate": 0.03, "batch_size": 512} if dim > 1 else {"learning_rate": 0.3, "batch_size": 256}
            fit(report, cell, rows, name, DistanceCritic(dim), steps=600 if dim > 1 else 1500, **fast)
        entropy = {"entropy_nats": dim * ENTROPY}
        q = {"batch_size": 512, "learning_rate": 0.03, "steps": 1000}
        fit(report, cell, rows, "barber-agakov", GaussianConditional(dim), **entropy, **q)
        fit(report, cell, rows, "barber-agakov", MixtureConditional(dim, 2), **entropy, **q)
        fit(report, cell, rows, "club", GaussianConditional(dim), **q)
    others = Report("other critics")
    for dim in dims:
        cell = (dim, 2.0)
        fit(others, cell, rows, "infonce", BilinearCritic(), batch_size=256, learning_rate=0.1, steps=1000)
        for name in ("infonce", "jsd"):
            fit(others, cell, rows, name, SeparableCritic((256,), 32), batch_size=256, learning_rate=3e-3, steps=1000)
        fit(others, cell, rows // 5, "jsd", ConcatenatedCritic((64, 64), True), batch_size=64, learning_rate=3e-3, steps=1000)
    for one in (report, others):
        Console(width=150).print(one.table)
        print(f"{one.missed} of {one.table.row_count} more than 5 % off")


if __name__ == "__main__":
    main([int(dim) for dim in sys.argv[1:]] or [1, 20])
