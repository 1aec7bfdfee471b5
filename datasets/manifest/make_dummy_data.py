"""Writes miniature manifests with the audio files they list: invented recordings, as an example and for tests.

From datasets/: python -m manifest.make_dummy_data
"""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tones import DURATION_S, write_tone

DUMMY_DATA = Path(__file__).parent / "dummy_data"
EMOTIONS = ("anger", "joy", "calm")
COLUMNS: tuple[str, ...] = ("utterance_id", "audio", "emotion", "speaker", "transcript", "session")
COLUMNS += ("start_s", "end_s", "gender", "age", "score")


def miniature_rows(*, sessions: int = 3, emotions: Sequence[str] = EMOTIONS, repeats: int = 2) -> list[dict[str, Any]]:
    """Sessions of two speakers who each speak every emotion `repeats` times; None where a cell is empty.

    The last two rows are parts of one file; the first row has no transcript.
    """
    rows = []
    for session in range(1, sessions + 1):
        for letter in "ab":
            for repeat in range(repeats):
                for emotion in emotions:
                    name = f"s{session}{letter}_{emotion}_{repeat}"
                    row: dict[str, Any] = dict.fromkeys(COLUMNS)
                    row |= {
                        "utterance_id": name,
                        "audio": f"audio/{name}.wav",
                        "emotion": emotion,
                        "speaker": f"s{session}{letter}",
                    }
                    row |= {"transcript": f"Says “{emotion}”, {repeat} time(s)" if rows else None, "session": f"room {session}"}
                    row |= {"gender": "female" if letter == "a" else "male", "age": 20 + session, "score": repeat / 4 + 0.5}
                    rows.append(row)
    rows[-2] |= {"audio": "audio/long.wav", "start_s": 0.0, "end_s": DURATION_S}
    rows[-1] |= {"audio": "audio/long.wav", "start_s": DURATION_S}
    return rows


def write_miniature(folder: Path, *, suffix: str = ".csv", **size: Any) -> Path:
    """Writes a manifest (.csv, .tsv, .jsonl or .parquet) and its audio into `folder`; `size` is as for `miniature_rows`.

    Returns:
      The manifest.
    """
    rows = miniature_rows(**size)
    emotions = list(dict.fromkeys(row["emotion"] for row in rows))
    for index, row in enumerate(rows):
        whole = row["end_s"] is None and row["start_s"] is None
        duration_s = DURATION_S if whole else 2 * DURATION_S
        write_tone(folder / row["audio"], emotions.index(row["emotion"]), seed=index, duration_s=duration_s)
    manifest = folder / f"manifest{suffix}"
    if suffix == ".jsonl":
        lines = [json.dumps({key: cell for key, cell in row.items() if cell is not None}, ensure_ascii=False) for row in rows]
        manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), manifest)
    else:
        with manifest.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, delimiter="\t" if suffix == ".tsv" else ",", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return manifest


if __name__ == "__main__":
    write_miniature(DUMMY_DATA, sessions=1, emotions=("anger", "joy"), repeats=1)
