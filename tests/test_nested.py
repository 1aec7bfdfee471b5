"""What has to be trained to choose: a part for each label fraction and seed, of inner folds that can be learned on."""

import dataclasses

import numpy as np
import pytest

from infoser import demo, nested, planning, presets
from infoser.config import Config
from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.matrix import usable_labels
from infoser.nested import Nested
from infoser.parts import Part

FEW = ("--candidates", "none", "noise", "--none-candidates", "none", "none classify.dropout=0")


def asked(*flags: str, corpus: Corpus | None = None) -> tuple[Config, Nested]:
    config = presets.parse(["demo", "--select", "dev", *FEW, *flags])
    found = planning.plan_selection(config, demo.sample() if corpus is None else corpus)
    assert found is not None
    return config, found


def test_without_it_nothing_is_chosen() -> None:
    assert planning.plan_selection(presets.parse(["demo"]), demo.sample()) is None


def test_every_label_fraction_and_seed_is_a_part() -> None:
    _, found = asked("--seeds", "0", "4", "--grid", "label-fraction=1,0.1", "--folds", "session3")
    assert [(part.seeds, len(part.folds), len(part.arms)) for part in found.asked] == [((0,), 4, 3), ((4,), 4, 3)] * 2
    assert found.asked[0].folds[0] == "session1+session3" and found.asked[2].folds[0] == "session3 dev session1"
    assert len(found.inner_folds) == 8 and found.notes == ()


@pytest.mark.parametrize("gap", ["labels", "transcripts"])
def test_inner_folds_without_a_class_to_learn_are_left_out_and_it_is_said(gap: str) -> None:
    corpus, seeds = demo.sample(), ("0", "1", "2")
    fraction = "0.006" if gap == "labels" else "0.3"
    if gap == "transcripts":
        has_text = (corpus.label != 0) | (corpus.session == "1")
        corpus = dataclasses.replace(corpus, has_text=has_text, text=np.where(has_text[:, None], corpus.text, 0))  # pyright: ignore
    config, found = asked("--label-fraction", fraction, "--seeds", *seeds, "--folds", "session4", corpus=corpus)
    (inner,) = found.inner
    assert 0 < sum(map(len, inner.values())) < 4 * len(seeds)
    (note,) = found.notes
    lost = 4 * len(seeds) - sum(map(len, inner.values()))
    assert note.startswith(
        f"select=dev: {lost} of {4 * len(seeds)} inner folds × seeds left out, where some class has no label "
    )
    for seed, own in inner.items():
        for one in own:
            label = usable_labels(config, corpus, one.fold, seed)
            assert set(label[(label >= 0) & corpus.with_text]) == {0, 1, 2, 3}
    # Of a seed that has none, nothing is trained.
    assert {part.seeds[0] for part in found.asked} == {seed for seed, own in inner.items() if own}


def test_what_was_compared_before_is_compared_no_more_and_asked_for_again() -> None:
    _, found = asked("--seeds", "0", "1", "--folds", "session3")
    first = found.asked[0]
    assert nested._missing(found, []) == found.asked
    assert nested._missing(found, [first]) == found.asked[1:]
    fewer = dataclasses.replace(first, arms=first.arms[:2])
    assert nested._missing(found, [fewer]) == [dataclasses.replace(first, arms=first.arms[2:]), *found.asked[1:]]
    some = dataclasses.replace(first, folds=first.folds[:3])
    assert nested._missing(found, [some])[0] == dataclasses.replace(first, folds=first.folds[3:])
    more = Part((7,), first.folds, first.arms)
    with pytest.raises(InfoserError, match=r"more than is asked for \(seeds 7\)"):
        nested._missing(found, [more])
