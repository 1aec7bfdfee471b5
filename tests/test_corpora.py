"""Corpora laid end to end, named apart, compared and standardised: every row keeps what is its own."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from infoser import synthetic
from infoser.corpora import brought_to, check_alike, concatenate, named_apart, rows_of, standardised
from infoser.corpus import Corpus, Frames
from infoser.errors import InfoserError
from infoser.fold_view import standardisation


def make(name: str, n: int = 24, *, text: bool = True, frames: bool = False, seed: int = 0, **changes) -> Corpus:
    rng = np.random.default_rng(seed)
    count = rng.integers(1, 5, n).astype(np.int32)
    sequences = Frames(rng.normal(5, 3, (count.sum(), 3)).astype(np.float32), np.cumsum(count, dtype=np.int64) - count, count)
    return dataclasses.replace(
        Corpus(
            name=name,
            utterance_id=np.array([f"{name}{row}" for row in range(n)]),
            audio=rng.normal(3, 2, (n, 3)).astype(np.float32),
            text=rng.normal(-1, 4, (n, 2)).astype(np.float32) if text else None,
            label=(np.arange(n) % 2).astype(np.int32),
            classes=("a", "b"),
            speaker=np.array([f"s{row % 2}" for row in range(n)]),
            columns={"scripted": np.arange(n) % 3 == 0},
            audio_frames=sequences if frames else None,
        ),
        **changes,
    )


def joined(*parts: Corpus) -> Corpus:
    return concatenate(parts, name="joined", classes=("a", "b"), provenance={"of": len(parts)})


def test_features_of_other_widths_are_not_put_together():
    with pytest.raises(InfoserError, match="audio features of different widths .3 in 'x', 2 in 'y'."):
        joined(make("x"), make("y", audio=np.zeros((24, 2), np.float32)))


def test_rows_stand_one_corpus_after_the_other_and_what_one_lacks_is_empty():
    first = make("x", session=np.repeat(["1", "2"], 12), frames=True)
    other = make("y", 20, text=False, frames=True, seed=1, columns={"scripted": np.zeros(20, bool), "loudness": np.ones(20)})
    both = joined(first, other)
    assert len(both) == 44 and both.provenance == {"of": 2}
    assert_array_equal(both.audio[24:], other.audio)
    assert both.text is not None and both.has_text is not None
    assert_array_equal(both.text[:24], first.text)
    assert both.has_text.tolist() == [True] * 24 + [False] * 20 and not both.text[24:].any()
    assert both.session is not None and both.session.tolist() == ["1"] * 12 + ["2"] * 12 + [""] * 20
    assert list(both.columns) == ["scripted"]
    assert both.audio_frames is not None and other.audio_frames is not None
    for row in range(20):
        assert_array_equal(both.audio_frames.of(24 + row), other.audio_frames.of(row))


def test_marks_of_synthetic_rows_are_never_lost():
    made = np.arange(24) >= 20
    marked = make("x", columns={"synthetic": made, "made_from": np.where(made, "set", "")})
    for parts, rows in (((marked, make("y", 20)), made), ((make("y", 20), marked), made)):
        both = joined(*parts)
        mask = synthetic.mask(both)
        assert mask is not None and both.utterance_id[mask].tolist() == marked.utterance_id[rows].tolist()
        assert set(both.columns["made_from"][mask]) == {"set"} and set(both.columns["made_from"][~mask]) == {""}
    assert "synthetic" not in joined(make("x"), make("y")).columns


def test_frames_that_one_corpus_lacks_are_kept_of_none():
    assert joined(make("x", frames=True), make("y")).audio_frames is None


def test_an_id_in_two_corpora_is_refused():
    with pytest.raises(InfoserError, match="utterance id 'x0' occurs twice"):
        joined(make("x"), make("x"))


def test_some_rows_of_a_corpus():
    corpus = make("x", frames=True, has_text=None)
    some = rows_of(corpus, np.arange(24) % 2 == 1)
    assert some.utterance_id.tolist() == [f"x{row}" for row in range(1, 24, 2)]
    assert some.audio_frames is not None and corpus.audio_frames is not None
    assert_array_equal(some.audio_frames.of(3), corpus.audio_frames.of(7))
    assert_array_equal(some.columns["scripted"], corpus.columns["scripted"][1::2])


def test_rows_that_all_lack_text_have_no_text_features():
    has_text = np.arange(24) % 2 == 0
    corpus = make("x")
    corpus = dataclasses.replace(corpus, text=np.where(has_text[:, None], corpus.text, 0), has_text=has_text)
    assert rows_of(corpus, ~has_text).text is None


def test_names_are_told_apart_but_those_of_nobody():
    corpus = make("x", 4, speaker=np.array(["s", "Unknown", "", "t"]), session=np.array(["1", "1", "", "2"]))
    apart = named_apart(corpus)
    assert apart.speaker.tolist() == ["x:s", "Unknown", "", "x:t"]
    assert apart.session is not None and apart.session.tolist() == ["x:1", "x:1", "", "x:2"]
    assert apart.dialogue is None


def test_standardised_by_the_corpus_and_by_each_speaker():
    corpus = make("x", 60, frames=True)
    corpus = dataclasses.replace(corpus, audio=corpus.audio + 10 * (np.arange(60) % 2)[:, None].astype(np.float32))
    for by, groups in (("corpus", [np.arange(60)]), ("speaker", [np.arange(0, 60, 2), np.arange(1, 60, 2)])):
        normal, notes = standardised(corpus, by)
        assert notes == []
        for rows in groups:
            for values in (normal.audio, normal.text):
                assert values is not None
                assert_allclose(values[rows].mean(axis=0), 0, atol=1e-5)
                assert_allclose(values[rows].std(axis=0), 1, atol=1e-5)
            assert normal.audio_frames is not None
            frames = np.concatenate([normal.audio_frames.of(int(row)) for row in rows])
            assert_allclose(frames.mean(axis=0), 0, atol=1e-5)
            assert_allclose(frames.std(axis=0), 1, atol=1e-4)


def test_text_is_standardised_where_there_is_any_and_stays_zero_elsewhere():
    has_text = np.arange(24) % 3 > 0
    corpus = make("x")
    corpus = dataclasses.replace(corpus, text=np.where(has_text[:, None], corpus.text, 0), has_text=has_text)
    normal, _ = standardised(corpus, "corpus")
    assert normal.text is not None and not normal.text[~has_text].any()
    assert_allclose(normal.text[has_text].mean(axis=0), 0, atol=1e-6)


def test_speakers_of_few_utterances_take_the_statistics_of_the_corpus():
    corpus = make("x", 40, speaker=np.array(["many"] * 30 + ["few"] * 6 + ["Unknown"] * 4))
    normal, (note,) = standardised(corpus, "speaker")
    assert "10 utterances of x are of unknown speakers, or of such with fewer than 10" in note
    whole, _ = standardised(corpus, "corpus")
    assert_allclose(normal.audio[30:], whole.audio[30:])
    assert_allclose(normal.audio[:30].mean(axis=0), 0, atol=1e-6)


def test_labels_play_no_part_in_standardising():
    corpus = make("x")
    other = dataclasses.replace(corpus, label=np.full(24, -1, np.int32))
    assert_array_equal(standardised(corpus, "corpus")[0].audio, standardised(other, "corpus")[0].audio)


def test_a_fold_s_statistics_undo_what_brought_a_corpus_to_it():
    source, target = make("x", 30, frames=True), make("y", 40, frames=True, seed=3)
    train = np.arange(4, 20)
    normal, _ = standardised(target, "corpus")
    brought = brought_to(normal, source, train)
    for of_source, of_brought, expected in (
        (source.audio, brought.audio, normal.audio),
        (source.text, brought.text, normal.text),
    ):
        assert of_source is not None and of_brought is not None and expected is not None
        mean, scale = standardisation(of_source, train)
        assert_allclose((of_brought - mean) * scale, expected, atol=2e-6)


ENCODER = {"kind": "transformers", "id": "wavlm", "weights_sha256": "ab" * 32, "layer": "last", "precision": "float32"}
ENCODER |= {"pooling": "mean", "frames": False, "versions": {"torch": "2"}}
HASHING = {"kind": "hashing", "id": "hashing:2", "layer": "last", "precision": "float32", "pooling": "mean", "frames": False}


def recorded(name: str, audio: dict | None = None, text: dict | None = None) -> Corpus:
    settings = {"kind": "recordings", "audio": ENCODER | (audio or {}), "text": HASHING | (text or {})}
    return make(name, provenance={"settings": settings})


def test_the_same_encoder_in_another_place_is_the_same():
    assert (
        check_alike(recorded("x"), recorded("y", {"id": "/elsewhere/wavlm", "frames": True, "versions": {"torch": "3"}})) == []
    )


@pytest.mark.parametrize(
    ("audio", "text", "said"),
    [
        ({"weights_sha256": "cd" * 32}, {}, "different audio encoders: wavlm, layer last, mean .sha256 abababab.; and wavlm"),
        ({"layer": "9"}, {}, r"\(layer: 'last' and '9'\)"),
        ({"pooling": "max"}, {}, "pooling: 'mean' and 'max'"),
        ({}, {"id": "hashing:3"}, "different text encoders: hashing:2, mean; and hashing:3, mean"),
    ],
)
def test_other_encoders_are_refused(audio, text, said):
    with pytest.raises(InfoserError, match=said):
        check_alike(recorded("x"), recorded("y", audio, text))


def test_other_widths_are_refused_and_what_cannot_be_known_is_said():
    with pytest.raises(InfoserError, match="audio features of different widths, 3 and 1"):
        check_alike(make("x"), make("y", audio=np.ones((24, 1), np.float32)))
    with pytest.raises(InfoserError, match="text features of different widths, 2 and 5"):
        check_alike(make("x"), dataclasses.replace(make("y"), text=np.ones((24, 5), np.float32)))
    (note,) = check_alike(make("x"), make("y", text=False))
    assert "only their widths are compared" in note
