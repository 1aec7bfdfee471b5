"""Invented recordings for miniature corpora: tones whose pitch tells the emotion, so that a classifier can learn it."""

import math
import wave
from array import array
from pathlib import Path
from random import Random

SAMPLE_RATE_HZ = 16_000
DURATION_S = 0.5


def write_tone(
    path: Path,
    emotion: int,
    seed: int,
    *,
    duration_s: float = DURATION_S,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    channels: int = 1,
) -> None:
    """Writes a 16-bit wav, half an octave higher for each emotion; pitch, loudness and noise vary with the seed."""
    rng = Random(seed)
    pitch_hz = 110 * 2 ** (emotion / 2) * rng.uniform(0.97, 1.03)
    loudness = rng.uniform(0.2, 0.4)
    samples = array("h")
    for index in range(round(duration_s * sample_rate_hz)):
        phase = 2 * math.pi * pitch_hz * index / sample_rate_hz
        value = loudness * (math.sin(phase) + 0.5 * math.sin(2 * phase)) + rng.gauss(0, 0.01)
        samples.extend([round(32_000 * max(-1.0, min(1.0, value)))] * channels)
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(sample_rate_hz)
        file.writeframes(samples.tobytes())
