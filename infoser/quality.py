"""What generated features hold and teach, from what heads and probes said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from infoser.corpus import Corpus
from infoser.metrics.classification import confusion_matrix, unweighted_average_recall
from infoser.metrics.generation import class_information_lower_bound, mean_and_error
from infoser.runs import HeadOutputs, SpaceOutputs


def quality_rows(outputs: SpaceOutputs, corpus: Corpus, cell: str) -> list[dict[str, Any]]:
    """What generated audio features hold, beside what real ones do.

    `class_information_nats`: the mean (seeds within a fold, then folds) of E[ln q(c|ĥ)] + H(c), with q a head freshly
    fitted to other added rows (a control makes both from the same real rows); for the row `real`, q is the head of `none`
    and the rows are the test utterances. `tstr_ua`: a head
    trained on generated rows alone, tested on real ones, beside `trtr_ua`, trained on real ones.
    `audio_text_information_given_class_nats` (row `real`): InfoNCE on test utterances by the aligner's critic, with the
    other test utterances of the same emotion as negatives, a lower bound on I(h;t|c).

    Args:
      outputs: of one space.
      corpus: for the labels.
      cell: copied into the rows.
    """
    audio = [head for head in outputs.heads if head.modality == "audio"]
    reference = [head for head in audio if head.variant == "none" and not head.probe]
    rows = []
    real = {"variant": "real", "heads": reference, "tested": [_test_rows(head, corpus) for head in reference]}
    generated = [
        {"variant": variant, "heads": heads, "tested": [head.held_out for head in heads]}
        for variant in dict.fromkeys(head.variant for head in audio if head.probe)
        if (heads := [head for head in audio if head.probe and head.variant == variant])
    ]
    shared = mean_and_error(outputs.alignment) if outputs.alignment else (None, None)
    trtr = _mean_ua(reference, corpus)
    for part in ([real] if reference else []) + generated:
        bounds = [class_information_lower_bound(*tested) for tested in part["tested"]]
        mean, error = mean_and_error(_by_fold(part["heads"], bounds))
        rows.append(
            {
                "variant": part["variant"],
                "cell": cell,
                "modality": "audio",
                "estimator": "Barber–Agakov, fresh q, held-out rows",
                "class_information_nats": mean,
                "class_information_standard_error": error,
                "class_information_ceiling_nats": math.log(len(corpus.classes)),
                "audio_text_information_given_class_nats": shared[0] if part is real else None,
                "audio_text_information_standard_error": shared[1] if part is real else None,
                "tstr_ua": None if part["variant"] == "real" else _mean_ua(part["heads"], corpus),
                "trtr_ua": trtr,
                "runs": len(bounds),
            }
        )
    return rows


def _test_rows(head: HeadOutputs, corpus: Corpus) -> tuple[np.ndarray, np.ndarray]:
    return head.log_probability, corpus.label[head.unit.fold.test]


def _mean_ua(heads: Sequence[HeadOutputs], corpus: Corpus) -> float | None:
    """UA, seeds averaged within a fold, then over folds."""
    confusions = [
        confusion_matrix(corpus.label[head.unit.fold.test], head.log_probability.argmax(axis=1), len(corpus.classes))
        for head in heads
    ]
    recalls = [float(unweighted_average_recall(counts)) for counts in confusions]
    return mean_and_error(_by_fold(heads, recalls))[0] if recalls else None


def _by_fold(heads: Sequence[HeadOutputs], values: Sequence[float]) -> dict[str, list[float]]:
    by_fold: dict[str, list[float]] = {}
    for head, value in zip(heads, values, strict=True):
        by_fold.setdefault(head.unit.fold.name, []).append(value)
    return by_fold
