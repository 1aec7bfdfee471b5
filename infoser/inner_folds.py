"""The inner folds of nested selection: parts of the training parts of other folds, on which candidates are compared.

What serves the choice for an outer fold is trained and compared on rows of its training part alone, or on a dev part that the
corpus' own division keeps for that; no inner fold sees a label that one of its outer folds may not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from infoser import protocols, synthetic
from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.leakage import Fold, check_folds
from infoser.links import LINKS, components, link_codes

#: Up to so many outer folds every pair of them makes an inner one; beyond, each makes one with the next.
MOST_PAIRED = 6
#: Parts of a training part that has no other folds to be compared on.
PARTS = 4
_REMEDY = "the corpus is too small to choose on; leave --select out"


@dataclass(frozen=True)
class InnerFold:
    """One inner fold.

    Attributes:
      fold: its training part; `test` has all rows that heads are asked for, `outer` the folds that it serves.
      dev: for each outer fold by its name, the rows that may speak for its choice.
    """

    fold: Fold
    dev: Mapping[str, Int64[np.ndarray, " n"]]


def inner_folds(
    corpus: Corpus, protocol: str, folds: Sequence[Fold], asked: Collection[str], *, shared: bool, keep_partner: bool = False
) -> tuple[InnerFold, ...]:
    """The inner folds that serve the outer folds which are asked for, checked for leakage.

    Two outer folds A and B make one, A+B: trained on what both train on, B's test rows speak for A, and A's for B. Every pair
    does so where there are few folds, else each fold with the next, or the nearest after it that all can. Where no pair can
    (two folds, or a single one), the official dev part is taken, or else each part in turn of the training part's speakers.

    Args:
      corpus: the corpus.
      protocol: of the outer folds, resolved.
      folds: all outer folds of the protocol.
      asked: names of those to choose for.
      shared: whether A+B serves both folds at once; without it, each has one of its own (A dev B), since with fewer labels than
        there are, those that both may see are few.
      keep_partner: as in `protocols.make_folds`.

    Raises:
      InfoserError: where nothing can be divided, or something would leak.
    """
    pairs = _pairs(corpus, folds)
    found: list[InnerFold] = []
    for first, second in pairs:
        serves = [pair for pair in ((first, second), (second, first)) if pair[0].name in asked]
        if shared and serves:
            # Of both, whichever is asked for: a fold that is asked for later finds its own here.
            found.append(_inner(corpus, f"{first.name}+{second.name}", ((first, second), (second, first))))
        elif serves:
            found += [_inner(corpus, f"{outer.name} dev {other.name}", ((outer, other),)) for outer, other in serves]
    paired = {one.name for pair in pairs for one in pair}
    # Folds of several official test parts train on the same rows: what serves one serves all of them.
    alone = [own for one in folds if one.name not in paired for own in _of_own(corpus, protocol, one, keep_partner)]
    found += [one for one in (_merged(alone) if shared else alone) if set(one.dev) & set(asked)]
    for one in found:
        _check(corpus, one, protocol, keep_partner, paired=one.fold.outer[0].name in paired)
    if len({one.fold.name for one in found}) < len(found):
        raise InfoserError("--select dev: two inner folds have the same name; rename the folds' sessions or speakers")
    return tuple(found)


def visible(corpus: Corpus, inner: InnerFold, outer: Fold, fraction: float, seed: int) -> Int64[np.ndarray, " n"]:
    """The dev rows of an inner fold whose labels the outer fold and seed may see, sorted.

    Of rows outside the training part (the official dev part) the same fraction of each class is drawn as of those inside.
    """
    rows = inner.dev[outer.name]
    if fraction == 1:
        return rows
    if np.isin(rows, outer.train).all():
        return np.intersect1d(rows, protocols.demote_labels(corpus, outer, fraction, seed))
    beside = Fold(f"{outer.name} dev", rows, rows[:0], rows[:0])
    return protocols.demote_labels(corpus, beside, fraction, seed)


def _pairs(corpus: Corpus, folds: Sequence[Fold]) -> list[tuple[Fold, Fold]]:
    """Pairs of folds that can serve each other."""
    count = len(folds)
    if count <= MOST_PAIRED:
        every = [(folds[i], folds[j]) for i in range(count) for j in range(i + 1, count)]
        return [pair for pair in every if _serve(corpus, *pair)]
    # By one step for all, every fold is in two pairs: with the next but one where the next is its partner, whom none trains on.
    for step in range(1, (count + 1) // 2):
        pairs = [(folds[i], folds[(i + step) % count]) for i in range(count)]
        if all(_serve(corpus, *pair) for pair in pairs):
            return pairs
    nearest = []
    for i, fold in enumerate(folds):
        others = (folds[(i + step) % count] for step in range(1, count))
        other = next((one for one in others if _serve(corpus, fold, one)), None)
        if other is not None and (other, fold) not in nearest:
            nearest.append((fold, other))
    return nearest


def _serve(corpus: Corpus, first: Fold, second: Fold) -> bool:
    """Whether each has test rows in the other's training part, and what both train on has every class."""
    common = corpus.label[np.intersect1d(first.train, second.train)]
    whole = len(np.unique(common[common >= 0])) == len(corpus.classes)
    return whole and all(len(_dev(corpus, *pair)) for pair in ((first, second), (second, first)))


def _dev(corpus: Corpus, outer: Fold, other: Fold) -> np.ndarray:
    """The labelled test rows of another fold that lie in the outer one's training part."""
    rows = np.intersect1d(outer.train, other.test)
    return rows[corpus.labelled[rows]]


def _inner(corpus: Corpus, name: str, serves: Sequence[tuple[Fold, Fold]]) -> InnerFold:
    (outer, other), *_ = serves
    dev = {own.name: _dev(corpus, own, beside) for own, beside in serves}
    train = np.intersect1d(outer.train, other.train)
    test = np.sort(np.concatenate(list(dev.values())))
    return InnerFold(Fold(name, train, test, test[:0], outer=tuple(own for own, _ in serves)), dev)


def _of_own(corpus: Corpus, protocol: str, fold: Fold, keep_partner: bool) -> list[InnerFold]:
    """The inner folds of a fold that has no other to pair with."""
    if protocol == "official":
        try:
            with_dev = protocols.make_folds(corpus, protocol, with_dev=True, keep_partner=keep_partner)
        except InfoserError:  # there is no dev part, or none that is speaker-disjoint
            with_dev = ()
        own = next((one for one in with_dev if one.name == fold.name), None)
        if own is not None:
            inner = Fold(f"{fold.name} dev", own.train, own.dev, own.dev[:0], outer=(fold,))
            return [InnerFold(inner, {fold.name: own.dev})]
    part = _parts(corpus, fold)
    found = []
    for number in range(part.max() + 1):
        dev = fold.train[(part[fold.train] == number) & corpus.labelled[fold.train]]
        train = _without(corpus, fold.train[part[fold.train] != number], dev)
        inner = Fold(f"{fold.name} part{number + 1}", train, dev, dev[:0], outer=(fold,))
        found.append(InnerFold(inner, {fold.name: dev}))
    # Where only some lack a class, those are left out and counted, as at few labels (`nested.plan`).
    if all(len(np.unique(_labels(corpus, one.fold))) < len(corpus.classes) for one in found):
        raise InfoserError(f"--select dev: without any part of its speakers, training lacks a class; {_REMEDY}")
    return found


def _merged(inner: Sequence[InnerFold]) -> list[InnerFold]:
    """Inner folds that train on the same rows and are compared on the same ones, as one."""
    found: dict[tuple[bytes, bytes], list[InnerFold]] = {}
    for one in inner:
        found.setdefault((one.fold.train.tobytes(), one.fold.test.tobytes()), []).append(one)
    return [
        InnerFold(
            dataclasses.replace(
                same[0].fold,
                name="+".join(one.fold.name for one in same),
                outer=tuple(outer for one in same for outer in one.fold.outer),
            ),
            {name: rows for one in same for name, rows in one.dev.items()},
        )
        for same in found.values()
    ]


def _labels(corpus: Corpus, fold: Fold) -> np.ndarray:
    label = corpus.label[fold.train]
    return label[label >= 0]


def _parts(corpus: Corpus, fold: Fold) -> np.ndarray:
    """(N,) the part of each training row, of whole sessions and dialogues if there are any, else of whole speakers.

    -1 for other rows, for those of groups without a label, and for synthetic ones, which no part tests.
    """
    made, codes = synthetic.mask(corpus), link_codes(corpus)
    inside = np.zeros(len(corpus), bool)
    inside[fold.train] = True
    labelled = inside & corpus.labelled & (True if made is None else ~made)
    for columns in (LINKS, ("speaker", "dialogue"), ("speaker",)):
        group = components(len(corpus), codes, columns)
        groups, member = np.unique(group[labelled], return_inverse=True)
        if len(groups) >= 2:
            break
    else:
        raise InfoserError(f"--select dev: the training part of fold {fold.name!r} has a single speaker; {_REMEDY}")
    counts = np.zeros((len(groups), len(corpus.classes)))
    np.add.at(counts, (member, corpus.label[labelled]), 1)
    part_of_group = np.full(group.max() + 1, -1)
    part_of_group[groups] = protocols.balanced_parts(counts, min(PARTS, len(groups)))
    part = np.where(inside, part_of_group[group], -1)
    return part if made is None else np.where(made, -1, part)


def _without(corpus: Corpus, train: np.ndarray, dev: np.ndarray) -> np.ndarray:
    """Training rows without the synthetic ones that were made from dev rows."""
    made = synthetic.mask(corpus)
    if made is None:
        return train
    hashes = synthetic.id_hashes(corpus.utterance_id[dev])
    leaking = [name for name, ids in synthetic.sets(corpus).items() if np.isin(hashes, ids).any()]
    return train[~(made[train] & np.isin(corpus.columns[synthetic.MADE_FROM][train], leaking))]


def _check(corpus: Corpus, inner: InnerFold, protocol: str, keep_partner: bool, *, paired: bool) -> None:
    """Proves that an inner fold leaks nothing of its outer ones.

    Raises:
      InfoserError: naming the folds and what crosses.
    """
    fold = inner.fold
    # Parts of a training part keep speakers apart, whatever else ties them together.
    check_folds(corpus, [fold], protocol=protocol if paired else "official", keep_partner=keep_partner)
    for outer in fold.outer:
        dev = inner.dev[outer.name]
        used: Iterable[tuple[str, np.ndarray]] = (("trains on", fold.train), ("is compared on", dev))
        for what, rows in used:
            if np.isin(rows, outer.test).any():
                raise InfoserError(f"inner fold {fold.name!r} {what} test utterances of fold {outer.name!r}")
        if not np.isin(fold.train, outer.train).all():
            raise InfoserError(f"inner fold {fold.name!r} trains on more than fold {outer.name!r} does")
        if not np.isin(dev, fold.test).all() or not (np.isin(dev, outer.train).all() or not np.isin(dev, outer.train).any()):
            raise InfoserError(f"inner fold {fold.name!r} is compared on rows that are not fold {outer.name!r}'s")
