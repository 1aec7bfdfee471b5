"""From the folder of MSP-IMPROV, as it is shipped, to `Recordings`: consensus labels, speakers, transcripts."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from completeness import (
    check_folder,
    compare_counts,
    floats,
    listed,
    missing_audio,
    read_text,
    settle,
    strings,
    tally,
)

from infoser.errors import InfoserError
from infoser.recordings import Recordings

CLASS_MAPS: dict[str, tuple[str, ...]] = {"4": ("ang=A", "hap=H", "neu=N", "sad=S")}
DEFAULT_CLASSES = "4"

RELEASE = "1.0"
CODES = ("A", "H", "S", "N", "O", "X")
SCENARIOS = {"R": "target sentence, read", "T": "target sentence, improvised", "S": "other, improvised", "P": "natural"}
LABEL_FILES = ("Evaluation.txt", "Evalution.txt")  # releases spell it in both ways

# Turns by label and by scenario: the corpus' paper (Busso et al. 2017), tables 3 and 4. Tests put others in their place.
PUBLISHED = {
    "turns": 8438,
    "turns labelled N": 3477,
    "turns labelled H": 2644,
    "turns labelled S": 885,
    "turns labelled A": 792,
    "turns labelled O": 85,
    "turns labelled X": 555,
    "turns of scenario R": 620,
    "turns of scenario T": 652,
    "turns of scenario S": 4381,
    "turns of scenario P": 2785,
}

_VIDEO = re.compile(r"(?:UTD|MSP)-IMPROV-(?P<name>[A-Z0-9-]+)\.avi", re.IGNORECASE)
_NAME = re.compile(
    r"S(?P<sentence>\d\d)(?P<intended>[AHSN])-(?P<speaker>(?P<letter>[FM])0(?P<session>[1-6]))-(?P<scenario>[PRST])-"
    r"(?P<pair>[FM]{2})(?P<turn>\d+)"
)
_RATING = re.compile(r"(?P<key>[AVDN])\s*:\s*(?P<value>\S+)")
_DIMENSIONS = {"A": "activation", "V": "valence", "D": "dominance", "N": "naturalness"}


@dataclass
class _Turn:
    name: str
    line: int
    code: str
    ratings: dict[str, float]
    raters: set[str]
    sentence: str
    intended: str
    speaker: str
    letter: str
    session: str
    scenario: str
    pair: str
    audio: str = ""

    @property
    def utterance_id(self) -> str:
        return f"MSP-IMPROV-{self.name}"

    @property
    def dialogue(self) -> str:
        """The recording of one target sentence and emotion; nobody is spoken with where a sentence is read."""
        return "" if self.scenario == "R" else f"session{self.session}_S{self.sentence}{self.intended}"


def read_msp_improv(root: Path, *, allow_incomplete: bool = False) -> Recordings:
    """Reads the annotations of MSP-IMPROV and finds its recordings.

    Args:
      root: the folder with Evaluation.txt and session1 to session6 (these may be in Audio).
      allow_incomplete: whether to go on where files are missing or counts differ from the published ones.

    Returns:
      One row per evaluated turn, in the order of the label file. The emotion is the raters' consensus, O for another one
      and X for no agreement; the letter in the name, the emotion that was intended, is the column `intended`. Ids are the
      names of the audio files. The dialogue is one target sentence and emotion of a session; read sentences have none.
      Columns: `activation`, `valence`, `dominance`, `naturalness` (1 to 5 as in the file, NaN where unrated), `raters` (how
      many different ones), `intended`, `sentence`, `scenario` (see `SCENARIOS`), `scripted` (read), `pair` (the two
      letters before the turn's number), `gender`.

    Raises:
      InfoserError: for a folder that isn't MSP-IMPROV, a line that can't be read, or an incomplete corpus.
    """
    check_folder("MSP-IMPROV", root, LABEL_FILES)
    labels = next(root / name for name in LABEL_FILES if (root / name).is_file())
    turns, unread = _read_labels(labels)
    if not turns:
        raise InfoserError(f"{labels} labels no turn; expected lines such as 'UTD-IMPROV-S01A-F01-P-FM01.avi; N; A:3.1; …'")
    absent = []
    for turn in turns:
        places = [f"{above}{_place(turn)}" for above in ("Audio/", "")]
        turn.audio = next((place for place in places if (root / place).is_file()), "")
        if not turn.audio:
            absent.append(places[not (root / "Audio").is_dir()])
    differences = missing_audio(absent) + compare_counts(_counts(turns), PUBLISHED)
    differences = settle("MSP-IMPROV", root, differences, allow_incomplete)
    turns = [turn for turn in turns if turn.audio]
    if not turns:
        raise InfoserError(f"MSP-IMPROV in {root}: no labelled turn has its audio file, such as {absent[0]}")
    spoken = _find_transcripts(root, {turn.name for turn in turns})
    transcripts = [" ".join(read_text(spoken[turn.name]).split()) if turn.name in spoken else "" for turn in turns]
    return Recordings(
        name="msp_improv",
        root=root,
        utterance_id=strings(turn.utterance_id for turn in turns),
        audio=strings(turn.audio for turn in turns),
        emotion=strings(turn.code for turn in turns),
        speaker=strings(turn.speaker for turn in turns),
        transcript=strings(transcripts),
        session=strings(turn.session for turn in turns),
        dialogue=strings(turn.dialogue for turn in turns),
        columns={
            **{name: floats(turn.ratings[key] for turn in turns) for key, name in _DIMENSIONS.items()},
            "raters": np.array([len(turn.raters) for turn in turns], np.int64),
            "intended": strings(turn.intended for turn in turns),
            "sentence": strings(turn.sentence for turn in turns),
            "scenario": strings(turn.scenario for turn in turns),
            "scripted": np.array([turn.scenario == "R" for turn in turns]),
            "pair": strings(turn.pair for turn in turns),
            "gender": strings({"F": "female", "M": "male"}[turn.letter] for turn in turns),
        },
        provenance={
            "source": "MSP-IMPROV",
            "release": RELEASE,
            "label_file": labels.name,
            "counts": {
                "turns": len(turns),
                "emotions": tally([turn.code for turn in turns]),
                "sessions": tally([turn.session for turn in turns]),
                "speakers": tally([turn.speaker for turn in turns]),
                "scenarios": tally([turn.scenario for turn in turns]),
                "speakers_and_pairs": tally([turn.letter for turn in turns], [turn.pair for turn in turns]),
            },
            "differences": differences,
            "missing_audio": len(absent),
            "missing_transcripts": sum(not text for text in transcripts),
            "lines_outside_blocks": unread,
        },
    )


def _place(turn: _Turn) -> str:
    return f"session{turn.session}/S{turn.sentence}{turn.intended}/{turn.scenario}/{turn.utterance_id}.wav"


def _read_labels(path: Path) -> tuple[list[_Turn], int]:
    """The turns of the label file, and how many of its lines belong to none."""
    turns: dict[str, _Turn] = {}
    current: _Turn | None = None
    unread = 0
    for number, line in enumerate(read_text(path).split("\n"), 1):
        fields = [field.strip() for field in line.split(";")]
        if fields[0].upper().startswith(("UTD-IMPROV", "MSP-IMPROV")):
            current = _read_turn(fields, number, f"{path}, line {number}")
            if current.name in turns:
                first = turns[current.name].line
                raise InfoserError(f"{path}, line {number}: turn {current.name} was labelled in line {first} already")
            turns[current.name] = current
        elif not line.strip():
            current = None
        elif current is not None:
            current.raters.add(fields[0])  # some rated a turn twice
        else:
            unread += 1
    return list(turns.values()), unread


def _read_turn(fields: Sequence[str], number: int, where: str) -> _Turn:
    video = _VIDEO.fullmatch(fields[0])
    name = _NAME.fullmatch(video["name"].upper()) if video else None
    if name is None:
        raise InfoserError(
            f"{where}: {fields[0]!r} is no turn of MSP-IMPROV; expected a name such as UTD-IMPROV-S01A-F01-P-FM01.avi"
        )
    code = fields[1] if len(fields) > 1 else ""
    if code not in CODES:
        raise InfoserError(f"{where}: {code!r} is none of the emotion codes {', '.join(CODES)}")
    ratings = {}
    for field in filter(None, fields[2:]):
        rating = _RATING.fullmatch(field)
        try:
            if rating is None or rating["key"] in ratings:
                raise ValueError
            ratings[rating["key"]] = float(rating["value"])  # also 'NaN'
        except ValueError as error:
            raise InfoserError(f"{where}: expected A:, V:, D: and N: with a number or NaN once each, not {field!r}") from error
    lacking = [key for key in _DIMENSIONS if key not in ratings]
    if lacking:
        raise InfoserError(f"{where}: there is no {lacking[0]}: value ({_DIMENSIONS[lacking[0]]})")
    return _Turn(
        name=name[0],
        line=number,
        code=code,
        ratings=ratings,
        raters=set(),
        **{key: name[key] for key in ("sentence", "intended", "speaker", "letter", "session", "scenario", "pair")},
    )


def _find_transcripts(root: Path, names: set[str]) -> dict[str, Path]:
    """The transcript file of each of the turns that has one, wherever it lies under `root`.

    Raises:
      InfoserError: where two files are transcripts of one turn and differ.
    """
    found: dict[str, Path] = {}
    seen = {root.resolve()}
    for folder, folders, files in os.walk(root, followlinks=True):
        real = {each: Path(folder, each).resolve() for each in sorted(folders)}
        folders[:] = [each for each, place in real.items() if place not in seen]  # links may lead round
        seen |= set(real.values())
        for file in sorted(files):
            path = Path(folder, file)
            name = path.stem.removeprefix("MSP-IMPROV-").removeprefix("UTD-IMPROV-")
            if path.suffix.lower() != ".txt" or name not in names:
                continue
            if name in found and read_text(found[name]) != read_text(path):
                raise InfoserError(f"turn {name} has two different transcripts: {listed([str(found[name]), str(path)])}")
            found.setdefault(name, path)
    return found


def _counts(turns: Sequence[_Turn]) -> dict[str, int]:
    """The numbers that `PUBLISHED` speaks of."""
    counts = {"turns": len(turns)}
    counts |= {f"turns labelled {code}": number for code, number in tally([turn.code for turn in turns]).items()}
    return counts | {f"turns of scenario {each}": number for each, number in tally([turn.scenario for turn in turns]).items()}
