"""Settings that depart from their defaults, as they would be typed."""

import dataclasses
import shlex

from infoser.presets import PRESETS
from infoser.report.sources import differing_settings


def test_what_has_several_words_is_told_from_its_neighbours() -> None:
    candidates = ("none", "noise generate.ratio=2", "none classify.dropout=0.7 classify.steps=600")
    _, demo = PRESETS["demo"]
    config = dataclasses.replace(demo, candidates=candidates, seeds=(0, 1), variants=("none", "noise"))
    shown = {one["setting"]: one["value"] for one in differing_settings(config)}
    assert shown["--candidates"] == "none 'noise generate.ratio=2' 'none classify.dropout=0.7 classify.steps=600'"
    assert tuple(shlex.split(shown["--candidates"])) == candidates
    assert shown["--seeds"] == "0 1" and shown["--variants"] == "none noise"
