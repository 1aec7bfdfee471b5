"""One compilation for each stage and structure, however many folds, seeds and variants there are."""

from collections import Counter
from pathlib import Path
from typing import Any

from infoser import lifting


def test_each_structure_is_traced_once(run_train: Any, tiny: Any, tmp_path: Path) -> None:
    before = Counter(lifting.trace_counts)
    # Widths that no other test has, so that nothing is compiled already.
    widths = [flag for stage in ("align", "generate", "classify") for flag in (f"--{stage}.width", 11)]
    flags = [flag for flag in tiny if flag != 16 and not str(flag).endswith(".width")]
    variants = ("--variants", "none", "focal", "noise", "cgan", "infogan", "infogan-notext", "--aligned-variants")
    folds = ("--folds", "session1", "session2", "--seeds", 0, 1)
    outcome = run_train("demo", "--data-dir", tmp_path, "--run-dir", tmp_path / "run", *variants, *folds, *flags, *widths)
    assert outcome.status == 0, outcome.err
    traced = Counter(lifting.trace_counts) - before
    # align is label-free; generate has two structures (with text and without), classify three (the modalities).
    for function in ("init", "chunk"):
        assert {stage: traced[stage, function] for stage in ("align", "generate", "classify")} == {
            "align": 1,
            "generate": 2,
            "classify": 3,
        }
