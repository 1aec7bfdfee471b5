"""The choice among candidates: what each comes to on dev rows, which is taken, and the rows that the taken ones make up."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from infoser.candidates import Selection
from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.inner_folds import InnerFold, visible
from infoser.metrics.classification import confusion_matrix, unweighted_average_recall
from infoser.overrides import overrides_of, written
from infoser.parts import ArmName
from infoser.runs import HeadOutputs
from infoser.variants import REFERENCE

#: Confusion counts of a candidate by arm, modality, inner fold, outer fold and seed.
Counts = dict[tuple[ArmName, str, str, str, int], np.ndarray]
#: What is chosen for: cell, list, modality, fold and seed (None: for all seeds alike).
Purpose = tuple[str, str, str, str, int | None]


@dataclass(frozen=True)
class Chosen:
    """What was chosen.

    Attributes:
      rows: for each purpose and candidate, as plain JSON values: `cell, label_fraction, variant` (selected or none), `modality,
        fold, seed` (None where the seeds share one choice), `candidate, candidate_variant, candidate_cell`, `dev_ua` (mean over
        seeds of the UA of all dev rows together; None without any), `compared_with` (the candidate that it had to gain over),
        `dev_gain` (mean over dev parts of the UA less that one's), `dev_gain_se` (its standard error; None with fewer than
        two parts), `dev_utterances` (of all seeds together), `chosen`.
      notes: what a reader has to know.
    """

    rows: list[dict[str, Any]]
    notes: list[str]

    @property
    def taken(self) -> dict[Purpose, ArmName]:
        """The candidate that was taken for each purpose."""
        key = ("cell", "variant", "modality", "fold", "seed")
        found: Any = {
            tuple(row[name] for name in key): (row["candidate_cell"], row["candidate_variant"])
            for row in self.rows
            if row["chosen"]
        }
        return found

    @property
    def arms(self) -> tuple[ArmName, ...]:
        """The candidates that were taken for anything, in the order of their lists."""
        taken = set(self.taken.values())
        every = dict.fromkeys((row["candidate_cell"], row["candidate_variant"]) for row in self.rows)
        return tuple(arm for arm in every if arm in taken)


def dev_counts(inner: Mapping[str, InnerFold], heads: Sequence[HeadOutputs], corpus: Corpus, label_fraction: float) -> Counts:
    """Confusion counts of heads on the dev rows of each outer fold that their inner fold serves, as far as it may see labels.

    Args:
      inner: the inner folds by name.
      heads: of candidates at one label fraction.
      corpus: for the labels.
      label_fraction: of the heads' training.
    """
    found, shown = {}, {}
    for head in heads:
        unit = head.unit
        for outer in unit.fold.outer:
            key = (unit.fold.name, outer.name, unit.seed)
            if key not in shown:
                shown[key] = visible(corpus, inner[unit.fold.name], outer, label_fraction, unit.seed)
            counted = np.isin(head.rows, shown[key])
            label, predicted = corpus.label[head.rows[counted]], head.log_probability[counted].argmax(axis=1)
            counts = confusion_matrix(label, predicted, len(corpus.classes))
            found[(head.cell, head.variant), head.modality, unit.fold.name, outer.name, unit.seed] = counts
    return found


def compared(
    selection: Selection,
    inner: Mapping[int, Sequence[InnerFold]],
    counts: Counts,
    *,
    folds: Sequence[str],
    modalities: Sequence[str],
    n_classes: int,
) -> Chosen:
    """What each candidate comes to, and what is taken of each list, in two steps.

    First the list's first, or the best of the heads that `none` has too and that are told from it: whose mean gain over dev
    parts is above the gain's standard error. Then the best of that head and of the other candidates that are told from
    it alike: what adds something has to gain over the best head without it, not over a default that a better head beats anyway.
    Of several as good the first is taken. The idea is the rule of one standard error (Breiman et al., Classification and
    Regression Trees, 1984, section 3.4.3), which asks less of the first: it stands within one error of the best. Dev parts are
    small and the greatest of many noisy figures says little; this makes it rarer that noise chooses, not rare
    (`tests/battery/choice_rule.py`). Where one part is all there is, there is no error: the best is taken, and that is said.

    With all labels, all seeds are chosen for together, by the mean of their UA. With fewer, every seed by itself: another has
    other labels, which it may not see.

    Args:
      selection: the candidates.
      inner: for each seed of the outer folds, the inner ones that candidates were trained on.
      counts: of all candidates on all inner folds.
      folds: names of the outer folds to choose for.
      modalities: of the heads.
      n_classes: number of emotions.
    """
    nothing = np.zeros((n_classes, n_classes), np.int64)
    alike = selection.label_fraction == 1
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for fold in folds:
        serving = {seed: [one.fold.name for one in own if fold in one.dev] for seed, own in inner.items()}
        for of_seeds in [tuple(inner)] if alike else [(seed,) for seed in inner]:
            purpose = {"fold": fold, "seed": None if alike else of_seeds[0]}
            for modality in modalities:
                # Of all dev rows together, which every inner fold that serves has a part of.
                whole = {
                    arm: np.stack(
                        [sum((counts[arm, modality, name, fold, seed] for name in serving[seed]), nothing) for seed in of_seeds]
                    )
                    for arm in selection.arms
                }
                parts = dict.fromkeys(name for seed in of_seeds for name in serving[seed])
                by_part = {
                    arm: [
                        _mean_ua(np.stack([counts[arm, modality, name, fold, s] for s in of_seeds if name in serving[s]]))
                        for name in parts
                    ]
                    for arm in selection.arms
                }
                for name, arms in selection.lists.items():
                    scores = [_mean_ua(whole[arm]) for arm in arms]
                    plain = [arm in (arms[0], *selection.lists[REFERENCE]) for arm in arms]
                    best, rivals, gains = stepwise(scores, [by_part[arm] for arm in arms], plain)
                    rows += [
                        {"cell": selection.cell, "label_fraction": selection.label_fraction, "variant": name}
                        | {"modality": modality, **purpose}
                        | {"candidate": candidate_name(arm), "candidate_variant": arm[1], "candidate_cell": arm[0]}
                        | {"dev_ua": scores[place], "compared_with": candidate_name(arms[rivals[place]])}
                        | {"dev_gain": gains[place][0], "dev_gain_se": gains[place][1]}
                        | {"dev_utterances": int(whole[arm].sum()), "chosen": place == best}
                        for place, arm in enumerate(arms)
                    ]
                which = f"{selection.cell}, {modality}, fold {fold}" + ("" if alike else f", seed {of_seeds[0]}")
                if not whole[selection.arms[0]].any():
                    notes.append(f"{which}: no dev rows; the first candidate is taken")
                elif sum(score is not None for score in by_part[selection.arms[0]]) == 1:
                    notes.append(f"{which}: a single dev part, so no standard error to ask for; the best on it is taken")
    return Chosen(rows, notes)


def stepwise(
    scores: Sequence[float | None], by_part: Sequence[Sequence[float | None]], plain: Sequence[bool]
) -> tuple[int, list[int], list[tuple[float | None, float | None]]]:
    """The place of the candidate that is taken, by the two steps that `compared` describes.

    Args:
      scores: UA of each candidate on all dev rows together, None without any.
      by_part: UA of each on every dev part, None where it has no rows.
      plain: which are heads that `none` has too; the first counts as one.

    Returns:
      The place, that of each candidate's rival, and each one's gain over its rival (mean over dev parts, standard error).
    """

    def best(open_to: list[int]) -> int:
        gains = [gain_over(by_part[place], by_part[open_to[0]]) for place in open_to]
        return open_to[best_of([scores[place] for place in open_to], gains)]

    head = best([place for place, own in enumerate(plain) if own])
    rivals = [0 if own else head for own in plain]
    taken = best([head, *(place for place, own in enumerate(plain) if not own)])
    return taken, rivals, [gain_over(own, by_part[rival]) for own, rival in zip(by_part, rivals, strict=True)]


def best_of(scores: Sequence[float | None], gains: Sequence[tuple[float | None, float | None]]) -> int:
    """The place of the best of the first candidate and of those that are told from it.

    Args:
      scores: UA of each candidate on all dev rows together, None without any.
      gains: of each over the first, mean over dev parts and standard error (None of a single part).
    """
    told = [place == 0 or se is None or (gain or 0.0) > se for place, (gain, se) in enumerate(gains)]
    open_to = [-np.inf if ua is None or not may else ua for ua, may in zip(scores, told, strict=True)]
    return int(np.argmax(open_to))


def _mean_ua(counts: np.ndarray) -> float | None:
    """UA of each seed that has dev rows, averaged; None where none has."""
    there = counts.sum(axis=(1, 2)) > 0
    return float(unweighted_average_recall(counts[there]).mean()) if there.any() else None


def gain_over(scores: Sequence[float | None], first: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Mean over parts of the difference to the first candidate, and its standard error; None where parts are too few."""
    found = [a - b for a, b in zip(scores, first, strict=True) if a is not None and b is not None]
    se = float(np.std(found, ddof=1) / np.sqrt(len(found))) if len(found) > 1 else None
    return (float(np.mean(found)) if found else None), se


def candidate_name(arm: ArmName) -> str:
    """A candidate in words: its variant, and what sets it apart at its label fraction."""
    cell, variant = arm
    settings = [f"{key}={written(value)}" for key, value in overrides_of(cell).items() if key != "label-fraction"]
    return " ".join([variant, *settings])


def composed(chosen: Chosen, heads: Sequence[HeadOutputs]) -> list[HeadOutputs]:
    """The heads of `selected` and of `none` in the cells of selection: of each fold and seed, those that were taken for it.

    Raises:
      InfoserError: if one of them is not there.
    """
    said = {
        (head.cell, head.variant, head.modality, head.unit.fold.name, head.unit.seed): head for head in heads if not head.probe
    }
    units = dict.fromkeys((head.unit.fold.name, head.unit.seed) for head in heads)
    found = []
    for (cell, name, modality, fold, seed), (candidate_cell, variant) in chosen.taken.items():
        for unit in units:
            if unit[0] != fold or seed not in (None, unit[1]):
                continue
            head = said.get((candidate_cell, variant, modality, *unit))
            if head is None:
                raise InfoserError(
                    f"{candidate_name((candidate_cell, variant))} is chosen for fold {fold}, seed {unit[1]}, and was not "
                    "trained there: another kind of machine or version of a library than in training?"
                )
            found.append(dataclasses.replace(head, variant=name, cell=cell))
    return found


def said(chosen: Chosen) -> list[str]:
    """What was chosen how often, a line for each cell, list and modality."""
    counted: dict[tuple[str, str, str], Counter[str]] = {}
    single = set()
    for row in chosen.rows:
        key = (row["cell"], row["variant"], row["modality"])
        counted.setdefault(key, Counter())[row["candidate"]] += bool(row["chosen"])
        if row["seed"] is not None:
            single.add(key)
    lines = []
    for (cell, name, modality), own in counted.items():
        what = "folds and seeds" if (cell, name, modality) in single else "folds" if own.total() > 1 else "fold"
        taken = ", ".join(f"{candidate} in {count}" for candidate, count in own.most_common() if count)
        lines.append(f"{cell}, {modality}: of {own.total()} {what} {name} is {taken}")
    return lines
