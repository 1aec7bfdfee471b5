"""From a manifest (CSV, TSV, JSON lines or Parquet) of recordings to `Recordings`, with every mistake named by its line."""

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from completeness import strings, tally

from infoser.errors import InfoserError
from infoser.recordings import Recordings, check_inside
from manifest.tables import UNWRITABLE, Cell, Table, read_table

REQUIRED = ("utterance_id", "audio", "emotion", "speaker")
OPTIONAL = ("transcript", "session", "dialogue", "split", "start_s", "end_s")
NAMES = (*REQUIRED, "session", "dialogue", "split")  # with a space more it would be another one
TAKEN = ("audio_file", "transcript_hash", "synthetic", "made_from")  # columns that encoding adds, and that mark synthetic rows

CLASS_MAPS: dict[str, tuple[str, ...]] = {}
DEFAULT_CLASSES = ""  # none is customary: every emotion is a class

_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|nan|NaN", re.ASCII)
_TRUTH = {"true": True, "false": False}
_EXACT = 2**53  # integers up to here are exact as float64


def read_manifest(manifest: Path, *, name: str) -> Recordings:
    """Reads a list of recordings.

    Args:
      manifest: a .csv, .tsv, .jsonl or .parquet file with the columns `utterance_id`, `audio`, `emotion`, `speaker` and,
        where known, `transcript`, `session`, `dialogue`, `split`, `start_s`, `end_s`. Audio paths are relative to its
        folder.
      name: the corpus' name.

    Returns:
      One row per line, in its order; one without an emotion is unlabelled. Other columns are kept under their names: true
      or false, integers, numbers (NaN where empty), else text.

    Raises:
      InfoserError: for whatever is wrong with the file, its lines or the audio files it names.
    """
    table = read_table(manifest)
    lacking = [column for column in REQUIRED if column not in table.columns]
    if lacking:
        there = ", ".join(table.columns) or "none"
        raise InfoserError(f"{manifest}: there is no column {lacking[0]!r}; the columns are: {there}")
    if not table.lines:
        raise InfoserError(f"{manifest}: lists no utterance")
    for column in table.columns:
        if column in TAKEN or "/" in column:
            why = "has a '/' in its name" if "/" in column else "bears a name that encoding needs"
            raise InfoserError(f"{manifest}: column {column!r} {why}; rename it")
        if column not in REQUIRED + OPTIONAL and column.casefold() in REQUIRED + OPTIONAL:
            raise InfoserError(
                f"{manifest}: column {column!r} would not be taken for {column.casefold()!r}; write it small, or rename it"
            )
    # An empty emotion is an utterance without a label.
    required = {column: _texts(table, column, needed=column != "emotion") for column in REQUIRED}
    _refuse_repeats(table, required["utterance_id"])
    named: dict[str, np.ndarray] = {}
    for column in ("transcript", "session", "dialogue", "split"):
        texts = _texts(table, column) if column in table.columns else []
        if any(text.strip() for text in texts):
            named[column] = strings(texts)
    named |= _times(table)
    others = [column for column in table.columns if column not in REQUIRED + OPTIONAL]
    missing = sum(not text.strip() for text in named["transcript"].tolist()) if "transcript" in named else len(table.lines)
    return Recordings(
        name=name,
        root=manifest.parent,
        utterance_id=strings(required["utterance_id"]),
        audio=strings(_audio(table, required["audio"])),
        emotion=strings(required["emotion"]),
        speaker=strings(required["speaker"]),
        columns={column: _typed(table, column) for column in others},
        provenance={
            "source": "manifest",
            "release": None,
            "manifest": manifest.name,
            "manifest_sha256": hashlib.sha256(manifest.read_bytes()).hexdigest(),
            "counts": {
                "turns": len(table.lines),
                "emotions": tally(required["emotion"]),
                "speakers": tally(required["speaker"]),
            },
            "differences": [],
            "missing_audio": 0,
            "missing_transcripts": missing,
        },
        **named,
    )


def _texts(table: Table, column: str, needed: bool = False) -> list[str]:
    """A column of names or words; integers are written out, and what is empty is ''."""
    texts = []
    for row, cell in enumerate(table.columns[column]):
        if isinstance(cell, bool | float):
            raise InfoserError(f"{table.where(row, column)}: expected text, not {cell!r}")
        text = "" if cell is None else str(cell)
        if needed and not text.strip():
            raise InfoserError(f"{table.where(row, column)}: is empty, but every utterance needs one")
        if UNWRITABLE.search(text):
            raise InfoserError(f"{table.where(row, column)}: {text!r} has a character that can't be written")
        if column in NAMES and text != text.strip():
            raise InfoserError(f"{table.where(row, column)}: {text!r} has spaces or line breaks around it; remove them")
        texts.append(text)
    return texts


def _refuse_repeats(table: Table, ids: Sequence[str]) -> None:
    first: dict[str, int] = {}
    for row, utterance in enumerate(ids):
        if first.setdefault(utterance, row) != row:
            line = table.lines[first[utterance]]
            raise InfoserError(
                f"{table.where(row, 'utterance_id')}: {utterance!r} stands in {table.unit} {line} already; ids must be unique"
            )


def _audio(table: Table, paths: Sequence[str]) -> list[str]:
    """The paths with '/', each of which is a file in the manifest's folder, wherever links lead."""
    root = table.path.parent.resolve()
    good, absent = [], []
    for row, given in enumerate(paths):
        where = table.where(row, "audio")
        check_inside(given, where)
        path = given.replace("\\", "/")
        try:
            target = (root / path).resolve()
            found = target.is_file()
        except (OSError, RuntimeError) as error:  # a name that is too long, a link that leads to itself
            raise InfoserError(f"{where}: {path!r} can't be followed: {error}") from error
        if not target.is_relative_to(root):
            raise InfoserError(f"{where}: {path!r} leads out of {root}, to {target}; put the file there, not a link to it")
        if not found:
            absent.append(f"{where}: {path!r} {'is not a file' if target.exists() else 'does not exist'} in {root}")
        good.append(path)
    if absent:
        more = f" ({len(absent):,} such utterances)" if len(absent) > 1 else ""
        raise InfoserError(absent[0] + more)
    return good


def _times(table: Table) -> dict[str, np.ndarray]:
    """start_s and end_s; nothing where every utterance is a whole file."""
    times = {}
    for column in ("start_s", "end_s"):
        cells = table.columns.get(column, [None] * len(table.lines))
        times[column] = np.array([_seconds(cell, table, row, column) for row, cell in enumerate(cells)], np.float64)
    starts = np.nan_to_num(times["start_s"])
    wrong = times["end_s"] <= starts
    if wrong.any():
        row = int(np.argmax(wrong))
        start, end = starts[row], times["end_s"][row]
        raise InfoserError(f"{table.where(row, 'end_s')}: {end:g} s is not after start_s, {start:g} s")
    known = any(np.isfinite(values).any() for values in times.values())
    return times if known else {}


def _seconds(cell: Cell, table: Table, row: int, column: str) -> float:
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return math.nan
    number = isinstance(cell, int | float) and not isinstance(cell, bool)
    try:
        value = float(cell) if number or _NUMBER.fullmatch(str(cell).strip()) else math.nan
    except OverflowError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise InfoserError(f"{table.where(row, column)}: {cell!r} is not a number of seconds from the file's start")
    return value


def _typed(table: Table, column: str) -> np.ndarray:
    """A column that plays no role: bool, int64, float64 (NaN where empty) or text, whichever all its cells are."""
    cells = table.columns[column]
    if not table.typed:
        cells = _parsed(_texts(table, column))
    present = [cell for cell in cells if cell is not None]
    whole = len(present) == len(cells)
    if not present or any(isinstance(cell, str) for cell in present):
        return strings(_texts(table, column))
    if whole and all(isinstance(cell, bool) for cell in present):
        return np.array(cells, bool)
    if any(isinstance(cell, bool) for cell in present):
        row = next(row for row, cell in enumerate(cells) if cell is None)
        raise InfoserError(f"{table.where(row, column)}: is empty in a column of true and false")
    integers = [cell for cell in present if isinstance(cell, int)]
    exact = whole and len(integers) == len(cells)
    if any(abs(cell) >= (2**63 if exact else _EXACT) for cell in integers):
        raise InfoserError(f"{table.path}, column {column!r}: an integer has too many digits for a number; quote it as text")
    if exact:
        return np.array(cells, np.int64)
    return np.array([math.nan if cell is None else float(cell) for cell in cells], np.float64)


def _parsed(texts: Sequence[str]) -> Sequence[Cell]:
    """What a column of text says, if all of it reads as one type; else the text itself."""
    stripped = [text.strip() for text in texts]
    given = [text for text in stripped if text]
    readings: Mapping[str, tuple[Callable[[str], Any], Callable[[str], Any]]] = {
        "bool": (lambda text: text.casefold() in _TRUTH, lambda text: _TRUTH[text.casefold()]),
        "integer": (lambda text: _is_integer(text, below=2**63), int),
        "number": (lambda text: _is_integer(text, _EXACT) if _INTEGER.fullmatch(text) else _NUMBER.fullmatch(text), float),
    }
    for kind, (fits, read) in readings.items():
        if given and all(fits(text) for text in given) and (kind == "number" or len(given) == len(texts)):
            return [read(text) if text else None for text in stripped]
    return texts


def _is_integer(text: str, below: int) -> bool:
    """Whether a text is an integer, not a name in digits: those have zeros in front, or are too long to be exact."""
    return bool(_INTEGER.fullmatch(text)) and len(text) <= 20 and abs(int(text)) < below and text == str(int(text))
