"""Cross-fitting: no row is embedded by an aligner that saw its label, and the aligners' spaces become one."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from infoser.cross_fitting import CrossFit, combine, cross_fit
from infoser.errors import InfoserError

MANY = settings(max_examples=150, deadline=None, derandomize=True)


@st.composite
def problems(draw):
    n = draw(st.integers(8, 80))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    train = np.sort(rng.choice(n, draw(st.integers(4, n)), replace=False))
    label = np.where(rng.random(n) < draw(st.floats(0, 1)), -1, rng.integers(0, 3, n)).astype(np.int32)
    speaker = np.array([f"s{one}" for one in rng.integers(0, draw(st.integers(1, 12)), n)])
    return (
        train,
        label,
        speaker,
        {"parts": draw(st.integers(2, 6)), "dim": draw(st.integers(1, 4))},
    )


def fitted(problem) -> CrossFit:
    """The fit, or an end of this example where there are too few labels for one."""
    train, label, speaker, settings = problem
    try:
        return cross_fit(train, label, speaker, **settings, generator=np.random.default_rng(0))
    except InfoserError:
        assert (label[train] >= 0).sum() < 4  # two that aligners may see, and at most a quarter withheld
        assume(False)
        raise


@MANY
@given(problems())
def test_no_row_is_embedded_by_an_aligner_that_saw_its_label(problem):
    train, label, _, settings = problem
    fit = fitted(problem)
    assert len(fit.labels) == settings["parts"]
    outside = np.setdiff1d(np.arange(len(label)), train)
    assert (fit.embedded_by[outside] == -1).all()
    assert ((fit.embedded_by[train] >= 0) & (fit.embedded_by[train] < settings["parts"])).all()
    for row in train:
        assert fit.labels[fit.embedded_by[row]][row] == -1
    for seen in fit.labels:
        assert seen.dtype == label.dtype
        assert (seen[outside] == -1).all() and (seen[fit.anchors] == -1).all()
        # What an aligner sees is true, and all but the anchors' and its own part's.
        withheld = np.isin(np.arange(len(label)), fit.anchors)
        np.testing.assert_array_equal(seen[seen >= 0], label[seen >= 0])
    for part, seen in enumerate(fit.labels):
        np.testing.assert_array_equal(seen[train] >= 0, ((label >= 0) & ~withheld & (fit.embedded_by != part))[train])


@MANY
@given(problems())
def test_what_is_fitted_for_a_part_sees_every_class_that_it_can(problem):
    train, label, _, _ = problem
    fit = fitted(problem)
    visible = np.where(np.isin(np.arange(len(label)), fit.anchors), -1, label)[train]
    count = np.bincount(visible[visible >= 0], minlength=3)
    for seen in fit.labels:
        assert (np.bincount(seen[seen >= 0], minlength=3)[count > 1] > 0).all()


def test_a_class_of_one_speaker_is_dealt_out():
    label = np.tile([0, 0, 1, 1], 10)
    label[12:16] = 2  # the fourth speaker's alone
    speaker = np.repeat([f"s{number}" for number in range(10)], 4)
    fit = cross_fit(np.arange(40), label, speaker, parts=3, dim=1, generator=np.random.default_rng(0))
    assert all((seen == 2).any() for seen in fit.labels)


@MANY
@given(problems())
def test_speakers_stay_whole_where_there_are_enough(problem):
    train, label, speaker, settings = problem
    fit = fitted(problem)
    names = np.unique(speaker[train])
    visible = train[(label[train] >= 0) & ~np.isin(train, fit.anchors)]
    parts = {name: set(fit.embedded_by[train][speaker[train] == name]) for name in names}
    # Otherwise rows have to be dealt out: what is fitted for a part would not see all classes.
    every = set(label[visible])
    if len(names) >= settings["parts"] and all(set(label[visible[speaker[visible] == name]]) == every for name in names):
        assert all(len(part) == 1 for part in parts.values())
    sizes = np.bincount(fit.embedded_by[train], minlength=settings["parts"])
    if len(train) >= settings["parts"]:
        assert (sizes > 0).all()
    assert all((seen >= 0).any() for seen in fit.labels)


@MANY
@given(problems())
def test_labels_of_other_rows_are_not_read(problem):
    train, label, speaker, settings = problem
    fit = fitted(problem)
    changed = label.copy()
    changed[np.setdiff1d(np.arange(len(label)), train)] = 2
    again = cross_fit(train, changed, speaker, **settings, generator=np.random.default_rng(0))
    np.testing.assert_array_equal(np.stack(fit.labels), np.stack(again.labels))
    np.testing.assert_array_equal(fit.anchors, again.anchors)


def test_anchors_are_the_unlabelled_rows_or_made_up_to_the_number():
    label = np.where(np.arange(100) < 40, -1, np.arange(100) % 3).astype(np.int32)
    train, speaker = np.arange(90), np.array([f"s{row % 10}" for row in range(100)])
    enough = cross_fit(train, label, speaker, parts=3, dim=5, generator=np.random.default_rng(0))
    np.testing.assert_array_equal(enough.anchors, np.arange(40))  # 8 rows for each of 5 dimensions
    more = cross_fit(train, label, speaker, parts=3, dim=6, generator=np.random.default_rng(0))
    assert len(more.anchors) == 48 and set(np.arange(40)) < set(more.anchors) < set(train)
    other = cross_fit(train, label, speaker, parts=3, dim=6, generator=np.random.default_rng(1))
    assert set(other.anchors) != set(more.anchors)
    # Never more than a quarter of the labels.
    assert len(cross_fit(train, label, speaker, parts=3, dim=50, generator=np.random.default_rng(0)).anchors) == 40 + 50 // 4


def test_parts_carry_alike_many_labels():
    sizes = [30, 20, 20, 10, 10, 10]
    speaker = np.repeat([f"s{i}" for i in range(6)], sizes)
    label = np.where(np.arange(100) % 2, 0, 1).astype(np.int32)
    fit = cross_fit(np.arange(100), label, speaker, parts=3, dim=1, generator=np.random.default_rng(0))
    load = [int(((fit.embedded_by == part) & (label >= 0)).sum()) for part in range(3)]
    assert sum(load) == 100 and max(load) - min(load) <= 10


def fit_of(embedded_by, parts, anchors) -> CrossFit:
    unlabelled = np.full(len(embedded_by), -1, np.int32)
    return CrossFit((unlabelled,) * parts, np.asarray(embedded_by), np.asarray(anchors))


@pytest.mark.parametrize("modalities", [1, 2])
def test_aligners_that_differ_by_a_rotation_and_a_shift_become_one(modalities):
    rng = np.random.default_rng(0)
    parts, rows, dim = 4, 60, 3
    embedded_by = np.where(np.arange(rows) < 45, np.arange(rows) % parts, -1)
    common = [rng.standard_normal((rows, dim)) for _ in range(modalities)]
    # An aligner turns both modalities alike, for they share its space.
    rotations = [ortho_group.rvs(dim, random_state=part) for part in range(parts)]
    shifts = rng.standard_normal((parts, dim))
    embedded = [np.stack([one @ rotation + shift for rotation, shift in zip(rotations, shifts, strict=True)]) for one in common]
    combined = combine(fit_of(embedded_by, parts, np.arange(20)), embedded)
    for one, first in zip(combined, embedded, strict=True):
        np.testing.assert_allclose(one, first[0], atol=1e-10)  # everything in the first aligner's space


def test_rows_take_their_own_aligner_s_and_test_rows_the_mean():
    rng = np.random.default_rng(1)
    embedded_by = np.array([0, 1, 2, 0, 1, 2, -1, -1])
    # The aligners agree on the anchors, so that the rotations are the identity.
    base = rng.standard_normal((1, 8, 2)) + np.zeros((3, 1, 1))
    embedded = base.copy()
    anchors = np.array([0, 1, 2, 3])
    embedded[:, 4:] += rng.standard_normal((3, 4, 2))
    (combined,) = combine(fit_of(embedded_by, 3, anchors), [embedded])
    np.testing.assert_allclose(combined[4], embedded[1, 4], atol=1e-12)
    np.testing.assert_allclose(combined[5], embedded[2, 5], atol=1e-12)
    np.testing.assert_allclose(combined[6:], embedded[:, 6:].mean(axis=0), atol=1e-12)


def test_rotations_are_fitted_on_anchors_alone():
    rng = np.random.default_rng(2)
    embedded = rng.standard_normal((2, 30, 3))
    embedded_by = np.arange(30) % 2
    anchors = np.arange(10)
    changed = embedded.copy()
    changed[:, 20:] = rng.standard_normal((2, 10, 3))
    fit = fit_of(embedded_by, 2, anchors)
    before, after = combine(fit, [embedded])[0], combine(fit, [changed])[0]
    np.testing.assert_array_equal(before[:20], after[:20])


def test_text_is_mapped_by_anchors_that_have_it():
    rng = np.random.default_rng(3)
    train, label = np.arange(60), np.where(np.arange(60) % 6 == 0, -1, np.arange(60) % 3).astype(np.int32)
    has_text = np.arange(60) % 4 == 1  # no row without a label has text
    assert not has_text[label < 0].any()
    speaker = np.array([f"s{row % 10}" for row in range(60)])
    fit = cross_fit(train, label, speaker, parts=2, dim=2, generator=np.random.default_rng(0), has_text=has_text)
    assert has_text[fit.anchors].sum() >= (has_text & (label >= 0)).sum() // 4 >= 3
    for seen in fit.labels:
        assert (seen[fit.anchors] == -1).all() and (has_text & (seen >= 0)).any()
    # Text of rows that have none may be anything: nothing is fitted on it, and it comes out zero.
    embedded = [rng.standard_normal((2, 60, 2)) for _ in range(2)]
    spoiled = [embedded[0], np.where(has_text[:, None], embedded[1], 1e6)]
    for before, after in zip(combine(fit, embedded), combine(fit, spoiled), strict=True):
        np.testing.assert_array_equal(before, after)
    assert (combine(fit, spoiled)[1][~has_text] == 0).all()


def test_every_aligner_needs_labels_of_rows_with_text():
    label = np.array([0, 1, 2, 0, 1, 2, 0, 1], np.int32)
    has_text = np.arange(8) == 3
    speaker = np.array([f"s{row}" for row in range(8)])
    with pytest.raises(InfoserError, match="has 1 with a transcript besides"):
        cross_fit(np.arange(8), label, speaker, parts=2, dim=1, generator=np.random.default_rng(0), has_text=has_text)
