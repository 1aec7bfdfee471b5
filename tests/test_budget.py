"""What a budget allows: cells in their order, by rates that were measured."""

import json
from pathlib import Path
from typing import Any

import pytest

from infoser import budget, demo, experiment, presets
from infoser.errors import InfoserError
from infoser.parts import Part
from infoser.trainer import TIMES
from infoser.validation import seconds

RATES = budget.Rates({"align": 0.0, "generate": 0.001, "classify": 0.001}, {}, 0.0, frozenset())
FLAGS = ("--variants", "none", "noise", "--aligned-variants", "--data.no-text", "--folds", "session1")
FLAGS += ("--grid", "generate.ratio=0.5,1,2", "--classify.steps", "100")


def choice(budget_s: float, *flags: str, there: tuple[Part, ...] = (), rates: budget.Rates = RATES) -> budget.Choice:
    config, corpus = presets.parse(["demo", *FLAGS, *flags]), demo.sample(size=200).without_text()
    return budget.choose(config, corpus, there, experiment.asked_for(config, corpus), rates, budget_s)


# A head of 100 steps takes 0.1 s. A fold and seed: base has none, noise and its probe; the other cells noise and its probe.
BASE_S, CELL_S = 0.3, 0.2


@pytest.mark.parametrize("budget_s, cells", [(0.0, 0), (0.31, 1), (0.49, 1), (0.51, 2), (0.71, 3), (9.0, 3)])
def test_cells_come_in_their_order(budget_s: float, cells: int) -> None:
    found = choice(budget_s)
    order = ["", "generate.ratio=0.5", "generate.ratio=2"]
    assert list(dict.fromkeys(cell for part in found.todo for cell, _ in part.arms)) == order[:cells]
    assert found.left == (cells < 3) and found.seconds == pytest.approx(bool(cells) * BASE_S + max(0, cells - 1) * CELL_S)
    words = ["will be finished"] * cells + ["won't"] * (3 - cells)
    names = ["base configuration", *order[1:]]
    assert found.lines == [f"{name} × seed 0: {word}" for name, word in zip(names, words, strict=True)]


def test_seeds_are_left_where_not_all_of_the_first_cell_fit() -> None:
    found = choice(2 * BASE_S + 0.01, "--seeds", "3", "4", "5", "6")
    assert [(part.seeds, part.arms) for part in found.todo] == [((3, 4), (("", "none"), ("", "noise")))]
    assert found.lines[:3] == [
        "base configuration × seeds 3, 4: will be finished",
        "base configuration × seeds 5, 6: won't",
        "generate.ratio=0.5 × seeds 3, 4, 5, 6: won't",
    ]


def test_what_is_there_goes_first_and_costs_little_if_it_was_finished() -> None:
    there = (Part((0,), ("session1",), (("", "none"), ("", "noise"))),)
    assert choice(BASE_S + CELL_S + 0.01, there=there).todo == [Part((0,), ("session1",), (("generate.ratio=0.5", "noise"),))]
    finished = budget.Rates(RATES.step_s, {}, 0.0, frozenset({"encoder"}))
    assert len(choice(2 * CELL_S + 0.01, there=there, rates=finished).todo[0].arms) == 2


def test_rates_are_read_whatever_a_killed_process_left(tmp_path: Path) -> None:
    assert budget.measured(tmp_path) is None
    group: dict[str, Any] = {
        "what": "classify",
        "runs": 4,
        "steps": 100,
        "seconds": 6.0,
        "first_chunk_steps": 20,
        "first_chunk_s": 2.0,
    }
    lines = [group, {"what": "branch", "folder": "encoder", "heads": 8, "seconds": 2.0}]
    (tmp_path / TIMES).write_text("".join(json.dumps(one) + "\n" for one in lines) + 'null\n{"what": "classi')
    rates = budget.measured(tmp_path)
    assert rates is not None
    assert rates.step_s == {"classify": pytest.approx(4.0 / 80 / 4)} and rates.compile_s == {"classify": pytest.approx(1.0)}
    assert rates.head_s == pytest.approx(0.25) and rates.restored == {"encoder"}
    assert rates.of("generate", 4, 100) == pytest.approx(1.0 + 5.0)  # as the slowest that is known


@pytest.mark.parametrize("text, expected", [("2h", 7200), ("30m", 1800), ("90s", 90), ("1h30m", 5400), ("1h1m1s", 3661)])
def test_times_are_read_and_said(text: str, expected: int) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "2", "h", "1.5h", "0m", "-1h", "30m1h", "2 h", "٢h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InfoserError, match="give a time such as 2h"):
        seconds(text)


def test_times_in_words() -> None:
    assert [budget.said(each) for each in (3.4, 75.0, 7500.0)] == ["3 s", "1 min 15 s", "2 h 05 min"]
