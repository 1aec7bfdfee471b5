"""Folds of several corpora: each is left out, or one is for testing alone."""

import dataclasses

import numpy as np
import pytest

from infoser.corpora import concatenate, named_apart
from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.leakage import RESERVED
from infoser.protocols import make_folds, resolve_protocol

SIZES = {"a": 40, "b": 30, "c": 20}


def part(name: str, size: int) -> Corpus:
    rows = np.arange(size)
    corpus = Corpus(
        name=name,
        utterance_id=np.array([f"{name}{row}" for row in rows]),
        audio=np.ones((size, 2), np.float32),
        text=None,
        label=np.where(rows % 5 == 4, -1, rows % 2).astype(np.int32),
        classes=("x", "y"),
        speaker=np.array([f"s{row // 4}" for row in rows]),
        columns={"corpus": np.full(size, name)},
    )
    return named_apart(corpus)


def several(*tested: str) -> Corpus:
    roles = [{"name": name, "role": "test" if name in tested else "train"} for name in SIZES]
    parts = [part(name, size) for name, size in SIZES.items()]
    return concatenate(parts, name="a+b+c", classes=("x", "y"), provenance={"corpora": roles})


def test_auto_is_decided_by_what_the_corpora_are_for():
    assert resolve_protocol(several("b"), "auto") == "cross-corpus"
    assert resolve_protocol(several(), "auto") == "corpus"


def test_one_corpus_is_tested_and_all_others_are_trained_on():
    corpus = several("b")
    (fold,) = make_folds(corpus, "auto")
    inside = corpus.columns["corpus"] == "b"
    assert fold.name == "b" and len(fold.dev) == 0
    assert np.array_equal(fold.train, np.flatnonzero(~inside))
    assert np.array_equal(fold.test, np.flatnonzero(inside & corpus.labelled))


def test_each_corpus_is_left_out_in_turn():
    corpus = several()
    folds = make_folds(corpus, "corpus")
    assert [fold.name for fold in folds] == list(SIZES)
    assert np.array_equal(np.sort(np.concatenate([fold.test for fold in folds])), np.flatnonzero(corpus.labelled))


def test_a_dev_part_is_of_whole_training_speakers():
    corpus = several("b")
    (fold,) = make_folds(corpus, "auto", with_dev=True)
    dev, train = set(corpus.speaker[fold.dev]), set(corpus.speaker[fold.train])
    assert dev and not dev & train and not any(name.startswith("b:") for name in dev | train)
    assert 0.1 < len(fold.dev) / corpus.labelled[np.concatenate([fold.dev, fold.train])].sum() < 0.3
    assert "dev part" in fold.notes[0]


@pytest.mark.parametrize("name", RESERVED)
def test_no_fold_is_called_as_tables_call_something_else(name):
    corpus = several("b")
    columns = {"corpus": np.where(corpus.columns["corpus"] == "b", name, corpus.columns["corpus"])}
    roles = [one | {"name": name if one["name"] == "b" else one["name"]} for one in corpus.provenance["corpora"]]
    renamed = dataclasses.replace(corpus, columns=columns, provenance={"corpora": roles})
    with pytest.raises(InfoserError, match=f"a fold can't be called '{name}'"):
        make_folds(renamed, "auto")


@pytest.mark.parametrize("protocol", ["corpus", "cross-corpus"])
def test_a_single_corpus_has_none_to_leave_out(protocol):
    with pytest.raises(InfoserError, match=f"protocol '{protocol}' needs several corpora; corpus 'a' is one"):
        make_folds(part("a", 40), protocol)


def test_speakers_that_are_in_two_corpora_are_found():
    corpus = several("b")
    shared = dataclasses.replace(corpus, speaker=np.where(np.isin(corpus.speaker, ["a:s0", "b:s0"]), "s0", corpus.speaker))
    with pytest.raises(InfoserError, match="speaker 's0' is in both the training and the test part"):
        make_folds(shared, "auto")
