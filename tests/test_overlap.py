"""Utterances that a model was trained on are found in another corpus: by id, and by their features."""

import dataclasses

import numpy as np
import pytest

from infoser import synthetic
from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.leakage import Fold
from infoser.overlap import check_apart, check_unseen, speakers_of_one_name

RNG = np.random.default_rng(0)


def corpus(name: str, n: int = 12, dim: int = 8) -> Corpus:
    ids = np.array([f"{name}{row}" for row in range(n)])
    speaker = np.array([f"{name}-s{row % 3}" for row in range(n)])
    return Corpus(name, ids, RNG.normal(size=(n, dim)).astype(np.float32), None, np.zeros(n, np.int32), ("a",), speaker)


SOURCE, TARGET = corpus("x"), corpus("y")
FOLD = Fold("s1", np.arange(8), np.zeros(0, np.int64), np.zeros(0, np.int64))


def check(target: Corpus, kept: np.ndarray | None = None, source: Corpus = SOURCE) -> None:
    check_unseen(source, [FOLD], target, np.ones(len(target), bool) if kept is None else kept)


def test_ids_that_were_trained_on_are_refused_where_they_would_be_scored():
    ids = TARGET.utterance_id.astype(object)
    ids[[2, 5]] = SOURCE.utterance_id[[3, 9]]  # row 9 is not trained on
    target = dataclasses.replace(TARGET, utterance_id=ids.astype(str))
    with pytest.raises(InfoserError, match="1 of the 12 utterances of 'y' .* such as 'x3', have the ids of utterances of 'x'"):
        check(target)
    check(target, np.arange(12) != 2)


def test_utterances_behind_synthetic_rows_are_refused():
    hashes = synthetic.id_hashes(["y3", "z1"])
    name = synthetic.set_name(hashes)
    made = np.isin(np.arange(12), (7, 10))
    marks = {synthetic.SYNTHETIC: made, synthetic.MADE_FROM: np.where(made, name, "")}
    source = dataclasses.replace(SOURCE, columns=marks, provenance={synthetic.MADE_FROM: {name: synthetic.encoded(hashes)}})
    with pytest.raises(InfoserError, match="1 of the 12 .* such as 'y3', are among those that synthetic rows of 'x' were made"):
        check(TARGET, source=source)
    check(TARGET, np.arange(12) != 3, source=source)
    untrained = dataclasses.replace(FOLD, train=np.arange(7))
    check_unseen(source, [untrained], TARGET, np.ones(12, bool))


def test_the_same_recording_under_another_id_is_refused():
    audio = TARGET.audio.copy()
    audio[[1, 4]] = SOURCE.audio[[6, 10]]
    with pytest.raises(InfoserError, match="1 of the 12 .* such as 'y1', have the audio features, to the last bit, of"):
        check(dataclasses.replace(TARGET, audio=audio))


def test_features_that_are_nobody_s_own_prove_nothing():
    blank = np.where(np.arange(12)[:, None] == 0, np.float32(0), SOURCE.audio)
    check(dataclasses.replace(TARGET, audio=blank[::-1] * 0), source=dataclasses.replace(SOURCE, audio=blank))
    narrow = dataclasses.replace(SOURCE, audio=SOURCE.audio[:, :2])
    check(dataclasses.replace(TARGET, audio=narrow.audio), source=narrow)


def test_corpora_that_share_a_recording_are_refused_whoever_is_trained_on_it():
    check_apart(SOURCE, TARGET)
    audio = TARGET.audio.copy()
    audio[4] = SOURCE.audio[10]
    with pytest.raises(
        InfoserError, match="1 of the 12 utterances of 'y', such as 'y4', have the audio features, to the last bit"
    ):
        check_apart(SOURCE, dataclasses.replace(TARGET, audio=audio))
    with pytest.raises(InfoserError, match="12 of the 12 utterances of 'y', such as 'x0', have the ids"):
        check_apart(SOURCE, dataclasses.replace(TARGET, utterance_id=SOURCE.utterance_id))


def test_speakers_of_one_name_are_said():
    assert speakers_of_one_name(SOURCE, TARGET) == []
    (note,) = speakers_of_one_name(SOURCE, dataclasses.replace(TARGET, speaker=np.array(["x-s1", "Unknown"] * 6)))
    assert note.startswith("1 speakers of y have names that speakers of x have too, such as 'x-s1'")
