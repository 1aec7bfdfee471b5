"""Does choosing on dev parts do harm elsewhere? `selected` against `none` on the demo and two corpora of other shapes.

By hand: python tests/battery/other_corpora.py [--corpora demo many few] [--folder FOLDER] [any flag of train.py]. The corpora:

  demo  4 classes, 24 + 32 features, 10 speakers in 5 sessions
  many  8 classes, the rarest a 25th of the commonest; 192 + 96 features of heavy tails; 24 speakers, no sessions
  few   3 classes of 66, 25 and 9 %; 16 audio features, no text; 8 speakers with 60 utterances each

Each is trained by `train.py … --select dev` with its committed candidates and the given flags; a line for each input says what
`selected` is less `none`, both chosen alike, with the 95 % interval over speakers.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from scripts import run


def synthetic(
    classes: int, ratio: float, widths: tuple[int, int], speakers: int, utterances: int, seed: int
) -> dict[str, np.ndarray]:
    """An `.npz`'s arrays: class means, a latent that audio and text share, offsets of speakers, and noise of Student's t.

    Args:
      classes: number of emotions.
      ratio: of the rarest class' share to the commonest's; those between fall geometrically.
      widths: of audio and text; no text at 0.
      speakers: number of them.
      utterances: of each speaker.
      seed: of all draws.
    """
    rng = np.random.default_rng(seed)
    prior = ratio ** (np.arange(classes) / (classes - 1))
    label = rng.choice(classes, speakers * utterances, p=prior / prior.sum())
    speaker = np.repeat(np.arange(speakers), utterances)
    latent = rng.standard_normal((len(label), 4))
    arrays = {}
    for name, width, spread in zip(("audio", "text"), widths, (1.0, 0.4), strict=True):
        if not width:
            continue
        # Squared distances between class means do not grow with the width.
        means = 2.2 * rng.standard_normal((classes, width)) / np.sqrt(width)
        offsets = spread * rng.standard_normal((speakers, 6)) @ np.linalg.qr(rng.standard_normal((width, 6)))[0].T
        shared = 1.5 * np.tanh(latent) @ np.linalg.qr(rng.standard_normal((width, 4)))[0].T
        noise = rng.standard_t(5, (len(label), width))
        arrays[name] = (means[label] + offsets[speaker] + shared + noise).astype(np.float32)
    return arrays | {
        "utterance_id": np.array([f"u{number:05d}" for number in range(len(label))]),
        "speaker": np.array([f"s{one:02d}" for one in speaker]),
        "emotion": np.array([f"emotion{one}" for one in label]),
    }


CORPORA = {
    "many": {"classes": 8, "ratio": 1 / 25, "widths": (192, 96), "speakers": 24, "utterances": 100, "seed": 1},
    "few": {"classes": 3, "ratio": 1 / 7, "widths": (16, 0), "speakers": 8, "utterances": 60, "seed": 2},
}


def compared(name: str, folder: Path, flags: list[str]) -> list[str]:
    """A line for each input and label fraction."""
    which = ["demo"]
    if name != "demo":
        source = folder / f"{name}.npz"
        np.savez(source, **synthetic(**CORPORA[name]))  # pyright: ignore[reportArgumentType]
        run("datasets/prepare.py", "arrays", "--source", source, "--name", name, "--data-dir", folder)
        which = ["corpus", "--data.name", name]
    runs = folder / "runs" / name
    run("train.py", *which, "--data-dir", folder, "--run-dir", runs, "--select", "dev", "--variants", "none", *flags)
    lines = []
    for row in json.loads((runs / "results.json").read_text())["rows"]:
        if row["variant"] == "selected" and row["subset"] == "all" and row["aggregate"] == "pooled":
            low, high = row["ua_minus_none_low"], row["ua_minus_none_high"]
            gain, ua = row["ua_minus_none"], row["ua"]
            said = f"{100 * gain:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
            lines.append(
                f"{name}, {row['cell']}, {row['modality']}: none {100 * (ua - gain):.1f}, selected {100 * ua:.1f}, {said}"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpora", nargs="+", default=["demo", *CORPORA], choices=["demo", *CORPORA])
    parser.add_argument("--folder", type=Path, help="keep the corpora and run folders there")
    arguments, flags = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        lines = [line for name in arguments.corpora for line in compared(name, folder, flags)]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
