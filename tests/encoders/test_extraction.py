"""Extraction over files that change between one run and the next: what is encoded is what there is, and once."""

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

for _library in ("soundfile", "soxr"):
    pytest.importorskip(_library, reason="needs the encoders extra")

import soundfile  # noqa: E402

from infoser.encoders import extraction  # noqa: E402
from infoser.encoders.extraction import Modality, extract, fingerprint  # noqa: E402
from infoser.errors import InfoserError  # noqa: E402
from infoser.recordings import Recordings  # noqa: E402

RATE, FILES = 16_000, 8


class Lengths:
    """Encodes a waveform as its length and its loudest sample, a text as its length; keeps count."""

    sample_rate, dim, frames_kept = RATE, 2, True
    provenance: dict[str, Any] = {"kind": "lengths"}

    def __init__(self, cut_at: int | None = None):
        self.batches: list[int] = []
        self._cut_at = cut_at

    def encode(self, inputs):
        if len(self.batches) == self._cut_at:
            raise KeyboardInterrupt
        self.batches.append(len(inputs))
        if isinstance(inputs[0], str):
            return [np.full((1, 2), len(one), np.float32) for one in inputs]
        return [np.array([[len(one), np.abs(one).max()]] * (len(one) // 1000), np.float32) for one in inputs]

    def length(self, one):
        return len(one)


def samples_of(row: int) -> int:
    return 8000 - 500 * row


def write(path: Path, samples: int, loud: float = 0.5) -> None:
    soundfile.write(path, np.full(samples, loud, np.float32), RATE, subtype="FLOAT")


@pytest.fixture
def recordings(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for row in range(FILES):
        write(folder / f"{row}.wav", samples_of(row))
    ids = np.array([f"u{row}" for row in range(FILES)])
    return Recordings(
        name="mine",
        root=folder,
        utterance_id=ids,
        audio=np.array([f"{row}.wav" for row in range(FILES)]),
        emotion=np.full(FILES, "neu"),
        speaker=ids,
        transcript=np.array(["x" * (row + 1) for row in range(FILES)]),
    )


def run(recordings, encoder=None, *, skip_bad=False):
    """Extracts, two or more recordings a batch; the encoder says how many were in each batch."""
    encoder = encoder or Lengths()
    work = recordings.root.parent / "work"
    work.mkdir(exist_ok=True)
    audio, text = Modality(encoder, "mean", True), Modality(Lengths(), "mean", False)
    return extract(recordings, audio, text, work, batch_seconds=1.0, skip_bad=skip_bad), encoder


def check(found: Any, samples: list[int], loud: Any = 0.5) -> None:
    np.testing.assert_array_equal(found.audio[:, 0], np.array(samples)[found.kept])
    np.testing.assert_allclose(found.audio[:, 1], np.broadcast_to(loud, len(samples))[found.kept])
    np.testing.assert_array_equal(found.text[:, 0], found.kept + 1)
    for row, length in enumerate(np.array(samples)[found.kept]):
        start, count = found.audio_frames.start[row], found.audio_frames.count[row]
        assert count == length // 1000 and (found.audio_frames.values[start : start + count, 0] == length).all()


ALL = [samples_of(row) for row in range(FILES)]


@pytest.mark.parametrize("cut_at", [None, 1, 2])
@pytest.mark.parametrize("damage", ["header", "permission", "missing", "samples"])
def test_a_mended_file_is_encoded_and_no_other_again(damage, cut_at, recordings, monkeypatch):
    path = recordings.path(0)
    good = path.read_bytes()
    if damage == "permission":  # nothing of the file changes with it
        real = extraction.read_audio, extraction.duration_s

        def refuse(number):
            def read(name, *rest):
                if name == path:
                    raise extraction.BadAudio("unreadable", f"{name} can't be read")
                return real[number](name, *rest)

            return read

        monkeypatch.setattr(extraction, "read_audio", refuse(0))
        monkeypatch.setattr(extraction, "duration_s", refuse(1))
    elif damage == "header":  # of the same size
        path.write_bytes(bytes(100) + good[100:])
    elif damage == "samples":  # its length is known
        path.write_bytes(good[:200] + b"\xff" * 40 + good[240:])
    else:
        path.unlink()
    first = Lengths(cut_at)
    with pytest.raises(KeyboardInterrupt if cut_at else InfoserError):
        run(recordings, first)
    monkeypatch.undo()
    path.write_bytes(good)
    found, second = run(recordings)
    assert len(found.kept) == FILES and found.bad == {}
    check(found, ALL)
    assert sum(first.batches) + sum(second.batches) == FILES
    assert cut_at or second.batches == [1]


def test_what_is_still_bad_is_left_out_in_the_same_words(recordings):
    recordings.path(0).write_bytes(b"")
    with pytest.raises(InfoserError, match="Mend them and run the same command again.*what is encoded is kept"):
        run(recordings)
    found, again = run(recordings, skip_bad=True)
    assert again.batches == [] and found.kept.tolist() == list(range(1, FILES))
    assert list(found.bad) == ["u0"] and found.bad["u0"].endswith("is empty")
    check(found, ALL)


def test_after_a_cut_the_batches_are_those_that_were_to_come(recordings):
    whole, uncut = run(recordings)
    for each in ("audio", "text"):
        (recordings.root.parent / "work" / each / "journal.jsonl").unlink()
    with pytest.raises(KeyboardInterrupt):
        run(recordings, cut := Lengths(2))
    found, rest = run(recordings)
    assert cut.batches + rest.batches == uncut.batches and len(rest.batches) > 1
    np.testing.assert_array_equal(found.audio, whole.audio)


def test_audio_of_the_same_size_is_another_source(recordings):
    before = fingerprint(recordings)
    path = recordings.path(3)
    status = path.stat()
    write(path, samples_of(3), loud=0.25)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size and fingerprint(recordings) != before
    write(path, samples_of(3))
    assert fingerprint(recordings) == before
    assert fingerprint(dataclasses.replace(recordings, speaker=recordings.emotion)) != before


@pytest.mark.parametrize("row", [0, 5])
def test_old_and_new_audio_are_not_mixed(row, recordings):
    with pytest.raises(KeyboardInterrupt):
        run(recordings, Lengths(3))
    write(recordings.path(row), samples_of(row), loud=0.25)
    found, encoder = run(recordings)
    loud = np.full(FILES, 0.5)
    loud[row] = 0.25
    check(found, ALL, loud)
    assert (sum(encoder.batches) == FILES) == (row == 0)  # from the first batch that has it on


def test_files_that_change_while_they_are_encoded(recordings):
    class Changing(Lengths):
        def encode(self, inputs):
            if len(self.batches) == 2:
                write(recordings.path(0), samples_of(0), loud=0.25)
            return super().encode(inputs)

    with pytest.raises(InfoserError, match="changed while they were encoded; run the same command again"):
        run(recordings, Changing())
    check(run(recordings)[0], ALL, [0.25] + [0.5] * (FILES - 1))


@pytest.mark.parametrize("name", ["speech.raw", "caf\udce9.wav"])
def test_names_that_can_not_be_opened_are_left_out(name, recordings):
    try:
        recordings.path(0).rename(recordings.root / name)
    except OSError:
        pytest.skip("no such names on this file system")
    audio = np.array([name, *recordings.audio[1:]])
    renamed = dataclasses.replace(recordings, audio=audio, utterance_id=np.array([name, *recordings.utterance_id[1:]]))
    with pytest.raises(InfoserError, match="1 of 8 recordings"):
        run(renamed)
    listing = (recordings.root.parent / "work" / "bad_files.txt").read_text()
    assert re.fullmatch(r"(speech\.raw|caf\\udce9\.wav)\t.*/\1 can't be read as audio: .*\n", listing)
    found, _ = run(renamed, skip_bad=True)
    assert list(found.bad) == [name]
    check(found, ALL)
