"""Inner folds serve outer ones by rows and labels of their training parts alone."""

import dataclasses

import numpy as np
import pytest

from infoser import demo, inner_folds, nested, synthetic
from infoser.config import Config, Data
from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.inner_folds import InnerFold, visible
from infoser.leakage import Fold
from infoser.matrix import usable_labels
from infoser.protocols import demote_labels, make_folds, resolve_protocol


def made(
    corpus: Corpus, protocol: str = "auto", *, asked: tuple[str, ...] = (), shared: bool = True, keep_partner: bool = False
):
    protocol = resolve_protocol(corpus, protocol)
    folds = make_folds(corpus, protocol, keep_partner=keep_partner)
    names = asked or tuple(fold.name for fold in folds)
    found = inner_folds.inner_folds(corpus, protocol, folds, names, shared=shared, keep_partner=keep_partner)
    check(corpus, folds, found)
    return folds, {one.fold.name: one for one in found}


def check(corpus: Corpus, folds: tuple[Fold, ...], found: tuple[InnerFold, ...]) -> None:
    """Whatever the corpus: nothing of an outer test part, no speaker twice, dev rows once."""
    for one in found:
        train, outers = one.fold.train, {fold.name: fold for fold in folds if fold.name in one.dev}
        assert tuple(fold.name for fold in one.fold.outer) == tuple(one.dev)
        assert set(corpus.label[train]) >= set(range(len(corpus.classes)))
        for name, dev in one.dev.items():
            assert len(dev) and corpus.labelled[dev].all() and (np.diff(dev) > 0).all()
            assert not set(dev) & set(outers[name].test) and not set(train) & set(outers[name].test)
            assert set(train) <= set(outers[name].train)
            assert not set(corpus.speaker[train]) & set(corpus.speaker[dev])
            assert not set(corpus.speaker[outers[name].test]) & set(corpus.speaker[np.concatenate([train, dev])])
    for fold in folds:
        dev = [one.dev[fold.name] for one in found if fold.name in one.dev]
        if dev:
            assert len(np.unique(np.concatenate(dev))) == sum(map(len, dev))


def of_sessions(sessions: int) -> Corpus:
    """The demo's first sessions."""
    return part_of(demo.sample(), np.isin(demo.sample().session.astype(int), np.arange(1, sessions + 1)))  # pyright: ignore


def part_of(corpus: Corpus, kept: np.ndarray) -> Corpus:
    names = ("utterance_id", "audio", "text", "label", "speaker", "session", "dialogue", "split", "has_text")
    arrays = {name: None if getattr(corpus, name) is None else getattr(corpus, name)[kept] for name in names}
    return dataclasses.replace(corpus, columns={name: own[kept] for name, own in corpus.columns.items()}, **arrays)


def test_every_pair_of_few_folds_serves_both() -> None:
    corpus = demo.sample()
    folds, found = made(corpus)
    assert list(found) == [f"session{i}+session{j}" for i in range(1, 6) for j in range(i + 1, 6)]
    one = found["session1+session3"]
    assert set(corpus.session[one.fold.train]) == {"2", "4", "5"}  # pyright: ignore[reportOptionalSubscript]
    assert set(corpus.session[one.dev["session1"]]) == {"3"}  # pyright: ignore[reportOptionalSubscript]
    assert np.array_equal(one.dev["session1"], folds[2].test) and np.array_equal(one.dev["session3"], folds[0].test)
    assert np.array_equal(one.fold.test, np.union1d(folds[0].test, folds[2].test))
    # Every labelled training row speaks for a fold's choice once.
    for fold in folds:
        dev = np.concatenate([one.dev[fold.name] for one in found.values() if fold.name in one.dev])
        assert np.array_equal(np.sort(dev), fold.train[corpus.labelled[fold.train]])


def test_folds_that_are_not_asked_for_have_none_and_change_none() -> None:
    corpus = demo.sample()
    _, every = made(corpus)
    _, some = made(corpus, asked=("session2",))
    assert list(some) == ["session1+session2", "session2+session3", "session2+session4", "session2+session5"]
    for name, one in some.items():
        assert np.array_equal(one.fold.train, every[name].fold.train) and np.array_equal(one.fold.test, every[name].fold.test)
    assert list(made(corpus, asked=("session2",), shared=False)[1]) == [f"session2 dev session{i}" for i in (1, 3, 4, 5)]


@pytest.mark.parametrize("keep_partner", [False, True])
def test_of_many_folds_each_pairs_with_the_next_that_it_trains_on(keep_partner: bool) -> None:
    folds, found = made(demo.sample(), "speaker", keep_partner=keep_partner)
    assert len(folds) == len(found) == 10
    names = [fold.name for fold in folds]
    for i, fold in enumerate(folds):
        # The partner is in no training part, and can't speak for the other.
        assert f"{fold.name}+{names[(i + (1 if keep_partner else 2)) % 10]}" in found
        assert sum(fold.name in one.dev for one in found.values()) == 2


def test_two_folds_have_nothing_in_common_and_divide_their_speakers() -> None:
    corpus = of_sessions(2)
    folds, found = made(corpus, "session")
    assert list(found) == ["session1 part1", "session1 part2", "session2 part1", "session2 part2"]
    for one in found.values():
        assert len(set(corpus.speaker[one.fold.test])) == 1


def test_an_official_dev_part_is_taken_or_else_speakers_are_divided() -> None:
    corpus = demo.sample()
    names = {"1": "Train", "2": "Train", "3": "Development", "4": "Test1", "5": "Test2"}
    split = np.array([names[one] for one in corpus.session])  # pyright: ignore[reportOptionalIterable]
    with_dev = dataclasses.replace(corpus, split=split)
    folds, found = made(with_dev, "official")
    # Both test parts are trained for on the same rows.
    assert list(found) == ["Test1 dev+Test2 dev"]
    one = found["Test1 dev+Test2 dev"]
    assert set(split[one.fold.train]) == {"Train"} and np.array_equal(one.fold.train, folds[0].train)
    assert all(np.array_equal(dev, np.flatnonzero((split == "Development") & corpus.labelled)) for dev in one.dev.values())
    assert list(made(with_dev, "official", shared=False)[1]) == ["Test1 dev", "Test2 dev"]
    assert list(made(with_dev, "official", asked=("Test2",))[1]) == ["Test1 dev+Test2 dev"]

    without = dataclasses.replace(corpus, split=np.where(split == "Development", "Train", split))
    _, found = made(without, "official")
    assert list(found) == [f"Test1 part{i}+Test2 part{i}" for i in (1, 2, 3)]  # three sessions
    dev = np.concatenate([one.dev["Test1"] for one in found.values()])
    assert np.array_equal(np.sort(dev), np.flatnonzero((without.split == "Train") & corpus.labelled))


def test_a_single_speaker_can_not_be_divided() -> None:
    corpus = demo.sample()
    speaker = corpus.speaker[0]
    split = np.where(corpus.speaker == speaker, "train", np.where(corpus.session == "5", "test", "other"))
    with pytest.raises(InfoserError, match="single speaker; the corpus is too small to choose on; leave --select out"):
        made(dataclasses.replace(corpus, split=split), "official")


def test_parts_without_which_training_lacks_a_class_are_left_out_of_the_choice() -> None:
    corpus = demo.sample()
    split = np.where(corpus.session == "5", "test", "train")
    label = np.where((corpus.label == 3) & ~np.isin(corpus.session, ["1", "5"]), -1, corpus.label)  # class 3 in session 1 alone
    corpus = dataclasses.replace(corpus, split=split, label=label.astype(np.int32))
    folds = make_folds(corpus, "official")
    found = inner_folds.inner_folds(corpus, "official", folds, ["test"], shared=True)
    assert sorted(3 in corpus.label[one.fold.train] for one in found) == [False, True, True, True]
    plan = nested.plan(Config(data=Data("demo"), select="dev", variants=("none",)), corpus, "official", folds)
    assert plan is not None and {3 in corpus.label[one.train] for one in plan.inner_folds} == {True}
    assert len(plan.inner_folds) == 3
    assert any("1 of 4 inner folds × seeds left out, where some class has no label" in note for note in plan.notes)
    nowhere = np.where((label == 3) & (corpus.session != "5"), -1, label).astype(np.int32)
    with pytest.raises(InfoserError, match="without any part of its speakers, training lacks a class"):
        inner_folds.inner_folds(dataclasses.replace(corpus, label=nowhere), "official", folds, ["test"], shared=True)


def synthetic_corpus() -> Corpus:
    """The demo with two synthetic rows made from session 2, two from session 5, and two from elsewhere."""
    corpus = demo.sample()
    n = len(corpus)
    more = np.arange(6)
    ids = {one: corpus.utterance_id[np.flatnonzero(corpus.session == one)[:5]].tolist() for one in ("2", "5")}
    sets = {synthetic.set_name(hashes): hashes for own in ids.values() for hashes in [synthetic.id_hashes(own)]}
    names = list(sets)
    columns = {name: np.concatenate([values, values[more]]) for name, values in corpus.columns.items()}
    columns[synthetic.SYNTHETIC] = np.arange(n + 6) >= n
    columns[synthetic.MADE_FROM] = np.array([*[""] * n, names[0], names[0], names[1], names[1], "", ""])
    return dataclasses.replace(
        corpus,
        utterance_id=np.concatenate([corpus.utterance_id, [f"synthetic{i}" for i in more]]),
        audio=np.concatenate([corpus.audio, corpus.audio[more]]),
        text=np.concatenate([corpus.text, corpus.text[more]]),  # pyright: ignore
        label=np.concatenate([corpus.label, np.array([0, 1, 2, 3, 0, 1], np.int32)]),
        speaker=np.concatenate([corpus.speaker, [""] * 6]),
        session=np.concatenate([corpus.session, [""] * 6]),  # pyright: ignore
        dialogue=None if corpus.dialogue is None else np.concatenate([corpus.dialogue, [""] * 6]),
        has_text=None,
        columns=columns,
        provenance={**corpus.provenance, synthetic.MADE_FROM: {name: synthetic.encoded(own) for name, own in sets.items()}},
    )


def test_synthetic_rows_leave_inner_folds_that_hold_out_what_they_were_made_from() -> None:
    corpus = synthetic_corpus()
    n = len(corpus) - 6
    _, found = made(corpus, "session")
    assert {one - n for one in found["session1+session3"].fold.train if one >= n} == {0, 1, 2, 3, 4, 5}
    assert {one - n for one in found["session1+session2"].fold.train if one >= n} == {2, 3, 4, 5}
    split = np.array(["test" if one == "1" else "train" for one in corpus.session])  # pyright: ignore
    split[n:] = ""
    _, found = made(dataclasses.replace(corpus, split=split), "official")
    for one in found.values():
        held_out = set(corpus.session[one.fold.test])  # pyright: ignore
        expected = ({0, 1} if "2" not in held_out else set()) | ({2, 3} if "5" not in held_out else set()) | {4, 5}
        assert {row - n for row in one.fold.train if row >= n} == expected
        assert (one.fold.test < n).all()


@pytest.mark.parametrize("protocol", ["session", "speaker", "official"])
@pytest.mark.parametrize("fraction", [0.5, 0.1])
def test_labels_that_an_outer_fold_may_not_see_are_seen_by_none_of_its_inner_ones(protocol: str, fraction: float) -> None:
    corpus = demo.sample()
    names = {"1": "train", "2": "train", "3": "train", "4": "dev", "5": "test"}
    corpus = dataclasses.replace(corpus, split=np.array([names[one] for one in corpus.session]))  # pyright: ignore
    folds, found = made(corpus, protocol, shared=False)
    config = Config(data=Data("demo"), label_fraction=fraction)
    for one in found.values():
        (outer,) = one.fold.outer
        for seed in (0, 1):
            kept = demote_labels(corpus, outer, fraction, seed)
            label = usable_labels(config, corpus, one.fold, seed)
            assert np.array_equal(np.flatnonzero(label >= 0), np.intersect1d(kept, one.fold.train))
            shown = visible(corpus, one, outer, fraction, seed)
            if protocol == "official":  # the dev part is beside the training part, and its labels as few
                assert set(shown) < set(one.dev[outer.name])
                for number in range(4):
                    count = (corpus.label[one.dev[outer.name]] == number).sum()
                    assert (corpus.label[shown] == number).sum() == max(1, int(fraction * count + 0.5))
            else:
                assert np.array_equal(shown, np.intersect1d(kept, one.dev[outer.name]))


def test_a_fold_that_serves_two_sees_what_both_may() -> None:
    corpus = demo.sample()
    _, found = made(corpus)
    one = found["session1+session2"]
    kept = [set(demote_labels(corpus, outer, 0.5, 3)) for outer in one.fold.outer]
    assert set(demote_labels(corpus, one.fold, 0.5, 3)) == kept[0] & kept[1] & set(one.fold.train)


def leaking(one: InnerFold, outer: Fold, what: str) -> InnerFold:
    tested = outer.test[:1]
    if what == "train":
        return dataclasses.replace(one, fold=dataclasses.replace(one.fold, train=np.union1d(one.fold.train, tested)))
    if what == "more":
        less = dataclasses.replace(outer, train=outer.train[1:])
        return dataclasses.replace(one, fold=dataclasses.replace(one.fold, outer=(less,)))
    return dataclasses.replace(one, dev={outer.name: np.union1d(one.dev[outer.name], tested)})


@pytest.mark.parametrize("what", ["train", "dev", "more"])
def test_what_leaks_is_refused(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = demo.sample()
    inner = inner_folds._inner

    def spoiled(corpus: Corpus, name: str, serves) -> InnerFold:
        return leaking(inner(corpus, name, serves), serves[0][0], what)

    monkeypatch.setattr(inner_folds, "_inner", spoiled)
    with pytest.raises(InfoserError, match=r"inner fold|is in both|in two parts|more than"):
        made(corpus, shared=False)
