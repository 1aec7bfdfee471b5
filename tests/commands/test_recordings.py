"""From recordings to a prediction: every corpus in miniature, bad files, kills, and the same probabilities again."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import wave
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infoser.shards import read_corpus

pytest.importorskip("soundfile", reason="needs the encoders extra")
pytest.importorskip("opensmile", reason="needs the encoders extra")

ROOT = Path(__file__).parents[2]
ENCODERS = ("--audio-encoder", "opensmile:eGeMAPSv02", "--text-encoder", "hashing:32")
SETTINGS = ("--variants", "none", "--seeds", 0, 1)


def write_miniature(name: str, folder: Path, **size: Any) -> Any:
    sys.path.insert(0, str(ROOT / "datasets"))
    try:
        return importlib.import_module(f"{name}.make_dummy_data").write_miniature(folder, **size)
    finally:
        sys.path.remove(str(ROOT / "datasets"))


@pytest.fixture
def complete(run_prepare, run_train, run_eval, tiny, tmp_path):
    """complete(source flags, corpus' name, *train flags): prepares, trains and scores; the corpus and the results."""

    def run(name: str, *source: object, encoders: tuple[object, ...] = ENCODERS, train: tuple[object, ...] = ()) -> Any:
        data, runs = tmp_path / "data", tmp_path / "run"
        prepared = run_prepare(*source, *encoders, "--data-dir", data)
        assert prepared.status == 0, prepared.err
        flags = ("corpus", "--data.name", name, "--data-dir", data, "--run-dir", runs, *tiny, *SETTINGS, *train)
        trained = run_train(*flags)
        assert trained.status == 0, trained.err
        assert "\nfeatures: audio by " in trained.err and "; text by " in trained.err
        scored = run_eval("score", runs)
        assert scored.status == 0 and scored.out.splitlines()[-1].endswith("to the last digit"), scored.err
        return read_corpus(data, name), json.loads((runs / "results.json").read_text()), prepared.out

    return run


def folds_of(results: dict[str, Any]) -> dict[str, int]:
    return {name: sizes["test"] for name, sizes in results["provenance"]["folds"].items()}


def test_iemocap(complete, tmp_path):
    write_miniature("iemocap", tmp_path / "IEMOCAP", sessions=3)
    source = ("iemocap", "--corpus-dir", tmp_path / "IEMOCAP", "--allow-incomplete", "--classes", "4")
    corpus, results, out = complete("iemocap", *source)
    # Three sessions of two speakers, six emotions, twice; fru is outside the task, xxx and oth too.
    assert len(corpus) == 74 and corpus.classes == ("ang", "hap+exc", "neu", "sad")
    assert np.bincount(corpus.label[corpus.labelled]).tolist() == [12, 24, 12, 12]
    assert set(corpus.speaker) == {f"Ses0{s}{g}" for s in (1, 2, 3) for g in "FM"}
    assert results["provenance"]["protocol"] == "session"
    assert folds_of(results) == {"session1": 20, "session2": 20, "session3": 20}
    assert corpus.has_text is not None and int((~corpus.has_text).sum()) == 3
    assert "3 utterances have no transcript" in out and "differs" in out and "eGeMAPSv02" in out
    assert set(corpus.columns["transcript_hash"][~corpus.has_text]) == {""}


def test_msp_improv(complete, tmp_path):
    write_miniature("msp_improv", tmp_path / "improv", sessions=3)
    source = ("msp_improv", "--corpus-dir", tmp_path / "improv", "--allow-incomplete")
    corpus, results, _ = complete("msp_improv", *source)
    assert corpus.provenance["source_counts"]["turns"] == len(corpus) == 98 and len(corpus.classes) == 4
    assert len(set(corpus.speaker)) == 6 and len(results["provenance"]["folds"]) == 3
    assert results["provenance"]["protocol"] == "session"


def test_msp_podcast(complete, tmp_path):
    write_miniature("msp_podcast", tmp_path / "podcast", release="1.11")
    source = ("msp_podcast", "--corpus-dir", tmp_path / "podcast", "--release", "1.11", "--allow-incomplete")
    corpus, results, _ = complete("msp_podcast", *source)
    assert results["provenance"]["protocol"] == "official"
    split = Counter(np.asarray(corpus.split)[corpus.labelled].tolist())
    assert folds_of(results) and sum(folds_of(results).values()) <= split["Test1"] + split["Test2"]
    assert results["provenance"]["corpus"]["labelled"] == int(corpus.labelled.sum())


def write_wav(path: Path, seconds: float, *, rate: int = 16_000, channels: int = 1, pitch: float = 220.0) -> None:
    t = np.arange(round(seconds * rate)) / rate
    samples = 0.3 * np.sin(2 * np.pi * pitch * t) * (1 + 0.5 * np.sin(2 * np.pi * 3 * t))
    data = np.repeat((samples * 32767).astype("<i2")[:, None], channels, axis=1)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(data.tobytes())


@pytest.fixture
def odd(tmp_path):
    """A manifest of good recordings with a stereo one, a very long one, and three that can't be used."""
    folder = tmp_path / "odd"
    folder.mkdir()
    lines = ["utterance_id,audio,emotion,speaker"]
    for number in range(12):
        write_wav(folder / f"good{number}.wav", 0.5, pitch=200 + 40 * (number % 2))
        lines.append(f"good{number},good{number}.wav,{('low', 'high')[number % 2]},s{number % 4}")
    write_wav(folder / "stereo.wav", 0.6, rate=44_100, channels=2)
    write_wav(folder / "long.wav", 600, pitch=240)
    (folder / "corrupt.wav").write_bytes((folder / "good0.wav").read_bytes()[:30] + b"\0" * 50)
    (folder / "empty.wav").write_bytes(b"")
    write_wav(folder / "short.wav", 0.05)
    for name in ("stereo", "long", "corrupt", "empty", "short"):
        lines.append(f"{name},{name}.wav,low,s0")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


@pytest.mark.parametrize("encoder", ["opensmile", "wav2vec2"])
def test_odd_files_are_reported_and_left_out_on_request(encoder, odd, run_prepare, tmp_path):
    spec = "opensmile:eGeMAPSv02"
    if encoder == "wav2vec2":
        tiny_models(tmp_path)
        spec = str(tmp_path / "speech")
    flags = ("manifest", "--manifest", odd, "--name", "odd", "--audio-encoder", spec, "--data-dir", tmp_path / "data")
    refused = run_prepare(*flags)
    assert refused.status == 2 and "Traceback" not in refused.err
    assert "3 of 17 recordings of odd can't be used" in refused.err and "--skip-bad" in refused.err
    (listing,) = (tmp_path / "data").glob(".odd-*/bad_files.txt")
    listed = dict(line.split("\t") for line in listing.read_text().splitlines())
    assert set(listed) == {"corrupt", "empty", "short"}
    assert "is empty" in listed["empty"] and "too short: 0.050 s" in listed["short"]
    went_on = run_prepare(*flags, "--skip-bad")
    assert went_on.status == 0, went_on.err
    assert all(f"left out    {message}" in went_on.out for message in listed.values())
    corpus = read_corpus(tmp_path / "data", "odd")
    assert len(corpus) == 14 and {"stereo", "long"} <= set(corpus.utterance_id)
    assert set(corpus.provenance["bad_files"]) == set(listed)
    assert not list((tmp_path / "data").glob(".odd-*"))  # what was on its way is gone


def test_a_killed_preparation_goes_on_to_the_same_bytes(tmp_path):
    manifest = write_miniature("manifest", tmp_path / "corpus")
    # Batches of a second, so that the kill comes between two.
    command = [sys.executable, "datasets/prepare.py", "manifest", "--manifest", manifest, "--name", "mine", *ENCODERS]
    command += ["--batch-seconds", "1"]

    def start(data: Path) -> subprocess.Popen[bytes]:
        given = [str(one) for one in (*command, "--data-dir", data)]
        return subprocess.Popen(given, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    whole = start(tmp_path / "whole")
    assert whole.wait(120) == 0
    process, data = start(tmp_path / "killed"), tmp_path / "killed"
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and process.poll() is None:
        journals = list(data.glob(".mine-*/audio/journal.jsonl"))
        if journals and len(journals[0].read_text().splitlines()) >= 4:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    assert process.wait(60) == -signal.SIGKILL
    assert not (data / "mine").exists()
    (journal,) = data.glob(".mine-*/audio/journal.jsonl")
    done = journal.read_text().splitlines()[:4]
    shutil.copy(journal, tmp_path / "before.jsonl")
    again = start(data)
    assert again.wait(120) == 0
    assert (tmp_path / "before.jsonl").read_text().splitlines()[:4] == done

    def contents(folder: Path) -> dict[str, bytes]:
        (version,) = (folder / "mine").glob("*/1.0.0")
        return {path.name: path.read_bytes() for path in version.iterdir()}

    assert contents(data) == contents(tmp_path / "whole")


def tiny_models(folder: Path) -> tuple[object, ...]:
    """Saves a wav2vec2 and a RoBERTa with random weights; the flags that name them."""
    pytest.importorskip("transformers", reason="needs the encoders extra")
    pytest.importorskip("torch", reason="needs the encoders extra")
    sys.path.insert(0, str(ROOT / "tests" / "encoders"))
    try:
        models = importlib.import_module("tiny_models")
    finally:
        sys.path.remove(str(ROOT / "tests" / "encoders"))
    models.save_speech(folder / "speech", "wav2vec2-layer")
    models.save_text(folder / "text", "roberta")
    return "--audio-encoder", folder / "speech", "--text-encoder", folder / "text"


@pytest.mark.parametrize("frames", [False, True])
def test_tiny_transformers_from_a_folder(frames, complete, run_eval, tmp_path):
    manifest = write_miniature("manifest", tmp_path / "corpus")
    encoders = (*tiny_models(tmp_path), *(("--frames",) if frames else ()))
    # Frames reach the heads in the aligned space only.
    train = ("--space", "aligned", "--final") if frames else ("--final",)
    corpus, results, _ = complete("mine", "manifest", "--manifest", manifest, "--name", "mine", encoders=encoders, train=train)
    assert (corpus.audio_frames is not None) == (corpus.text_frames is not None) == frames
    assert corpus.audio.shape == (36, 32) and len(results["rows"]) > 0
    said = run_eval("predict", tmp_path / "run", tmp_path / "corpus/audio/s1a_joy_0.wav", "--text", "the cat sat", "--json")
    assert said.status == 0, said.err
    (line,) = [json.loads(line) for line in said.out.splitlines()]
    assert line["modality"] == "both" and line["model"] == "final" and sum(line["probability"].values()) == pytest.approx(1)
    # An encoder with other weights is not the corpus' own.
    importlib.import_module("tiny_models").save_speech(tmp_path / "other", "wav2vec2-layer", hidden_size=64)
    refused = run_eval("predict", tmp_path / "run", manifest, "--audio-encoder", tmp_path / "other")
    assert refused.status == 2 and "another audio encoder" in refused.err and "Traceback" not in refused.err


@pytest.fixture
def trained(complete, tmp_path):
    manifest = write_miniature("manifest", tmp_path / "corpus")
    complete("mine", "manifest", "--manifest", manifest, "--name", "mine", train=("--final",))
    return tmp_path / "run"


def scored_probabilities(run: Path, fold: str, modality: str) -> dict[str, np.ndarray]:
    """By utterance, (seeds, classes): what scoring finds, from the same checkpoints."""
    from infoser import experiment
    from infoser.runs import run_space

    config, corpus = experiment.restore(run)
    _, folds = experiment.plan_folds(config, corpus)
    outputs = run_space(config, corpus, folds, experiment.make_trainer(config, run, restore_only=True))
    heads = [head for head in outputs.heads if head.modality == modality and head.unit.fold.name == fold]
    rows = heads[0].rows
    said = np.stack([np.exp(head.log_probability) for head in heads], axis=1)
    return dict(zip(corpus.utterance_id[rows].tolist(), said, strict=True))


@pytest.mark.parametrize("modality", ["audio", "both"])
def test_predicting_a_test_file_gives_what_scoring_found(modality, trained, run_eval, tmp_path):
    fold = "room 2"
    known = scored_probabilities(trained, fold, modality)
    names = ["s2a_joy_0", "s2b_calm_1"]
    files = [tmp_path / "corpus" / "audio" / f"{name}.wav" for name in names]
    texts = ("--text", "Says “joy”, 0 time(s)", "Says “calm”, 1 time(s)") if modality == "both" else ()
    said = run_eval("predict", trained, *files, "--fold", fold, "--json", *texts)
    assert said.status == 0, said.err
    for name, line in zip(names, map(json.loads, said.out.splitlines()), strict=True):
        assert line["model"] == fold and line["modality"] == modality
        by_seed = [list(line["probability_by_seed"][seed].values()) for seed in ("0", "1")]
        np.testing.assert_allclose(by_seed, known[name], atol=1e-5)
        np.testing.assert_allclose(list(line["probability"].values()), known[name].mean(axis=0), atol=1e-5)
        assert line["emotion"] == ("anger", "calm", "joy")[int(known[name].mean(axis=0).argmax())]


def test_bad_files_and_wrong_questions(trained, run_eval, tmp_path):
    good = tmp_path / "corpus" / "audio" / "s1a_joy_0.wav"
    (tmp_path / "noise.wav").write_bytes(b"RIFF nonsense")
    said = run_eval("predict", trained, tmp_path / "noise.wav", good, tmp_path / "none.wav")
    assert said.status == 2 and "noise.wav" in said.err and "none.wav does not exist" in said.err
    assert "final model, none, audio" in said.out and "s1a_joy_0.wav" in said.out.replace("\n", "").replace("│", "").replace(
        " ", ""
    )
    for flags, message in (
        (("--fold", "room 9"), "no fold 'room 9'; its folds: room 1, room 2, room 3"),
        (("--variant", "infogan"), "no final model of variant 'infogan'"),
        (("--fold", "room 1", "--variant", "noise"), "no variant 'noise'; its variants: none"),
        (("--text", "one", "two"), "2 texts for 1 recordings"),
        (("--text", " "), "empty"),
    ):
        wrong = run_eval("predict", trained, good, *flags)
        assert wrong.status == 2 and message in wrong.err and wrong.out == "", wrong.err
    assert run_eval("predict", trained).status == 2
    shutil.rmtree(trained / "final")
    assert "has no final model" in run_eval("predict", trained, good).err


def test_features_made_elsewhere_can_not_be_predicted(demo, run_eval, tmp_path):
    write_wav(tmp_path / "a.wav", 0.5)
    refused = run_eval("predict", demo.folder, tmp_path / "a.wav", "--fold", "session2")
    assert refused.status == 2 and "were made elsewhere" in refused.err


def test_two_preparations_at_once(tmp_path, run_prepare):
    from infoser.locks import held

    manifest = write_miniature("manifest", tmp_path / "corpus")
    flags = ("manifest", "--manifest", manifest, "--name", "mine", *ENCODERS, "--data-dir", tmp_path / "data")
    work = tmp_path / "data" / ".mine-egemapsv02+hashing32.encoding"
    os.makedirs(work)
    with held(work / ".lock", "busy"):
        refused = run_prepare(*flags)
    assert refused.status == 2 and "another process is encoding" in refused.err
    assert run_prepare(*flags).status == 0
    again = run_prepare(*flags)
    assert again.status == 0 and again.out.startswith("already prepared: mine")
    second = run_prepare(*flags[:-2], "--data-dir", tmp_path / "data", "--text-encoder", "none")
    assert second.status != 0 and "given twice" in second.err
