"""`eval.py generate`: what it makes of a run folder, that it comes back, and what it refuses."""

import dataclasses
import errno
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import infoser.demo
from infoser import experiment, final_folder, presets, run_folder, synthetic
from infoser.config import Config
from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.export import drawing, formats
from infoser.export.source import Request, restore
from infoser.leakage import Fold
from infoser.matrix import Matrix, Places
from infoser.pools import Pools
from infoser.saved_config import fingerprint
from infoser.shards import read_corpus
from infoser.spaces import make_space

Arrays = dict[str, np.ndarray]
Generate = Callable[..., Arrays]


def train_generators(config: Config, corpus: Corpus, folds: Sequence[Fold], run: Path, prefix: str = "") -> None:
    """What `train.py` does, but for the heads: these are most of its work, and exports know nothing of them."""
    place = f"{prefix}{config.space}"
    matrix = Matrix(config, corpus, folds, experiment.make_trainer(config, run), Places(place, place))
    Pools(matrix, make_space(matrix))


def train_final(config: Config, corpus: Corpus, run: Path, variant: str) -> None:
    final, fold = experiment.final_config(config, variant), experiment.final_fold(len(corpus))
    train_generators(final, corpus, [fold], run, experiment.final_prefix(variant))
    final_folder.write_final(run, variant, (0,))


@pytest.fixture(scope="module")
def finished(demo: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo experiment with a final model."""
    folder = tmp_path_factory.mktemp("final") / "demo run"
    shutil.copytree(demo.folder, folder)
    train_final(*experiment.restore(folder), folder, "infogan")
    return folder


@pytest.fixture(scope="module")
def judged(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in the joined space whose final model makes text too; Q labels rows, and the best half by D is kept."""
    folder = tmp_path_factory.mktemp("judged")
    flags = ("corpus", "--data.name", "demo", "--data-dir", folder / "no-data", "--folds", "session2", *tiny)
    flags += ("--run-dir", folder / "run", "--space", "joined", "--variants", "none", "infogan")
    flags += ("--generate.label-by", "recogniser", "--generate.keep-by", "discriminator")
    config = presets.parse([str(flag) for flag in flags])
    corpus = experiment.load_corpus(config)
    with run_folder.locked(config.run_dir):
        asked = experiment.asked_for(config, corpus)
        run_folder.record(config, corpus, [asked], asked)
    _, folds = experiment.plan_folds(config, corpus)
    train_generators(config, corpus, folds, config.run_dir)
    train_final(config, corpus, config.run_dir, "infogan-paired")
    return config.run_dir


@pytest.fixture
def generate(run_eval: Any, tmp_path: Path) -> Generate:
    """generate(run, *flags): the arrays of an export in a new folder."""

    def generate(run: Path, *flags: object, out: str = "export") -> Arrays:
        outcome = run_eval("generate", run, *flags, "--out", tmp_path / out)
        assert outcome.status == 0, outcome.err
        with np.load(tmp_path / out / "synthetic.npz", allow_pickle=False) as file:
            return {key: file[key] for key in file.files}

    return generate


def told(arrays: Arrays) -> dict[str, Any]:
    return json.loads(str(arrays["metadata"]))


def real_of_demo(path: Path) -> Path:
    """The demo corpus as a user has it."""
    corpus = infoser.demo.sample()
    emotion = np.append(corpus.classes, "")[corpus.label]
    arrays = {name: getattr(corpus, name) for name in ("utterance_id", "audio", "text", "speaker", "session", "dialogue")}
    np.savez(path, emotion=emotion, **arrays)
    return path


def test_the_final_model_is_the_default_and_a_draw_can_be_repeated(finished: Path, generate: Generate) -> None:
    first, again = generate(finished, "--per-class", 20), generate(finished, "--per-class", 20, out="again")
    assert all(first[key].tobytes() == again[key].tobytes() for key in first)
    assert {name: int((first["emotion"] == name).sum()) for name in infoser.demo.CLASSES} == dict.fromkeys(
        infoser.demo.CLASSES, 20
    )
    said = told(first)
    assert (said["variant"], said["model"], said["seed"], said["run"]) == ("infogan", "final", 0, "demo run")
    assert said["config_fingerprint"] == fingerprint(run_folder.read(finished)[0])
    assert first["synthetic"].all() and "text" not in first and "label_probability" not in first
    corpus = infoser.demo.sample()
    assert set(first["text_from"]) <= set(corpus.utterance_id[corpus.labelled])
    assert first["condition"].tolist() == first["emotion"].tolist()
    assert (first["recogniser_log_probability"] < 0).all() and np.isfinite(first["discriminator_score"]).all()
    assert not set(first["utterance_id"]) & set(corpus.utterance_id)


def test_more_rows_begin_with_the_fewer_and_another_draw_has_none_of_them(finished: Path, generate: Generate) -> None:
    few, many = generate(finished, "--per-class", 20), generate(finished, "--per-class", 60, out="many")
    place = {name: row for row, name in enumerate(many["utterance_id"].tolist())}
    where = [place[name] for name in few["utterance_id"].tolist()]
    for key in ("audio", "emotion", "text_from", "discriminator_score"):
        assert few[key].tobytes() == many[key][where].astype(few[key].dtype).tobytes(), key
    other = generate(finished, "--per-class", 20, "--draw-seed", 1, out="other")
    assert not set(other["utterance_id"]) & set(few["utterance_id"])
    assert not set(map(bytes, other["audio"])) & set(map(bytes, few["audio"]))


def test_rows_are_in_the_encoders_units(finished: Path, generate: Generate) -> None:
    """A point between two training rows is within their range, in every feature; standardised ones would not be."""
    corpus = infoser.demo.sample()
    made = generate(finished, "--variant", "smote", "--fold", "session2", "--count", 300)
    train = (corpus.session != "2") & corpus.labelled
    for name in ("audio", "text"):
        real = getattr(corpus, name)[train]
        slack = 1e-4 * np.ptp(real, axis=0)
        assert (made[name] >= real.min(axis=0) - slack).all() and (made[name] <= real.max(axis=0) + slack).all()
        np.testing.assert_allclose(made[name].mean(axis=0), real.mean(axis=0), atol=0.5)
    counts = np.array([(made["emotion"] == name).sum() for name in corpus.classes])
    prior = np.bincount(corpus.label[train]) / train.sum()
    assert counts.sum() == 300 and (abs(counts - 300 * prior) <= 1).all()


def test_generated_rows_are_unstandardised_by_the_statistics_of_their_training_part(finished: Path) -> None:
    request = Request(folder=finished, fold="session2", per_class=5)
    source = restore(request)
    drawn, view = drawing.draw(source, request), source.space.views[source.number]
    standardised = (drawn.audio - np.asarray(view.audio_mean)) * np.asarray(view.audio_scale)
    fresh = drawing._fresh(source, 1, 0)
    np.testing.assert_allclose(standardised, np.asarray(fresh.audio)[drawn.position], atol=1e-4)
    corpus = infoser.demo.sample()
    np.testing.assert_allclose(view.audio_mean, corpus.audio[corpus.session != "2"].mean(axis=0), atol=1e-5)


def test_a_class_that_a_model_does_not_make_is_an_error(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request(folder=finished, fold="session2", per_class=5)
    source, plain = restore(request), drawing._fresh
    monkeypatch.setattr(drawing, "_ATTEMPTS", 2)
    monkeypatch.setattr(drawing, "_fresh", lambda *given: plain(*given)._replace(label=np.zeros(drawing.BLOCK * 8, np.int32)))
    with pytest.raises(InfoserError, match="infogan made 0 of class 'happy', and 5 are wanted"):
        drawing.draw(source, request)


def test_a_fold_says_what_its_checkpoints_say_it_was_made_from(finished: Path, generate: Generate) -> None:
    made = generate(finished, "--fold", "session4", "--per-class", 10)
    (name,) = set(made["made_from"].tolist())
    (step,) = (finished / "encoder/generate/class_text").glob("step_*")
    with np.load(step / "trained_on.npz", allow_pickle=False) as saved:
        (number,) = np.flatnonzero(saved["folds"] == "session4")
        np.testing.assert_array_equal(made[f"made_from_{name}"], saved[f"fold{number}"])
    tested = infoser.demo.sample().utterance_id[infoser.demo.sample().session == "4"]
    assert not np.isin(synthetic.id_hashes(tested), made[f"made_from_{name}"]).any()
    assert not set(made["text_from"].tolist()) & set(tested.tolist())
    assert told(made)["quality"]["tstr_ua"] is not None


def test_lent_text_is_that_of_the_utterance_that_is_named(finished: Path, generate: Generate) -> None:
    made, corpus = generate(finished, "--per-class", 10, "--lend-text"), infoser.demo.sample()
    assert corpus.text is not None
    row_of = {name: row for row, name in enumerate(corpus.utterance_id.tolist())}
    np.testing.assert_array_equal(made["text"], corpus.text[[row_of[name] for name in made["text_from"].tolist()]])
    assert "has_text" not in made and not made["text_generated"].any()


def test_real_rows_are_training_rows_and_marked(finished: Path, generate: Generate) -> None:
    made, corpus = generate(finished, "--fold", "session2", "--per-class", 10, "--with-real"), infoser.demo.sample()
    real = ~made["synthetic"]
    assert set(made["utterance_id"][real]) == set(corpus.utterance_id[corpus.session != "2"])
    assert (made["has_text"] == real).all() and (made["made_from"][real] == "").all()
    assert (made["emotion"][real] == "").sum() == (~corpus.labelled[corpus.session != "2"]).sum()
    assert np.isnan(made["discriminator_score"][real]).all() and (made["speaker"] != "").tolist() == real.tolist()


def test_made_text_soft_labels_and_the_best_rows(judged: Path, generate: Generate) -> None:
    made = generate(judged, "--per-class", 15, "--format", "npz", "nkululeko")
    assert made["text_generated"].all() and made["text"].shape == (60, infoser.demo.TEXT_DIM)
    assert told(made)["labels"] == "soft" and told(made)["text"].startswith("generated")
    probability = made["label_probability"]
    np.testing.assert_allclose(probability.sum(axis=1), 1.0, rtol=1e-5)
    assert np.array(infoser.demo.CLASSES)[probability.argmax(axis=1)].tolist() == made["emotion"].tolist()
    own = np.log(probability.max(axis=1))
    np.testing.assert_allclose(made["recogniser_log_probability"], own, atol=1e-5)
    silent = generate(judged, "--per-class", 15, "--no-text", out="silent")
    assert "text" not in silent and silent["audio"].tobytes() == made["audio"].tobytes()


def test_of_joined_rows_the_encoders_part_is_written(judged: Path, generate: Generate) -> None:
    made = generate(judged, "--per-class", 300, "--fold", "session2", "--lend-text")
    corpus = infoser.demo.sample()
    assert made["audio"].shape == (1200, infoser.demo.AUDIO_DIM) and made["text"].shape == (1200, infoser.demo.TEXT_DIM)
    assert told(made)["space"] == "joined" and told(made)["cell"] == "space=joined"
    spread = corpus.audio[corpus.session != "2"].std(axis=0)
    assert (abs(made["audio"].mean(axis=0) - corpus.audio.mean(axis=0)) < 2 * spread).all()


def test_mixtures_keep_their_soft_labels(judged: Path, generate: Generate) -> None:
    made = generate(judged, "--variant", "mixup", "--per-class", 15)
    assert ((made["label_probability"] > 0).sum(axis=1) == 2).any() and told(made)["labels"] == "soft"
    assert "discriminator_score" not in made and (made["text_from"] == "").all()


def test_the_round_trip_is_exact_and_real_utterances_can_be_joined(
    finished: Path, generate: Generate, run_prepare: Any, run_train: Any, run_eval: Any, tiny: Any, tmp_path: Path
) -> None:
    made = generate(finished, "--fold", "session2", "--per-class", 25)
    data, export = tmp_path / "data", tmp_path / "export" / "synthetic.npz"
    outcome = run_prepare("arrays", "--source", export, "--name", "alone", "--data-dir", data)
    assert outcome.status == 0, outcome.err
    alone = read_corpus(data, "alone")
    assert alone.audio.tobytes() == made["audio"].tobytes() and alone.classes == infoser.demo.CLASSES
    assert np.array(alone.classes)[alone.label].tolist() == made["emotion"].tolist()
    for key, column in alone.columns.items():
        assert column.tobytes() == made[key].astype(column.dtype).tobytes(), key

    real = real_of_demo(tmp_path / "real.npz")
    outcome = run_prepare("arrays", "--source", real, "--synthetic", export, "--name", "both", "--data-dir", data)
    assert outcome.status == 0 and "synthetic   100 utterances" in outcome.out, outcome.err
    flags = ("corpus", "--data.name", "both", "--data-dir", data, "--run-dir", tmp_path / "run", "--variants", "none", *tiny)
    outcome = run_train(*flags, "--folds", "session2", "session4", "--data.no-text")
    assert outcome.status == 0, outcome.err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["provenance"]["folds"]["session2"]["train"] == results["provenance"]["folds"]["session4"]["train"] + 100
    notes = "\n".join(results["notes"])
    assert "fold session2: 100 synthetic rows are trained on" in notes
    assert "fold session4: left out of training: 100 synthetic rows made from utterances that this fold holds out" in notes
    assert run_eval("score", tmp_path / "run").status == 0

    again = generate(
        tmp_path / "run", "--variant", "noise", "--fold", "session2", "--per-class", 5, "--with-real", out="of_both"
    )
    (name,) = set(again["made_from"][again["synthetic"]].tolist())
    of_all = synthetic.id_hashes([*alone.utterance_id, *infoser.demo.sample().utterance_id])
    assert set(again[f"made_from_{name}"].tolist()) <= set(of_all.tolist())  # what synthetic rows were made from is in it
    assert np.isin(synthetic.id_hashes(alone.utterance_id), again[f"made_from_{name}"]).all()


def test_every_format_at_once_with_a_card_and_nothing_beside_it(finished: Path, run_eval: Any, tmp_path: Path) -> None:
    flags = ("--per-class", 5, "--format", "npz", "parquet", "tfds", "nkululeko", "emotion2vec", "--out", tmp_path / "new/out")
    outcome = run_eval("generate", finished, *flags)
    assert outcome.status == 0 and "20 synthetic rows by infogan (the final model" in outcome.out, outcome.err
    out = tmp_path / "new" / "out"
    names = {"README.md", "digest.json", "export.json", "emotion2vec", "nkululeko", "tfds"}
    assert {path.name for path in out.iterdir()} == names | {"synthetic.npz", "synthetic.parquet"}
    assert list((tmp_path / "new").iterdir()) == [out]
    card = (out / "README.md").read_text()
    assert "`infogan`" in card and "demo run" in card and "| angry | angry | 5 | 0 |" in card
    assert not any(str(tmp_path) in path.read_text() for path in (out / "README.md", out / "export.json"))
    # What the rows were made from is there for readers of any format.
    with np.load(out / "synthetic.npz", allow_pickle=False) as arrays:
        (name,) = set(arrays["made_from"].tolist())
        sets = json.loads((out / "export.json").read_text())["made_from_sets"]
        assert sets == {name: synthetic.encoded(arrays[f"made_from_{name}"])}


def contents(folder: Path) -> dict[str, str]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_an_export_is_replaced_only_when_asked_and_nothing_else_is(finished: Path, run_eval: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    flags = ("generate", finished, "--out", out, "--per-class")
    assert run_eval(*flags, 5).status == 0  # an empty folder will do
    before = contents(out)
    refused = run_eval(*flags, 6)
    assert refused.status == 2 and "--overwrite" in refused.err and contents(out) == before
    assert run_eval(*flags, 6, "--overwrite").status == 0 and contents(out) != before
    (out / "mine.txt").write_text("notes")
    refused = run_eval(*flags, 5, "--overwrite")
    assert refused.status == 2 and "mine.txt" in refused.err and (out / "mine.txt").read_text() == "notes"


def test_a_full_disk_leaves_all_as_it_was(
    finished: Path, run_eval: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("generate", finished, "--per-class", 5, "--out", tmp_path / "out")
    assert run_eval(*flags).status == 0
    before = contents(tmp_path)

    def full(*_: object) -> list[str]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(formats.WRITERS, "parquet", full)
    for out, more in ((tmp_path / "out", ("--overwrite",)), (tmp_path / "a/b", ())):
        outcome = run_eval("generate", finished, "--per-class", 6, "--format", "npz", "parquet", "--out", out, *more)
        assert outcome.status == 2 and "No space left" in outcome.err and "checkpoint" not in outcome.err
        assert outcome.err.count("error:") == 1 and contents(tmp_path) == before and not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "flags, said",
    [
        (("--per-class", 5, "--variant", "gan"), "no such variant"),
        (("--per-class", 5, "--variant", "oversample"), "adds exact copies of real rows"),
        (("--per-class", 5, "--variant", "focal"), "trains on the real rows alone"),
        (("--per-class", 5, "--variant", "cgan"), "no final model of variant 'cgan'"),
        (("--per-class", 5, "--variant", "cgan", "--fold", "session2"), "no generator of variant 'cgan'"),
        (("--per-class", 5, "--fold", "session9"), "no fold 'session9'; its folds: session2, session4"),
        (("--per-class", 5, "--seed", 7), "no seed 7; its seeds: 0"),
        (("--per-class", 5, "--cell", "ratio=2"), "no cell 'ratio=2'"),
        (("--per-class", 5, "--cell", "space=aligned"), "the final model is of the base"),
        (("--per-class", 5, "--cell", "space=aligned", "--fold", "session2"), "representations of this run's own aligners"),
        ((), "say how many rows"),
        (("--per-class", 5, "--count", 5), "say how many rows"),
        (("--per-class", -1), "--per-class -1"),
        (("--per-class", 0), "say how many rows"),
        (("--count", 3), "gets no row"),
        (("--per-class", 5, "--draw-seed", -1), "--draw-seed -1"),
        (("--per-class", 5, "--lend-text", "--no-text"), "give one of them"),
        (("--per-class", 5, "--format", "npz", "npz"), "name each format once"),
        (("--per-class", 5, "--format", "csv"), "csv"),
    ],
)
def test_mistakes_are_named_and_leave_nothing(
    finished: Path, run_eval: Any, tmp_path: Path, flags: tuple[object, ...], said: str
) -> None:
    outcome = run_eval("generate", finished, *flags, "--out", tmp_path / "out")
    assert outcome.status == 2 and said in outcome.err and "Traceback" not in outcome.err
    assert not any(tmp_path.iterdir())


def test_seeds_of_the_final_model_are_its_own(finished: Path, run_eval: Any, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    final_folder.write_final(copy, "infogan", (1,))  # as if the run had been extended since
    outcome = run_eval("generate", copy, "--per-class", 5, "--seed", 0, "--out", tmp_path / "out")
    assert outcome.status == 2 and "has no seed 0; its seeds: 1" in outcome.err and "Traceback" not in outcome.err


def test_rows_in_no_encoder_s_units_are_refused(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, corpus = experiment.restore(finished)
    by_corpus = dataclasses.replace(config, data=dataclasses.replace(config.data, normalise="corpus"))
    monkeypatch.setattr(experiment, "restore", lambda *_: (by_corpus, corpus))
    with pytest.raises(InfoserError, match="standardised by each corpus: its rows are in no encoder's units"):
        restore(Request(finished, per_class=5))


def test_a_run_without_a_final_model_and_places_that_are_taken(demo: Any, run_eval: Any, tmp_path: Path) -> None:
    flags = ("generate", demo.folder, "--per-class", 5, "--out")
    assert "has no final model; run its training command again with --final" in run_eval(*flags, tmp_path / "out").err
    (tmp_path / "file").write_text("")
    assert "is a file, not a folder" in run_eval(*flags, tmp_path / "file").err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    assert "is not empty, and no export" in run_eval(*flags, tmp_path / "full").err
    assert "holds the run folder itself" in run_eval(*flags, demo.folder.parent).err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]
