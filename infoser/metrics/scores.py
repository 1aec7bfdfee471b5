"""Score rows from predictions: what a fold, their mean and their pool are, defined once.

fold: the metrics of each seed, averaged over seeds. mean: the folds' values, averaged over folds, each fold counting the same.
pooled: the predictions of all folds together for each seed, the metrics of that, averaged over seeds. Intervals belong to
`pooled` alone. A difference to the variant 'none' is taken seed by seed on the same utterances, then averaged likewise.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Shaped

from infoser.metrics.classification import class_recalls, macro_f1, unweighted_average_recall, weighted_accuracy
from infoser.metrics.intervals import MIN_SPEAKERS, ua_difference_interval, ua_difference_p, ua_interval

REFERENCE = "none"


@dataclass(frozen=True)
class Predictions:
    """The predicted classes of one run on the test part of one fold.

    Attributes:
      variant: the augmentation, 'none' for the reference without any.
      cell: what else sets this run apart, such as a setting under study; '' for nothing.
      modality: what the classifier reads.
      seed: of the run.
      fold: the fold's name.
      rows: (n,) corpus rows of the fold's test part, in any order.
      predicted: (n,) class indices.
    """

    variant: str
    cell: str
    modality: str
    seed: int
    fold: str
    rows: Int[np.ndarray, " n"]
    predicted: Int[np.ndarray, " n_predicted"]


@dataclass(frozen=True)
class Scores:
    """Score rows, ready for JSON, and what has to be said about them.

    Attributes:
      p_values: of pooled differences to the reference, by (variant, cell, modality, subset).
    """

    rows: list[dict[str, Any]]
    notes: list[str]
    p_values: dict[tuple[str, str, str, str], float | None] = field(default_factory=dict)


# variant, cell, modality
_Group = tuple[str, str, str]
# of one variant on one subset: fold -> (seeds, speakers, C, C) counts; a fold without utterances of the subset is absent
_Confusions = dict[str, np.ndarray]


def score_rows(
    predictions: Iterable[Predictions],
    *,
    label: Int[np.ndarray, " rows"],
    speaker: Shaped[np.ndarray, " rows"],
    classes: Sequence[str],
    subset_masks: Mapping[str, Mapping[str, Bool[np.ndarray, " n_test"]]],
    protocol: str,
    label_fraction: float,
    base_cell: str = "",
) -> Scores:
    """Scores of every variant, cell, modality and subset: a row for each fold, for their mean, and for their pool.

    Keys of a row: variant, cell, modality, subset, aggregate (the fold's name, 'mean' or 'pooled'), protocol, label_fraction;
    seeds, folds, n (how many seeds, folds and test utterances it covers; n does not count an utterance once per seed);
    wa, ua, macro_f1 as fractions; ua_std (over seeds; for `mean` over the folds' seed averages; None for a single one);
    ua_low, ua_high (95 % over speakers, `pooled` only, else None);
    ua_minus_none, ua_minus_none_low, ua_minus_none_high (None for 'none' itself, or without a reference; the bounds
    `pooled` only);
    recalls (class name -> recall, None for a class absent from the truth) and confusion (counts by true and predicted
    class, summed over seeds, and over folds in `mean` and `pooled`).

    The reference is 'none' of the same modality and cell, else of the same modality and the base cell. Nothing depends on the
    order of the predictions.

    Args:
      predictions: of every run; each variant, cell and modality needs every one of its seeds on every one of its folds.
      label: class index of every corpus row.
      speaker: name of every corpus row's speaker, or whatever cluster the intervals should resample.
      classes: the class names in label order.
      subset_masks: for each fold by name, the subsets' masks over its test part in the order of sorted rows; their order
        is that of the score rows.
      protocol, label_fraction: copied into every row; the cell may name another label fraction.
      base_cell: of the base configuration.

    Raises:
      ValueError: for a run given twice or missing, for variants whose seeds, folds or utterances differ although they are
        to be paired, for an unlabelled row, or for a mask of another length than its fold.
    """
    runs, rows_of_fold = _collect(predictions, label, subset_masks)
    speaker_code = np.unique(speaker, return_inverse=True)[1]
    subset_names = list(dict.fromkeys(name for fold in rows_of_fold for name in subset_masks[fold]))
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    p_values: dict[tuple[str, str, str, str], float | None] = {}
    for subset in subset_names:
        selected = {fold: subset_masks[fold].get(subset, np.zeros(len(test), bool)) for fold, test in rows_of_fold.items()}
        notes += [f"subset {subset!r} is empty in fold {fold!r}" for fold, mask in selected.items() if not mask.any()]
        selected = {fold: mask for fold, mask in selected.items() if mask.any()}
        tested = [rows_of_fold[fold][mask] for fold, mask in selected.items()]
        n_speakers = len(np.unique(speaker_code[np.concatenate(tested)])) if tested else 0
        if 0 < n_speakers < MIN_SPEAKERS:
            notes.append(f"no intervals on subset {subset!r}: {n_speakers} speakers, and they need {MIN_SPEAKERS}")
        confusions = {
            group: {
                fold: _confusions_by_speaker(by_seed, label, speaker_code, rows_of_fold[fold], selected[fold], len(classes))
                for fold, by_seed in by_fold.items()
                if fold in selected
            }
            for group, by_fold in runs.items()
        }
        for group, of_group in confusions.items():
            reference = _reference(group, runs, base_cell)
            if reference is not None and of_group:
                pools = [np.sum(list(confusions[one].values()), axis=0) for one in (group, reference)]
                p_values[*group, subset] = ua_difference_p(*pools)
            for scores in _aggregate_rows(of_group, None if reference is None else confusions[reference], classes):
                identity = dict(zip(("variant", "cell", "modality"), group, strict=True)) | {"subset": subset}
                identity |= {"aggregate": scores.pop("aggregate"), "protocol": protocol, "label_fraction": label_fraction}
                rows.append(identity | scores)
    order = {group: position for position, group in enumerate(runs)}
    rows.sort(key=lambda row: order[row["variant"], row["cell"], row["modality"]])
    return Scores(rows, notes, p_values)


def _collect(
    predictions: Iterable[Predictions], label: np.ndarray, subset_masks: Mapping[str, Mapping[str, np.ndarray]]
) -> tuple[dict[_Group, dict[str, dict[int, np.ndarray]]], dict[str, np.ndarray]]:
    """The predicted classes by group, fold and seed, in the order of sorted rows, and each fold's sorted rows; all checked."""
    runs: dict[_Group, dict[str, dict[int, np.ndarray]]] = {}
    rows_of_fold: dict[str, np.ndarray] = {}
    for run in predictions:
        name = f"{run.variant!r} (cell {run.cell!r}, {run.modality}) on fold {run.fold!r}"
        if run.fold not in subset_masks:
            raise ValueError(f"{name}: the fold has no subset masks; there are {', '.join(subset_masks)}")
        if np.shape(run.rows) != np.shape(run.predicted):
            raise ValueError(f"{name}: {len(run.rows)} rows but {len(run.predicted)} predictions")
        order = np.argsort(run.rows, kind="stable")
        rows = np.asarray(run.rows)[order]
        if not np.array_equal(rows_of_fold.setdefault(run.fold, rows), rows):
            raise ValueError(f"{name}: the test utterances are not those of the other runs; they cannot be paired")
        by_seed = runs.setdefault((run.variant, run.cell, run.modality), {}).setdefault(run.fold, {})
        if run.seed in by_seed:
            raise ValueError(f"{name}: seed {run.seed} is there twice")
        by_seed[run.seed] = np.asarray(run.predicted)[order]
    for fold, rows in rows_of_fold.items():
        if len(rows) == 0 or (np.diff(rows) == 0).any() or (label[rows] < 0).any():
            raise ValueError(f"fold {fold!r}: no test utterances, one twice, or one without a label")
        if any(len(mask) != len(rows) for mask in subset_masks[fold].values()):
            raise ValueError(f"fold {fold!r}: a subset mask does not have the {len(rows)} rows of the test part")
    for group, by_fold in runs.items():
        seeds = {seed for by_seed in by_fold.values() for seed in by_seed}
        missing = [(fold, seed) for fold, by_seed in by_fold.items() for seed in sorted(seeds - by_seed.keys())]
        if missing:
            raise ValueError(f"{group}: fold {missing[0][0]!r} lacks seed {missing[0][1]} ({len(missing)} runs missing)")
    ordered = {
        group: {fold: dict(sorted(runs[group][fold].items())) for fold in subset_masks if fold in runs[group]}
        for group in sorted(runs, key=lambda group: (group[1], group[2], group[0] != REFERENCE, group[0]))
    }
    return ordered, {fold: rows_of_fold[fold] for fold in subset_masks if fold in rows_of_fold}


def _reference(group: _Group, runs: Mapping[_Group, Mapping[str, Mapping[int, Any]]], base_cell: str) -> _Group | None:
    variant, cell, modality = group
    if variant == REFERENCE:
        return None
    reference = next((key for key in ((REFERENCE, cell, modality), (REFERENCE, base_cell, modality)) if key in runs), None)
    if reference is not None:
        own, others = ({fold: list(by_seed) for fold, by_seed in runs[key].items()} for key in (group, reference))
        if own != others:
            raise ValueError(f"{group} and {reference} cannot be paired: folds and seeds {own} against {others}")
    return reference


def _confusions_by_speaker(
    predicted_of_seed: Mapping[int, np.ndarray],
    label: np.ndarray,
    speaker_code: np.ndarray,
    rows: np.ndarray,
    mask: np.ndarray,
    n_classes: int,
) -> Int[np.ndarray, "seeds speakers classes classes"]:
    shape = (int(speaker_code.max()) + 1, n_classes, n_classes)
    true_cell = (speaker_code[rows] * n_classes + label[rows])[mask] * n_classes
    counts = []
    for predicted in predicted_of_seed.values():
        if predicted.min() < 0 or predicted.max() >= n_classes:
            raise ValueError(f"a predicted class is outside 0..{n_classes - 1}")
        counts.append(np.bincount(true_cell + predicted[mask], minlength=int(np.prod(shape))).reshape(shape))
    return np.stack(counts)


def _aggregate_rows(confusions: _Confusions, reference: _Confusions | None, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of each fold, of `mean` and of `pooled`, without the names of what they score; none without any fold."""
    if not confusions:
        return []
    folds = {fold: _scores(counts.sum(axis=1)) for fold, counts in confusions.items()}
    pooled_counts = np.sum(list(confusions.values()), axis=0)
    pooled = _scores(pooled_counts.sum(axis=1))
    gains = dict.fromkeys(folds)
    pooled_gain, gain_interval = None, None
    if reference is not None:
        gains = {fold: folds[fold]["ua"] - _ua(reference[fold]) for fold in folds}
        reference_counts = np.sum(list(reference.values()), axis=0)
        pooled_gain = pooled["ua"] - _ua(reference_counts)
        gain_interval = ua_difference_interval(pooled_counts, reference_counts)
    rows = [_row(fold, [scores], [gains[fold]], classes) for fold, scores in folds.items()]
    rows.append(_row("mean", list(folds.values()), list(gains.values()), classes))
    pooled_row = _row("pooled", [pooled], [pooled_gain], classes) | {"folds": len(folds)}
    pooled_row["ua_low"], pooled_row["ua_high"] = ua_interval(pooled_counts) or (None, None)
    pooled_row["ua_minus_none_low"], pooled_row["ua_minus_none_high"] = gain_interval or (None, None)
    return [*rows, pooled_row]


def _scores(confusion: Int[np.ndarray, "seeds classes classes"]) -> dict[str, np.ndarray]:
    """Metrics with a first axis of seeds, and the counts they are made of."""
    return {
        "confusion": confusion,
        "wa": weighted_accuracy(confusion),
        "ua": unweighted_average_recall(confusion),
        "macro_f1": macro_f1(confusion),
        "recalls": class_recalls(confusion),
    }


def _ua(counts: Int[np.ndarray, "seeds speakers classes classes"]) -> np.ndarray:
    return unweighted_average_recall(counts.sum(axis=1))


def _row(
    aggregate: str, parts: list[dict[str, np.ndarray]], gains: list[np.ndarray | None], classes: Sequence[str]
) -> dict[str, Any]:
    """Averages over the seeds of each part, then over parts; the standard deviation is that of the outermost average."""
    counts = np.sum([part["confusion"] for part in parts], axis=0)
    average = {key: np.array([part[key].mean(axis=0) for part in parts]) for key in ("wa", "ua", "macro_f1", "recalls")}
    present = ~np.isnan(average["recalls"])
    recalls = np.where(present, average["recalls"], 0).sum(axis=0) / np.maximum(present.sum(axis=0), 1)
    spread = average["ua"] if aggregate == "mean" else parts[0]["ua"]
    gain = [part.mean() for part in gains if part is not None]
    return {
        "aggregate": aggregate,
        "seeds": len(counts),
        "folds": len(parts),
        "n": int(counts[0].sum()),
        **{key: float(average[key].mean()) for key in ("wa", "ua", "macro_f1")},
        "ua_std": float(spread.std(ddof=1)) if len(spread) > 1 else None,
        "ua_low": None,
        "ua_high": None,
        "ua_minus_none": float(np.mean(gain)) if gain else None,
        "ua_minus_none_low": None,
        "ua_minus_none_high": None,
        "recalls": {name: float(recalls[index]) if present[:, index].any() else None for index, name in enumerate(classes)},
        "confusion": counts.sum(axis=0).tolist(),
    }
