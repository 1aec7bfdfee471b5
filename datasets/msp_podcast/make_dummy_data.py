"""Writes miniature MSP-Podcast folders: invented turns in the corpus' own layout, with all that is easily read wrongly.

From datasets/: python -m msp_podcast.make_dummy_data
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tones import write_tone

DUMMY_DATA = Path(__file__).parent / "dummy_data"
WORDS = {"A": "furious", "C": "scornful", "D": "sick", "F": "afraid", "H": "glad", "N": "fine", "S": "unhappy", "U": "amazed"}
CODES = tuple(WORDS)
# Speaker 10 is in two test sets, as some are in the corpus.
SPEAKERS = {"Train": ("1", "2", "3", "4", "5", "6"), "Development": ("7", "8"), "Test1": ("9", "10"), "Test2": ("10", "11")}
HEADER = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"
JUNK = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X\xff\xfe"


def write_miniature(
    folder: Path,
    *,
    release: str = "1.11",
    codes: Sequence[str] = CODES,
    repeats: int = 2,
    speakers: Mapping[str, Sequence[str]] = SPEAKERS,
    hidden: int = 3,
    oddities: bool = True,
) -> None:
    """Writes turns of every speaker with each emotion `repeats` times, and a podcast for each speaker and split.

    Args:
      folder: where Audios, Labels and Transcripts go.
      release: before 1.9 the label file is spelt labels_concensus.csv, the dev split Validation, and there is no Test3.
      codes: the emotions.
      repeats: turns of each speaker and emotion.
      speakers: of each split.
      hidden: turns of Test3, of which there is only the audio.
      oddities: adds one podcast of unknown speakers each to Train (two turns, neutral and X) and Test1 (two, neutral and O;
        the former is stereo, 44.1 kHz), a file without a label, and files of a Mac. Without them, every turn has a transcript.
    """
    old = tuple(map(int, release.split("."))) < (1, 9)
    rows: list[str] = []

    def add(podcast: int, turn: int, code: str, speaker: str, split: str, **tone: int) -> None:
        name = f"MSP-PODCAST_{podcast:04d}_{turn:04d}"
        gender = "Unknown" if speaker == "Unknown" else ("Female", "Male")[int(speaker) % 2]
        said_split = "Validation" if old and split == "Development" else split
        rows.append(f"{name}.wav,{code},{1 + turn % 6}.2,4.0,2.6,{speaker},{gender},{said_split}")
        emotion = CODES.index(code) if code in CODES else len(CODES)
        write_tone(folder / "Audios" / f"{name}.wav", emotion, seed=podcast * 1000 + turn, **tone)
        if speaker != "Unknown":
            text = f"I am {WORDS.get(code, 'here')}, call {turn} of podcast {podcast}\n"
            (folder / "Transcripts" / f"{name}.txt").write_text(text, encoding="utf-8")

    for place in ("Audios", "Labels", "Transcripts"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    podcast = 0
    for split, names in speakers.items():
        for speaker in names:
            podcast += 1
            for turn, code in enumerate(each for each in codes for _ in range(repeats)):
                add(podcast, turn, code, speaker, split)
    if oddities:
        add(900, 1, "N", "Unknown", "Train")
        add(900, 2, "X", "Unknown", "Train")
        add(901, 1, "N", "Unknown", "Test1", sample_rate_hz=44_100, channels=2)
        add(901, 2, "O", "Unknown", "Test1")
        write_tone(folder / "Audios" / "MSP-PODCAST_0999_0001.wav", 0, seed=1)
        (folder / "Audios" / "._MSP-PODCAST_0001_0000.wav").write_bytes(JUNK)
        (folder / "Transcripts" / "._MSP-PODCAST_0001_0000.txt").write_bytes(JUNK)
    for number in range(1, (0 if old else hidden) + 1):
        write_tone(folder / "Audios" / f"MSP-PODCAST_test3_{number:04d}.wav", number % len(CODES), seed=number)
    labels = folder / "Labels" / ("labels_concensus.csv" if old else "labels_consensus.csv")
    labels.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    small = {"Train": ("1",), "Test1": ("9",)}
    write_miniature(DUMMY_DATA, codes=("A", "N"), repeats=1, speakers=small, hidden=1, oddities=False)
