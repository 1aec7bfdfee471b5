"""From recordings to features: every utterance read, encoded and pooled, in batches of like length.

Cut off, it goes on where it was; nothing but a batch is in memory.
"""

import functools
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infoser import digests
from infoser.corpus import Frames
from infoser.encoders.batches import padding_share, plan_batches
from infoser.encoders.encoder import Encoder
from infoser.encoders.pooling import pool, pooled_dim
from infoser.encoders.store import FeatureStore
from infoser.encoders.waveform import BadAudio, duration_s, read_audio
from infoser.errors import InfoserError
from infoser.progress import Progress, show_progress
from infoser.recordings import Recordings

#: Share of samples at full scale from which a recording is called clipped.
CLIPPED_SHARE = 1e-3
_TOKENS_IN_A_BATCH = 8192
_ITEMS_IN_A_BATCH = 64
_PLAN = "plan.json"


@dataclass(frozen=True)
class Modality:
    """How one modality is encoded.

    Attributes:
      encoder: makes frames.
      pooling: of the frames of an utterance, see `pooling.POOLINGS`.
      frames: whether the frames are kept too.
    """

    encoder: Encoder
    pooling: str
    frames: bool

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the features, as plain JSON values."""
        return {**self.encoder.provenance, "pooling": self.pooling, "frames": self.frames and self.encoder.frames_kept}


@dataclass(frozen=True)
class Extraction:
    """Features of the utterances that could be encoded.

    Attributes:
      kept: their rows among the recordings; the arrays below have a row for each.
      audio, text: pooled features (memory maps); zeros for an utterance without a transcript. `text` is None where text is
        not encoded.
      audio_frames, text_frames: the frames, where they are kept.
      bad: {utterance id: what is wrong with its file} of those left out.
      clipped: {utterance id: share of its samples at full scale}; they are kept.
      padding: share of padding in the audio batches.
    """

    kept: np.ndarray
    audio: np.ndarray
    text: np.ndarray | None
    audio_frames: Frames | None
    text_frames: Frames | None
    bad: dict[str, str]
    clipped: dict[str, float]
    padding: float


def extract(
    recordings: Recordings,
    audio: Modality,
    text: Modality | None,
    work: Path,
    *,
    batch_seconds: float,
    skip_bad: bool,
) -> Extraction:
    """Encodes all recordings, going on from what `work` holds already.

    Args:
      recordings: what to encode.
      audio, text: how; no text where it is None or no utterance has a transcript.
      work: a folder for what is on its way, which the caller removes in the end.
      batch_seconds: audio in a batch, padding included.
      skip_bad: go on without files that can't be used.

    Raises:
      InfoserError: naming the bad files, unless `skip_bad`; or when a file changed meanwhile. What was encoded is kept.
    """
    # Without the files' contents, which the journal has batch by batch: to mend a file is no reason to encode all others anew.
    plan = {"recordings": _annotations(recordings).hexdigest(), "audio": audio.settings, "batch_seconds": batch_seconds}
    _claim(work, plan | {"text": text and text.settings})
    contents = _contents(recordings)
    rate = audio.encoder.sample_rate
    lengths = _lengths(recordings, rate)
    batches = plan_batches(lengths, max(int(batch_seconds * rate), 1), _ITEMS_IN_A_BATCH)

    def read(row: int) -> Any:
        start, end = _part(recordings, row)
        return read_audio(recordings.path(row), rate, start, end)

    store = _encoded(work / "audio", recordings, contents, audio, batches, read)
    if _contents(recordings) != contents:
        raise InfoserError(f"recordings of {recordings.name} changed while they were encoded; run the same command again")
    times = store.times()
    # What was bad once and has been encoded since was mended.
    bad = {row: message for entry in store.entries for row, message in _by_row(entry["said"], "bad") if not times[row]}
    if bad:
        report(recordings, bad, work, skip_bad=skip_bad)
    kept = np.setdiff1d(np.arange(len(recordings)), np.array(sorted(bad), int))
    if not len(kept):
        raise InfoserError(f"no recording of {recordings.name} can be used")
    assert (times[kept] == 1).all(), "every recording that is kept is encoded exactly once"
    clipped = {row: share for entry in store.entries for row, share in _by_row(entry["said"], "clipped")}
    text_features, text_frames = None, None
    if text is not None and recordings.has_transcript[kept].any():
        text_store = _encoded_text(work / "text", recordings, text, kept)
        text_features, text_frames = _compact(text_store, kept, work / "text"), _frames(text_store, kept)
    ids = recordings.utterance_id
    return Extraction(
        kept=kept,
        audio=_compact(store, kept, work / "audio"),
        text=text_features,
        audio_frames=_frames(store, kept),
        text_frames=text_frames,
        bad={str(ids[row]): message for row, message in sorted(bad.items())},
        clipped={str(ids[row]): share for row, share in sorted(clipped.items())},
        padding=padding_share(lengths, batches),
    )


def fingerprint(recordings: Recordings) -> str:
    """SHA-256 over all that recordings say of every utterance, and the contents of their files."""
    digest = _annotations(recordings)
    digest.update(json.dumps(_contents(recordings)).encode())
    return digest.hexdigest()


def _annotations(recordings: Recordings) -> Any:
    """SHA-256 over all that recordings say of every utterance; to be gone on with."""
    digest = hashlib.sha256()
    optional = ("transcript", "session", "dialogue", "split", "start_s", "end_s")
    for key in ("utterance_id", "audio", "emotion", "speaker", *optional):
        values = getattr(recordings, key)
        if values is not None:
            digest.update(json.dumps([key, values.tolist()]).encode())
    for key, values in sorted(recordings.columns.items()):
        digest.update(json.dumps([key, values.tolist()], default=str).encode())
    return digest


def _contents(recordings: Recordings) -> dict[str, str | None]:
    """SHA-256 of every file; None where it can't be read."""
    paths = list(dict.fromkeys(recordings.audio.tolist()))
    shown = show_progress(paths, total=len(paths), what=f"reading {recordings.name}", unit="files")
    return {path: _sha256(recordings.root / path) for path in shown}


def _sha256(path: Path) -> str | None:
    try:
        if not path.is_file():
            return None
        found = path.stat()
        return _sha256_of(path, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    except OSError:
        return None


@functools.cache
def _sha256_of(path: Path, *_: int) -> str:
    """A file that was not touched is read once in a process."""
    return digests.of_file(path)


def report(recordings: Recordings, bad: Mapping[int, str], work: Path, *, skip_bad: bool) -> None:
    """Lists files that can't be used in `work`/bad_files.txt.

    Raises:
      InfoserError: naming the first of them, unless `skip_bad`.
    """
    listing = work / "bad_files.txt"
    lines = [f"{recordings.utterance_id[row]}\t{message}" for row, message in sorted(bad.items())]
    # A name need not be UTF-8.
    listing.write_text("\n".join(lines) + "\n", "utf-8", "backslashreplace")
    if not skip_bad:
        first = "; ".join(bad[row] for row in sorted(bad)[:3])
        raise InfoserError(
            f"{len(bad)} of {len(recordings):,} recordings of {recordings.name} can't be used: {first}"
            f"{'; …' if len(bad) > 3 else ''} (all of them: {listing}). Mend them and run the same command again, or leave "
            "them out with --skip-bad; what is encoded is kept"
        )


def _claim(work: Path, plan: Mapping[str, Any]) -> None:
    """Makes the work folder this plan's own; what another plan left there is of no use and removed."""
    path, text = work / _PLAN, json.dumps(plan, sort_keys=True)
    if path.is_file() and path.read_text() == text:
        return
    for each in ("audio", "text"):
        shutil.rmtree(work / each, ignore_errors=True)
    path.write_text(text)


def _lengths(recordings: Recordings, rate: int) -> np.ndarray:
    """Samples of every utterance, by the headers; 0 where a header can't be read, which reading the file will say."""
    lengths = np.zeros(len(recordings), np.int64)
    with Progress(f"looking at {recordings.name}", len(recordings), unit="files") as progress:
        for row in range(len(recordings)):
            try:
                lengths[row] = round(duration_s(recordings.path(row), *_part(recordings, row)) * rate)
            except BadAudio:
                pass
            progress.update(row + 1)
    return lengths


def _part(recordings: Recordings, row: int) -> tuple[float | None, float | None]:
    """Start and end of an utterance in its file, in seconds; None for the file's own."""
    bounds = []
    for values in (recordings.start_s, recordings.end_s):
        bounds.append(None if values is None or np.isnan(values[row]) else float(values[row]))
    return bounds[0], bounds[1]


def _encoded(
    folder: Path,
    recordings: Recordings,
    contents: Mapping[str, str | None],
    audio: Modality,
    batches: Sequence[np.ndarray],
    read: Callable[[int], Any],
) -> FeatureStore:
    """The store of the audio features, once every batch is in it; none that was encoded from other contents is."""

    def source(rows: Sequence[int]) -> str:
        return digests.of_values([contents[recordings.audio[row]] for row in rows])

    def load(batch: np.ndarray) -> tuple[list[int], list[Any], dict[str, Any]]:
        rows, waveforms, bad, clipped = [], [], {}, {}
        for row in batch.tolist():
            try:
                waveform = read(row)
            except BadAudio as error:
                bad[str(row)] = str(error)
                continue
            if waveform.clipped_share >= CLIPPED_SHARE:
                clipped[str(row)] = round(waveform.clipped_share, 4)
            rows.append(row)
            waveforms.append(waveform.samples)
        return rows, waveforms, {"bad": bad, "clipped": clipped, "source": source(rows)}

    def holds(entry: Mapping[str, Any]) -> bool:
        return entry["said"]["source"] == source(entry["rows"])

    return _run(folder, len(recordings), audio, batches, load, f"encoding audio of {recordings.name}", holds)


def _encoded_text(folder: Path, recordings: Recordings, text: Modality, kept: np.ndarray) -> FeatureStore:
    """The store of the text features of the utterances that have a transcript."""
    assert recordings.transcript is not None
    transcript = recordings.transcript
    rows = kept[recordings.has_transcript[kept]]
    lengths = np.array([text.encoder.length(str(transcript[row])) for row in rows], np.int64)
    batches = [rows[batch] for batch in plan_batches(lengths, _TOKENS_IN_A_BATCH, _ITEMS_IN_A_BATCH)]

    def load(batch: np.ndarray) -> tuple[list[int], list[Any], dict[str, Any]]:
        return batch.tolist(), [str(transcript[row]) for row in batch], {}

    store = _run(folder, len(recordings), text, batches, load, f"encoding text of {recordings.name}")
    assert (store.times()[rows] == 1).all(), "every transcript is encoded exactly once"
    return store


def _run(
    folder: Path,
    rows: int,
    modality: Modality,
    batches: Sequence[np.ndarray],
    load: Callable[[np.ndarray], tuple[list[int], list[Any], dict[str, Any]]],
    what: str,
    holds: Callable[[Mapping[str, Any]], bool] = lambda _: True,
) -> FeatureStore:
    """Encodes what the store lacks.

    After a cut these are the very batches that were to come. Where a file was mended, lengths and so batches are others; then
    what is encoded is taken out of them. That a file was bad is not believed again: it is read anew.
    """
    encoder = modality.encoder
    width = pooled_dim(encoder.dim, modality.pooling)
    keeps = modality.frames and encoder.frames_kept
    with FeatureStore(folder, rows, width, encoder.dim if keeps else None, holds) as store:
        lacking = store.times() == 0
        left = [batch[lacking[batch]] for batch in batches if lacking[batch].any()]
        total = sum(map(len, batches))
        done = total - sum(map(len, left))
        with Progress(what, total, unit="utterances", done=done) as progress:
            for batch, (members, inputs, said) in _ahead(left, load):
                frames = encoder.encode(inputs) if inputs else []
                store.write(members, [pool(one, modality.pooling) for one in frames], frames, said)
                done += len(batch)
                progress.update(done)
    return store


def _ahead(
    batches: Sequence[np.ndarray], load: Callable[[np.ndarray], Any]
) -> Iterator[tuple[np.ndarray, tuple[list[int], list[Any], dict[str, Any]]]]:
    """Each batch with what was loaded for it, the next being read meanwhile."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(load, batches[0]) if len(batches) else None
        for number, batch in enumerate(batches):
            assert coming is not None
            loaded = coming.result()
            if number + 1 < len(batches):
                coming = reader.submit(load, batches[number + 1])
            yield batch, loaded


def _by_row(said: Mapping[str, Any], key: str) -> list[tuple[int, Any]]:
    return [(int(row), value) for row, value in said[key].items()]


def _compact(store: FeatureStore, kept: np.ndarray, folder: Path) -> np.ndarray:
    """The features of the kept rows, copied in parts into a file of their own where rows were left out."""
    pooled = store.pooled()
    if len(kept) == len(pooled):
        return pooled
    compact = np.memmap(folder / "kept.f32", np.float32, "w+", shape=(len(kept), pooled.shape[1]))
    for start in range(0, len(kept), 4096):
        compact[start : start + 4096] = pooled[kept[start : start + 4096]]
    return compact


def _frames(store: FeatureStore, kept: np.ndarray) -> Frames | None:
    found = store.frames()
    return None if found is None else Frames(found[0], found[1][kept], found[2][kept])
