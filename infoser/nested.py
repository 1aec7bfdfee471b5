"""Nested selection: trains the candidates on inner folds, below RUN/selection, and says which are taken for each outer fold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infoser import candidates, choosing, exchange, hosts, parts, protocols
from infoser.candidates import Selection
from infoser.choosing import Chosen
from infoser.config import Config
from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.execution import count_groups, counted, planned, run_planned
from infoser.inner_folds import InnerFold, inner_folds
from infoser.leakage import Fold
from infoser.parts import ArmName, Part
from infoser.progress import Pieces
from infoser.run_folder import write
from infoser.trainer import Trainer

#: The folder of inner runs, below a run folder.
SELECTION = "selection"
_PARTS = "parts.json"


@dataclass(frozen=True)
class Nested:
    """All that has to be trained to choose.

    Attributes:
      selections: what is chosen among, at each label fraction.
      inner: for each of them, its inner folds.
      folds: the outer folds.
      seeds: of the outer folds.
      notes: what was left out, and why.
    """

    selections: tuple[Selection, ...]
    inner: tuple[tuple[InnerFold, ...], ...]
    folds: tuple[Fold, ...]
    seeds: tuple[int, ...]
    notes: tuple[str, ...]

    @property
    def inner_folds(self) -> list[Fold]:
        """All inner folds, each once."""
        return list({one.fold.name: one.fold for own in self.inner for one in own}.values())

    @property
    def asked(self) -> list[Part]:
        """Every candidate on all of its inner folds, a part for each label fraction."""
        return [
            Part(self.seeds, tuple(one.fold.name for one in own), selection.arms)
            for selection, own in zip(self.selections, self.inner, strict=True)
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
    inner = tuple(
        inner_folds(
            corpus,
            protocol,
            every,
            {fold.name for fold in folds},
            shared=one.label_fraction == 1,
            keep_partner=config.keep_partner,
        )
        for one in selections
    )
    return Nested(selections, inner, tuple(folds), config.seeds, notes)


def choose(nested: Nested, config: Config, corpus: Corpus, trainer: Trainer, folder: Path, *, train: bool = True) -> Chosen:
    """Trains the candidates, or restores them, and chooses.

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
    if len(own) > len(there):
        if not train:
            raise InfoserError(f"{folder} lacks candidates; run the training command again")
        if hosts.primary():
            _write(folder, own)
    plans, shape = planned(config, own), {"has_text": corpus.text is not None, "n_classes": len(corpus.classes)}
    with Pieces(str(folder), count_groups(plans, **shape), unit="group"):
        heads = run_planned(plans, corpus, nested.inner_folds, trainer).heads
    found = [
        choosing.compared(selection, inner, heads, corpus, nested.folds, nested.seeds)
        for selection, inner in zip(nested.selections, nested.inner, strict=True)
    ]
    rows = [row for one in found for row in one.rows]
    return exchange.from_primary(Chosen, rows, [*nested.notes, *(note for one in found for note in one.notes)])


def said(nested: Nested, config: Config, corpus: Corpus, folder: Path) -> str:
    """What is going to be trained to choose, in a line."""
    there = exchange.from_primary(_read, folder)
    todo = _missing(nested, there) or there
    plans = [one for one in planned(config, [*there, *_missing(nested, there)]) if one.part in todo]
    aligners, generators, heads = counted(plans, has_text=corpus.text is not None, n_classes=len(corpus.classes))
    sizes = "; ".join(
        f"{' + '.join(str(len(arms)) for arms in one.lists.values())} candidates on {len(own)} inner folds × "
        f"{len(nested.seeds)} seeds at {100 * one.label_fraction:g} % of the labels"
        for one, own in zip(nested.selections, nested.inner, strict=True)
    )
    return f"{corpus.name}: choosing among {sizes}: {aligners} aligners, {generators} generators, {heads} heads, in {folder}"


def _missing(nested: Nested, there: Sequence[Part]) -> list[Part]:
    """What is to be trained further; the parts of a label fraction have folds of their own."""
    found = []
    for asked in nested.asked:
        arms = set(asked.arms)
        found += parts.missing([part for part in there if arms & set(part.arms)], asked)
    known = Part(nested.seeds, tuple(fold.name for fold in nested.inner_folds), nested.arms)
    if more := parts.beyond(there, known):
        raise InfoserError(
            f"the candidates that this run folder has compared are more than is asked for ({'; '.join(more)}); ask for those "
            "too, or give this experiment its own --run-dir"
        )
    return found


def _read(folder: Path) -> list[Part]:
    path = folder / _PARTS
    try:
        contents = json.loads(path.read_text())
        found, digest = parts.from_json(contents["parts"]), contents["digest"]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InfoserError(f"{path} can't be read ({error}); delete {folder} to choose anew") from error
    if digest != _digest(found):
        raise InfoserError(f"{path} was changed since training; put the original back, or delete {folder} to choose anew")
    return found


def _write(folder: Path, own: Sequence[Part]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / _PARTS, json.dumps({"parts": parts.to_json(own), "digest": _digest(own)}, indent=1))


def _digest(own: Sequence[Part]) -> str:
    return hashlib.sha256(json.dumps(parts.to_json(own)).encode()).hexdigest()[:16]
