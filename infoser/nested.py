"""Nested selection: trains the candidates on inner folds, below RUN/selection, and says which are taken for each outer fold."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infoser import candidates, checkpoints, choosing, digests, exchange, hosts, parts, protocols
from infoser.candidates import Selection
from infoser.cells import PRIMARY_MODALITIES
from infoser.choosing import Chosen, Counts
from infoser.config import Config
from infoser.corpus import Corpus
from infoser.errors import InfoserError, can_be_written
from infoser.execution import Planned, count_groups, counted, modalities_of, planned, run_planned
from infoser.inner_folds import InnerFold, inner_folds
from infoser.leakage import Fold
from infoser.matrix import usable_labels
from infoser.parts import ArmName, Part
from infoser.progress import Pieces
from infoser.run_folder import write
from infoser.trainer import Trainer

#: The folder of inner runs, below a run folder.
SELECTION = "selection"
_PARTS = "parts.json"
_COUNTS = "dev_counts.json"


@dataclass(frozen=True)
class Nested:
    """All that has to be trained to choose.

    Attributes:
      selections: what is chosen among, at each label fraction.
      inner: for each of them and each seed, its inner folds.
      folds: the outer folds.
      seeds: of the outer folds.
      notes: what was left out, and why.
    """

    selections: tuple[Selection, ...]
    inner: tuple[Mapping[int, tuple[InnerFold, ...]], ...]
    folds: tuple[Fold, ...]
    seeds: tuple[int, ...]
    notes: tuple[str, ...]

    @property
    def inner_folds(self) -> list[Fold]:
        """All inner folds, each once."""
        return [one.fold for one in self.by_name.values()]

    @property
    def by_name(self) -> dict[str, InnerFold]:
        """All inner folds by name."""
        return {one.fold.name: one for of_seeds in self.inner for own in of_seeds.values() for one in own}

    @property
    def asked(self) -> list[Part]:
        """Every candidate on all of its inner folds, a part for each label fraction and seed."""
        return [
            Part((seed,), tuple(one.fold.name for one in own), selection.arms)
            for selection, of_seeds in zip(self.selections, self.inner, strict=True)
            for seed, own in of_seeds.items()
            if own
        ]

    @property
    def arms(self) -> tuple[ArmName, ...]:
        """All candidates."""
        return tuple(arm for selection in self.selections for arm in selection.arms)


def plan(config: Config, corpus: Corpus, protocol: str, folds: Sequence[Fold]) -> Nested | None:
    """What `--select` asks for; None without it.

    Args:
      config: the settings.
      corpus: the corpus.
      protocol: resolved.
      folds: the outer folds that are asked for.

    Raises:
      InfoserError: for candidates that can't be had, or a corpus that can't be divided further.
    """
    selections, notes = candidates.selections(config, has_text=corpus.text is not None)
    if not selections:
        return None
    every = protocols.make_folds(corpus, protocol, keep_partner=config.keep_partner)
    inner, left_out = [], []
    for one in selections:
        own = inner_folds(
            corpus,
            protocol,
            every,
            {fold.name for fold in folds},
            shared=one.label_fraction == 1,
            keep_partner=config.keep_partner,
        )
        at = dataclasses.replace(config, label_fraction=one.label_fraction)
        inner.append({seed: tuple(each for each in own if _learnable(at, corpus, each, seed)) for seed in config.seeds})
        lost = sum(len(own) - len(kept) for kept in inner[-1].values())
        if lost:
            left_out.append(
                f"{one.cell}: {lost} of {len(own) * len(config.seeds)} inner folds × seeds left out, where some class has no "
                "label to learn from (or no transcript with it)"
            )
    return Nested(selections, tuple(inner), tuple(folds), config.seeds, (*notes, *left_out))


def _learnable(config: Config, corpus: Corpus, inner: InnerFold, seed: int) -> bool:
    """Whether the labels of an inner fold have every class, with text and without where there is text."""
    label = usable_labels(config, corpus, inner.fold, seed)
    read = [label >= 0] + ([] if corpus.text is None else [(label >= 0) & corpus.with_text])
    return all(len(np.unique(label[rows])) == len(corpus.classes) for rows in read)


def choose(nested: Nested, config: Config, corpus: Corpus, trainer: Trainer, folder: Path, *, train: bool = True) -> Chosen:
    """Trains the candidates, or reads what they came to, and chooses.

    Of what was trained only the counts are kept: checkpoints of thousands of heads would serve nobody.

    Args:
      nested: what is asked for.
      config: the settings.
      corpus: the corpus.
      trainer: of `folder`.
      folder: RUN/selection.
      train: train what is missing; without it, that is an error.

    Raises:
      InfoserError: if something is missing or damaged, and from training.
    """
    there = exchange.from_primary(_read, folder)
    own = [*there, *_missing(nested, there)]
    if train and len(own) > len(there) and hosts.primary():
        with can_be_written(folder):
            folder.mkdir(parents=True, exist_ok=True)
        _write(folder / _PARTS, parts.to_json(own))
    plans, counts = planned(config, own), {}
    known = {plan.places.folder: exchange.from_primary(_read_counts, folder / plan.places.folder) for plan in plans}
    todo = [plan for plan in plans if known[plan.places.folder] is None]
    if todo and not train:
        raise InfoserError(f"{folder} lacks what candidates came to; run the training command again to finish it")
    with Pieces(str(folder), _count_groups(todo, corpus), unit="group"):
        for plan in plans:
            found = known[plan.places.folder]
            if found is None:
                heads = run_planned([plan], corpus, nested.inner_folds, trainer, _modalities(corpus)).heads
                found = choosing.dev_counts(nested.by_name, heads, corpus, plan.branch.config.label_fraction)
                if hosts.primary():
                    _write_counts(folder / plan.places.folder, found)
                    places = plan.places
                    for one in {places.folder, places.aligner, *(earlier for earlier, _ in places.earlier)}:
                        checkpoints.discard(folder / one)
            counts |= found
    purposes: Any = {"folds": [fold.name for fold in nested.folds], "modalities": _modalities(corpus)}
    purposes |= {"n_classes": len(corpus.classes)}
    chosen = [
        choosing.compared(selection, of_seeds, counts, **purposes)
        for selection, of_seeds in zip(nested.selections, nested.inner, strict=True)
    ]
    rows = [row for one in chosen for row in one.rows]
    return exchange.from_primary(Chosen, rows, [*nested.notes, *(note for one in chosen for note in one.notes)])


def _count_groups(plans: Sequence[Planned], corpus: Corpus) -> int:
    return count_groups(plans, modalities=len(_modalities(corpus)), n_classes=len(corpus.classes))


def _modalities(corpus: Corpus) -> tuple[str, ...]:
    """What is chosen for: those of the primary family. To choose for text too would cost nearly twice the time."""
    return tuple(one for one in modalities_of(corpus) if one in PRIMARY_MODALITIES)


def said(nested: Nested, config: Config, corpus: Corpus, folder: Path) -> str:
    """What is going to be trained to choose, in a line."""
    there = exchange.from_primary(_read, folder)
    plans = planned(config, [*there, *_missing(nested, there)])
    plans = [plan for plan in plans if not exchange.from_primary((folder / plan.places.folder / _COUNTS).exists)]
    aligners, generators, heads = counted(plans, modalities=len(_modalities(corpus)), n_classes=len(corpus.classes))
    sizes = []
    for one, of_seeds in zip(nested.selections, nested.inner, strict=True):
        lists = " + ".join(str(len(arms)) for arms in one.lists.values())
        runs = sum(map(len, of_seeds.values()))
        sizes.append(f"{lists} candidates in {runs} inner folds × seeds at {100 * one.label_fraction:g} % of the labels")
    todo = f"{aligners} aligners, {generators} generators, {heads} heads"
    return f"{corpus.name}: choosing among {'; '.join(sizes)}: {todo}, in {folder}"


def _missing(nested: Nested, there: Sequence[Part]) -> list[Part]:
    """What is to be trained further; the parts of a label fraction have folds of their own, and every seed its own parts."""
    found = []
    for asked in nested.asked:
        arms = set(asked.arms)
        found += parts.missing([part for part in there if part.seeds == asked.seeds and arms & set(part.arms)], asked)
    known = Part(nested.seeds, tuple(fold.name for fold in nested.inner_folds), nested.arms)
    if more := parts.beyond(there, known):
        raise InfoserError(
            f"the candidates that this run folder has compared are more than is asked for ({'; '.join(more)}); ask for those "
            "too, or give this experiment its own --run-dir"
        )
    return found


def _read(folder: Path) -> list[Part]:
    contents = _contents(folder / _PARTS, folder)
    return [] if contents is None else parts.from_json(contents)


def _read_counts(folder: Path) -> Counts | None:
    """What the candidates of a branch came to; None before they are trained."""
    contents = _contents(folder / _COUNTS, folder)
    if contents is None:
        return None
    return {
        ((cell, variant), modality, inner, outer, seed): np.array(counts, np.int64)
        for cell, variant, modality, inner, outer, seed, counts in contents
    }


def _write_counts(folder: Path, counts: Counts) -> None:
    _write(folder / _COUNTS, [[*arm, *rest, own.tolist()] for (arm, *rest), own in counts.items()])


def _contents(path: Path, folder: Path) -> Any:
    """What `_write` wrote; None if there is no such file."""
    try:
        read = json.loads(path.read_text())
        contents, digest = read["contents"], read["digest"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InfoserError(f"{path} can't be read ({error}); delete {folder} to choose anew") from error
    if digest != digests.of_values(contents):
        raise InfoserError(f"{path} was changed since training; put the original back, or delete {folder} to choose anew")
    return contents


def _write(path: Path, contents: Any) -> None:
    write(path, json.dumps({"contents": contents, "digest": digests.of_values(contents)}))
