"""Writes miniature MSP-IMPROV folders: invented turns in the corpus' own layout, with all that is easily read wrongly.

From datasets/: python -m msp_improv.make_dummy_data
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tones import write_tone

DUMMY_DATA = Path(__file__).parent / "dummy_data"
CODES = ("A", "H", "N", "S")
WORDS = {"A": "furious", "H": "glad", "N": "fine", "S": "unhappy"}
JUNK = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X\xff\xfe"


def write_miniature(
    folder: Path, *, sessions: int = 3, codes: Sequence[str] = CODES, repeats: int = 4, audio_folder: bool = True
) -> None:
    """Writes sessions of two speakers who each speak every emotion `repeats` times, in scenarios P, R, S and T by turns.

    No turn's label is the emotion that was intended. Session 1 has two more turns, an O by F01 and an X by M01. The first
    turn of all has no transcript, the second an empty one, and the third has its own beside the audio.

    Args:
      folder: where Evaluation.txt goes.
      sessions: how many, up to 6.
      codes: the emotions.
      repeats: turns of each speaker and emotion.
      audio_folder: whether the sessions lie in Audio, as in some copies of the corpus.
    """
    blocks: list[str] = []
    numbers: Counter[str] = Counter()
    for session in range(1, sessions + 1):
        turns = [(letter, code, repeat) for repeat in range(repeats) for code in codes for letter in "FM"]
        if session == 1:
            turns += [("F", "O", 2), ("M", "X", 0)]
        for letter, code, repeat in turns:
            intended = "AHNS"[("AHNS".find(code) + 1) % 4]
            scenario = "PRST"[repeat % 4]
            pair = {"R": letter * 2, "P": "MF"}.get(scenario, "FM")
            scene = f"S0{1 + repeat // 4}{intended}"
            stem = f"{scene}-{letter}0{session}-{scenario}-{pair}"
            numbers[stem] += 1
            name = f"{stem}{numbers[stem]:02d}"
            index = len(blocks)
            place = folder / ("Audio" if audio_folder else "") / f"session{session}" / scene / scenario
            emotion = CODES.index(code) if code in CODES else len(CODES)
            write_tone(place / f"MSP-IMPROV-{name}.wav", emotion, seed=index)
            if index == 0:
                (place / f"._MSP-IMPROV-{name}.wav").write_bytes(JUNK)
            _write_transcript(folder, place, name, index, f"I am {WORDS.get(code, 'here')}, call {index}\n")
            blocks.append(_block(name, code, index))
    (folder / "Evaluation.txt").write_text("\n".join(blocks), encoding="utf-8")


def _block(name: str, code: str, index: int) -> str:
    activation = "NaN" if index == 1 else f"{1 + index % 5:.1f}"
    dominance = "NaN" if index == 2 else "3.0"
    raters = ["ab12-p1; Surprised; Angry,Other (well; so); A:1.0; V:5.0; D:1.0; N:3.0;"]
    raters += ["cd34-p1; Neutral; Neutral; A:2.0; V:2.0; D:NaN; N:3.0;"] * (2 if index == 0 else 1)
    return "\n".join([f"UTD-IMPROV-{name}.avi; {code}; A:{activation}; V:2.9; D:{dominance} ; N:4.2;", *raters, ""])


def _write_transcript(folder: Path, place: Path, name: str, index: int, text: str) -> None:
    if index == 0:
        return
    transcripts = folder / "Human_transcriptions" / "All_human_transcriptions"
    if index == 2:
        transcripts = place
    transcripts.mkdir(parents=True, exist_ok=True)
    (transcripts / f"MSP-IMPROV-{name}.txt").write_text("" if index == 1 else text, encoding="utf-8")
    (transcripts / f"._MSP-IMPROV-{name}.txt").write_bytes(JUNK)


if __name__ == "__main__":
    write_miniature(DUMMY_DATA, sessions=1, codes=("N",), repeats=1)
