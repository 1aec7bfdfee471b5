"""From the folder of IEMOCAP, as it is shipped, to `Recordings`: consensus labels, speakers, transcripts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from completeness import (
    check_folder,
    compare_counts,
    floats,
    is_hidden,
    listed,
    missing_audio,
    settle,
    strings,
    tally,
)

from infoser.errors import InfoserError
from infoser.recordings import Recordings

CLASS_MAPS: dict[str, tuple[str, ...]] = {
    "4": ("ang=ang", "hap+exc=hap,exc", "neu=neu", "sad=sad"),
    "6": ("ang=ang", "exc=exc", "fru=fru", "hap=hap", "neu=neu", "sad=sad"),
}
DEFAULT_CLASSES = "4"

RELEASE = "full release"
SESSIONS = ("1", "2", "3", "4", "5")
CODES = ("ang", "hap", "exc", "sad", "neu", "fru", "fea", "sur", "dis", "oth", "xxx")
_FOUR = {code: item.partition("=")[0] for item in CLASS_MAPS["4"] for code in item.partition("=")[2].split(",")}


def _published() -> dict[str, int]:
    counts = {"turns": 10_039}
    codes = {"ang": 1103, "hap": 595, "exc": 1041, "sad": 1084, "neu": 1708, "fru": 1849}
    codes |= {"fea": 40, "sur": 107, "dis": 2, "oth": 3, "xxx": 2507}
    counts |= {f"turns labelled {code}": number for code, number in codes.items()}
    counts |= {"4-class turns, improvised": 2943, "4-class turns, scripted": 2588}
    # Of the 4-class task: neu, hap+exc, ang, sad; then the female and the male speaker.
    table = {
        "1": (384, 278, 229, 194, 528, 557),
        "2": (362, 327, 137, 197, 481, 542),
        "3": (320, 286, 240, 305, 522, 629),
        "4": (258, 303, 327, 143, 528, 503),
        "5": (384, 442, 170, 245, 590, 651),
    }
    for session, row in table.items():
        keys = [f"session {session}, {name}" for name in ("neu", "hap+exc", "ang", "sad")]
        keys += [f"speaker Ses0{session}F", f"speaker Ses0{session}M"]
        counts |= {f"4-class turns, {key}": number for key, number in zip(keys, row, strict=True)}
    return counts


# The 4-class counts by session and speaker are those that papers on the corpus give; tests put others in their place.
PUBLISHED = _published()

_LABEL = re.compile(
    r"\[(?P<start>[0-9.]+) - (?P<end>[0-9.]+)\]\t(?P<id>\S+)\t(?P<code>\S+)\t"
    r"\[(?P<valence>[^,\]]+), *(?P<activation>[^,\]]+), *(?P<dominance>[^,\]]+)\]"
)
_ID = re.compile(r"(?P<dialogue>Ses0(?P<session>[1-5])[FM]_(?P<kind>impro|script)[0-9A-Za-z_]+)_(?P<letter>[FM])\d{3}")
_TRANSCRIPT = re.compile(r"(?P<id>Ses\w+) \[[0-9. -]+\]: ?(?P<text>.*)")


@dataclass(frozen=True)
class _Turn:
    utterance_id: str
    dialogue: str
    session: str
    letter: str
    scripted: bool
    code: str
    start_s: float
    end_s: float
    valence: float
    activation: float
    dominance: float

    @property
    def speaker(self) -> str:
        return f"Ses0{self.session}{self.letter}"

    @property
    def audio(self) -> str:
        return f"Session{self.session}/sentences/wav/{self.dialogue}/{self.utterance_id}.wav"


def read_iemocap(root: Path, *, allow_incomplete: bool = False) -> Recordings:
    """Reads the annotations of IEMOCAP and finds its recordings.

    Args:
      root: the folder with Session1 to Session5 (IEMOCAP_full_release).
      allow_incomplete: whether to go on where files are missing or counts differ from the published ones.

    Returns:
      One row per labelled turn, by session, dialogue and time. The emotion is the raters' consensus code. The speaker is
      the session with the letter of the turn's last token: the dialogue's own letter tells who wore the markers.
      Columns: `valence`, `activation`, `dominance` (1 to 5), `dialogue_start_s`, `dialogue_end_s` (the turn within its
      dialogue; the audio is a file of its own), `scripted`, `gender`.

    Raises:
      InfoserError: for a folder that isn't IEMOCAP, a line that can't be read, or an incomplete corpus.
    """
    check_folder("IEMOCAP", root, [f"Session{session}" for session in SESSIONS])
    turns: list[_Turn] = []
    spoken: dict[str, str] = {}
    differences: list[str] = []
    silent: list[str] = []
    skipped = {"transcript_lines_without_id": 0, "transcripts_repeated": 0}
    for session in SESSIONS:
        labels = root / f"Session{session}" / "dialog" / "EmoEvaluation"
        # Single raters have folders in there, with files of the same names.
        files = [path for path in sorted(labels.glob("*.txt")) if path.is_file() and not is_hidden(path)]
        if not files:
            differences.append(f"no label file in {labels.relative_to(root).as_posix()}")
        for path in files:
            turns += _read_labels(path, session)
        folder = root / f"Session{session}" / "dialog" / "transcriptions"
        files = [path for path in sorted(folder.glob("*.txt")) if not is_hidden(path)]
        if not files:
            silent.append(folder.relative_to(root).as_posix())
        for path in files:
            _read_transcripts(path, spoken, skipped)
    _refuse_repeats(turns)
    absent = [turn.audio for turn in turns if not (root / turn.audio).is_file()]
    differences += missing_audio(absent)
    if silent:
        differences.append(f"no transcript file in {', '.join(silent)}")
    differences += compare_counts(_counts(turns), PUBLISHED)
    differences = settle("IEMOCAP", root, differences, allow_incomplete)
    known = {turn.utterance_id for turn in turns}
    left_out = set(absent)
    turns = [turn for turn in turns if turn.audio not in left_out]
    if not turns:
        raise InfoserError(f"IEMOCAP in {root}: no labelled turn has its audio file, such as {listed(absent[:1]) or 'any'}")
    transcripts = [spoken.get(turn.utterance_id, "") for turn in turns]
    return Recordings(
        name="iemocap",
        root=root,
        utterance_id=strings(turn.utterance_id for turn in turns),
        audio=strings(turn.audio for turn in turns),
        emotion=strings(turn.code for turn in turns),
        speaker=strings(turn.speaker for turn in turns),
        transcript=strings(transcripts),
        session=strings(turn.session for turn in turns),
        dialogue=strings(turn.dialogue for turn in turns),
        columns={
            "valence": floats(turn.valence for turn in turns),
            "activation": floats(turn.activation for turn in turns),
            "dominance": floats(turn.dominance for turn in turns),
            "dialogue_start_s": floats(turn.start_s for turn in turns),
            "dialogue_end_s": floats(turn.end_s for turn in turns),
            "scripted": np.array([turn.scripted for turn in turns]),
            "gender": strings({"F": "female", "M": "male"}[turn.letter] for turn in turns),
        },
        provenance={
            "source": "IEMOCAP",
            "release": RELEASE,
            "counts": {
                "turns": len(turns),
                "emotions": tally([turn.code for turn in turns]),
                "sessions": tally([turn.session for turn in turns]),
                "speakers": tally([turn.speaker for turn in turns]),
            },
            "differences": differences,
            "missing_audio": len(absent),
            "missing_transcripts": sum(not text for text in transcripts),
            "transcripts_without_label": len(spoken.keys() - known),
            **skipped,
        },
    )


def _read_labels(path: Path, session: str) -> list[_Turn]:
    """The turns of one dialogue; lines that don't start with '[' are the raters' own, or comments."""
    turns = []
    for number, line in enumerate(_lines(path), 1):
        if not line.startswith("["):
            continue
        label = _LABEL.fullmatch(line.rstrip())
        name = _ID.fullmatch(label["id"]) if label else None
        if label is None or name is None:
            raise InfoserError(
                f"{path}, line {number}: expected '[start - end]', id, emotion and '[V, A, D]' between tabs, "
                f"not {line.rstrip()[:80]!r}; take the file from the corpus again"
            )
        if name["session"] != session:
            raise InfoserError(f"{path}, line {number}: turn {label['id']!r} is of session {name['session']}, not {session}")
        if label["code"] not in CODES:
            raise InfoserError(f"{path}, line {number}: {label['code']!r} is none of the emotion codes {', '.join(CODES)}")
        numbers = {}
        for key in ("start", "end", "valence", "activation", "dominance"):
            try:
                numbers[key] = float(label[key])
            except ValueError as error:
                raise InfoserError(f"{path}, line {number}: {key} {label[key]!r} is not a number") from error
        turns.append(
            _Turn(
                utterance_id=label["id"],
                dialogue=name["dialogue"],
                session=session,
                letter=name["letter"],
                scripted=name["kind"] == "script",
                code=label["code"],
                start_s=numbers["start"],
                end_s=numbers["end"],
                valence=numbers["valence"],
                activation=numbers["activation"],
                dominance=numbers["dominance"],
            )
        )
    return sorted(turns, key=lambda turn: (turn.start_s, turn.utterance_id))


def _read_transcripts(path: Path, spoken: dict[str, str], skipped: dict[str, int]) -> None:
    """Adds what was said in one dialogue, by turn; counts the lines that name no turn, or one that has a text already."""
    for line in _lines(path):
        found = _TRANSCRIPT.fullmatch(line.strip())
        if found is None:
            skipped["transcript_lines_without_id"] += bool(line.strip())
        elif found["id"] in spoken:
            skipped["transcripts_repeated"] += 1
        else:
            spoken[found["id"]] = found["text"].strip()


def _lines(path: Path) -> list[str]:
    """Lines in Latin-1, split at line feeds only: other bytes that Unicode calls line ends stand within transcripts."""
    try:
        return path.read_bytes().decode("latin-1").split("\n")
    except OSError as error:
        raise InfoserError(f"{path} can't be read: {error.strerror or error}") from error


def _refuse_repeats(turns: Sequence[_Turn]) -> None:
    names = tally([turn.utterance_id for turn in turns])
    repeated = [name for name, count in names.items() if count > 1]
    if repeated:
        raise InfoserError(f"IEMOCAP: turns are labelled in two files of EmoEvaluation: {listed(repeated)}; keep one of them")


def _counts(turns: Sequence[_Turn]) -> dict[str, int]:
    """The numbers that `PUBLISHED` speaks of."""
    counts = {"turns": len(turns)}
    counts |= {f"turns labelled {code}": number for code, number in tally([turn.code for turn in turns]).items()}
    four = [turn for turn in turns if turn.code in _FOUR]
    keys = [f"session {turn.session}, {_FOUR[turn.code]}" for turn in four]
    keys += [f"speaker {turn.speaker}" for turn in four]
    keys += ["scripted" if turn.scripted else "improvised" for turn in four]
    return counts | {f"4-class turns, {key}": number for key, number in tally(keys).items()}
