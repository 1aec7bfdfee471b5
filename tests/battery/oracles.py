"""Where is the limit of generating? On the demo corpus: rows of the true distribution beside those that were learnt.

By hand: python tests/battery/oracles.py [--times 1 4] [--seeds 0] [any flag of train.py]. `true × n` are n times as many
fresh rows as the corpus has labelled ones, of class, audio and text as the demo draws them, from speakers that are in no fold:
what a generator that knew everything would add. They train beside the real rows like an export of `eval.py generate`. Against
them stand `infogan` and `infogan-notext`. Each at all labels and at a tenth of them (the true rows stay as many); UA less that
of `none`, mean over folds, with a 95 % interval (Student's t over folds, seeds averaged; folds share most of their training
rows).

The other oracles are commands: held-back real rows are the learning curve of `none` (`train.py iemocap --variants none --grid
label-fraction=1,0.5,0.25`), the test speakers' own statistics are `--data.normalise speaker`.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from scipy import stats
from scripts import run

from infoser import demo, synthetic

FRACTIONS = "1,0.1"


def prepared(times: int, folder: Path) -> str:
    """The demo with so many true rows as a corpus below `folder`; its name."""
    real, name = demo.sample(), f"true{times}"
    more = demo.sample(seed=1000 + times, size=2 * times * demo.SIZE)
    rows = np.flatnonzero(more.labelled)[: times * int(real.labelled.sum())]
    nothing = np.zeros(0, np.uint64)
    assert real.text is not None and more.text is not None and real.session is not None
    emotion = [np.array([*one.classes, ""])[one.label] for one in (real, more)]
    arrays = {
        "utterance_id": np.concatenate([real.utterance_id, [f"true{number}" for number in range(len(rows))]]),
        "audio": np.concatenate([real.audio, more.audio[rows]]),
        "text": np.concatenate([real.text, more.text[rows]]),
        "emotion": np.concatenate([emotion[0], emotion[1][rows]]),
        "speaker": np.concatenate([real.speaker, np.full(len(rows), "")]),
        "session": np.concatenate([real.session, np.full(len(rows), "")]),
        synthetic.SYNTHETIC: np.arange(len(real) + len(rows)) >= len(real),
        synthetic.MADE_FROM: np.concatenate([np.full(len(real), ""), np.full(len(rows), synthetic.set_name(nothing))]),
        f"made_from_{synthetic.set_name(nothing)}": nothing,
    }
    np.savez(folder / f"{name}.npz", **arrays)  # pyright: ignore[reportArgumentType]
    run("datasets/prepare.py", "arrays", "--source", folder / f"{name}.npz", "--name", name, "--data-dir", folder)
    return name


def recalls(folder: Path) -> dict[tuple[str, str, str], np.ndarray]:
    """UA of each fold by cell, modality and variant."""
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in json.loads((folder / "results.json").read_text())["rows"]:
        if row["subset"] == "all" and row["aggregate"] not in ("mean", "pooled"):
            found.setdefault((row["cell"], row["modality"], row["variant"]), {})[row["aggregate"]] = row["ua"]
    return {key: np.array([own[fold] for fold in sorted(own)]) for key, own in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    arguments, flags = parser.parse_known_args()
    flags += ["--seeds", *map(str, arguments.seeds), "--grid", f"label-fraction={FRACTIONS}"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        demo_flags = ["--aligned-variants", "--variants", "none", "infogan-notext", "infogan"]
        run("train.py", "demo", "--run-dir", folder / "real", *demo_flags, *flags)
        base = recalls(folder / "real")
        said = {key: own for key, own in base.items() if key[2] != "none"}
        for times in arguments.times:
            name = prepared(times, folder)
            which = ["corpus", "--data.name", name, "--data-dir", folder, "--variants", "none"]
            run("train.py", *which, "--run-dir", folder / f"run-{name}", *flags)
            said |= {(cell, m, f"true × {times}"): own for (cell, m, _), own in recalls(folder / f"run-{name}").items()}
    truth = demo.truth()
    print(f"the best UA for unseen speakers: audio {100 * truth.bayes_ua_audio:.1f}, both {100 * truth.bayes_ua_both:.1f}")
    for (cell, modality, what), own in sorted(said.items()):
        none = base[cell, modality, "none"]
        gain = own - none
        half = stats.t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain))
        print(
            f"{cell or 'all labels':20} {modality:6} {what:16} none {100 * none.mean():.1f}, with it {100 * own.mean():.1f}, "
            f"{100 * gain.mean():+.1f} ± {100 * half:.1f}"
        )


if __name__ == "__main__":
    main()
