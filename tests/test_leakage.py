"""Over random corpora: nothing crosses a fold, and fewer labels are a part of more labels."""

from dataclasses import replace

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.protocols import demote_labels, make_folds, resolve_protocol

MANY = settings(max_examples=150, deadline=None, derandomize=True)


@st.composite
def corpora(draw):
    n = draw(st.integers(12, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_speakers = draw(st.integers(2, 10))
    speaker = rng.integers(0, n_speakers, n)
    names = np.array([f"s{index}" for index in range(n_speakers - 1)] + [draw(st.sampled_from(["Unknown", "last"]))])
    session = None
    if draw(st.booleans()):
        session = np.array([str(index) for index in speaker // 2 + 1])
        if draw(st.booleans()):  # speakers that come again in other sessions
            session = np.where(rng.random(n) < 0.05, "1", session)
    dialogue = None
    if draw(st.booleans()):
        dialogue = np.array([f"d{index}" for index in speaker // 2 * 3 + rng.integers(0, 3, n)])
        dialogue = np.where(rng.random(n) < 0.1, "", dialogue)
    return Corpus(
        name="random",
        utterance_id=np.array([f"u{row:03}" for row in range(n)]),
        audio=np.zeros((n, 1), np.float32),
        text=None,
        label=rng.choice([-1, 0, 0, 1], n).astype(np.int32),
        classes=("calm", "angry"),
        speaker=names[speaker],
        session=session,
        dialogue=dialogue,
    )


@MANY
@given(corpora(), st.sampled_from(["auto", "session", "speaker", "kfold"]), st.integers(2, 6), st.booleans(), st.booleans())
def test_nothing_crosses(corpus, protocol, n_folds, with_dev, keep_partner):
    try:
        folds = make_folds(corpus, protocol, n_folds=n_folds, with_dev=with_dev, keep_partner=keep_partner)
    except InfoserError:
        assume(False)
        return
    resolved = resolve_protocol(corpus, protocol)
    assert len(folds) >= 2
    tested = np.concatenate([fold.test for fold in folds])
    assert len(set(tested)) == len(tested)
    if resolved == "kfold" or (resolved == "session" and corpus.session is not None):
        assert set(tested) == set(np.flatnonzero(corpus.labelled))
    for fold in folds:
        held_out = {"test": fold.test, "dev": fold.dev}
        assert len(fold.test) and (len(fold.dev) > 0) == with_dev
        assert set(corpus.label[fold.train]) >= {0, 1}
        assert (corpus.label[np.concatenate([fold.test, fold.dev])] >= 0).all()
        for part, rows in held_out.items():
            # a row in training, labelled or not, has no named speaker in common with the held-out part
            assert not (set(corpus.speaker[fold.train]) & set(corpus.speaker[rows])) - {"Unknown"}, part
            if corpus.dialogue is not None and not (resolved == "speaker" and keep_partner):
                assert not (set(corpus.dialogue[fold.train]) & set(corpus.dialogue[rows])) - {""}, part
        assert not (set(corpus.speaker[fold.dev]) & set(corpus.speaker[fold.test])) - {"Unknown"}
        if resolved == "session":
            assert not set(corpus.session[fold.train]) & set(corpus.session[np.concatenate([fold.test, fold.dev])])


@MANY
@given(
    corpora(),
    st.floats(0.01, 1),
    st.floats(0.01, 1),
    st.integers(0, 2**31),
    st.randoms(use_true_random=False),
)
def test_demotion_is_nested_seeded_and_keeps_every_class(corpus, first, second, seed, random):
    try:
        fold = make_folds(corpus, "kfold", n_folds=3)[0]
    except InfoserError:
        assume(False)
        return
    fewer, more = (demote_labels(corpus, fold, fraction, seed) for fraction in sorted((first, second)))
    assert set(fewer) <= set(more) <= set(fold.train[corpus.labelled[fold.train]])
    assert set(corpus.label[fewer]) == {0, 1}
    np.random.seed(random.randrange(2**31))
    assert fewer.tolist() == demote_labels(corpus, fold, min(first, second), seed).tolist()
    # the same utterances keep their labels in a corpus of another order
    order = np.random.permutation(len(corpus))
    names = {"label", "speaker", "utterance_id", "audio", "session", "dialogue"}
    arrays = {name: getattr(corpus, name) for name in names}
    shuffled = replace(corpus, **{name: array if array is None else array[order] for name, array in arrays.items()})
    moved = replace(fold, train=np.flatnonzero(np.isin(order, fold.train)))
    kept = demote_labels(shuffled, moved, min(first, second), seed)
    assert set(shuffled.utterance_id[kept]) == set(corpus.utterance_id[fewer])
