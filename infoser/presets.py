"""The command line of training: presets as subcommands, every setting a flag."""

from collections.abc import Sequence
from pathlib import Path

import tyro

from infoser import ablations, candidates, cells
from infoser.commandline import refuse_repeated_flags
from infoser.config import Config, Data
from infoser.errors import InfoserError
from infoser.validation import validate
from infoser.variants import CORE_VARIANTS

PRESETS: dict[str, tuple[str, Config]] = {
    "demo": (
        "A small corpus of its own, whose truth is known: all stages in under three minutes.",
        Config(
            data=Data("demo"),
            run_dir=Path("runs/demo"),
            variants=("none", "noise", "infogan"),
            aligned_variants=("none", "infogan"),
        ),
    ),
    "iemocap": (
        "IEMOCAP, 4 classes, leave-one-session-out.",
        Config(data=Data("iemocap"), run_dir=Path("runs/iemocap"), variants=CORE_VARIANTS, seeds=(0, 1, 2)),
    ),
    "corpus": (
        "Any prepared corpus, by --data.name.",
        Config(data=Data(tyro.MISSING), run_dir=Path("runs/corpus")),
    ),
}


def parse(argv: Sequence[str]) -> Config:
    """The configuration that a command line asks for.

    Raises:
      InfoserError: from `validate`, `cells.sweep` and `candidates.selections`.
      SystemExit: from the parser, which has then said what is wrong.
    """
    refuse_repeated_flags(argv, repeatable=("--grid",))
    config = tyro.extras.overridable_config_cli(PRESETS, args=argv, prog="train.py")
    if not config.ablate and "--ablate" in argv:
        raise InfoserError(f"--ablate needs at least one name: {', '.join(ablations.NAMES)}")
    for flag, values in (("--candidates", config.candidates), ("--none-candidates", config.none_candidates)):
        if not values and flag in argv:
            raise InfoserError(f'{flag} needs at least two candidates, such as none "noise generate.ratio=2"')
    validate(config)
    candidates.selections(config)
    cells.check_primary(cells.sweep(config), config)
    return config
