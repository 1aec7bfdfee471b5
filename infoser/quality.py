"""What generated features hold and teach, from what heads and probes said; and the same of real ones."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from infoser.corpus import Corpus
from infoser.metrics import permutation
from infoser.metrics.classification import confusion_matrix, unweighted_average_recall
from infoser.metrics.generation import class_information_lower_bound, mean_and_error
from infoser.runs import HeadOutputs
from infoser.stages.classify import MODALITIES
from infoser.variants import REFERENCE

REAL = "real"


def quality_rows(
    outputs: Sequence[HeadOutputs], corpus: Corpus, cell: str, alignment: Mapping[str, Sequence[float]], base: str | None = None
) -> list[dict[str, Any]]:
    """What generated audio features hold, beside what real features of each modality do.

    `class_information_nats`: the mean (seeds within a fold, then folds) of E[ln q(c|ĥ)] + H(c), with q a head freshly
    fitted to other added rows (a control makes both from the same real rows); for a row `real`, q is the head of `none`
    and the rows are the test utterances. Its null has the labels of a fold's rows permuted: `class_information_null_95` is
    the 95th percentile, and `class_information_p` the share of the null that reaches the estimate. `recovered_ua`: how
    often, class by class, that q names the class that a row was made from. `ua_p` (row `real`): the permutation p of the
    pooled UA of `none`. `tstr_ua`: a head trained on generated rows alone, tested on real ones, beside `trtr_ua`, trained
    on real ones, and `trts_ua`, trained on real and tested on generated rows.
    `audio_text_information_given_class_nats` (row `real`, audio): InfoNCE on test utterances by the aligner's critic, with
    the other test utterances of the same emotion as negatives, a lower bound on I(h;t|c).

    Args:
      outputs: of all heads, of whatever cell.
      corpus: for the labels.
      cell: whose rows are wanted.
      alignment: by fold, for each seed the estimate of I(audio; text | class) by the cell's own aligner, if it has one.
      base: a cell whose `none` is also this cell's, if that has none of its own: `trtr_ua` is then of it.
    """
    own = [head for head in outputs if head.cell == cell]
    heads = {modality: [head for head in own if head.modality == modality and len(head.rows)] for modality in MODALITIES}
    reference = {m: [head for head in heads[m] if head.variant == REFERENCE and not head.probe] for m in MODALITIES}
    shared = mean_and_error(dict(alignment)) if alignment else (None, None)
    shared_none = (base, REFERENCE, "audio", False)
    others = [one for one in outputs if (one.cell, one.variant, one.modality, one.probe) == shared_none and len(one.rows)]
    trtr = _mean_ua(reference["audio"] or others, corpus)
    rows = []
    for modality in MODALITIES:
        if reference[modality]:
            tested = [(head.log_probability, corpus.label[head.rows]) for head in reference[modality]]
            row = _row(REAL, modality, cell, reference[modality], tested, corpus)
            row |= {"ua_p": _recall_p(reference[modality], corpus)}
            row |= {"tstr_ua": None, "trtr_ua": _mean_ua(reference[modality], corpus)}
            if modality == "audio":
                row |= {"audio_text_information_given_class_nats": shared[0]}
                row |= {"audio_text_information_standard_error": shared[1]}
            rows.append(row)
    for variant in dict.fromkeys(head.variant for head in heads["audio"] if head.probe):
        probes = [head for head in heads["audio"] if head.probe and head.variant == variant]
        held_out: Any = [head.held_out for head in probes]
        row = _row(variant, "audio", cell, probes, held_out, corpus)
        by_real: Any = [(head.held_out_by_real, head.held_out) for head in probes if head.held_out_by_real is not None]
        trts = [_ua(said, label, corpus) for said, (_, label) in by_real]
        row |= {"recovered_ua": mean_and_error(_by_fold(probes, [_ua(said, label, corpus) for said, label in held_out]))[0]}
        row |= {"tstr_ua": _mean_ua(probes, corpus), "trtr_ua": trtr}
        rows.append(row | {"trts_ua": mean_and_error(_by_fold(probes, trts))[0] if trts else None})
    columns = dict.fromkeys(key for row in rows for key in row)
    return [{key: row.get(key) for key in columns} for row in rows]


def _row(
    variant: str,
    modality: str,
    cell: str,
    heads: Sequence[HeadOutputs],
    tested: Sequence[tuple[np.ndarray, np.ndarray]],
    corpus: Corpus,
) -> dict[str, Any]:
    """The information that heads find in the rows they were tested on, with its ceiling, error bar and null."""
    mean, error = mean_and_error(_by_fold(heads, [class_information_lower_bound(*rows) for rows in tested]))
    permuted = _permuted(heads, [label for _, label in tested])
    nulls = [permutation.permuted_information(said, labels) for (said, _), labels in zip(tested, permuted, strict=True)]
    null = permutation.mean_over_folds(list(_by_fold(heads, nulls).values()))
    return {
        "variant": variant,
        "cell": cell,
        "modality": modality,
        "estimator": "Barber–Agakov, fresh q, held-out rows",
        "class_information_nats": mean,
        "class_information_standard_error": error,
        "class_information_ceiling_nats": math.log(len(corpus.classes)),
        "class_information_null_95_nats": float(np.quantile(null, 0.95)),
        "class_information_p": permutation.p_value(mean, null),
        "runs": len(heads),
    }


def _recall_p(heads: Sequence[HeadOutputs], corpus: Corpus) -> float:
    """The p-value of the pooled UA (averaged over seeds) under labels permuted within each fold."""
    observed, null = [], []
    for seed in dict.fromkeys(head.unit.seed for head in heads):
        own = [head for head in heads if head.unit.seed == seed]
        label = np.concatenate([corpus.label[head.rows] for head in own])
        predicted = np.concatenate([head.log_probability.argmax(axis=1) for head in own])
        permuted = np.concatenate(list(_permuted(own, [corpus.label[head.rows] for head in own])), axis=1)
        null.append(permutation.permuted_recall(predicted, permuted, len(corpus.classes)))
        observed.append(permutation.permuted_recall(predicted, label[None], len(corpus.classes))[0])
    return permutation.p_value(float(np.mean(observed)), np.mean(null, axis=0))


def _permuted(heads: Sequence[HeadOutputs], labels: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Permuted labels for each head: the same for all seeds of a fold, so that their average is over heads alone."""
    known: dict[tuple[str, bytes], np.ndarray] = {}
    for head, label in zip(heads, labels, strict=True):
        fold = head.unit.fold.name
        key = (fold, label.tobytes())
        if key not in known:
            known[key] = permutation.permuted_labels(label, np.random.default_rng(zlib.crc32(fold.encode())))
        yield known[key]


def _mean_ua(heads: Sequence[HeadOutputs], corpus: Corpus) -> float | None:
    """UA, seeds averaged within a fold, then over folds."""
    recalls = [_ua(head.log_probability, corpus.label[head.rows], corpus) for head in heads]
    return mean_and_error(_by_fold(heads, recalls))[0] if recalls else None


def _ua(log_probability: np.ndarray, label: np.ndarray, corpus: Corpus) -> float:
    return float(unweighted_average_recall(confusion_matrix(label, log_probability.argmax(axis=1), len(corpus.classes))))


def _by_fold(heads: Sequence[HeadOutputs], values: Sequence[Any]) -> dict[str, list[Any]]:
    by_fold: dict[str, list[Any]] = {}
    for head, value in zip(heads, values, strict=True):
        by_fold.setdefault(head.unit.fold.name, []).append(value)
    return by_fold
