"""Synthetic rows are trained on, never tested on, and leave the folds that hold out what they were made from."""

import dataclasses

import numpy as np
import pytest

from infoser import synthetic
from infoser.corpora import concatenate, named_apart
from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.leakage import Fold, check_folds
from infoser.matrix import utterance_hashes
from infoser.protocols import demote_labels, make_folds, resolve_protocol

PROTOCOLS = ("session", "speaker", "kfold", "official")


def make_corpus(made_from: list[list[str]], *, spoken: bool = False) -> Corpus:
    """Three sessions of two speakers, four rows each, the last without a label; then two synthetic rows for each list."""
    real, made = 24, 2 * len(made_from)
    count = real + made
    sets = {synthetic.set_name(hashes): hashes for ids in made_from if len(hashes := synthetic.id_hashes(ids))}
    names = [synthetic.set_name(synthetic.id_hashes(ids)) if ids else "" for ids in made_from for _ in range(2)]
    nobody = [("5F" if spoken else "")] * made
    return Corpus(
        name="joined",
        utterance_id=np.array([f"u{row:02}" if row < real else f"synthetic-{row:02}" for row in range(count)]),
        audio=np.arange(count, dtype=np.float32)[:, None],
        text=None,
        label=np.array([0, 1, 0, -1] * 6 + [0, 1] * len(made_from), np.int32),
        classes=("a", "b"),
        speaker=np.array([*np.repeat(["1F", "1M", "2F", "2M", "3F", "3M"], 4), *nobody]),
        session=np.array([*np.repeat(["1", "2", "3"], 8), *[""] * made]),
        split=np.array([*np.repeat(["train", "dev", "test1"], 8), *[""] * made]),
        columns={
            synthetic.SYNTHETIC: np.arange(count) >= real,
            synthetic.MADE_FROM: np.array([*[""] * real, *names]),
        },
        provenance={synthetic.MADE_FROM: {name: synthetic.encoded(hashes) for name, hashes in sets.items()}},
    )


def real_only(corpus: Corpus) -> Corpus:
    kept = np.arange(24)
    columns = {name: values[kept] for name, values in corpus.columns.items()}
    named = {name: getattr(corpus, name) for name in ("utterance_id", "audio", "label", "speaker", "session", "split")}
    arrays = {name: None if values is None else values[kept] for name, values in named.items()}
    return dataclasses.replace(corpus, columns=columns, **arrays)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("spoken", [False, True])
def test_rows_made_elsewhere_join_every_training_part_and_change_nothing_else(protocol: str, spoken: bool) -> None:
    corpus = make_corpus([["elsewhere1", "elsewhere2"]], spoken=spoken)
    folds, plain = make_folds(corpus, protocol), make_folds(real_only(corpus), protocol)
    assert [fold.name for fold in folds] == [fold.name for fold in plain]
    for fold, before in zip(folds, plain, strict=True):
        assert fold.train.tolist() == [*before.train.tolist(), 24, 25] and fold.train.dtype == np.int64
        assert fold.test.tolist() == before.test.tolist() and fold.dev.tolist() == before.dev.tolist()
        assert fold.notes == (*before.notes, "2 synthetic rows are trained on")


def test_the_protocol_is_chosen_by_the_real_rows() -> None:
    corpus = dataclasses.replace(make_corpus([["elsewhere"]]), split=None)
    assert resolve_protocol(corpus, "auto") == "session"
    one_session = dataclasses.replace(corpus, session=np.array(["1"] * 24 + [""] * 2))
    assert resolve_protocol(one_session, "auto") == resolve_protocol(real_only(one_session), "auto") == "speaker"


def test_rows_leave_the_folds_that_hold_out_what_they_were_made_from() -> None:
    of_session = [[f"u{row:02}" for row in range(8 * one, 8 * one + 8)] for one in range(3)]
    without = [sum((ids for other, ids in enumerate(of_session) if other != one), []) for one in range(3)]
    corpus = make_corpus(without)  # what the three folds' own generators made
    folds = make_folds(corpus, "session")
    for number, fold in enumerate(folds):
        assert fold.train[fold.train >= 24].tolist() == [24 + 2 * number, 25 + 2 * number]
        assert fold.notes[-1] == "left out of training: 4 synthetic rows made from utterances that this fold holds out"
    check_folds(corpus, folds, protocol="session")


def test_unlabelled_rows_and_partners_that_are_held_out_count_too() -> None:
    unlabelled = make_corpus([["u03"], ["u12"]])  # u03 has no label: no fold tests it, and that of session 1 never sees it
    first, second, _ = make_folds(unlabelled, "session")
    assert first.train[first.train >= 24].tolist() == [26, 27]
    assert second.train[second.train >= 24].tolist() == [24, 25]
    by_speaker = {fold.name: fold for fold in make_folds(make_corpus([["u00"], ["elsewhere"]]), "speaker")}
    assert 24 not in by_speaker["1M"].train and 24 in by_speaker["2F"].train  # u00 is of the partner of 1M


def test_rows_that_no_fold_could_train_on_are_refused() -> None:
    everything = [f"u{row:02}" for row in range(24)]
    with pytest.raises(InfoserError, match="every fold holds out.*--fold"):
        make_folds(make_corpus([everything]), "session")


def test_rows_made_from_nothing_are_said_to_be_unchecked() -> None:
    folds = make_folds(make_corpus([[], ["elsewhere"]]), "session")
    assert all(fold.notes[-1].startswith("2 of the synthetic rows say") for fold in folds)


def test_of_joined_corpora_none_trains_on_rows_made_from_the_one_that_is_held_out() -> None:
    own, other = make_corpus([["u00", "u01"], ["v03"], ["elsewhere"]]), real_only(make_corpus([]))
    other = dataclasses.replace(other, utterance_id=np.char.replace(other.utterance_id, "u", "v"), columns={}, provenance={})
    parts = [
        named_apart(dataclasses.replace(each, name=name, columns={**each.columns, "corpus": np.full(len(each), name)}))
        for each, name in ((own, "own"), (other, "other"))
    ]
    corpora = [{"name": "own", "role": "train"}, {"name": "other", "role": "test"}]
    joined = concatenate(parts, name="own+other", classes=own.classes, provenance={**own.provenance, "corpora": corpora})
    (fold,) = make_folds(joined, "cross-corpus")
    assert fold.name == "other" and (fold.test >= len(own)).all()
    # Rows made from u00 and u01 and from elsewhere; not those made from v03.
    assert fold.train[fold.train >= 24].tolist() == [24, 25, 28, 29]
    of_own = next(fold for fold in make_folds(joined, "corpus") if fold.name == "own")
    assert (of_own.test < 24).all() and of_own.train[of_own.train < len(own)].tolist() == [26, 27, 28, 29]


def test_synthetic_rows_alone_are_no_corpus_to_test_on() -> None:
    corpus = make_corpus([["elsewhere"]])
    alone = dataclasses.replace(
        corpus, columns={**corpus.columns, synthetic.SYNTHETIC: np.ones(len(corpus), bool)}, provenance={}
    )
    with pytest.raises(InfoserError, match="--synthetic EXPORT"):
        make_folds(alone, "auto")


def test_a_set_that_is_missing_or_damaged_is_refused() -> None:
    corpus = make_corpus([["elsewhere"]])
    (name,) = corpus.provenance[synthetic.MADE_FROM]
    for wrong in ({}, {name: "!"}, {name: synthetic.encoded(synthetic.id_hashes(["other"]))}, {name: 3}):
        broken = dataclasses.replace(corpus, provenance={synthetic.MADE_FROM: wrong})
        with pytest.raises(InfoserError, match="missing or damaged"):
            make_folds(broken, "session")


@pytest.mark.parametrize(
    "train, test, said", [([0, 1, 24], [8, 25], "dev or test part"), ([0, 1, 24], [8], "made from its dev or test part")]
)
def test_a_fold_that_leaks_is_refused_whoever_made_it(train: list[int], test: list[int], said: str) -> None:
    corpus = make_corpus([["u08"]])
    fold = Fold("one", np.array(train), np.array(test), np.zeros(0, np.int64))
    with pytest.raises(InfoserError, match=said):
        check_folds(corpus, [fold], protocol="session")


def test_a_label_fraction_demotes_the_same_real_labels_and_no_synthetic_one() -> None:
    corpus = make_corpus([["elsewhere"]])
    fold, plain = make_folds(corpus, "session")[0], make_folds(real_only(corpus), "session")[0]
    kept, before = demote_labels(corpus, fold, 0.3, 0), demote_labels(real_only(corpus), plain, 0.3, 0)
    assert kept.tolist() == [*before.tolist(), 24, 25]


def test_hashes_are_those_of_checkpoints() -> None:
    ids = [f"utt_é{i}" for i in range(20)]
    np.testing.assert_array_equal(np.sort(synthetic.id_hashes(ids)), utterance_hashes(ids))
    assert synthetic.set_name(synthetic.id_hashes(ids)) == synthetic.set_name(synthetic.id_hashes([*ids[::-1], ids[0]]))
