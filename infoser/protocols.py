"""Evaluation protocols: what each fold trains on, selects on and is tested on, and the proof that nothing crosses."""

import functools
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Int, Int64

from infoser import synthetic
from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.leakage import Fold, check_folds, kept_apart
from infoser.links import LINKS, components, is_nested, link_codes, natural_order, sharing
from infoser.synthetic_folds import with_synthetic

PROTOCOLS = ("official", "session", "speaker", "kfold", "corpus", "cross-corpus")
MAX_SPEAKER_FOLDS = 12  # up to here 'auto' leaves one speaker out (MSP-IMPROV has twelve), beyond it makes groups

_TRAIN_SPLITS = {"train", "training"}
_DEV_SPLITS = {"development", "dev", "validation", "valid", "val"}
_DEV_REFUSED = "selection on a dev part is refused: "


def resolve_protocol(corpus: Corpus, protocol: str) -> str:
    """The protocol's name, 'auto' being decided by what the corpus has.

    'auto' is, of several corpora, cross-corpus where one is for testing, else corpus. Of one it is the official split where
    there is one; else sessions, where two have labels and no speaker or dialogue is in two of them; else one speaker at a
    time for 2 to 12 speakers, where no class leaves training with the partners of one; else grouped k-fold.

    Raises:
      InfoserError: for an unknown protocol.
    """
    if protocol in PROTOCOLS:
        return protocol
    if protocol != "auto":
        raise InfoserError(f"unknown protocol {protocol!r}; choose from auto, {', '.join(PROTOCOLS)}")
    if corpora := corpus.provenance.get("corpora"):
        return "cross-corpus" if any(each["role"] == "test" for each in corpora) else "corpus"
    corpus = synthetic.real_part(corpus)
    if corpus.split is not None and {"train", "test"} <= {_split_kind(str(value)) for value in np.unique(corpus.split)}:
        return "official"
    codes = link_codes(corpus)
    if len(_units(corpus, codes, "session")) >= 2:
        if all(is_nested(codes[column], codes["session"]) for column in codes.keys() - {"session"}):
            return "session"
    speakers = _units(corpus, codes, "speaker")
    if 2 <= len(speakers) <= MAX_SPEAKER_FOLDS and all(_can_be_left_out(corpus, codes, one) for one in speakers):
        return "speaker"
    return "kfold"


def _can_be_left_out(corpus: Corpus, codes: Mapping[str, np.ndarray], speaker: int | np.integer) -> bool:
    """Whether those who share a session or dialogue with a speaker can leave training too, and no class goes with them."""
    held_out = codes["speaker"] == speaker
    near = sharing(held_out, codes, kept_apart(corpus, codes, "speaker", False))
    others, kept = (np.unique(corpus.label[corpus.labelled & ~mask]) for mask in (held_out, held_out | near))
    return len(others) == len(kept)


def make_folds(
    corpus: Corpus, protocol: str, *, n_folds: int = 5, with_dev: bool = False, keep_partner: bool = False
) -> tuple[Fold, ...]:
    """The folds of a protocol, checked for leakage.

    session: leaves one session out. Rows of other sessions that share a speaker or dialogue with it leave training.
    speaker: leaves one speaker out. The partner (other speakers' rows in the same sessions or dialogues) leaves
      training too, unless `keep_partner`.
    kfold: `n_folds` parts made of whole speakers, dialogues and sessions, balanced in size and class; sessions are
      divided only where they would tie all labelled rows together. Fewer parts are made, and noted, where there is too
      little to divide.
    corpus: leaves one of several corpora out. cross-corpus: one fold, tested on the corpus that is for testing and trained on
      the others.
    official: one fold for each split whose name begins with Test, trained on Train alone; Development or Validation is
      never trained on. Names are compared without regard to case.

    Synthetic rows are trained on only, and not in folds that hold out what they were made from (see `synthetic_folds`).

    The unlabelled rows of a held-out part are in no part of that fold. `with_dev` takes a labelled dev part, without
    any speaker of the test part, out of training: the next session (cyclically), the next of the k parts, the test
    speaker's partner (else the next session, else the next speaker), the official one, or, where corpora are left out, a
    fifth of the training speakers.

    Raises:
      InfoserError: for an unknown protocol, fewer than two groups to divide, a dev part that cannot be had, a training
        part that lacks a class, or an official split that shares speakers.
    """
    protocol = resolve_protocol(corpus, protocol)
    if synthetic.mask(corpus) is not None:
        real = make_folds(synthetic.real_part(corpus), protocol, n_folds=n_folds, with_dev=with_dev, keep_partner=keep_partner)
        folds = with_synthetic(corpus, real)
        check_folds(corpus, folds, protocol=protocol, keep_partner=keep_partner)
        return folds
    codes = link_codes(corpus)
    if protocol == "official":
        folds = tuple(_official_folds(corpus, with_dev))
    elif protocol in ("corpus", "cross-corpus"):
        folds = tuple(_corpus_folds(corpus, codes, protocol, with_dev))
    elif protocol == "kfold":
        folds = tuple(_grouped_folds(corpus, codes, n_folds, with_dev))
    else:
        folds = tuple(_leave_one_out_folds(corpus, codes, protocol, with_dev, keep_partner))
    for fold in folds:
        labels = corpus.label[fold.train]
        counts = np.bincount(labels[labels >= 0], minlength=len(corpus.classes))
        if not counts.all():
            missing = corpus.classes[int(np.argmin(counts))]
            why = f" ({'; '.join(fold.notes)})" if fold.notes else ""
            raise InfoserError(f"fold {fold.name!r}: the training part has no labelled utterance of class {missing!r}{why}")
    check_folds(corpus, folds, protocol=protocol, keep_partner=keep_partner)
    return folds


def select_folds(folds: Sequence[Fold], names: Iterable[str] | None) -> tuple[Fold, ...]:
    """The folds with these names, in the protocol's order; all of them for None or no names.

    Raises:
      InfoserError: for a name that no fold has.
    """
    wanted = set(names or ())
    unknown = sorted(wanted - {fold.name for fold in folds})
    if unknown:
        raise InfoserError(f"no fold is named {unknown[0]!r}; the folds are {', '.join(fold.name for fold in folds)}")
    return tuple(fold for fold in folds if not wanted or fold.name in wanted)


def demote_labels(corpus: Corpus, fold: Fold, fraction: float, seed: int) -> Int64[np.ndarray, " n_kept"]:
    """The labelled training rows that keep their label when only this fraction of each class does; sorted.

    Drawn within class, at least one of each; for one seed a larger fraction keeps all that a smaller one keeps. Synthetic
    rows keep theirs, so that beside them the same real labels are kept as without them. The
    draw depends on the seed, the fold's name and the utterance ids, not on the order of the corpus or on numpy's
    global state. An inner fold keeps what all of its outer ones keep.

    Raises:
      InfoserError: for a fraction outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise InfoserError(f"a label fraction of {fraction} is not in (0, 1]")
    if fold.outer:
        seen = [demote_labels(corpus, one, fraction, seed) for one in fold.outer]
        return functools.reduce(np.intersect1d, seen, fold.train)
    made = synthetic.mask(corpus)
    real = fold.train if made is None else fold.train[~made[fold.train]]
    kept = [] if made is None else [fold.train[made[fold.train] & corpus.labelled[fold.train]]]
    for label in range(len(corpus.classes)):
        rows = real[corpus.label[real] == label]
        rows = rows[np.argsort(corpus.utterance_id[rows])]
        rng = np.random.default_rng([seed, zlib.crc32(fold.name.encode()), label])
        kept.append(rng.permutation(rows)[: max(1, int(fraction * len(rows) + 0.5))])
    return np.sort(np.concatenate(kept))


def _leave_one_out_folds(
    corpus: Corpus, codes: Mapping[str, np.ndarray], column: str, with_dev: bool, keep_partner: bool
) -> Iterator[Fold]:
    units = _units(corpus, codes, column)
    if len(units) < 2:
        raise InfoserError(
            f"protocol {column!r} needs at least two {column}s with labelled utterances; "
            f"corpus {corpus.name!r} has {len(units)}"
        )
    apart = kept_apart(corpus, codes, column, keep_partner)
    common = _untested(corpus, codes[column], column)
    for unit in units:
        held_out = codes[column] == unit
        name = str(getattr(corpus, column)[np.argmax(held_out)])
        name = f"session{name}" if column == "session" and name.isdecimal() else name
        near = sharing(held_out, codes, apart)
        notes = common
        if column == "speaker" and keep_partner:
            partner = sharing(held_out, codes, LINKS)
            notes += (f"the partner stays in training: {_count(corpus, partner, 'in the same sessions or dialogues')}",)
        dev = np.zeros(len(corpus), bool)
        train = ~(held_out | near)
        if with_dev:
            for chosen, candidate in _dev_candidates(corpus, codes, column, unit, near, keep_partner):
                remaining = train & ~(candidate | sharing(candidate, codes, apart))
                if (candidate & corpus.labelled).any() and (remaining & corpus.labelled).any():
                    dev, train = candidate, remaining
                    notes += (f"dev part: {chosen}",)
                    break
            else:
                raise InfoserError(
                    f"{_DEV_REFUSED}fold {name!r} has no {column} without the test speakers that training could spare"
                )
        left_out = ~(train | held_out | dev)
        if left_out.any():
            which = f"with a {' or '.join(apart)} of the test or dev part"
            notes += (f"left out of training: {_count(corpus, left_out, which)}",)
        yield _fold(corpus, name, train, held_out, dev, notes)


def _dev_candidates(
    corpus: Corpus, codes: Mapping[str, np.ndarray], column: str, unit: int | np.integer, near: np.ndarray, keep_partner: bool
) -> Iterator[tuple[str, np.ndarray]]:
    """The dev parts to try for a held-out session or speaker, best first: what it is, and its (N,) mask."""
    held_out = codes[column] == unit
    if column == "speaker" and not keep_partner:
        yield "the test speaker's partner", near
    for group in ("session", "speaker") if column == "speaker" else ("session",):
        if group in codes:
            own = codes[group][held_out].max()
            others = [code for code in _units(corpus, codes, group) if code not in codes[group][held_out]]
            for code in sorted(others, key=lambda code: (code < own, code)):
                candidate = (codes[group] == code) & ~held_out & ~near
                yield f"{group} {getattr(corpus, group)[np.argmax(codes[group] == code)]}", candidate


def _grouped_folds(corpus: Corpus, codes: Mapping[str, np.ndarray], n_folds: int, with_dev: bool) -> Iterator[Fold]:
    if n_folds < 2:
        raise InfoserError(f"protocol 'kfold' needs at least 2 folds, not {n_folds}")
    columns = kept_apart(corpus, codes, "kfold", keep_partner=False)
    group = components(len(corpus), codes, columns)
    groups, member = np.unique(group[corpus.labelled], return_inverse=True)
    if len(groups) < 2:
        raise InfoserError(
            f"protocol 'kfold' needs at least two groups of labelled utterances that share no speaker or dialogue; "
            f"corpus {corpus.name!r} has {len(groups)}"
        )
    notes: tuple[str, ...] = ()
    if "session" in codes and "session" not in columns:
        notes += ("sessions cross the folds: together with the speakers they tie the whole corpus together",)
    n_parts = min(n_folds, len(groups))
    if n_parts < 3 and with_dev:
        raise InfoserError(f"{_DEV_REFUSED}kfold with {n_parts} parts has none to spare beside training and test")
    if n_parts < n_folds:
        notes += (f"{n_parts} folds instead of {n_folds}: there are no more groups that share no {' or '.join(columns)}",)
    counts = np.zeros((len(groups), len(corpus.classes)))
    np.add.at(counts, (member, corpus.label[corpus.labelled]), 1)
    part_of_group = np.full(group.max() + 1, -1)
    part_of_group[groups] = balanced_parts(counts, n_parts)
    part = part_of_group[group]
    for index in range(n_parts):
        dev = (part == (index + 1) % n_parts) & with_dev
        yield _fold(corpus, f"fold{index + 1}", (part != index) & ~dev, part == index, dev, notes)


def _corpus_folds(corpus: Corpus, codes: Mapping[str, np.ndarray], protocol: str, with_dev: bool) -> Iterator[Fold]:
    corpora = corpus.provenance.get("corpora", ())
    tested = [each["name"] for each in corpora if protocol == "corpus" or each["role"] == "test"]
    if len(corpora) < 2 or not tested:
        raise InfoserError(f"protocol {protocol!r} needs several corpora; corpus {corpus.name!r} is one")
    for name in tested:
        test = np.asarray(corpus.columns["corpus"]) == name
        dev, notes = np.zeros(len(corpus), bool), ()
        if with_dev:
            group = components(len(corpus), codes, LINKS)
            groups, member = np.unique(group[corpus.labelled & ~test], return_inverse=True)
            if len(groups) < 2:
                raise InfoserError(f"{_DEV_REFUSED}fold {name!r} has no speakers that training could spare")
            counts = np.zeros((len(groups), len(corpus.classes)))
            np.add.at(counts, (member, corpus.label[corpus.labelled & ~test]), 1)
            dev = np.isin(group, groups[balanced_parts(counts, min(5, len(groups))) == 0])
            notes = (f"dev part: {_count(corpus, dev, 'of training speakers')}",)
        yield _fold(corpus, name, ~(test | dev), test, dev, notes)


def balanced_parts(counts: np.ndarray, n_parts: int) -> Int[np.ndarray, " groups"]:
    """Puts groups, largest first, where they least raise the sum of squared shares of each class and of the whole.

    An empty part always raises it least, so no part stays empty.
    """
    shares = np.column_stack([counts / np.maximum(counts.sum(axis=0), 1), counts.sum(axis=1) / counts.sum()])
    filled = np.zeros((n_parts, shares.shape[1]))
    parts = np.empty(len(counts), np.int64)
    for group in np.argsort(-counts.sum(axis=1), kind="stable"):
        parts[group] = np.argmin(filled @ shares[group])
        filled[parts[group]] += shares[group]
    return parts


def _official_folds(corpus: Corpus, with_dev: bool) -> Iterator[Fold]:
    splits = np.array([]) if corpus.split is None else np.asarray(corpus.split).astype(str)
    kinds = {str(value): _split_kind(str(value)) for value in np.unique(splits)}
    tests = sorted((value for value, kind in kinds.items() if kind == "test"), key=natural_order)
    hidden = [value for value in tests if not corpus.labelled[splits == value].any()]
    if "train" not in kinds.values() or len(tests) == len(hidden):
        raise InfoserError(
            f"protocol 'official' needs a split column with Train and a labelled Test part; corpus {corpus.name!r} has "
            f"{', '.join(sorted(kinds)) or 'none'}"
        )
    train, dev = (np.isin(splits, [value for value, k in kinds.items() if k == kind]) for kind in ("train", "dev"))
    if with_dev and not (dev & corpus.labelled).any():
        raise InfoserError(f"{_DEV_REFUSED}the official split has no labelled Development part")
    notes = tuple(f"no fold for {value}: {int((splits == value).sum())} utterances, none labelled" for value in hidden)
    others = [value for value, kind in kinds.items() if kind == "other"]
    if others:
        notes += (f"left out: {_count(corpus, np.isin(splits, others), f'of splits {others}')}",)
    for value in tests:
        if value not in hidden:
            yield _fold(corpus, value, train, splits == value, dev & with_dev, notes)


def _split_kind(value: str) -> str:
    name = value.strip().casefold()
    if name in _TRAIN_SPLITS:
        return "train"
    return "dev" if name in _DEV_SPLITS else "test" if name.startswith("test") else "other"


def _units(corpus: Corpus, codes: Mapping[str, np.ndarray], column: str) -> Int[np.ndarray, " units"]:
    """The codes of the column's named values that have labelled rows, in natural order."""
    labelled = codes[column][corpus.labelled] if column in codes else np.array([], np.int64)
    return np.unique(labelled[labelled >= 0])


def _untested(corpus: Corpus, codes: np.ndarray, column: str) -> tuple[str, ...]:
    """Notes on the rows of a leave-one-out protocol that no fold tests."""
    silent = (codes >= 0) & ~np.isin(codes, codes[corpus.labelled])
    nameless = (codes < 0) & corpus.labelled
    notes = []
    if silent.any():
        n_values = len(np.unique(codes[silent]))
        notes.append(f"no fold for {n_values} {column}s without labelled utterances ({int(silent.sum())} utterances)")
    if nameless.any():
        notes.append(f"tested in no fold: {int(nameless.sum())} labelled utterances without a known {column}")
    return tuple(notes)


def _count(corpus: Corpus, rows: np.ndarray, which: str) -> str:
    return f"{int(rows.sum())} utterances ({int((rows & corpus.labelled).sum())} labelled) {which}"


def _fold(corpus: Corpus, name: str, train: np.ndarray, test: np.ndarray, dev: np.ndarray, notes: tuple[str, ...]) -> Fold:
    """A fold from (N,) masks; test and dev keep their labelled rows only."""
    parts = (np.flatnonzero(mask) for mask in (train, test & corpus.labelled, dev & corpus.labelled))
    return Fold(name, *parts, notes=notes)
