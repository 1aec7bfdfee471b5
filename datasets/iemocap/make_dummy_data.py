"""Writes miniature IEMOCAP folders: invented turns in the corpus' own layout, with all that is easily read wrongly.

From datasets/: python -m iemocap.make_dummy_data
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tones import write_tone

DUMMY_DATA = Path(__file__).parent / "dummy_data"
CODES = ("ang", "exc", "fru", "hap", "neu", "sad")
WORDS = {"ang": "furious", "exc": "thrilled", "fru": "annoyed", "hap": "glad", "neu": "fine", "sad": "unhappy"}
JUNK = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X\xff\xfe\n[0.0 - 1.0]\tSes01F_impro01_F900\tang\t[1, 1, 1]\n"


def write_miniature(folder: Path, *, sessions: int = 3, codes: Sequence[str] = CODES, repeats: int = 2) -> None:
    """Writes sessions of two speakers who each speak every emotion `repeats` times, alternately improvised and scripted.

    Session 1 has two more turns: an xxx in its improvised dialogue, said by the woman, and an oth in the scripted one, said
    by the man. In each session, the first turn of the scripted dialogue has no transcript.
    """
    for session in range(1, sessions + 1):
        turns: dict[str, list[tuple[str, str, str]]] = {}
        numbers: Counter[str] = Counter()

        def add(dialogue: str, letter: str, code: str, turns=turns, numbers=numbers) -> None:
            said_by = f"{dialogue}_{letter}"
            turns.setdefault(dialogue, []).append((f"{said_by}{numbers[said_by]:03d}", letter, code))
            numbers[said_by] += 1

        # The letter in a dialogue's name is that of the actor with the markers; both speak.
        dialogues = (f"Ses0{session}F_impro01", f"Ses0{session}M_script01_1b")
        for repeat in range(repeats):
            for code in codes:
                for letter in "FM":
                    add(dialogues[repeat % 2], letter, code)
        if session == 1:
            add(dialogues[0], "F", "xxx")
            add(dialogues[1], "M", "oth")
        for dialogue, spoken in turns.items():
            _write_dialogue(folder / f"Session{session}", dialogue, spoken)


def _write_dialogue(folder: Path, dialogue: str, turns: Sequence[tuple[str, str, str]]) -> None:
    labels = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    said = []
    for index, (utterance, letter, code) in enumerate(turns):
        start, end = 6.0 + index, 6.5 + index
        valence, activation = 1.0 + index % 9 / 2, 5.0 - index % 7 / 2
        labels += [f"[{start:.4f} - {end:.4f}]\t{utterance}\t{code}\t[{valence:.4f}, {activation:.4f}, 2.5000]"]
        # Single raters, who may disagree, and what the speaker reported.
        labels += ["C-E2:\tSurprise;\t()", f"C-{letter}1:\tAnger; Other;\t(self)", "A-E3:\tval 3; act 2; dom  2;\t()", ""]
        if index or "impro" in dialogue:
            word = WORDS.get(code, "here")
            said.append(f"{utterance} [{start:08.4f}-{end:08.4f}]: I am {word}, call {index} at the café\x85 [LAUGHTER]")
        said += ["M: Yeah.", f"{dialogue}_{letter}XX{index} [{end:08.4f}-{end + 0.2:08.4f}]: Mhm."]
        seed = sum(map(ord, utterance)) * 1000 + index
        emotion = CODES.index(code) if code in CODES else len(CODES)
        write_tone(folder / "sentences" / "wav" / dialogue / f"{utterance}.wav", emotion, seed)
    annotations = folder / "dialog" / "EmoEvaluation"
    transcripts = folder / "dialog" / "transcriptions"
    for place in (annotations / "Categorical", transcripts):
        place.mkdir(parents=True, exist_ok=True)
    (annotations / f"{dialogue}.txt").write_text("\n".join(labels) + "\n", encoding="latin-1")
    (annotations / f"._{dialogue}.txt").write_bytes(JUNK)
    (annotations / "Categorical" / f"{dialogue}_e2_cat.txt").write_text(f"{turns[0][0]} :Surprise; ()\n", encoding="latin-1")
    (transcripts / f"{dialogue}.txt").write_text("\n".join(said) + "\n", encoding="latin-1")
    (transcripts / f"._{dialogue}.txt").write_bytes(JUNK)
    (folder / "sentences" / "wav" / dialogue / f"._{turns[0][0]}.wav").write_bytes(JUNK)


if __name__ == "__main__":
    write_miniature(DUMMY_DATA, sessions=1, codes=("neu",), repeats=1)
