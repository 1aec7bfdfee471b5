"""`--help` says of every flag, in a sentence, what it does."""

import re
import textwrap
from collections.abc import Callable
from typing import Any


def flags_and_texts(page: str) -> dict[str, str]:
    """Each flag of a help page with what is said of it, on one line."""
    lines = [line.strip("│").rstrip()[1:] for line in page.splitlines() if line.startswith("│")]
    said: dict[str, str] = {}
    flags: list[str] = []
    naming = False
    for line in lines:
        if line.startswith(("--", "-h")):
            flags, naming = re.findall(r"--[a-z][a-z0-9.-]*", line.split("{")[0].split("[")[0]) or ["-h"], True
            said.update(dict.fromkeys(flags, ""))
        elif line.startswith("      "):
            naming = False
            for flag in flags:
                said[flag] += " " + line.strip()
        elif not naming:  # a heading
            flags = []
    return {flag: textwrap.dedent(text).strip() for flag, text in said.items()}


def test_every_flag_of_training_is_explained(in_new_process: Callable[..., Any]) -> None:
    outcome = in_new_process("train.py", "iemocap", "--help")
    assert outcome.status == 0
    explained = flags_and_texts(outcome.out)
    assert len(explained) >= 90
    short = {flag for flag, text in explained.items() if len(re.sub(r"\((default|required).*", "", text)) < 20}
    assert short == set()
