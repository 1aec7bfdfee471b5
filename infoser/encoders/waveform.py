"""Recordings as mono waveforms at the rate an encoder wants, and what is wrong with those that can't be used."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool

from infoser.encoders.encoder import extra
from infoser.errors import InfoserError

#: Shorter recordings hold no emotion that could be heard, and few encoders have a frame for them.
MIN_DURATION_S = 0.1
#: -80 dB of full scale: three steps of 16 bits. Below it is converter noise, which normalising would blow up to a signal.
SILENCE = 1e-4
#: Full scale, and how many samples in a row must lie there to count as clipped: a lone peak may touch it.
FULL_SCALE, CLIPPED_RUN = 0.999, 3

_PART_TOLERANCE_S = 0.05  # annotations are rounded; an end this little behind the file's own is meant to be it
_BLOCK = 1 << 20  # frames that are read and resampled at a time, so that only the result grows with the file
# What libsndfile logs of a header that promises more than the file has: WAV, AIFF (its size is a little more than the sound)
# and AU in 32 bits; W64 and RF64 in 64. The size of all of RF64 is often wrong, so its frames have to be too few as well.
_SHORT = re.compile(r"^ *(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
_SHORT_W64 = re.compile(r"^riff : (\d+) \(should be (\d+)\)", re.MULTILINE)
_SHORT_RF64 = re.compile(r"^ *Riff size : (\d+) \(should be (\d+)\)(?s:.*)^\*\*\* Calculated frame count", re.MULTILINE)
# What is written to a pipe can't know its size, and gives about this or more in 32 bits (sox for AIFF 0x7F000000), or -1.
_UNKNOWN_SIZE = 0x7EFF0000


class BadAudio(InfoserError):
    """A recording that can't be used; the message names the file.

    Attributes:
      kind: what is wrong.
    """

    def __init__(self, kind: Literal["unreadable", "empty", "too short", "silent"], message: str):
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Waveform:
    """A recording, mixed to mono and resampled.

    Attributes:
      samples: (n,) float32.
      clipped_share: share of the source's samples that lie at full scale in runs.
      source_rate: of the file, in Hz.
      channels: of the file.
    """

    samples: np.ndarray
    clipped_share: float
    source_rate: int
    channels: int


def read_audio(path: Path | str, sample_rate: int, start_s: float | None = None, end_s: float | None = None) -> Waveform:
    """Reads a recording or a part of it; nothing else of the file is decoded.

    Args:
      path: any file that libsndfile reads (wav, flac, …), at any rate, with any number of channels.
      sample_rate: in Hz; the channels' mean is resampled to it by soxr.
      start_s, end_s: the part, in seconds; None for the file's own start and end.

    Raises:
      BadAudio: if the file can't be read, has no samples, or the part is too short or silent; and if it is cut off, as far as
        its format and libsndfile's log (2 kB, so not after much metadata) tell: WAV, AIFF, AU, W64, RF64 and FLAC do. Ogg,
        MP3, NIST and others may be read as far as they go.
    """
    soxr = extra("soxr")
    with _opened(path) as file:
        source_rate, channels = int(file.samplerate), int(file.channels)
        start, stop = _part(path, file.frames, source_rate, start_s, end_s)
        file.seek(start)
        resample = None
        if source_rate != sample_rate:
            resample = soxr.ResampleStream(source_rate, sample_rate, 1, dtype="float32", quality="HQ")
        clipping, parts, peak, left = _Clipping(channels), [], 0.0, stop - start
        while left:
            block = file.read(min(_BLOCK, left), dtype="float32", always_2d=True)
            left -= len(block)
            if not len(block):
                raise BadAudio("unreadable", f"{path} is cut off: {left:,} of the samples its header promises are not there")
            if not np.isfinite(block).all():
                raise BadAudio("unreadable", f"{path} holds samples that are not finite numbers")
            clipping.add(np.abs(block) >= FULL_SCALE)
            mono = np.ascontiguousarray(block.mean(axis=1))
            peak = max(peak, float(np.abs(mono).max()))
            parts.append(mono if resample is None else resample.resample_chunk(mono, last=left == 0))
    if peak < SILENCE:
        raise BadAudio("silent", f"{path} is silent: no sample of its mono mix reaches {SILENCE:g} of full scale")
    return Waveform(np.concatenate(parts), clipping.share(), source_rate, channels)


def duration_s(path: Path | str, start_s: float | None = None, end_s: float | None = None) -> float:
    """Seconds of a recording or a part of it, from the header alone.

    Raises:
      BadAudio: if the header can't be read, or says that there is nothing or too little.
    """
    with _opened(path) as file:
        start, stop = _part(path, file.frames, int(file.samplerate), start_s, end_s)
        return (stop - start) / int(file.samplerate)


@contextmanager
def _opened(path: Path | str) -> Iterator[Any]:
    """The open file; whatever libsndfile can't read, here or later, becomes a BadAudio."""
    soundfile = extra("soundfile")
    try:
        if not Path(path).is_file():
            raise BadAudio("unreadable", f"{path} does not exist" if not Path(path).exists() else f"{path} is not a file")
        if not Path(path).stat().st_size:
            raise BadAudio("empty", f"{path} is empty")
        with _sound_file(path) as file:
            if sizes := _cut_off(file.extra_info):
                promised, there = sizes
                raise BadAudio("unreadable", f"{path} is cut off: it has {there} of the {promised} bytes its header promises")
            yield file
    except (soundfile.SoundFileError, OSError) as error:
        # libsndfile repeats the path in its message.
        why = str(error).replace(f"{str(path)!r}", "it").rstrip(".")
        raise BadAudio("unreadable", f"{path} can't be read as audio: {why}") from error


def _sound_file(path: Path | str) -> Any:
    """soundfile's object; what it says of a name is none of its own errors."""
    try:
        return extra("soundfile").SoundFile(str(path))
    except UnicodeEncodeError as error:
        named = str(path).encode(errors="backslashreplace").decode()  # so that the message can be written
        raise BadAudio("unreadable", f"{named} can't be read as audio: its name is not UTF-8") from error
    except TypeError as error:
        why = "by its name it has no header that says its sample rate"
        raise BadAudio("unreadable", f"{path} can't be read as audio: {why}") from error


def _cut_off(log: str) -> tuple[int, int] | None:
    """The bytes that a header promises and those that there are, where these are fewer; else None."""
    for pattern, unknown in ((_SHORT, _UNKNOWN_SIZE), (_SHORT_W64, None), (_SHORT_RF64, None)):
        if found := pattern.search(log):
            promised, there = int(found[1]), int(found[2])
            if there < promised and (unknown is None or promised < unknown):
                return promised, there
    return None


def _part(path: Path | str, frames: int, rate: int, start_s: float | None, end_s: float | None) -> tuple[int, int]:
    """First and last frame (exclusive) of a part; raises BadAudio if the file has no such part, or it is too short."""
    if not frames:
        raise BadAudio("empty", f"{path} is empty: it has no samples")
    start = 0 if start_s is None else round(start_s * rate)
    stop = frames if end_s is None else round(end_s * rate)
    if start < 0 or start >= min(stop, frames) or stop - frames > _PART_TOLERANCE_S * rate:
        named = f"from {0.0 if start_s is None else start_s:g} s to {'its end' if end_s is None else f'{end_s:g} s'}"
        raise BadAudio("unreadable", f"{path} lasts {frames / rate:.3f} s and has no part {named}")
    stop = min(stop, frames)
    if stop - start < MIN_DURATION_S * rate:
        lasts = f"{(stop - start) / rate:.3f} s"
        raise BadAudio("too short", f"{path} is too short: {lasts}, where {MIN_DURATION_S:g} s is the least")
    return start, stop


class _Clipping:
    """Counts samples at full scale in runs, of each channel, over blocks that follow one another."""

    def __init__(self, channels: int):
        self._before = np.zeros((CLIPPED_RUN, channels), bool)  # a run may have begun in the block before
        self._clipped = self._samples = 0

    def add(self, full: Bool[np.ndarray, "frames channels"]) -> None:
        """Goes on with the next block: which of its samples are at full scale."""
        both = np.concatenate([self._before, full])
        self._clipped += _in_runs(both) - _in_runs(self._before)
        self._samples += full.size
        self._before = both[-CLIPPED_RUN:]

    def share(self) -> float:
        """Of all samples so far."""
        return self._clipped / self._samples if self._samples else 0.0


def _in_runs(full: Bool[np.ndarray, "frames channels"]) -> int:
    """How many samples lie in a run of at least CLIPPED_RUN."""
    if not full.any():
        return 0
    starts = len(full) - CLIPPED_RUN + 1
    run = np.logical_and.reduce([full[offset : offset + starts] for offset in range(CLIPPED_RUN)])
    inside = np.zeros_like(full)
    for offset in range(CLIPPED_RUN):
        inside[offset : offset + starts] |= run
    return int(inside.sum())
