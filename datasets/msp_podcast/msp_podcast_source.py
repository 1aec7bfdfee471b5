"""From the folder of MSP-Podcast, as it is shipped, to `Recordings`: consensus labels, speakers, official splits."""

import csv
import io
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from completeness import (
    check_folder,
    compare_counts,
    floats,
    is_hidden,
    listed,
    missing_audio,
    read_text,
    settle,
    strings,
    tally,
)

from infoser.errors import InfoserError
from infoser.recordings import Recordings

CLASS_MAPS: dict[str, tuple[str, ...]] = {
    "4": ("ang=A", "hap=H", "neu=N", "sad=S"),
    "5": ("ang=A", "dis=D", "hap=H", "neu=N", "sad=S"),
    "8": ("ang=A", "con=C", "dis=D", "fea=F", "hap=H", "neu=N", "sad=S", "sur=U"),
}
DEFAULT_CLASSES = "4"

CODES = ("A", "S", "H", "U", "F", "D", "C", "N", "O", "X")
COLUMNS = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")
LABEL_FILES = ("labels_consensus.csv", "labels_concensus.csv")  # 1.8 and before spell it in the second way
UNKNOWN = "Unknown"  # a speaker without a name: ties no utterances, see infoser/links.py
DEVELOPMENT = "Development"
HIDDEN = "Test3"  # its labels, speakers and transcripts are not released

_SPLITS = {"train": "Train", "development": DEVELOPMENT, "validation": DEVELOPMENT}
_SPLITS |= {f"test{number}": f"Test{number}" for number in ("", 1, 2, 3)}


def _published() -> dict[str, dict[str, int]]:
    table = {
        "Train": (16_518, 8564, 1839, 1680),
        DEVELOPMENT: (2529, 1320, 621, 302),
        "Test1": (4702, 3475, 622, 505),
        "Test2": (2260, 926, 136, 161),
    }
    return {
        "1.8": {
            f"{split} turns labelled {code}": n for split, row in table.items() for code, n in zip("NHAS", row, strict=True)
        },
        "1.11": {"turns": 151_654, "Train turns": 84_030, f"{DEVELOPMENT} turns": 19_815}
        | {"Test1 turns": 30_647, "Test2 turns": 14_815, "Test3 turns": 2347},
        "1.12": {"turns": 207_136},
        "2.0": {f"{DEVELOPMENT} turns": 34_399, "Test1 turns": 46_294, "Test2 turns": 14_822},
    }


# By release: what the corpus' page and papers say, as far as it is exact. Tests put other numbers in their place.
PUBLISHED = _published()

_RELEASE = re.compile(r"[vV]?(\d+(?:\.\d+)+)")
_FILE = re.compile(r"MSP-PODCAST_(?P<recording>[A-Za-z0-9]+)(?:_[A-Za-z0-9]+)+\.wav", re.ASCII)


@dataclass(frozen=True)
class _Turn:
    file: str
    code: str
    activation: float
    valence: float
    dominance: float
    speaker: str
    gender: str
    split: str

    @property
    def recording(self) -> str:
        """The podcast that the turn comes from; '' where it is hidden too."""
        found = _FILE.fullmatch(self.file)
        return found["recording"] if found and found["recording"].isdecimal() else ""

    @property
    def audio(self) -> str:
        return f"Audios/{self.file}"


def read_msp_podcast(root: Path, *, release: str, allow_incomplete: bool = False) -> Recordings:
    """Reads the annotations of a release of MSP-Podcast and finds its recordings.

    Args:
      root: the folder with Audios, Labels and Transcripts.
      release: such as 1.8, 1.11 or 2.0; for others there are no published counts to compare with.
      allow_incomplete: whether to go on where files are missing or counts differ from the published ones.

    Returns:
      One row per turn of the label file, then the turns of Test3 whose labels are hidden (emotion '', speaker Unknown).
      Splits are Train, Development (in older releases: Validation), Test1, Test2, Test3. The dialogue is the podcast, by
      which speakers named Unknown are clustered. Columns: `activation`, `valence`, `dominance` (1 to 7, NaN where hidden),
      `gender` ('' where unknown).

    Raises:
      InfoserError: for a folder that isn't MSP-Podcast, a line that can't be read, or an incomplete corpus.
    """
    number = _RELEASE.fullmatch(release.strip())
    if number is None:
        raise InfoserError(f"--release {release!r}: expected the number of a release of MSP-Podcast, such as 1.11")
    release = number[1]
    check_folder("MSP-Podcast", root, ("Labels", "Audios"))
    places = [root / "Labels" / name for name in LABEL_FILES]
    labels = next((place for place in places if place.is_file()), None)
    if labels is None:
        raise InfoserError(f"MSP-Podcast in {root}: there is neither Labels/{' nor Labels/'.join(LABEL_FILES)}")
    turns = _read_labels(labels)
    there = _audio_files(root / "Audios")
    named = {turn.file for turn in turns}
    hidden = sorted(file for file in there - named if file.casefold().startswith("msp-podcast_test3_"))
    turns += [_Turn(file, "", math.nan, math.nan, math.nan, UNKNOWN, "", HIDDEN) for file in hidden if _FILE.fullmatch(file)]
    unlisted = len(there - {turn.file for turn in turns})
    absent = [turn.audio for turn in turns if turn.file not in there]
    differences = missing_audio(absent) + compare_counts(_counts(turns), PUBLISHED.get(release, {}))
    differences = settle(f"MSP-Podcast {release}", root, differences, allow_incomplete)
    if release not in PUBLISHED:
        known = ", ".join(PUBLISHED)
        differences.append(f"release {release} was not compared with published counts: there are some for {known} only")
    turns = [turn for turn in turns if turn.file in there]
    if not turns:
        raise InfoserError(f"MSP-Podcast in {root}: no labelled turn has its audio file, such as {listed(absent[:1]) or 'any'}")
    transcripts = [_transcript(root, turn.file) for turn in turns]
    return Recordings(
        name="msp_podcast",
        root=root,
        utterance_id=strings(Path(turn.file).stem for turn in turns),
        audio=strings(turn.audio for turn in turns),
        emotion=strings(turn.code for turn in turns),
        speaker=strings(turn.speaker for turn in turns),
        transcript=strings(transcripts),
        dialogue=strings(turn.recording for turn in turns),
        split=strings(turn.split for turn in turns),
        columns={
            "valence": floats(turn.valence for turn in turns),
            "activation": floats(turn.activation for turn in turns),
            "dominance": floats(turn.dominance for turn in turns),
            "gender": strings(turn.gender for turn in turns),
        },
        provenance={
            "source": "MSP-Podcast",
            "release": release,
            "label_file": labels.name,
            "counts": {
                "turns": len(turns),
                "emotions": tally([turn.code for turn in turns]),
                "splits": tally([turn.split for turn in turns]),
                "speakers": len({turn.speaker for turn in turns} - {UNKNOWN}),
                "recordings": len({turn.recording for turn in turns} - {""}),
            },
            "differences": differences,
            "missing_audio": len(absent),
            "missing_transcripts": sum(not text for text in transcripts),
            "unknown_speakers": sum(turn.speaker == UNKNOWN for turn in turns),
            "audio_without_label": unlisted,
        },
    )


def _read_labels(path: Path) -> list[_Turn]:
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        lacking = [name for name in COLUMNS if header.count(name) != 1]
        if lacking:
            raise InfoserError(f"{path}, line 1: expected the columns {', '.join(COLUMNS)} once each; wrong: {lacking[0]}")
        turns: dict[str, _Turn] = {}
        for row in reader:
            if not row:
                continue
            where = f"{path}, line {reader.line_num}"
            if len(row) != len(header):
                raise InfoserError(f"{where}: has {len(row)} values, but the header names {len(header)} columns")
            turn = _read_turn(dict(zip(header, (value.strip() for value in row), strict=True)), where)
            if turn.file in turns:
                raise InfoserError(f"{where}: {turn.file} is listed a second time; keep one of its lines")
            turns[turn.file] = turn
    except csv.Error as error:
        raise InfoserError(f"{path}, line {reader.line_num}: is not CSV: {error}") from error
    return list(turns.values())


def _read_turn(row: Mapping[str, str], where: str) -> _Turn:
    if not _FILE.fullmatch(row["FileName"]):
        raise InfoserError(f"{where}: FileName {row['FileName']!r} is no file of the corpus, such as MSP-PODCAST_0001_0008.wav")
    split = _SPLITS.get(row["Split_Set"].casefold())
    if split is None:
        raise InfoserError(f"{where}: Split_Set {row['Split_Set']!r} is none of {', '.join(dict.fromkeys(_SPLITS.values()))}")
    code = row["EmoClass"]
    if code not in CODES:
        if code and split != HIDDEN:
            raise InfoserError(f"{where}: EmoClass {code!r} is none of the emotion codes {', '.join(CODES)}")
        code = ""
    numbers = []
    for column in ("EmoAct", "EmoVal", "EmoDom"):
        try:
            numbers.append(float(row[column] or "nan"))
        except ValueError as error:
            raise InfoserError(f"{where}: {column} {row[column]!r} is not a number") from error
    gender = row["Gender"].casefold()
    return _Turn(
        row["FileName"],
        code,
        *numbers,
        speaker=row["SpkrID"] if row["SpkrID"].casefold() not in ("", "unknown") else UNKNOWN,
        gender=gender if gender in ("female", "male") else "",
        split=split,
    )


def _audio_files(folder: Path) -> set[str]:
    """The names of the wav files in `folder`; one listing is much faster than asking for each of 200,000 names."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {
            each.name for each in entries if each.name.endswith(".wav") and not is_hidden(Path(each.name)) and each.is_file()
        }


def _transcript(root: Path, file: str) -> str:
    path = root / "Transcripts" / f"{Path(file).stem}.txt"
    return " ".join(read_text(path).split()) if path.is_file() else ""


def _counts(turns: Sequence[_Turn]) -> dict[str, int]:
    """The numbers that `PUBLISHED` speaks of."""
    counts = {"turns": len(turns)}
    counts |= {f"{split} turns": number for split, number in tally([turn.split for turn in turns]).items()}
    by_label = tally([turn.split for turn in turns], [turn.code for turn in turns])
    return counts | {f"{key.replace(' ', ' turns labelled ')}": number for key, number in by_label.items()}
