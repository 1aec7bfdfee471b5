"""Is estimated information a sign of a generator's worth? Rank correlations over generators of varied quality.

By hand: python tests/battery/indicator.py [demo | iemocap] [--data-dir DATA] [--folds N] [--seeds N]. Forty InfoGANs with text
(widths, training lengths, losses, weights of the information terms) are trained on the first folds of the corpus; each row
is one of them, averaged over folds and seeds: I((c,t);ĥ) by InfoNCE with a fresh critic read on held-out rows, I(c;ĥ) by a
fresh q (what `eval.py quality` gives), TSTR, and the classifier's gain in UA over `none`. Then Spearman's ρ with a 95 %
interval: percentile bootstrap over generators, which takes the corpus and its folds as given.
"""

import contextlib
import dataclasses
import io
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from infoser import experiment, parallel, presets
from infoser.corpus import Corpus
from infoser.matrix import Matrix
from infoser.metrics.classification import confusion_matrix, unweighted_average_recall
from infoser.metrics.information import ESTIMATORS, mutual_information
from infoser.models.critics import BilinearCritic
from infoser.pools import Pools
from infoser.quality import quality_rows
from infoser.runs import SpaceOutputs, run_space
from infoser.spaces import make_space

ROWS, RESAMPLES = 3000, 10_000
SETTINGS = [
    {"width": width, "steps": steps, "class_mi_weight": weight, "text_mi_weight": weight, "loss": loss}
    for width, steps, weight, loss in itertools.product(
        (16, 128), (50, 150, 400, 1000), (0.0, 0.1, 1.0), ("hinge", "wasserstein")
    )
    if not (width == 16 and weight == 1.0)
]


def condition_information(matrix: Matrix, space: Any, pools: Pools) -> float:
    """I((c,t);ĥ), mean over units."""
    pools.load(range(len(matrix.units)))
    (arm,) = (one for one in matrix.arms if one.variant == "infogan")
    found = []
    for number in range(len(matrix.units)):
        features, target = (np.concatenate(parts)[:ROWS] for parts in zip(*pools.rows(number, arm, "audio"), strict=True))
        text = space.text_representation(number, pools.lent_text(number, arm, "audio"))[:ROWS]
        condition = np.concatenate([np.eye(matrix.n_classes, dtype=np.float32)[target.argmax(axis=1)], text], axis=1)
        settings: dict[str, Any] = {"estimator": ESTIMATORS["infonce"], "parts": 3, "steps": 400, "reading_size": 512}
        found.append(mutual_information(BilinearCritic(), features, condition, **settings)["infonce"].estimate_nats)
    return float(np.mean(found))


def unweighted_recall(outputs: SpaceOutputs, corpus: Corpus, variant: str) -> float:
    """UA of a variant's heads, mean over units."""
    found = []
    for head in outputs.heads:
        if head.variant == variant and not head.probe:
            predicted = head.log_probability.argmax(axis=1)
            counts = confusion_matrix(corpus.label[head.rows], predicted, len(corpus.classes))
            found.append(float(unweighted_average_recall(counts)))
    return float(np.mean(found))


def measured(config: Any, corpus: Any, folds: Any, folder: Path) -> dict[str, float]:
    trainer = experiment.make_trainer(config, folder)
    outputs = run_space(config, corpus, folds, trainer, heads_of=("audio",))
    rows = {row["variant"]: row for row in quality_rows(outputs.heads, corpus, "", outputs.alignment)}
    recall = {variant: unweighted_recall(outputs, corpus, variant) for variant in ("none", "infogan")}
    matrix = Matrix(config, corpus, folds, trainer)
    space = make_space(matrix)
    return {
        "condition_information": condition_information(matrix, space, Pools(matrix, space)),
        "class_information": rows["infogan"]["class_information_nats"],
        "tstr": rows["infogan"]["tstr_ua"],
        "gain": recall["infogan"] - recall["none"],
    }


def _rho(one: np.ndarray, other: np.ndarray) -> float:
    said: Any = spearmanr(one, other)
    return float(said.statistic)


def correlation(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(one), size=(RESAMPLES, len(one)))
    values = [_rho(one[own], other[own]) for own in drawn]
    low, high = np.nanquantile(values, (0.025, 0.975))
    return _rho(one, other), float(low), float(high)


def main(argv: list[str]) -> None:
    flags = dict(itertools.pairwise(argv))
    name = argv[0] if argv and not argv[0].startswith("--") else "demo"
    seeds = range(int(flags.get("--seeds", "1")))
    arguments = [name, "--variants", "none", "infogan", "--aligned-variants", "--seeds", *map(str, seeds)]
    base = presets.parse([*arguments, "--data-dir", flags.get("--data-dir", "data")])
    parallel.use_all_cores(2)
    corpus = experiment.load_corpus(base)
    folds = experiment.plan_folds(base, corpus)[1][: int(flags.get("--folds", "3"))]
    table = Table(
        "width", "steps", "λ", "loss", "I((c,t);ĥ)", "I(c;ĥ)", "TSTR UA", "gain in UA", title=f"{name}, {len(folds)} folds"
    )
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number, own in enumerate(SETTINGS):
            generate: Any = dataclasses.replace(base.generate, **own)
            config = dataclasses.replace(base, generate=generate)
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                found.append(measured(config, corpus, folds, Path(folder) / str(number)))
            values = [f"{100 * v:+.1f}" if k in ("tstr", "gain") else f"{v:.3f}" for k, v in found[-1].items()]
            table.add_row(str(own["width"]), str(own["steps"]), f"{own['class_mi_weight']:g}", own["loss"], *values)
            print(json.dumps(own | found[-1]), flush=True)
    out = Console(width=140)
    out.print(table)
    arrays = {key: np.array([one[key] for one in found]) for key in found[0]}
    for estimate, worth in itertools.product(("condition_information", "class_information"), ("tstr", "gain")):
        rho, low, high = correlation(arrays[estimate], arrays[worth])
        out.print(f"Spearman of {estimate} and {worth} over {len(found)} generators: {rho:+.2f} [{low:+.2f}, {high:+.2f}]")


if __name__ == "__main__":
    main(sys.argv[1:])
