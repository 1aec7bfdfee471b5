"""The quality panel: every measure of generated rows beside what real rows get at the same number of rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Num

from infoser.errors import InfoserError
from infoser.metrics import samples
from infoser.metrics.frechet import frechet_distance, frechet_distance_along, principal_axes
from infoser.metrics.kernel_distance import gaussian_kernel, median_bandwidth, squared_discrepancy
from infoser.metrics.neighbours import (
    memorisation,
    nearer_to_train_share,
    nearest_distances,
    precision_recall_density_coverage,
)
from infoser.metrics.two_sample import LEAST_ROWS, classifier_two_sample_test, common_p_value

#: Rows that a sample of a panel has at least; every source needs twice as many.
LEAST = 2 * LEAST_ROWS


@dataclass(frozen=True)
class PanelOptions:
    """How a panel is taken.

    Attributes:
      repeats: how often rows are drawn; 2 or more.
      most_rows: of a sample; larger sources are thinned to twice this.
      pca_components: of the Fréchet distance along principal axes; fewer where there are not ten rows for each.
      neighbours: k of precision, recall, density and coverage.
      quantile: of fresh real rows' distances to the training rows, below which a generated row is called close.
      level: nominal coverage of the intervals.
      seed: of all draws.
    """

    repeats: int = 5
    most_rows: int = 2000
    pca_components: int = 32
    neighbours: int = 5
    quantile: float = 0.05
    level: float = 0.95
    seed: int = 0


class Labelled(NamedTuple):
    """Rows and the class of each."""

    rows: Num[np.ndarray, "n dim"]
    label: Int[np.ndarray, " n"]


class _Stratum(NamedTuple):
    """The sources of one class, or of all rows."""

    generated: np.ndarray
    reference: np.ndarray
    train: np.ndarray


class _Draw(NamedTuple):
    """Four samples of the same size: two disjoint ones of the reference, one generated, one of the training rows."""

    generated: np.ndarray
    reference: np.ndarray
    fresh: np.ndarray
    train: np.ndarray


_DEFAULT = PanelOptions()


def panel(
    generated: Num[np.ndarray, "n _"],
    real_reference: Num[np.ndarray, "m _"],
    train: Num[np.ndarray, "l _"],
    options: PanelOptions = _DEFAULT,
) -> dict[str, Any]:
    """All measures of generated rows against real ones that nothing was trained on.

    For every repeat the reference is cut into two disjoint random halves A and B, and as many generated and training rows are
    drawn without replacement (at most half of what there is, so that all samples have the same size). A measure's
    `value` compares generated rows with A, its `real` compares B with A (what perfect rows would get), and its `train`
    compares training rows with A (what a perfect memory of the training part would get; it differs from `real` where
    the reference has other speakers). All three are averaged over repeats.

    Intervals are mean +- t s sqrt(1 + 1/repeats), with s the standard deviation over repeats and t Student's with
    repeats - 1 degrees of freedom: drawing halves of a sample without replacement varies a smooth statistic as much as
    drawing the whole sample anew would (delete-half jackknife, doi 10.1214/aos/1176347263). By simulation a nominal
    90 % covers 88 to 100 %; intervals are too wide where two samples are of one distribution. They take the generator and
    the speakers as given, and rows as independent.

    Args:
      generated: rows of one generator.
      real_reference: real rows that it never saw. Distances are in the features' own units: standardise all three by
        the training part's statistics.
      train: the real rows it learned from.
      options: sizes, repeats and seed.

    Returns:
      rows: the size of every sample, with `generated_rows`, `reference_rows`, `train_rows` the sizes of what they were
        drawn from, and `repeats`, `dimensions`, `pca_components`, `neighbours`, `quantile`, `level`.
      measures: by name, {value, low, high, real, real_low, real_high, train, train_low, train_high} and, where it is a test,
        {p, real_p, train_p}: of frechet, frechet_pca, kid, mmd (Gaussian kernel), precision, recall, density, coverage,
        two_sample_accuracy, memorised_closer_share, memorised_auc, memorised_copies_share, memorised_nearer_to_train_share.
        The memorised ones look up all training rows, save the last, which takes as many as of A; they have no `train`.

    Raises:
      InfoserError: for too few rows, other features, values that are not finite, or options that make no panel.
    """
    result = _panel([_Stratum(*_sources(generated, real_reference, train))], options)
    del result["stratum_rows"]
    return result


def panel_by_class(
    generated: Labelled, real_reference: Labelled, train: Labelled, classes: Sequence[str], options: PanelOptions = _DEFAULT
) -> dict[str, Any]:
    """The `panel` of every class, and of all together with the classes as frequent as in the reference.

    Equal frequencies keep a generator that balances classes from being told apart by that alone.

    Args:
      generated, real_reference, train: as for `panel`, with the class of each row, 0..C-1; others (such as -1 for
        unlabelled) are ignored.
      classes: their names.
      options: as for `panel`.

    Returns:
      classes: a panel by class name.
      overall: the panel over those classes, with the rows of each in `class_rows`.
      left_out: by class name, why a class has no panel; it takes no part in `overall` either.

    Raises:
      InfoserError: as `panel`, or when no class has enough rows.
    """
    pools = dict(zip(("generated", "reference", "train"), (generated, real_reference, train), strict=True))
    rows = _sources(*(pool.rows for pool in pools.values()))
    strata: dict[str, _Stratum] = {}
    left_out: dict[str, str] = {}
    for number, name in enumerate(classes):
        own = _Stratum(*(values[pool.label == number] for values, pool in zip(rows, pools.values(), strict=True)))
        few = [f"{len(values)} {source} rows" for source, values in own._asdict().items() if len(values) < 2 * LEAST]
        if few:
            left_out[name] = f"{', '.join(few)}; a panel needs {2 * LEAST} of each"
        else:
            strata[name] = own
    if not strata:
        raise InfoserError(
            "quality panel: no class has enough rows (" + "; ".join(f"{name}: {why}" for name, why in left_out.items()) + ")"
        )
    overall = _panel(list(strata.values()), options)
    overall["class_rows"] = dict(zip(strata, overall.pop("stratum_rows"), strict=True))
    by_class = {name: _panel([stratum], options) for name, stratum in strata.items()}
    for one in by_class.values():
        del one["stratum_rows"]
    return {"overall": overall, "classes": by_class, "left_out": left_out}


def _sources(
    generated: Num[np.ndarray, "n _"], reference: Num[np.ndarray, "m _"], train: Num[np.ndarray, "l _"]
) -> list[np.ndarray]:
    sources = {"generated rows": generated, "real reference rows": reference, "training rows": train}
    dimensions = {name: rows.shape[1] for name, rows in sources.items()}
    if len(set(dimensions.values())) > 1:
        said = ", ".join(f"{name}: {count}" for name, count in dimensions.items())
        raise InfoserError(f"quality panel: the three must have the same features, in the same space ({said})")
    return [samples.checked(rows, f"quality panel, {name}", 2 * LEAST) for name, rows in sources.items()]


def _panel(strata: Sequence[_Stratum], options: PanelOptions) -> dict[str, Any]:
    if options.repeats < 2:
        raise InfoserError(f"quality panel: {options.repeats} repeats give no interval; ask for 2 or more")
    sizes = _sizes(strata, options.most_rows)
    size = sum(sizes)
    if size < max(LEAST, options.neighbours + 1):
        raise InfoserError(
            f"quality panel: samples of {size} rows, of {max(LEAST, options.neighbours + 1)} needed; generate more rows, "
            "or raise most_rows"
        )
    train = np.concatenate([stratum.train for stratum in strata])
    components = max(1, min(options.pca_components, size // 10))
    taken: list[dict[str, dict[str, float]]] = []
    for repeat in range(options.repeats):
        draw = _drawn(strata, sizes, np.random.default_rng((options.seed, repeat)))
        taken.append(_measures(draw, train, components, options, repeat))
    sources = ("generated", "reference", "train")
    return {
        "rows": size,
        "stratum_rows": sizes,
        **{f"{name}_rows": sum(len(getattr(stratum, name)) for stratum in strata) for name in sources},
        "repeats": options.repeats,
        "dimensions": train.shape[1],
        "pca_components": components,
        "neighbours": options.neighbours,
        "quantile": options.quantile,
        "level": options.level,
        "measures": {name: _summary([one[name] for one in taken], options.level) for name in taken[0]},
    }


def _sizes(strata: Sequence[_Stratum], most: int) -> list[int]:
    """Rows of each stratum in a sample, in the reference's proportions and at most half of every source."""
    reference = [len(stratum.reference) for stratum in strata]
    share = min(min(len(source) for source in stratum) // 2 / count for stratum, count in zip(strata, reference, strict=True))
    share = min(share, most / sum(reference))
    return [int(share * count + 1e-9) for count in reference]


def _drawn(strata: Sequence[_Stratum], sizes: Sequence[int], generator: np.random.Generator) -> _Draw:
    parts = []
    for stratum, size in zip(strata, sizes, strict=True):
        generated, train = (rows[samples.drawn(len(rows), size, generator)] for rows in (stratum.generated, stratum.train))
        halves = stratum.reference[samples.drawn(len(stratum.reference), 2 * size, generator)]
        parts.append(_Draw(generated, halves[:size], halves[size:], train))
    return _Draw(*(np.concatenate(rows) for rows in zip(*parts, strict=True)))


def _measures(
    draw: _Draw, train: np.ndarray, components: int, options: PanelOptions, repeat: int
) -> dict[str, dict[str, float]]:
    """By measure: `value`, `real` and, where there is one, `train`; p-values as `p` and `real_p`."""
    axes = principal_axes(draw.reference, components)
    kernel = gaussian_kernel(median_bandwidth(draw.reference, seed=repeat))
    entries: dict[str, dict[str, float]] = {}

    def put(key: str, values: Mapping[str, float], prefix: str = "") -> None:
        for name, value in values.items():
            entries.setdefault(prefix + name, {})[key] = float(value)

    for key, rows in {"value": draw.generated, "real": draw.fresh, "train": draw.train}.items():
        put(key, {"frechet": frechet_distance(rows, draw.reference)})
        put(key, {"frechet_pca": frechet_distance_along(axes, rows, draw.reference)})
        put(key, {"kid": squared_discrepancy(rows, draw.reference).value})
        put(key, {"mmd": squared_discrepancy(rows, draw.reference, kernel).value})
        put(key, precision_recall_density_coverage(draw.reference, rows, neighbours=options.neighbours)._asdict())
        test = classifier_two_sample_test(rows, draw.reference, seeds=(repeat,))
        put(key, {"two_sample_accuracy": test.accuracy})
        put(_p(key), {"two_sample_accuracy": test.p_value})
    to_reference = nearest_distances(draw.reference, train)
    for key, rows in {"value": draw.generated, "real": draw.fresh}.items():
        found = memorisation(nearest_distances(rows, train), to_reference, quantile=options.quantile)
        put(key, {"closer_share": found.closer_share, "auc": found.auc, "copies_share": found.copies_share}, "memorised_")
        put(_p(key), {"memorised_auc": found.p_value})
        put(key, {"memorised_nearer_to_train_share": nearer_to_train_share(rows, draw.train, draw.reference)})
    return entries


def _p(key: str) -> str:
    return "p" if key == "value" else f"{key}_p"


def _summary(repeats: Sequence[Mapping[str, float]], level: float) -> dict[str, float]:
    """Mean and interval over repeats of every entry, or the common p-value where it is one."""
    from scipy.stats import t  # SciPy takes 0.3 s to import, which the first step need not wait for

    summary: dict[str, float] = {}
    for key in repeats[0]:
        values = [one[key] for one in repeats]
        if key == "p" or key.endswith("_p"):
            summary[key] = common_p_value(values)
            continue
        mean, prefix = float(np.mean(values)), "" if key == "value" else f"{key}_"
        half = float(t.ppf((1 + level) / 2, len(values) - 1) * np.std(values, ddof=1)) * math.sqrt(1 + 1 / len(values))
        summary |= {key: mean, f"{prefix}low": mean - half, f"{prefix}high": mean + half}
    return summary
