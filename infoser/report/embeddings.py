"""Real against added rows in two dimensions, class by class: principal components, and t-SNE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infoser import experiment
from infoser.pools import Pools
from infoser.progress import show_progress
from infoser.report import style
from infoser.report.labels import file_name, in_figure
from infoser.report.style import Picture
from infoser.spaces import make_space

#: Most rows of each kind that are drawn, and variants that are shown.
MOST_ROWS, MOST_VARIANTS = 600, 12
#: Most classes that have a panel of their own.
MOST_CLASSES = 11
METHODS = {"pca": "principal components", "tsne": "t-SNE"}


@dataclass(frozen=True)
class Embedded:
    """Real training rows and a variant's rows of one fold and seed, in two dimensions.

    Attributes:
      method: a key of METHODS.
      points: (real, generated) of (n, 2).
      labels: (real, generated) of (n,) class indices.
      explained: share of the variance on each axis (PCA only).
    """

    variant: str
    cell: str
    fold: str
    seed: int
    method: str
    points: tuple[np.ndarray, np.ndarray]
    labels: tuple[np.ndarray, np.ndarray]
    explained: tuple[float, ...] = ()


def embed(folder: Path, data_dir: Path | None, cell: str) -> tuple[list[Embedded], list[str]]:
    """Restores the added audio rows of the first fold and seed of a run folder's cell and embeds them beside real ones.

    Returns:
      For each variant that adds rows and each method; and the classes.

    Raises:
      InfoserError: as `experiment.score`.
    """
    config, corpus = experiment.restore(folder, data_dir)
    _, folds = experiment.plan_folds(config, corpus)
    trainer = experiment.make_trainer(config, folder, restore_only=True)
    plans = experiment.plans_of(folder, config, corpus)
    own = next((one for one in plans if any(arm.cell == cell for arm in one.branch.arms)), plans[0])
    matrix = own.matrix(corpus, folds, trainer)
    space = make_space(matrix)
    pools = Pools(matrix, space)
    found = []
    probed = [arm for arm in own.branch.arms if arm.cell == cell and pools.probed(arm)][:MOST_VARIANTS]
    if probed:
        pools.load([0], probed)
    unit = matrix.units[0]
    rng = np.random.default_rng(0)
    known = _drawn(np.flatnonzero(unit.label >= 0), rng)
    real = (space.real(0, "audio", known), unit.label[known])
    for arm in show_progress(probed, total=len(probed), what="embedding added rows", unit="variants"):
        added, _ = pools.rows(0, arm, "audio")
        which = _drawn(np.arange(len(added.features)), rng)
        made = (added.features[which], added.target[which].argmax(axis=1))
        name = (arm.variant, cell, unit.fold.name, unit.seed)
        found += [Embedded(*name, *each) for each in _both(real, made)]
    return found, list(corpus.classes)


def _drawn(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= MOST_ROWS else np.sort(rng.choice(rows, MOST_ROWS, replace=False))


def _both(real: tuple[np.ndarray, np.ndarray], made: tuple[np.ndarray, np.ndarray]) -> list[tuple[Any, ...]]:
    """The rows by both methods. The components are those of the real rows; t-SNE places all rows together."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    labels, size = (real[1], made[1]), len(real[0])
    rows = np.concatenate([real[0], made[0]]).astype(np.float64)
    dims = min(2, rows.shape[1], size)
    pca = PCA(dims, random_state=0).fit(real[0])
    flat = _two(pca.transform(rows))
    shares = tuple(float(one) for one in pca.explained_variance_ratio_)
    found: list[tuple[Any, ...]] = [("pca", (flat[:size], flat[size:]), labels, shares)]
    if len(rows) > 10:
        # As many components as t-SNE is commonly given; its perplexity has to be below the number of rows.
        most = min(50, *rows.shape)
        reduced = PCA(most, random_state=0).fit_transform(rows) if rows.shape[1] > most else rows
        perplexity = min(30.0, (len(rows) - 1) / 3)
        flat = TSNE(2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=0).fit_transform(_two(reduced))
        found.append(("tsne", (flat[:size], flat[size:]), labels, ()))
    return found


def _two(points: np.ndarray) -> np.ndarray:
    """Points with at least two coordinates: a corpus may have a single feature."""
    return points if points.shape[1] >= 2 else np.pad(points, ((0, 0), (0, 2 - points.shape[1])))


def scatter(one: Embedded, classes: Sequence[str]) -> Picture:
    """All rows, then each class, real ones as circles and generated ones as triangles."""
    shown = list(range(min(len(classes), MOST_CLASSES)))
    figure, axes = style.grid(1 + len(shown), 3, 2.6, 2.5, sharex=True, sharey=True)
    for axis, which in zip(axes, (None, *shown), strict=True):
        sizes = []
        kinds = zip(one.points, one.labels, (style.REAL, style.GENERATED), ("o", "^"), ("real", "generated"), strict=True)
        for points, label, colour, marker, kind in kinds:
            own = points if which is None else points[label == which]
            sizes.append(len(own))
            face = "none" if kind == "real" else colour
            axis.scatter(
                *own.T[:2],
                s=11,
                marker=marker,
                facecolors=face,
                edgecolors=colour,
                linewidths=0.6,
                alpha=0.6,
                label=kind,
                rasterized=True,
            )
        title = "all classes" if which is None else in_figure(classes[which])
        axis.set_title(f"{title}\n{sizes[0]} real, {sizes[1]} generated", loc="left")
        axis.grid(False)
        axis.tick_params(labelbottom=False, labelleft=False, length=0)
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside upper left",
        ncols=2,
        markerscale=2,
        title=in_figure(f"{one.variant}: {METHODS[one.method]}", 40),
        alignment="left",
    )
    shares = ", ".join(f"{100 * share:.0f} %" for share in one.explained)
    how = {
        "pca": f"principal components of the real rows (their shares of the variance: {shares})",
        "tsne": "t-SNE of all rows together; distances between far groups mean nothing",
    }[one.method]
    left = f" {len(classes) - len(shown)} further classes have no panel." if len(classes) > len(shown) else ""
    drift = [np.linalg.norm(one.points[1].mean(axis=0) - one.points[0].mean(axis=0)), one.points[0].std(axis=0).mean()]
    said = (
        f" The centres are {drift[0] / max(drift[1], 1e-12):.2f} standard deviations of the real rows apart."
        if len(one.points[1])
        else ""
    )
    real, added = (len(points) for points in one.points)
    return Picture(
        f"{one.method}-{file_name(one.variant)}",
        f"{one.variant}: {real:,} real training rows (circles) and {added:,} rows it adds (triangles), audio, fold {one.fold}, "
        f"seed {one.seed}: {how}." + left,
        f"Scatter plots of real and generated rows of {one.variant}, for all classes and each class.{said}",
        figure,
    )
