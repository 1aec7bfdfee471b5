"""Reading recordings: rates, channels, parts, and everything that makes a file unusable."""

import numpy as np
import pytest

for _library in ("soundfile", "soxr"):
    pytest.importorskip(_library, reason="needs the encoders extra")

import soundfile  # noqa: E402

from infoser.encoders import waveform  # noqa: E402
from infoser.encoders.waveform import BadAudio, duration_s, read_audio  # noqa: E402
from infoser.errors import InfoserError  # noqa: E402


def tone(seconds: float, rate: int, hertz: float = 440.0, loud: float = 0.5) -> np.ndarray:
    return (loud * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("name", ["x.wav", "x.flac"])
def test_a_tone_in_stereo_stays_that_tone_in_mono(name, tmp_path):
    left, right = tone(2.0, 44_100), tone(2.0, 44_100, loud=0.3)
    soundfile.write(tmp_path / name, np.stack([left, right], axis=1), 44_100)
    found = read_audio(tmp_path / name, 16_000)
    assert (found.source_rate, found.channels, found.clipped_share) == (44_100, 2, 0.0)
    assert found.samples.dtype == np.float32 and len(found.samples) == 32_000
    # The channels' mean, in phase with the same tone written at 16 kHz; ends ring.
    np.testing.assert_allclose(found.samples[500:-500], tone(2.0, 16_000, loud=0.4)[500:-500], atol=2e-3)
    spectrum = np.abs(np.fft.rfft(found.samples))
    assert spectrum.argmax() / 2.0 == 440.0
    assert duration_s(tmp_path / name) == 2.0


def test_nothing_above_half_the_new_rate_folds_back(tmp_path):
    soundfile.write(tmp_path / "x.wav", tone(1.0, 44_100, hertz=10_000.0), 44_100)
    samples = read_audio(tmp_path / "x.wav", 16_000).samples
    assert np.abs(samples[500:-500]).max() < 1e-3  # no tone of 6 kHz; the ends ring


def test_the_rate_it_has_is_left_alone(tmp_path):
    samples = tone(0.5, 16_000)
    soundfile.write(tmp_path / "x.wav", samples, 16_000, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(tmp_path / "x.wav", 16_000).samples, samples)


def test_a_part_is_cut_before_resampling(tmp_path):
    samples = np.concatenate([tone(1.0, 24_000), tone(1.0, 24_000, hertz=1000.0), tone(1.0, 24_000)])
    soundfile.write(tmp_path / "x.flac", samples, 24_000)
    soundfile.write(tmp_path / "part.flac", samples[24_000:48_000], 24_000)
    part = read_audio(tmp_path / "x.flac", 16_000, 1.0, 2.0).samples
    np.testing.assert_array_equal(part, read_audio(tmp_path / "part.flac", 16_000).samples)
    assert duration_s(tmp_path / "x.flac", 1.0, 2.0) == 1.0
    assert duration_s(tmp_path / "x.flac", 1.0) == 2.0 and duration_s(tmp_path / "x.flac", end_s=0.25) == 0.25
    # An annotation's end that is rounded up is the file's end.
    assert duration_s(tmp_path / "x.flac", 2.0, 3.04) == 1.0
    assert len(read_audio(tmp_path / "x.flac", 16_000, 2.0, 3.04).samples) == 16_000


def test_blocks_leave_no_seam(tmp_path, monkeypatch):
    samples = np.random.default_rng(0).standard_normal((30_011, 2)).astype(np.float32) * 0.1
    soundfile.write(tmp_path / "x.wav", samples, 44_100, subtype="FLOAT")
    whole = read_audio(tmp_path / "x.wav", 16_000).samples
    monkeypatch.setattr(waveform, "_BLOCK", 1000)
    np.testing.assert_array_equal(read_audio(tmp_path / "x.wav", 16_000).samples, whole)
    assert len(whole) == round(30_011 * 16_000 / 44_100)


@pytest.mark.parametrize("block", [1 << 20, 7, 3, 2, 1])
def test_clipping_is_runs_at_full_scale_in_each_channel(block, tmp_path, monkeypatch):
    monkeypatch.setattr(waveform, "_BLOCK", block)
    samples = np.full((2000, 2), 0.5, np.float32)
    samples[10:12, 0] = 1.0  # two in a row are a peak
    samples[20:23, 0] = [1.0, -1.0, 0.9995]
    samples[19:26, 1] = -1.0
    samples[1997:, 1] = 1.2
    soundfile.write(tmp_path / "x.wav", samples, 16_000, subtype="FLOAT")
    assert read_audio(tmp_path / "x.wav", 16_000).clipped_share == pytest.approx((3 + 7 + 3) / 4000)


def write(folder, what):
    """A file that can't be used."""
    path = folder / "bad.wav"
    good = tone(1.0, 16_000)
    if what == "no samples":
        soundfile.write(path, good[:0], 16_000)
    elif what == "no bytes":
        path.write_bytes(b"")
    elif what == "text":
        path.write_text("this is no recording")
    elif what == "folder":
        path.mkdir()
    elif what == "short":
        soundfile.write(path, good[:800], 16_000)
    elif what == "silent":
        soundfile.write(path, good * 1.8e-4, 16_000, subtype="FLOAT")
    elif what == "cancelled":
        soundfile.write(path, np.stack([good, -good], axis=1), 16_000)
    elif what == "not finite":
        good[8000] = np.nan
        soundfile.write(path, good, 16_000, subtype="FLOAT")
    elif what == "cut wav":
        soundfile.write(path, good, 16_000)
        path.write_bytes(path.read_bytes()[:9000])
    elif what in ("cut flac", "corrupt flac"):
        noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1
        soundfile.write(path, noise, 16_000, format="FLAC")
        data = path.read_bytes()
        path.write_bytes(data[:9000] if what == "cut flac" else data[:9000] + bytes(100) + data[9100:])
    return path


@pytest.mark.parametrize(
    ("what", "kind", "says"),
    [
        ("missing", "unreadable", "does not exist"),
        ("folder", "unreadable", "is not a file"),
        ("text", "unreadable", "can't be read as audio"),
        ("cut wav", "unreadable", "is cut off"),
        ("cut flac", "unreadable", "can't be read as audio"),
        ("corrupt flac", "unreadable", "can't be read as audio"),
        ("not finite", "unreadable", "not finite"),
        ("no samples", "empty", "no samples"),
        ("no bytes", "empty", "is empty"),
        ("short", "too short", "0.050 s, where 0.1 s is the least"),
        ("silent", "silent", "is silent"),
        ("cancelled", "silent", "is silent"),
    ],
)
def test_bad_files_are_named_and_told_apart(what, kind, says, tmp_path):
    path = write(tmp_path, what)
    with pytest.raises(BadAudio, match=says) as found:
        read_audio(path, 16_000)
    assert found.value.kind == kind
    assert str(path) in str(found.value)
    assert isinstance(found.value, InfoserError)
    if what in ("missing", "folder", "text", "cut wav", "no samples", "no bytes", "short"):  # which a header shows
        with pytest.raises(BadAudio, match=says):
            duration_s(path)


@pytest.mark.parametrize("kept", [9000, 15_000, -1])
@pytest.mark.parametrize("subtype", ["PCM_16", "ULAW", "FLOAT"])
@pytest.mark.parametrize("format", ["WAV", "WAVEX", "AIFF", "AU", "W64", "RF64"])
def test_what_is_cut_off_is_not_taken_for_whole(format, subtype, kept, tmp_path):
    path = tmp_path / "x"
    soundfile.write(path, np.stack([tone(1.0, 16_000)] * 2, axis=1), 16_000, format=format, subtype=subtype)
    assert len(read_audio(path, 16_000).samples) == 16_000
    path.write_bytes(path.read_bytes()[:kept])
    for read in (lambda: read_audio(path, 16_000), lambda: duration_s(path)):
        with pytest.raises(BadAudio, match=r"is cut off: it has \d+ of the \d+ bytes") as found:
            read()
        assert found.value.kind == "unreadable"


@pytest.mark.parametrize("name", ["x.raw", "x.RAW", "caf\udce9.wav"])
def test_names_that_soundfile_does_not_take(name, tmp_path):
    path = tmp_path / name
    try:
        path.write_bytes(bytes(32_000))
    except OSError:
        pytest.skip("no such names on this file system")
    for read in (lambda: read_audio(path, 16_000), lambda: duration_s(path)):
        with pytest.raises(BadAudio, match="can't be read as audio") as found:
            read()
        assert found.value.kind == "unreadable"
        assert str(found.value).encode().startswith(str(path).encode(errors="backslashreplace"))


def test_just_long_and_loud_enough(tmp_path):
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(0.1, 16_000, loud=1.2e-4), 16_000, subtype="FLOAT")
    assert len(read_audio(path, 16_000).samples) == 1600


@pytest.mark.parametrize(
    ("start", "end", "kind"),
    [(1.0, None, "unreadable"), (0.5, 1.2, "unreadable"), (-0.1, None, "unreadable"), (0.6, 0.4, "unreadable"),
     (0.5, 0.55, "too short")],
)  # fmt: skip
def test_parts_that_the_file_does_not_have(start, end, kind, tmp_path):
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(1.0, 16_000), 16_000)
    for read in (lambda: read_audio(path, 16_000, start, end), lambda: duration_s(path, start, end)):
        with pytest.raises(BadAudio) as found:
            read()
        assert found.value.kind == kind and str(path) in str(found.value)


@pytest.mark.parametrize(
    ("format", "where", "size"),
    [
        ("WAV", b"data", b"\xff\xff\xff\xff"),
        ("WAV", b"data", b"\x00\xf0\xff\x7f"),  # sox
        ("AIFF", b"SSND", b"\x7f\x00\x00\x08"),  # sox
        ("AU", b"\x00\x00\x00\x18", b"\xff\xff\xff\xff"),
        ("W64", bytes.fromhex("2e91cf11a5d628db04c10000"), b"\xff" * 8),
    ],
)
def test_a_stream_of_unknown_length_is_read(format, where, size, tmp_path):
    path = tmp_path / "x"
    soundfile.write(path, tone(0.5, 16_000), 16_000, format=format)
    data = bytearray(path.read_bytes())
    start = data.index(where) + len(where)
    data[start : start + len(size)] = size  # as written to a pipe
    path.write_bytes(data)
    assert len(read_audio(path, 16_000).samples) == 8000
