"""From recordings to a corpus: encoded, labelled, and with all that decided its features in its provenance."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from infoser.class_map import count_unlabelled, map_labels
from infoser.corpus import Corpus
from infoser.encoders.audio import load_audio_encoder
from infoser.encoders.extraction import Extraction, Modality, extract, fingerprint
from infoser.encoders.identity import slug
from infoser.encoders.pooling import POOLINGS
from infoser.encoders.text import load_text_encoder
from infoser.errors import InfoserError
from infoser.recordings import Recordings

NO_TEXT, DEFAULT_TEXT = "none", "hashing:512"


@dataclass(frozen=True)
class Encoding:
    """How recordings become features."""

    audio_encoder: str = "opensmile:eGeMAPSv02"
    """Audio encoder: opensmile:SET, or a Hugging Face id or local folder of a model with hidden states (wav2vec2, HuBERT,
    WavLM, data2vec, Whisper)."""
    text_encoder: str = DEFAULT_TEXT
    """Text encoder: hashing:N (word hashing, needs no download), a Hugging Face id or local folder (BERT, RoBERTa and kin),
    or none."""
    audio_layer: str = "last"
    """Hidden layer of the audio encoder: last, an index (0 is the first layer's input), or FROM-TO for the mean of a range."""
    text_layer: str = "last"
    """Hidden layer of the text encoder, in the same notation."""
    audio_pooling: str = "mean"
    """Over an utterance's audio frames: mean, mean+std, first or max."""
    text_pooling: str = "mean"
    """Over an utterance's tokens: mean, mean+std, first or max."""
    frames: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Keep the frame sequences beside the pooled features (much larger; aligners pool them by attention)."""
    precision: str = "float32"
    """Arithmetic of Hugging Face encoders: float32, bfloat16 or float16."""
    device: str = "auto"
    """Device of Hugging Face encoders: auto, cpu, cuda, cuda:1 …"""
    batch_seconds: float = 60.0
    """Seconds of audio that are encoded together, padding included."""
    skip_bad: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Leave out recordings that can't be used (unreadable, empty, too short, silent), and list them."""

    def modalities(self, *, has_text: bool) -> tuple[Modality, Modality | None]:
        """The encoders, loaded; no text encoder where there is nothing for it.

        Raises:
          InfoserError: for a setting that can't be had.
        """
        for flag, pooling in (("--audio-pooling", self.audio_pooling), ("--text-pooling", self.text_pooling)):
            if pooling not in POOLINGS:
                raise InfoserError(f"{flag} {pooling!r}: choose one of {', '.join(POOLINGS)}")
        if not 0 < self.batch_seconds < float("inf"):
            raise InfoserError(f"--batch-seconds {self.batch_seconds:g}: must be positive and finite")
        if not has_text and self.text_encoder not in (NO_TEXT, DEFAULT_TEXT):
            raise InfoserError(
                f"--text-encoder {self.text_encoder}: no utterance has a transcript (in a manifest, column 'transcript'); mend "
                "that, or leave --text-encoder out"
            )
        settings: dict[str, Any] = {"precision": self.precision, "device": self.device}
        encoder = load_audio_encoder(self.audio_encoder, layer=self.audio_layer, frames=self.frames, **settings)
        audio = Modality(encoder, self.audio_pooling, self.frames)
        if not has_text or self.text_encoder == NO_TEXT:
            return audio, None
        text_encoder = load_text_encoder(self.text_encoder, layer=self.text_layer, **settings)
        return audio, Modality(text_encoder, self.text_pooling, self.frames)


@dataclass(frozen=True)
class Plan:
    """What is going to be encoded, and how; `settings` decide the shards.

    Attributes:
      config: names this way of encoding among others of the corpus.
    """

    encoding: Encoding
    recordings: Recordings
    class_map: Mapping[str, tuple[str, ...]]
    audio: Modality
    text: Modality | None
    config: str
    settings: Mapping[str, Any]


def make_plan(
    recordings: Recordings, class_map: Mapping[str, tuple[str, ...]], encoding: Encoding, config: str | None = None
) -> Plan:
    """Loads the encoders and fixes everything that decides the shards; refuses classes that no utterance has.

    Raises:
      InfoserError: for settings that can't be had, or a class without an utterance.
    """
    map_labels(recordings.emotion, class_map, f"the labels of {recordings.name}")
    audio, text = encoding.modalities(has_text=bool(recordings.has_transcript.any()))
    settings = {
        "kind": "recordings",
        "source_sha256": fingerprint(recordings),
        "release": recordings.provenance.get("release"),
        "classes": {each: list(members) for each, members in class_map.items()},
        "audio": audio.settings,
        "text": None if text is None else text.settings,
    }
    name = config or slug(audio.settings, None if text is None else text.settings)
    return Plan(encoding, recordings, class_map, audio, text, name, settings)


def encode_corpus(plan: Plan, work: Path) -> Corpus:
    """Encodes the recordings of a plan; raises as `extract` does."""
    recordings, encoding = plan.recordings, plan.encoding
    found = extract(recordings, plan.audio, plan.text, work, batch_seconds=encoding.batch_seconds, skip_bad=encoding.skip_bad)
    kept = found.kept
    label = map_labels(recordings.emotion[kept], plan.class_map, f"the usable recordings of {recordings.name}")
    has_text = recordings.has_transcript[kept]
    optional: Any = {key: getattr(recordings, key) for key in ("session", "dialogue", "split")}
    optional = {key: None if values is None else values[kept] for key, values in optional.items()}
    return Corpus(
        name=recordings.name,
        utterance_id=recordings.utterance_id[kept],
        audio=found.audio,
        text=found.text,
        label=label,
        classes=tuple(plan.class_map),
        speaker=recordings.speaker[kept],
        columns=_columns(recordings, kept),
        has_text=None if found.text is None or has_text.all() else has_text,
        audio_frames=found.audio_frames,
        text_frames=found.text_frames,
        provenance=_provenance(plan, found, label),
        **optional,
    )


def _columns(recordings: Recordings, kept: np.ndarray) -> dict[str, np.ndarray]:
    """The recordings' columns, the emotion codes behind the classes, and what tells transcripts and files apart."""
    columns = {key: values[kept] for key, values in recordings.columns.items()}
    columns["emotion"] = recordings.emotion[kept]
    columns["audio_file"] = recordings.audio[kept]
    if recordings.transcript is not None:
        spoken = [" ".join(text.casefold().split()) for text in recordings.transcript[kept].tolist()]
        columns["transcript"] = recordings.transcript[kept]
        columns["transcript_hash"] = np.array(
            [hashlib.sha256(text.encode()).hexdigest()[:16] if text else "" for text in spoken]
        )
    for key in ("start_s", "end_s"):
        values = getattr(recordings, key)
        if values is not None:
            columns[key] = values[kept]
    return columns


def _provenance(plan: Plan, found: Extraction, label: np.ndarray) -> dict[str, Any]:
    recordings = plan.recordings
    # `counts` are those of the shards; what the source holds keeps a name of its own.
    of_source = {"source_counts" if key == "counts" else key: value for key, value in recordings.provenance.items()}
    return {
        **of_source,
        "source": str(recordings.provenance.get("source", recordings.name)),
        "settings": dict(plan.settings),
        "encoders": {"audio": plan.encoding.audio_encoder, "text": plan.encoding.text_encoder},
        "unlabelled": count_unlabelled(recordings.emotion[found.kept], label),
        "skipped": {},
        "without_transcript": int((~recordings.has_transcript[found.kept]).sum()),
        "bad_files": found.bad,
        "clipped": found.clipped,
        "padding_share": round(found.padding, 4),
    }
