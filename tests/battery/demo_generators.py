"""Every generator and condition on the demo corpus, whose truth is known: with the information terms, and without.

By hand: python tests/battery/demo_generators.py [--folds N] [--variants …] [--json FILE | --from FILE]. Trains each variant
twice, with the default weights of the information terms and with all of them at 0, and holds the generated rows against
further utterances of the same speakers (`infoser.demo.further_utterances`), which nothing was trained on. Entries are means
over folds with a 95 % interval (Student's t over folds, which share most of their training rows, so it says little of other
corpora):

  I true    E[ln p(c|ĥ)] + ln 4 by the true posterior of an unseen speaker; it can be negative, and real rows get `real`
  I fresh   the same by a q fitted afresh, a lower bound on I(c;ĥ)
  FD ratio  Fréchet distance over that of as many fresh real rows
  KID, C2ST; nearer: share of rows nearer to their training rows than to as many others; AUC: of being nearer to training rows
            than fresh real rows are; of a generator from text, beside fresh audio of the very texts that it was given, since
            text alone brings rows nearer to those it is of (`infoser.demo.audio_again`)
"""

import argparse
import contextlib
import io
import json
import math
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from scipy.stats import t

from infoser import demo, experiment, inspection, presets
from infoser.metrics.panel import PanelOptions
from infoser.variants import GENERATORS

OFF = [f"--generate.{term}-mi-weight" for term in ("class", "text", "pair")]
LEFT_OUT = ("cgan",)  # infogan without its terms
#: Has neither class nor recogniser: its rows are labelled by a teacher.
TAUGHT = "diffusion-unconditional"
PANEL = {"C2ST": ("two_sample_accuracy", 3), "KID": ("kid", 4)}
MEMORY = {"nearer": ("memorised_nearer_to_train_share", 3), "AUC": ("memorised_auc", 3)}
INFORMATION = {"I true": "class_information_by_true_posterior_nats", "I fresh": "class_information_nats"}


def measured(folder: Path, variants: list[str], folds: list[str], seeds: list[int], *flags: str) -> list[dict[str, Any]]:
    arguments = ["demo", "--run-dir", str(folder), "--aligned-variants", "--variants", *variants, "--folds", *folds]
    config = presets.parse([*arguments, "--seeds", *map(str, seeds), *flags])
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        experiment.train(config)
        return inspection.inspect(inspection.Request(folder, options=PanelOptions(repeats=3)))["rows"]


def entry(row: dict[str, Any], decimals: int) -> str:
    folds = row["runs"]
    half = "" if row["standard_error"] is None else f" ± {t.ppf(0.975, folds - 1) * row['standard_error']:.{decimals}f}"
    return f"{row['value']:.{decimals}f}{half}"


def train_all(variants: list[str], folds: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The rows of the panels, with the information terms on and off; diffusion has no such terms."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for terms, flags in {"on": (), "off": tuple(part for flag in OFF for part in (flag, "0"))}.items():
            own = [name for name in variants if name != TAUGHT and (terms == "on" or GENERATORS[name].model == "gan")]
            found[terms] = measured(Path(folder) / terms, own, folds, [0], *flags) if own else []
        if TAUGHT in variants:
            found["on"] += measured(Path(folder) / TAUGHT, [TAUGHT], folds, [0], "--generate.label-by", "teacher")
    return found


def cells_of(own: dict[tuple[str, str], dict[str, Any]]) -> list[str]:
    """What a variant's row says, from its rows by reference and measure."""
    frechet = own[inspection.SAME_SPEAKERS, "frechet"]
    ratio, error = frechet["value"] / frechet["real"], frechet["standard_error"]
    half = "" if error is None else f" ± {t.ppf(0.975, frechet['runs'] - 1) * error / frechet['real']:.2f}"
    cells = [entry(own["", measure], 3) for measure in INFORMATION.values()] + [f"{ratio:.2f}{half}"]
    cells += [entry(own[inspection.SAME_SPEAKERS, measure], decimals) for measure, decimals in PANEL.values()]
    beside = inspection.SAME_TEXTS if (inspection.SAME_TEXTS, "frechet") in own else inspection.SAME_SPEAKERS
    return cells + [entry(own[beside, measure], decimals) for measure, decimals in MEMORY.values()]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--variants", nargs="+", default=[name for name in GENERATORS if name not in LEFT_OUT])
    parser.add_argument("--json", type=Path, help="keep what was found")
    parser.add_argument("--from", type=Path, dest="kept", help="print the table of what was kept")
    arguments = parser.parse_args()
    folds = [f"session{number + 1}" for number in range(arguments.folds)]
    headings = ["variant", "terms", *INFORMATION, "FD ratio", *PANEL, *MEMORY]
    table = Table(*headings, title=f"demo corpus of {demo.SIZE}, {len(folds)} folds, seed 0")
    found = json.loads(arguments.kept.read_text()) if arguments.kept else train_all(arguments.variants, folds)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))
    real: list[str] = []
    for variant in arguments.variants:
        for terms, rows in found.items():
            own = {
                (row["reference"], row["measure"]): row
                for row in rows
                if row["variant"] == variant and row["class"] == inspection.ALL and row["modality"] == "audio"
            }
            if not own:
                continue
            table.add_row(variant, terms if GENERATORS[variant].model == "gan" else "–", *cells_of(own))
            real = real or [
                *(f"{own['', measure]['real']:.3f}" for measure in INFORMATION.values()),
                "1",
                *(f"{own[inspection.SAME_SPEAKERS, m]['real']:.{d}f}" for m, d in (PANEL | MEMORY).values()),
            ]
    table.add_row("real rows", "", *real)
    Console(width=170).print(
        table, f"I(c;h) of the model: {demo.truth().class_audio_information_nats:.3f}; ln 4 = {math.log(4):.3f}"
    )


if __name__ == "__main__":
    main()
