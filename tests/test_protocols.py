"""Folds by hand for every protocol, the refusals, label fractions and subsets."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.leakage import check_folds
from infoser.links import components, link_codes, speaker_clusters
from infoser.protocols import demote_labels, make_folds, resolve_protocol, select_folds
from infoser.scored_subsets import subsets


def make_corpus(label, speaker, session=None, dialogue=None, split=None, n_classes=2, **columns):
    n = len(label)
    named = {"session": session, "dialogue": dialogue, "split": split}
    return Corpus(
        name="small",
        utterance_id=np.array([f"u{row:03}" for row in range(n)]),
        audio=np.zeros((n, 1), np.float32),
        text=None,
        label=np.array(label, np.int32),
        classes=tuple(f"class{index}" for index in range(n_classes)),
        speaker=np.array(speaker),
        **{key: None if values is None else np.array(values) for key, values in named.items()},
        columns={key: np.array(values) for key, values in columns.items()},
    )


def dyadic():
    """Three sessions of two speakers, four rows each speaker: classes 0, 1, 0 and one without a label."""
    return make_corpus(
        label=[0, 1, 0, -1] * 6,
        speaker=np.repeat(["1F", "1M", "2F", "2M", "10F", "10M"], 4),
        session=np.repeat(["1", "2", "10"], 8),
        dialogue=np.repeat([f"d{index}" for index in range(12)], 2)
        .reshape(12, 2)[[0, 1, 0, 1, 4, 5, 4, 5, 8, 9, 8, 9]]
        .ravel(),
    )


def parts(fold):
    return fold.train.tolist(), fold.dev.tolist(), fold.test.tolist()


def test_session_folds():
    folds = make_folds(dyadic(), "session")
    assert [fold.name for fold in folds] == ["session1", "session2", "session10"]
    assert parts(folds[0]) == ([*range(8, 24)], [], [0, 1, 2, 4, 5, 6])
    assert parts(folds[1]) == ([*range(8), *range(16, 24)], [], [8, 9, 10, 12, 13, 14])
    assert parts(folds[2]) == ([*range(16)], [], [16, 17, 18, 20, 21, 22])
    assert all(part.dtype == np.int64 for fold in folds for part in (fold.train, fold.dev, fold.test))
    assert all(fold.notes == () for fold in folds)


def test_session_dev_is_the_next_session_cyclically():
    folds = make_folds(dyadic(), "session", with_dev=True)
    assert parts(folds[0]) == ([*range(16, 24)], [8, 9, 10, 12, 13, 14], [0, 1, 2, 4, 5, 6])
    assert parts(folds[2]) == ([*range(8, 16)], [0, 1, 2, 4, 5, 6], [16, 17, 18, 20, 21, 22])
    assert folds[2].notes == ("dev part: session 1",)


def test_session_rows_that_share_a_speaker_leave_training():
    corpus = replace(dyadic(), speaker=np.repeat(["1F", "1M", "1M", "2M", "10F", "10M"], 4))
    folds = make_folds(corpus, "session")
    assert parts(folds[0]) == ([*range(12, 24)], [], [0, 1, 2, 4, 5, 6])
    assert folds[0].notes == (
        "left out of training: 4 utterances (3 labelled) with a speaker or session or dialogue of the test or dev part",
    )
    assert parts(folds[1])[0] == [0, 1, 2, 3, *range(16, 24)]
    assert folds[2].notes == ()
    assert resolve_protocol(corpus, "auto") == "speaker"


def test_rows_that_share_a_speaker_with_the_dev_part_leave_training():
    corpus = replace(dyadic(), speaker=np.repeat(["1F", "1M", "2F", "2M", "2M", "10M"], 4))
    fold = make_folds(corpus, "session", with_dev=True)[0]
    assert parts(fold) == ([*range(20, 24)], [8, 9, 10, 12, 13, 14], [0, 1, 2, 4, 5, 6])
    assert "left out of training: 4 utterances (3 labelled)" in fold.notes[1]


def test_session_without_labels_makes_no_fold_but_trains():
    corpus = dyadic()
    corpus = replace(corpus, label=np.where(corpus.session == "2", -1, corpus.label).astype(np.int32))
    folds = make_folds(corpus, "session")
    assert [fold.name for fold in folds] == ["session1", "session10"]
    assert parts(folds[0])[0] == [*range(8, 24)]
    assert folds[0].notes == ("no fold for 1 sessions without labelled utterances (8 utterances)",)


def test_speaker_folds_lose_the_partner():
    folds = make_folds(dyadic(), "speaker")
    assert [fold.name for fold in folds] == ["1F", "1M", "2F", "2M", "10F", "10M"]
    assert parts(folds[0]) == ([*range(8, 24)], [], [0, 1, 2])
    assert parts(folds[3]) == ([*range(8), *range(16, 24)], [], [12, 13, 14])
    assert "4 utterances (3 labelled)" in folds[0].notes[0]


def test_speaker_folds_keep_the_partner_on_request():
    folds = make_folds(dyadic(), "speaker", keep_partner=True)
    assert parts(folds[0]) == ([*range(4, 24)], [], [0, 1, 2])
    assert folds[0].notes == ("the partner stays in training: 4 utterances (3 labelled) in the same sessions or dialogues",)


def test_speaker_dev_is_the_partner_else_the_next_session_else_the_next_speaker():
    corpus = dyadic()
    assert parts(make_folds(corpus, "speaker", with_dev=True)[0]) == ([*range(8, 24)], [4, 5, 6], [0, 1, 2])
    silent = replace(corpus, label=np.where(corpus.speaker == "1M", -1, corpus.label).astype(np.int32))
    assert parts(make_folds(silent, "speaker", with_dev=True)[0]) == ([*range(16, 24)], [8, 9, 10, 12, 13, 14], [0, 1, 2])
    kept = make_folds(corpus, "speaker", with_dev=True, keep_partner=True)
    assert parts(kept[0]) == ([*range(4, 8), *range(16, 24)], [8, 9, 10, 12, 13, 14], [0, 1, 2])
    assert parts(kept[5]) == ([*range(8, 20)], [0, 1, 2, 4, 5, 6], [20, 21, 22])
    alone = replace(corpus, session=None, dialogue=None)
    assert parts(make_folds(alone, "speaker", with_dev=True)[0]) == ([*range(8, 24)], [4, 5, 6], [0, 1, 2])
    assert make_folds(alone, "speaker", with_dev=True)[0].notes[0] == "dev part: speaker 1M"


def test_unknown_speakers_are_trained_on_and_make_no_fold():
    corpus = make_corpus([0, 1] * 4, np.repeat(["a", "Unknown", "b", "unknown"], 2))
    folds = make_folds(corpus, "speaker")
    assert [(fold.name, *parts(fold)) for fold in folds] == [
        ("a", [2, 3, 4, 5, 6, 7], [], [0, 1]),
        ("b", [0, 1, 2, 3, 6, 7], [], [4, 5]),
    ]
    assert folds[0].notes == ("tested in no fold: 4 labelled utterances without a known speaker",)


def test_kfold_keeps_what_is_tied_together():
    # speakers b and c share a dialogue, c and d a session; a, e, f stand alone
    corpus = make_corpus(
        label=[0, 1, -1] * 6,
        speaker=np.repeat(list("abcdef"), 3),
        session=np.repeat(["", "", "s", "s", "", ""], 3),
        dialogue=["", "", "", "x", "", "", "x", *[""] * 11],
    )
    assert (
        components(18, link_codes(corpus), ("speaker", "session", "dialogue")).tolist()
        == np.repeat([0, 1, 1, 1, 2, 3], 3).tolist()
    )
    folds = make_folds(corpus, "kfold", n_folds=2)
    assert [fold.name for fold in folds] == ["fold1", "fold2"]
    assert parts(folds[0]) == ([0, 1, 2, 12, 13, 14, 15, 16, 17], [], [3, 4, 6, 7, 9, 10])
    assert parts(folds[1]) == ([*range(3, 12)], [], [0, 1, 12, 13, 15, 16])


def test_kfold_dev_is_the_next_group_and_too_few_groups_are_noted():
    corpus = make_corpus([0, 1] * 3, np.repeat(list("abc"), 2))
    folds = make_folds(corpus, "kfold", n_folds=5, with_dev=True)
    assert [parts(fold) for fold in folds] == [
        ([4, 5], [2, 3], [0, 1]),
        ([0, 1], [4, 5], [2, 3]),
        ([2, 3], [0, 1], [4, 5]),
    ]
    assert folds[0].notes == ("3 folds instead of 5: there are no more groups that share no speaker or session or dialogue",)


def test_kfold_divides_sessions_only_where_they_tie_everything():
    corpus = make_corpus([0, 1] * 4, np.repeat(list("abcd"), 2), session=["1", "2"] * 4)
    folds = make_folds(corpus, "kfold", n_folds=4)
    assert [fold.test.tolist() for fold in folds] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert "sessions cross" in folds[0].notes[0]


def test_kfold_balances_classes_and_sizes():
    rng = np.random.default_rng(0)
    speaker = rng.integers(0, 40, 2000)
    label = (rng.random(2000) < np.linspace(0.1, 0.9, 40)[speaker]).astype(int)
    folds = make_folds(make_corpus(label, [f"s{index}" for index in speaker]), "kfold")
    sizes = np.array([[np.sum(label[fold.test] == index) for index in (0, 1)] for fold in folds])
    assert (np.abs(sizes / sizes.mean(axis=0) - 1) < 0.1).all()


def official_corpus(**changes):
    split = ["Train"] * 4 + ["Development"] * 3 + ["Test1"] * 3 + ["TEST2"] * 2 + ["Test3"] * 2 + ["Held"]
    speaker = ["a", "a", "b", "Unknown", "c", "c", "Unknown", "d", "d", "Unknown", "d", "e", "f", "f", "g"]
    label = [0, 1, -1, 1, 0, 1, -1, 0, 1, -1, 1, 0, -1, -1, 0]
    return make_corpus(**({"label": label, "speaker": speaker, "split": split} | changes))


def test_official_folds():
    folds = make_folds(official_corpus(), "official")
    assert [(fold.name, *parts(fold)) for fold in folds] == [
        ("TEST2", [0, 1, 2, 3], [], [10, 11]),
        ("Test1", [0, 1, 2, 3], [], [7, 8]),
    ]
    assert folds[0].notes == (
        "no fold for Test3: 2 utterances, none labelled",
        "left out: 1 utterances (1 labelled) of splits ['Held']",
    )
    with_dev = make_folds(official_corpus(), "auto", with_dev=True)
    assert parts(with_dev[1]) == ([0, 1, 2, 3], [4, 5], [7, 8])


def test_official_split_that_shares_a_speaker_is_refused():
    corpus = official_corpus()
    speaker = corpus.speaker.copy()
    speaker[8] = "a"
    with pytest.raises(InfoserError, match="speaker 'a' is in both the training and the test part"):
        make_folds(replace(corpus, speaker=speaker), "official")


@pytest.mark.parametrize(
    ("corpus", "protocol"),
    [
        (official_corpus(), "official"),
        (dyadic(), "session"),
        (replace(dyadic(), session=None), "speaker"),
        (replace(dyadic(), session=np.full(24, "1"), dialogue=None), "speaker"),
        (make_corpus([0, 1] * 13, [f"s{row}" for row in range(26)]), "kfold"),
        (make_corpus([0, 1], ["a", "a"]), "kfold"),
        (make_corpus([0, 1] * 2, list("abab"), split=[""] * 4), "speaker"),
    ],
)
def test_auto(corpus, protocol):
    assert resolve_protocol(corpus, "auto") == protocol


def test_selection_by_name():
    folds = make_folds(dyadic(), "session")
    assert select_folds(folds, ["session10", "session1"]) == (folds[0], folds[2])
    assert select_folds(folds, []) == select_folds(folds, None) == folds
    with pytest.raises(InfoserError, match="no fold is named 'session3'; the folds are session1, session2, session10"):
        select_folds(folds, ["session3"])


TWO_SESSIONS = make_corpus([0, 1] * 4, np.repeat(list("abcd"), 2), session=np.repeat(["1", "2"], 4))


@pytest.mark.parametrize(
    ("corpus", "protocol", "options", "message"),
    [
        (dyadic(), "random", {}, "unknown protocol 'random'"),
        (make_corpus([0, 1], list("ab")), "session", {}, "at least two sessions .* has 0"),
        (make_corpus([0, 1], ["a", "a"]), "speaker", {}, "at least two speakers .* has 1"),
        (make_corpus([0, 1], ["a", "a"]), "kfold", {}, "at least two groups .* has 1"),
        (dyadic(), "kfold", {"n_folds": 1}, "at least 2 folds"),
        (dyadic(), "official", {}, "needs a split column"),
        (make_corpus([0, 1, 0], list("aab"), session=["1", "1", "2"]), "session", {}, "'session1': .* class 'class1'"),
        (TWO_SESSIONS, "session", {"with_dev": True}, "dev part is refused: fold 'session1'"),
        (TWO_SESSIONS, "kfold", {"with_dev": True, "n_folds": 2}, "dev part is refused: kfold with 2 parts"),
        (
            make_corpus([0, 1, 0], list("aab"), split=["train", "train", "test"]),
            "official",
            {"with_dev": True},
            "no labelled Development part",
        ),
        (make_corpus([0, 1] * 2, list("aabb"), dialogue=["x"] * 3 + ["y"]), "speaker", {}, "class 'class"),
    ],
)
def test_impossible_folds_are_refused(corpus, protocol, options, message):
    with pytest.raises(InfoserError, match=message):
        make_folds(corpus, protocol, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": np.arange(7, 24)}, "speaker '1M' is in both the training and the test part"),
        ({"dev": np.array([8])}, "in two parts"),
        ({"train": np.arange(23, 7, -1)}, "not sorted"),
        ({"test": np.array([0, 3])}, "has no label"),
        ({"train": np.array([8, 24])}, "not in the corpus"),
        ({"train": np.arange(8, 16), "dev": np.array([4])}, "speaker '1M' is in both the dev and the test part"),
    ],
)
def test_leaking_folds_are_refused(change, message):
    corpus = dyadic()
    fold = make_folds(corpus, "session")[0]
    change = {"test": np.array([0, 1, 2, 5])} | change
    with pytest.raises(InfoserError, match=message):
        check_folds(corpus, [replace(fold, **change)], protocol="session")


def test_folds_that_share_a_name_or_a_test_row_are_refused():
    corpus = dyadic()
    fold = make_folds(corpus, "session")[0]
    with pytest.raises(InfoserError, match="same name"):
        check_folds(corpus, [fold, fold], protocol="session")
    with pytest.raises(InfoserError, match="test parts of two folds"):
        check_folds(corpus, [fold, replace(fold, name="again")], protocol="session")


def test_crossing_dialogue_is_refused():
    corpus = dyadic()
    crossing = replace(corpus, dialogue=np.where(np.arange(24) == 9, corpus.dialogue[0], corpus.dialogue))
    with pytest.raises(InfoserError, match="dialogue 'd0' is in both the training and the test part"):
        check_folds(crossing, make_folds(corpus, "session")[:1], protocol="session")


def test_demotion_by_hand():
    corpus = make_corpus([0] * 10 + [1] * 3 + [0, 1, -1], ["a"] * 13 + ["b"] * 3)
    fold = make_folds(corpus, "speaker", keep_partner=True)[1]
    assert fold.name == "b"
    for fraction, counts in ((0.01, (1, 1)), (0.3, (3, 1)), (0.5, (5, 2)), (1.0, (10, 3))):
        kept = demote_labels(corpus, fold, fraction, seed=0)
        assert tuple(np.bincount(corpus.label[kept])) == counts
    assert demote_labels(corpus, fold, 1.0, seed=0).tolist() == list(range(13))
    draws = {tuple(demote_labels(corpus, fold, 0.3, seed=seed)) for seed in range(5)}
    assert len(draws) > 1
    other = replace(fold, name="c")
    assert any(
        demote_labels(corpus, fold, 0.3, seed).tolist() != demote_labels(corpus, other, 0.3, seed).tolist() for seed in range(3)
    )
    for fraction in (0.0, -0.1, 1.1, np.nan):
        with pytest.raises(InfoserError, match="label fraction"):
            demote_labels(corpus, fold, fraction, seed=0)


def test_subsets():
    nothing = hashlib.sha256(b"").hexdigest()[:16]
    corpus = make_corpus(
        [0, 1, 0, 1, 0, 1, 0, -1, 1, 0],
        ["a"] * 6 + ["b"] * 4,
        scripted=[True, False, True, True, False, True] + [False] * 4,
        transcript_hash=["t1", "t2", "t3", nothing, "", "t4", "t1", "t2", nothing, ""],
    )
    masks = subsets(corpus, make_folds(corpus, "speaker")[0])
    assert masks["all"].tolist() == [True] * 6
    assert masks["improvised"].tolist() == [False, True, False, False, True, False]
    # t1 is in a labelled and t2 in an unlabelled training row; without a transcript there is nothing to recognise
    assert masks["text_disjoint"].tolist() == [False, False, True, True, True, True]
    assert list(subsets(dyadic(), make_folds(dyadic(), "session")[0])) == ["all"]


@pytest.mark.parametrize(
    ("said", "scripted"),
    [(["yes", "no"], [True, False]), (["True", "False"], [True, False]), (["1", "0"], [True, False]), ([2, 0], [True, False])],
)
def test_scripted_may_be_written_in_words(said, scripted):
    corpus = make_corpus([0, 1, 0, 1], ["a", "a", "b", "b"], scripted=said * 2)
    masks = subsets(corpus, make_folds(corpus, "speaker")[0])
    assert masks["improvised"].tolist() == [not one for one in scripted]


def test_scripted_in_unknown_words_is_refused():
    corpus = make_corpus([0, 1, 0, 1], ["a", "a", "b", "b"], scripted=["yes", "perhaps"] * 2)
    with pytest.raises(InfoserError, match="column 'scripted': 'perhaps' is neither true nor false"):
        subsets(corpus, make_folds(corpus, "speaker")[0])


def test_auto_leaves_no_speaker_out_where_all_share_the_sessions():
    # Four speakers, each of whom was recorded on both days: leaving out all who share a day would leave nobody.
    corpus = make_corpus([0, 1] * 8, [f"s{number // 4}" for number in range(16)], ["day 1", "day 1", "day 2", "day 2"] * 4)
    assert resolve_protocol(corpus, "auto") == "kfold"
    assert len(make_folds(corpus, "auto")) >= 2
    with pytest.raises(InfoserError, match="no labelled utterance of class 'class0' .*left out of training"):
        make_folds(corpus, "speaker")
    assert len(make_folds(corpus, "speaker", keep_partner=True)) == 4


def test_clusters_of_nameless_speakers_are_their_recordings():
    corpus = make_corpus([0, 1, 0, 1], ["a", "Unknown", "Unknown", "unknown"], ["s", "s", "s", ""], ["x", "x", "", ""])
    assert speaker_clusters(corpus).tolist() == ["speaker a", "dialogue x", "session s", "utterance u003"]
