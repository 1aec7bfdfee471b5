"""A corpus with frame sequences, in which many utterances have no transcript, goes from shards to scores."""

import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infoser import experiment, lifting
from infoser.corpora import rows_of
from infoser.corpus import Corpus, Frames
from infoser.frame_table import TILE
from infoser.group import Group
from infoser.shard_writer import write_corpus
from infoser.trainer import Trainer

PER_SESSION, CLASSES = 80, ("calm", "angry", "sad")
NUMBER = np.tile(np.arange(PER_SESSION), 3)
SESSION = np.repeat(["1", "2", "3"], PER_SESSION)
#: In sessions 1 and 2 every fifth utterance has no transcript, in session 3 none has one.
HAS_TEXT = (SESSION != "3") & (NUMBER % 5 > 0)
#: Every eighth has no label.
LABEL = np.where(NUMBER % 8 == 7, -1, NUMBER % 3).astype(np.int32)
HELD_OUT = "session2"
VARIANTS = ("none", "noise", "infogan", "infogan-notext")


def frames_of(counts: np.ndarray, dim: int, seed: int) -> Frames:
    rng = np.random.default_rng(seed)
    row = np.repeat(np.arange(len(counts)), counts)
    values = rng.standard_normal((3, dim))[NUMBER % 3][row] + rng.standard_normal((len(row), dim))
    return Frames(values.astype(np.float16), np.cumsum(counts, dtype=np.int64) - counts, counts.astype(np.int32))


def pooled(frames: Frames) -> np.ndarray:
    zeros = np.zeros((1, frames.values.shape[1]), np.float32)
    return np.concatenate(
        [frames.of(row).astype(np.float32).mean(axis=0, keepdims=True) if n else zeros for row, n in enumerate(frames.count)]
    )


def small_corpus() -> Corpus:
    rng = np.random.default_rng(0)
    audio = frames_of(rng.integers(3, 40, len(LABEL)), 6, seed=1)
    text = frames_of(np.where(HAS_TEXT, rng.integers(1, 12, len(LABEL)), 0), 5, seed=2)
    return Corpus(
        name="gaps",
        utterance_id=np.array([f"{session}-{number:02d}" for session, number in zip(SESSION, NUMBER, strict=True)]),
        audio=pooled(audio),
        text=pooled(text),
        label=LABEL,
        classes=CLASSES,
        speaker=np.array([f"{session}{'FM'[number % 2]}" for session, number in zip(SESSION, NUMBER, strict=True)]),
        session=SESSION,
        has_text=HAS_TEXT,
        audio_frames=audio,
        text_frames=text,
        provenance={"settings": {"kind": "test"}},
    )


@pytest.fixture(scope="module")
def flags(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    data_dir = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "datasets")
        from arrays.arrays_dataset_builder import Builder

        write_corpus(Builder, small_corpus(), data_dir)
    return ("corpus", "--data.name", "gaps", "--data-dir", data_dir, *tiny, "--align.batch-size", 64)


@dataclasses.dataclass(frozen=True)
class Done:
    """A finished run folder, what its stages were given, and how often each was compiled."""

    folder: Path
    groups: dict[str, Group]
    traced: Counter[tuple[str, str]]

    @property
    def results(self) -> dict[str, Any]:
        return json.loads((self.folder / "results.json").read_text())


@pytest.fixture(scope="module")
def trained(flags: Any, run_train: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Done]:
    """trained(change=…, *flags): trains on the corpus, or on what `change` makes of it once it is read."""

    def train(*more: object, change: Callable[[Corpus], Corpus] = lambda corpus: corpus) -> Done:
        folder = tmp_path_factory.mktemp("gaps") / "run"
        groups: dict[str, Group] = {}
        load, train_group, before = experiment.load_corpus, Trainer.train, Counter(lifting.trace_counts)

        def recording(self: Trainer, group: Group) -> Any:
            groups[group.name] = group
            return train_group(self, group)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(experiment, "load_corpus", lambda config: change(load(config)))
            patch.setattr(Trainer, "train", recording)
            outcome = run_train(*flags, *more, "--run-dir", folder)
        assert outcome.status == 0, outcome.err
        return Done(folder, groups, Counter(lifting.trace_counts) - before)

    return train


@pytest.fixture(scope="module")
def done(trained: Any) -> Done:
    return trained("--variants", *VARIANTS, "--aligned-variants", "none")


def drawn_rows(view: Any, run: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows that a run may draw, and the labelled ones among them."""
    return view.rows[run][: view.row_count[run]], view.labelled_rows[run][: view.class_count[run].sum()]


def training_rows(group: Group, run: int) -> np.ndarray:
    return np.flatnonzero(SESSION != group.names[run].fold.removeprefix("session"))


def test_scores_are_those_of_training(done: Done, run_eval: Any) -> None:
    outcome = run_eval("score", done.folder)
    assert outcome.status == 0, outcome.err
    assert "to the last digit" in outcome.out.splitlines()[-1]


def test_the_notes_count_what_is_missing(done: Done) -> None:
    notes = done.results["notes"]
    expected = [
        "112 of 240 utterances have no transcript (98 labelled): audio heads and generators without text use them; text and "
        "both heads, aligning, and generators with text skip them",
        *(
            f"fold session{number}: 96 of 160 training utterances (84 of 140 labelled) and 14 of 70 test utterances have no "
            "transcript; text and both are scored on the other 56"
            for number in (1, 2)
        ),
        "fold session3: 32 of 160 training utterances (28 of 140 labelled) and 70 of 70 test utterances have no transcript; "
        "text and both are not scored there",
        "no intervals on subset 'all': 4 speakers, and they need 5 (utterances with a transcript)",
    ]
    assert [note for note in notes if "transcript" in note] == expected
    corpus = done.results["provenance"]["corpus"]
    assert corpus["with_text"] == 128 and corpus["frames"] == {"audio": True, "text": True}


def test_every_row_says_how_many_utterances_it_is_about(done: Done, run_eval: Any) -> None:
    expected = {"session1": (70, 56), "session2": (70, 56), "session3": (70, None), "pooled": (210, 112), "mean": (210, 112)}
    rows = done.results["rows"]
    assert {row["cell"] for row in rows} == {"", "space=aligned"}
    for aggregate, (audio, text) in expected.items():
        for modality, n in (("audio", audio), ("text", text), ("both", text)):
            found = {row["n"] for row in rows if row["aggregate"] == aggregate and row["modality"] == modality}
            assert found == (set() if n is None else {n})
    titles = {line.strip() for line in run_eval("score", done.folder).out.splitlines()}
    assert {"audio, all utterances", "both, all utterances with a transcript: 112 of 210"} <= titles
    gains = [row["ua_minus_none"] for row in rows if row["aggregate"] == "pooled" and row["variant"] != "none"]
    assert gains and None not in gains  # every difference is paired


@pytest.mark.parametrize("space", ["encoder", "aligned"])
def test_what_reads_text_draws_from_rows_with_a_transcript(done: Done, space: str) -> None:
    kinds = {"align": True, "classify/audio": False, "classify/text": True, "classify/both": True}
    if space == "encoder":
        kinds |= {"generate/class": False, "generate/class_text": True}
    for kind, with_text in kinds.items():
        group = done.groups[f"{space}/{kind}"]
        view = group.runs.text_view if kind == "align" else group.runs.view
        for run in range(len(group.names)):
            rows, labelled = drawn_rows(view, run)
            train = training_rows(group, run)
            assert np.array_equal(np.sort(rows), train[HAS_TEXT[train]] if with_text else train)
            if not kind == "align":
                known = train[LABEL[train] >= 0]
                assert np.array_equal(np.sort(labelled), known[HAS_TEXT[known]] if with_text else known)
        if kind == "align":  # audio of the others is not lost to the head on h
            assert np.array_equal(np.sort(drawn_rows(group.runs.view, 0)[0]), training_rows(group, 0))


def test_text_is_lent_by_rows_that_have_it(done: Done) -> None:
    group = done.groups["encoder/generate/class"]
    for run in range(len(group.names)):
        lenders = drawn_rows(group.runs.lenders, run)[1]
        assert HAS_TEXT[lenders].all() and len(lenders) > 0


def test_only_aligners_read_frames_and_their_batches_are_packed(done: Done) -> None:
    for name, group in done.groups.items():
        assert (group.shared.audio_frames is not None) == name.endswith("align")
    corpus, stage = small_corpus(), done.groups["aligned/align"].stage
    assert corpus.audio_frames is not None
    # Drawn by length, a batch holds little more than the mean; drawn freely, it could hold the longest only.
    budget, mean = TILE * sum(stage.audio_bounds.pairs), 64 * corpus.audio_frames.count.mean()
    assert mean < budget < 1.5 * mean


def test_folds_of_other_lengths_are_one_program(done: Done) -> None:
    # Aligners without labels and with them; generators from text and from the class; heads of three modalities, twice.
    traced = {stage: done.traced[stage, "chunk"] for stage in ("align", "generate", "classify")}
    assert traced == {"align": 2, "generate": 2, "classify": 6}


def other_held_out_session(corpus: Corpus) -> Corpus:
    """Session 2 with other features, frames, labels and transcripts; of other lengths, too."""
    rows, rng = np.flatnonzero(SESSION == "2"), np.random.default_rng(3)
    assert corpus.audio_frames is not None and corpus.text_frames is not None and corpus.text is not None
    has_text = HAS_TEXT.copy()
    has_text[rows] = rng.permutation(HAS_TEXT[rows])
    label, audio, text = LABEL.copy(), corpus.audio.copy(), corpus.text.copy()
    label[rows] = rng.permutation(LABEL[rows])
    audio[rows] = 100 * rng.standard_normal(audio[rows].shape)
    text[rows] = 100 * rng.standard_normal(text[rows].shape) * has_text[rows, None]
    frames = []
    for own, smallest in ((corpus.audio_frames, 1), (corpus.text_frames, 0)):
        count = own.count.copy()
        count[rows] = np.maximum(smallest, rng.permutation(count[rows]) // 2)
        if smallest == 0:
            count[rows] = np.where(has_text[rows], np.maximum(count[rows], 1), 0)
        values = [
            100 * rng.standard_normal((n, own.values.shape[1])) if row in rows else own.of(row)[:n]
            for row, n in enumerate(count)
        ]
        frames.append(Frames(np.concatenate(values).astype(np.float16), np.cumsum(count, dtype=np.int64) - count, count))
    return dataclasses.replace(
        corpus, label=label, audio=audio, text=text, has_text=has_text, audio_frames=frames[0], text_frames=frames[1]
    )


def test_the_held_out_session_changes_nothing_that_is_trained_for_it(trained: Any, checkpoint: Any) -> None:
    # The other folds would bound batches by session 2's lengths, and so change the shape of the sums: one fold at a time.
    few = ("--variants", "none", "--space", "aligned", "--folds", HELD_OUT)
    ours, theirs = trained(*few), trained(*few, change=other_held_out_session)
    assert ours.results["rows"] != theirs.results["rows"]
    assert set(ours.groups) == set(theirs.groups) >= {"aligned/align", "aligned/classify/audio"}
    for name in ours.groups:
        one, other = checkpoint(ours.folder / name), checkpoint(theirs.folder / name)
        assert one.keys() == other.keys()
        for key in one:
            if name.endswith("align"):
                assert one[key].tobytes() == other[key].tobytes(), (name, key)
            else:  # rows are embedded in company, by whose length sums are rounded differently
                np.testing.assert_allclose(one[key], other[key], rtol=1e-3, atol=1e-4, err_msg=f"{name} {key}")


def test_frames_and_text_may_be_left_out(trained: Any, checkpoint: Any, done: Done) -> None:
    few = ("--variants", "none", "--space", "aligned", "--folds", "session1")
    plain = trained(*few, "--align.no-frames")
    audio_only = trained(*few, "--data.no-text")
    assert any("audio_encoder_pooling" in key for key in checkpoint(done.folder / "aligned/align"))
    assert not any("pooling" in key for key in checkpoint(plain.folder / "aligned/align"))
    keys = checkpoint(audio_only.folder / "aligned/align")
    assert any("audio_encoder_pooling" in key for key in keys) and not any("text" in key for key in keys)
    assert {row["modality"] for row in audio_only.results["rows"]} == {"audio"}
    assert not any("transcript" in note for note in audio_only.results["notes"])
    assert audio_only.results["provenance"]["corpus"]["text_dim"] is None


def test_rows_of_a_corpus_with_frames_go_the_way_that_test_rows_go(
    done: Done, run_eval: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The held-out session, scored as another corpus by the models that have not seen it, scores what training said."""
    again = dataclasses.replace(rows_of(small_corpus(), SESSION == "2"), name="again")
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "datasets")
    from arrays.arrays_dataset_builder import Builder

    write_corpus(Builder, again, tmp_path)
    write_corpus(Builder, dataclasses.replace(again, name="pooled", audio_frames=None, text_frames=None), tmp_path)
    run_dir = shutil.copytree(done.folder, tmp_path / "run")
    outcome = run_eval("score", run_dir, "--corpus", tmp_path / "again", "--fold", HELD_OUT)
    assert outcome.status == 0, outcome.err
    results = json.loads((run_dir / "cross" / f"again,fold={HELD_OUT}.json").read_text())
    keys = ("cell", "variant", "modality", "n")
    now, before = (
        {tuple(row[key] for key in keys): np.array(row["confusion"]) for row in rows if row["aggregate"] == HELD_OUT}
        for rows in (results["rows"], done.results["rows"])
    )
    assert now.keys() == before.keys() and len(now) == 15
    for key, confusion in now.items():  # aligners embed rows in other company, by whose length sums are rounded differently
        assert np.abs(confusion - before[key]).sum() <= 2, key
    refused = run_eval("score", run_dir, "--corpus", tmp_path / "pooled", "--fold", HELD_OUT)
    assert refused.status == 2 and "corpus 'pooled' has none; prepare it with --frames" in refused.err


def test_a_class_without_transcripts_is_refused(run_train: Any, flags: Any, tmp_path: Path) -> None:
    def silenced(corpus: Corpus) -> Corpus:
        has_text = HAS_TEXT & ~((LABEL == 2) & (SESSION == "1"))
        assert corpus.text is not None
        return dataclasses.replace(corpus, has_text=has_text, text=corpus.text * has_text[:, None], text_frames=None)

    load = experiment.load_corpus
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "load_corpus", lambda config: silenced(load(config)))
        outcome = run_train(*flags, "--run-dir", tmp_path / "run")
    assert outcome.status == 2 and outcome.err.count("\n") == 1
    assert "fold 'session2', seed 0: no labelled training utterance of class 'sad' has a transcript" in outcome.err
    assert "--data.no-text" in outcome.err
    assert not (tmp_path / "run").exists()
