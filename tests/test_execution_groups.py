"""How many groups an experiment trains, told from its settings."""

import dataclasses
from typing import Any

import pytest

from infoser.cells import sweep
from infoser.config import GenerateConfig
from infoser.execution import count_groups, planned
from infoser.parts import Part
from infoser.presets import PRESETS


@pytest.mark.parametrize(
    ("changes", "has_text", "groups"),
    [
        ({"variants": ("none", "noise", "smote")}, True, 3),  # heads of three modalities
        ({"variants": ("none", "noise")}, False, 1),
        ({"variants": ("none", "infogan-notext")}, False, 2),
        ({"variants": ("none", "cgan", "infogan", "infogan-wrong-text")}, True, 5),  # one structure, and its aligners
        ({"variants": ("none", "infogan", "infogan-notext", "diffusion", "infogan-paired")}, True, 8),
        ({"variants": ("none",), "space": "aligned"}, True, 4),
        ({"variants": ("none",), "space": "joined"}, True, 4),
        ({"variants": ("none", "teacher")}, True, 4),
        ({"variants": ("none", "infogan-notext"), "generate": GenerateConfig(keep_by="consensus")}, True, 5),
        ({"variants": ("none", "noise"), "generate": GenerateConfig(label_by="teacher")}, True, 3),  # nobody to teach
    ],
)
def test_groups_of_a_branch(changes: dict[str, Any], has_text: bool, groups: int) -> None:
    config = dataclasses.replace(PRESETS["iemocap"][1], **changes)
    part = Part(config.seeds, ("session1",), tuple(sweep(config, has_text=has_text).arms))
    assert count_groups(planned(config, [part]), modalities=3 if has_text else 1, n_classes=4) == groups
