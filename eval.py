"""Evaluates a run folder: python eval.py score RUN [--data-dir DIR] [--details]."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from infoser import run_folder
from infoser.commandline import refuse_repeated_flags, run_command


@dataclass(frozen=True)
class Score:
    """Restore every run from its checkpoint, predict its test part anew, and print the scores."""

    run_dir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run folder."""
    data_dir: Path | None = None
    """Where the corpus is, if it was moved since training."""
    details: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also print every fold and the confusion matrices."""


COMMANDS = {"score": Score}


def main(argv: Sequence[str]) -> None:
    """Runs the command line `argv` (without the program's name)."""
    refuse_repeated_flags(argv)
    command: Score = tyro.extras.subcommand_cli_from_dict(COMMANDS, args=argv, prog="eval.py")
    # Imported after parsing: help and mistakes in flags need no JAX.
    from infoser import demo, experiment
    from infoser.report import tables

    results = experiment.score(command.run_dir, command.data_dir)
    out = tables.console()
    tables.print_results(results, out, details=command.details)
    if results["provenance"]["corpus"]["name"] == "demo":
        tables.print_demo_truth(results, demo.truth(), out)
    print(run_folder.compare(command.run_dir, results))


if __name__ == "__main__":
    sys.exit(run_command(main))
