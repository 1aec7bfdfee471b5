"""Nothing that is trained for a fold depends on that fold's labels or features, in any stage of either space."""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infoser import cross_fitting, experiment, links
from infoser.corpus import Corpus
from infoser.demo import sample
from infoser.group import Group
from infoser.trainer import Trainer

HELD_OUT, OTHER = "session2", "session4"
GROUPS = ("align", "generate/class_text", "classify/audio", "classify/text", "classify/both")
ALL_GROUPS = tuple(f"{space}/{group}" for space in ("encoder", "aligned") for group in GROUPS)


def held_out_rows(corpus: Corpus) -> np.ndarray:
    assert corpus.session is not None
    return np.flatnonzero(corpus.session == HELD_OUT.removeprefix("session"))


def other_labels(corpus: Corpus) -> Corpus:
    """The held-out session's labels, dealt out anew among its utterances, so that unlabelled ones get some too."""
    rows, label = held_out_rows(corpus), corpus.label.copy()
    label[rows] = np.random.default_rng(1).permutation(label[rows])
    return dataclasses.replace(corpus, label=label)


def other_features(corpus: Corpus) -> Corpus:
    """The held-out session's features, labelled or not, replaced by large numbers that have nothing to do with speech."""
    assert corpus.text is not None
    rows, rng = held_out_rows(corpus), np.random.default_rng(2)
    audio, text = corpus.audio.copy(), corpus.text.copy()
    for features in (audio, text):
        features[rows] = 1e4 * rng.standard_cauchy((len(rows), features.shape[1])).clip(-1e3, 1e3)
    return dataclasses.replace(corpus, audio=audio, text=text)


CHANGES: dict[str, Callable[[Corpus], Corpus]] = {"labels": other_labels, "features": other_features}


@pytest.fixture(scope="module")
def changed(demo: Any, run_train: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """changed(what): the run folder of the demo experiment, trained again with session 2 changed."""
    folders: dict[str, Path] = {}

    def train(what: str) -> Path:
        if what not in folders:
            folder = tmp_path_factory.mktemp(what) / "run"
            with pytest.MonkeyPatch.context() as patch:
                load = experiment.load_corpus
                patch.setattr(experiment, "load_corpus", lambda config: CHANGES[what](load(config)))
                outcome = run_train(*demo.flags, "--run-dir", folder)
            assert outcome.status == 0, outcome.err
            folders[what] = folder
        return folders[what]

    return train


def same_runs(one: dict[str, np.ndarray], other: dict[str, np.ndarray], runs: list[int]) -> dict[str, bool]:
    """For each array whether it is the same, to the last bit, for these runs."""
    assert one.keys() == other.keys()
    return {name: one[name][runs].tobytes() == other[name][runs].tobytes() for name in one}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("group", ALL_GROUPS)
def test_the_held_out_session_changes_nothing_that_is_trained_for_it(
    what: str, group: str, demo: Any, changed: Any, checkpoint: Any, groups: Any
) -> None:
    names = groups(demo.folder)[group]
    assert groups(changed(what))[group] == names
    ours, theirs = checkpoint(demo.folder / group), checkpoint(changed(what) / group)
    held_out = [number for number, name in enumerate(names) if name.startswith(f"{HELD_OUT}/")]
    assert len(held_out) == len(names) // 2
    kept = same_runs(ours, theirs, held_out)
    assert all(kept.values()), [name for name, same in kept.items() if not same]

    # The other fold trains on that session: what is compared here does notice a change, where there is one to notice.
    noticed = same_runs(ours, theirs, [number for number in range(len(names)) if number not in held_out])
    label_free = what == "labels" and group == "encoder/align"
    assert all(noticed.values()) if label_free else not all(noticed.values())


def test_scores_of_the_held_out_session_do_change(demo: Any, changed: Any) -> None:
    """Predictions of other features, and scores by other labels, are others: the change has come through to the test."""
    for what in CHANGES:
        results = json.loads((changed(what) / "results.json").read_text())
        ours = [row["confusion"] for row in demo.results["rows"] if row["aggregate"] == HELD_OUT]
        assert ours != [row["confusion"] for row in results["rows"] if row["aggregate"] == HELD_OUT]


@dataclasses.dataclass(frozen=True)
class Seen:
    """What the stages were given while the demo experiment was scored."""

    corpus: Corpus
    groups: dict[str, Group]
    fits: list[cross_fitting.CrossFit]


@pytest.fixture(scope="module")
def seen(demo: Any, run_eval: Any) -> Seen:
    """Restores the demo experiment and keeps every group's inputs and every division among aligners."""
    recorded: dict[str, Group] = {}
    fits: list[cross_fitting.CrossFit] = []
    train, combine = Trainer.train, cross_fitting.combine

    def recording_train(self: Trainer, group: Group) -> Any:
        recorded[group.name] = group
        return train(self, group)

    def recording_combine(fit: cross_fitting.CrossFit, *arguments: Any) -> Any:
        fits.append(fit)
        return combine(fit, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train", recording_train)
        for name, module in list(sys.modules.items()):
            if name.startswith("infoser.") and getattr(module, "combine", None) is combine:
                patch.setattr(module, "combine", recording_combine)
        assert run_eval("score", demo.folder).status == 0
    return Seen(sample(), recorded, fits)


def view_of(group: Group, run: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows that a run may read, and those whose labels it sees."""
    view = group.runs.view
    labelled = view.labelled_rows[run][: view.class_count[run].sum()]
    return view.rows[run][: view.row_count[run]], labelled


@pytest.mark.parametrize("group", ALL_GROUPS)
def test_no_stage_is_given_a_row_of_the_held_out_session(group: str, seen: Seen) -> None:
    """Neither the test utterances, nor the unlabelled ones beside them."""
    corpus, given = seen.corpus, seen.groups[group]
    assert corpus.session is not None
    for number, name in enumerate(given.names):
        rows, labelled = view_of(given, number)
        session = name.fold.removeprefix("session")
        assert not corpus.labelled[corpus.session == session].all()  # or there would be nothing to leave out beside it
        assert session not in corpus.session[rows] and session not in corpus.session[labelled]
        assert np.array_equal(rows, np.flatnonzero(corpus.session != session))
        assert corpus.labelled[labelled].all() and set(labelled) <= set(rows)
        if group.startswith("encoder/align"):
            assert len(labelled) == 0  # the encoder space's aligner sees no label at all
        elif not group.startswith("aligned/align"):
            assert np.array_equal(np.sort(labelled), rows[corpus.labelled[rows]])


def test_labels_are_read_in_their_own_class(seen: Seen) -> None:
    """The order of `labelled_rows` is what the stages take for the labels."""
    for name, group in seen.groups.items():
        for run in range(len(group.names)):
            _, labelled = view_of(group, run)
            by_position = np.repeat(np.arange(len(seen.corpus.classes)), group.runs.view.class_count[run])
            assert np.array_equal(seen.corpus.label[labelled], by_position), name


def test_no_row_is_embedded_by_an_aligner_that_saw_its_label(seen: Seen) -> None:
    aligners, corpus = seen.groups["aligned/align"], seen.corpus
    assert len(seen.fits) == 2
    parts = len(aligners.names) // len(seen.fits)
    assert parts == 2
    speakers = links.speaker_clusters(corpus)
    for unit, fit in enumerate(seen.fits):
        runs = range(unit * parts, (unit + 1) * parts)
        assert len({(aligners.names[run].fold, aligners.names[run].seed) for run in runs}) == 1
        session = aligners.names[runs[0]].fold.removeprefix("session")
        training = corpus.session != session
        assert ((fit.embedded_by >= 0) == training).all()
        saw = np.zeros((parts, len(corpus)), bool)
        for part, run in enumerate(runs):
            saw[part, view_of(aligners, run)[1]] = True
        rows = np.flatnonzero(training)
        assert not saw[fit.embedded_by[rows], rows].any()
        assert not saw[:, fit.anchors].any() and training[fit.anchors].all() and len(fit.anchors) >= 16
        # Nor by one that saw the label of another utterance of the same speaker.
        for part in range(parts):
            assert not set(speakers[saw[part]]) & set(speakers[fit.embedded_by == part])
        # Labels are withheld where they must be, and nowhere else: every aligner learns from the other parts' labels.
        anchored = np.isin(np.arange(len(corpus)), fit.anchors)
        for part in range(parts):
            assert np.array_equal(saw[part], training & corpus.labelled & (fit.embedded_by != part) & ~anchored)
