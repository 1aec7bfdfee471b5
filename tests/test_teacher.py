"""The teacher: no row is taught by a head that saw its speaker's label, and nothing of a test part is read."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infoser import demo, experiment, presets
from infoser.matrix import Matrix
from infoser.spaces import make_space
from infoser.teacher import Teacher

FLAGS = ("--variants", "none", "teacher", "--aligned-variants", "--folds", "session1", "--augment.teacher-parts", "3")
FLAGS += ("--classify.steps", "12", "--classify.width", "16", "--classify.batch-size", "32", "--chunk-steps", "12")
CORPUS = demo.sample(size=400)


def teach(folder: Path, corpus: Any = CORPUS) -> tuple[Any, Teacher]:
    """The matrix of one fold, and its teacher."""
    config = presets.parse(["demo", "--run-dir", str(folder), *FLAGS])
    _, folds = experiment.plan_folds(config, corpus)
    matrix = Matrix(config, corpus, folds, experiment.make_trainer(config, folder))
    return matrix, Teacher(matrix, make_space(matrix))


def taught(folder: Path, corpus: Any = CORPUS) -> np.ndarray:
    """(N, classes) what is taught of every row; zeros of those that are not."""
    _, teacher = teach(folder, corpus)
    said = np.zeros((len(corpus), len(corpus.classes)))
    said[teacher.rows(0)] = teacher.of_rows(0, teacher.rows(0))
    return said


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return taught(tmp_path_factory.mktemp("teacher"))


def with_label(corpus: Any, rows: np.ndarray, shift: int = 1) -> Any:
    label = corpus.label.copy()
    label[rows] = (label[rows] + shift) % len(corpus.classes)
    return dataclasses.replace(corpus, label=label)


def test_every_training_row_is_taught_a_distribution_and_no_test_row(before: np.ndarray) -> None:
    trained = CORPUS.session != "1"
    np.testing.assert_allclose(before[trained].sum(axis=1), 1, rtol=1e-5)
    assert (before[~trained] == 0).all() and (~CORPUS.labelled & trained).any()


def test_a_speaker_s_labels_change_what_others_are_taught_and_not_its_own_rows(before: np.ndarray, tmp_path: Path) -> None:
    own = (CORPUS.speaker == "Ses2F") & CORPUS.labelled
    after = taught(tmp_path, with_label(CORPUS, own))
    # The part's rows are taught by the head that left the part's labels out; its part has other speakers too.
    np.testing.assert_array_equal(before[own], after[own])
    others = (CORPUS.session != "1") & ~np.isin(
        CORPUS.speaker, CORPUS.speaker[(before == after).all(axis=1) & (before > 0).any(axis=1)]
    )
    assert others.any() and (before[others & CORPUS.labelled] != after[others & CORPUS.labelled]).any(axis=1).all()
    # Rows without a label are taught by all heads, so they notice.
    unlabelled = ~CORPUS.labelled & (CORPUS.session != "1")
    assert (before[unlabelled] != after[unlabelled]).any()


def test_the_test_part_does_not_matter(before: np.ndarray, tmp_path: Path) -> None:
    tested, audio, text = CORPUS.session == "1", CORPUS.audio.copy(), CORPUS.text.copy()
    audio[tested], text[tested] = 100.0, -100.0
    corpus = dataclasses.replace(with_label(CORPUS, tested & CORPUS.labelled), audio=audio, text=text)
    np.testing.assert_array_equal(before, taught(tmp_path, corpus))


def test_without_text_it_reads_audio(tmp_path: Path) -> None:
    corpus = CORPUS.without_text()
    matrix, teacher = teach(tmp_path, corpus)
    assert teacher.modality == "audio"
    np.testing.assert_array_equal(teacher.rows(0), matrix.units[0].fold.train)
    said = teacher.of_features(np.stack([teacher._space.real(0, "audio", np.arange(50))]))
    assert said.shape == (1, 50, 4)
    np.testing.assert_allclose(said.sum(axis=-1), 1, rtol=1e-5)


def test_generated_rows_are_taught_by_the_mean_of_all_heads(tmp_path: Path) -> None:
    matrix, teacher = teach(tmp_path)
    unlabelled = matrix.units[0].fold.train[matrix.units[0].label[matrix.units[0].fold.train] < 0][:20]
    features = np.stack([teacher._space.real(0, "both", unlabelled)])
    # A real row without a label is taught the same way.
    np.testing.assert_allclose(teacher.of_features(features)[0], teacher.of_rows(0, unlabelled), rtol=1e-4, atol=1e-6)
