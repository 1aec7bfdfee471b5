"""What a budget allows: cells in their order, by rates that were measured."""

import json
from pathlib import Path
from typing import Any

import pytest

from infoser import budget, demo, experiment, final_folder, presets
from infoser.errors import InfoserError
from infoser.parts import Part
from infoser.trainer import TIMES
from infoser.validation import seconds

RATES = budget.Rates({"align": 0.0, "generate": 0.001, "classify": 0.001}, {}, 0.0, frozenset())
FLAGS = ("--variants", "none", "noise", "--aligned-variants", "--data.no-text", "--folds", "session1")
FLAGS += ("--grid", "generate.ratio=0.5,1,2", "--classify.steps", "100")


def choice(
    budget_s: float, *flags: str, there: tuple[Part, ...] = (), rates: budget.Rates = RATES, **final: bool
) -> budget.Choice:
    config, corpus = presets.parse(["demo", *FLAGS, *flags]), demo.sample(size=200).without_text()
    refit = budget.Final(experiment.plans_of_final(config), **final) if config.final else None
    return budget.choose(config, corpus, there, experiment.asked_for(config, corpus), rates, budget_s, refit)


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


# The final refit of noise: one head of 100 steps for each seed, without a probe.
FINAL = ("--final", "--final-variant", "noise")
FINAL_S, ALL_S = 0.1, BASE_S + 2 * CELL_S


@pytest.mark.parametrize(
    "budget_s, cells, final", [(ALL_S - 0.01, 2, False), (ALL_S + 0.09, 3, False), (ALL_S + 0.11, 3, True)]
)
def test_the_final_refit_comes_last(budget_s: float, cells: int, final: bool) -> None:
    found = choice(budget_s, *FINAL)
    assert (len({cell for part in found.todo for cell, _ in part.arms}), found.final) == (cells, final)
    assert found.left is not final
    assert found.lines[-1] == "final refit of noise × seed 0: " + ("will be finished" if final else "won't")
    assert found.seconds == pytest.approx(BASE_S + (cells - 1) * CELL_S + final * FINAL_S)


def test_without_it_no_final_refit_is_spoken_of() -> None:
    found = choice(9.0)
    assert not found.final and not any("final" in line for line in found.lines)


def test_a_final_refit_takes_as_much_as_its_seeds() -> None:
    found = choice(9.0, *FINAL, "--seeds", "3", "4")
    assert found.lines[-1] == "final refit of noise × seeds 3, 4: will be finished"
    assert found.seconds == pytest.approx(2 * (ALL_S + FINAL_S))


def test_a_final_refit_that_was_begun_goes_first_and_one_that_was_finished_costs_nothing() -> None:
    begun = choice(BASE_S + FINAL_S + 0.01, *FINAL, begun=True)
    assert begun.final and begun.left and begun.seconds == pytest.approx(BASE_S + FINAL_S)
    assert begun.lines[0].startswith("base configuration") and begun.lines[-1].endswith("will be finished")
    assert len(begun.todo) == 1 and choice(BASE_S + 0.01, *FINAL, begun=True).todo == []
    finished = choice(BASE_S + 0.01, *FINAL, begun=True, finished=True)
    assert finished.final and len(finished.todo) == 1 and finished.seconds == pytest.approx(BASE_S)
    assert not any("final" in line for line in finished.lines)
    # What is finished for the encoder's space by its folds says nothing of the refit, which lies elsewhere.
    rates = budget.Rates(RATES.step_s, {}, 0.0, frozenset({"encoder"}))
    assert choice(9.0, *FINAL, rates=rates).seconds == pytest.approx(FINAL_S)


def test_the_folder_says_whether_a_final_refit_was_begun_or_finished(tmp_path: Path) -> None:
    config = presets.parse(["demo", *FLAGS, *FINAL, "--run-dir", str(tmp_path)])

    def state() -> tuple[bool, bool]:
        return budget._state_of_final(config)

    assert state() == (False, False)
    (tmp_path / "final" / "noise").mkdir(parents=True)
    assert state() == (True, False)
    for variant, finished in (("none", False), ("noise", True)):
        final_folder.write_final(tmp_path, variant, (0,))
        assert state() == (True, finished)
    (tmp_path / "final" / "variant.json").write_text("{")
    assert state() == (True, False)


def test_what_is_left_names_the_final_refit() -> None:
    asked = Part((0,), ("a",), (("", "none"), ("x", "noise")))
    config = presets.parse(["demo", *FLAGS, *FINAL])
    refit = budget.final_refit(config)
    assert budget.what_is_left([], asked, refit) == "the final refit of noise × seed 0 is left"
    left = [Part((0,), ("a",), (("x", "noise"),))]
    assert budget.what_is_left(left, asked, refit) == f"{budget.what_is_left(left, asked)}; and the {refit}"


def test_heads_take_what_heads_of_their_modality_do() -> None:
    flags = ("--variants", "none", "noise", "--aligned-variants", "--folds", "session1", "--classify.steps", "100")
    config, corpus = presets.parse(["demo", *flags]), demo.sample(size=200)

    def seconds_of(**step_s: float) -> float:
        rates = budget.Rates({name.replace("_", "/"): each for name, each in step_s.items()}, {}, 0.0, frozenset())
        return budget.choose(config, corpus, (), experiment.asked_for(config, corpus), rates, 1e9).seconds

    # Two heads for each modality, and a probe of audio.
    known = {"classify_audio": 0.001, "classify_text": 0.01, "classify_both": 0.011}
    assert seconds_of(**known) == pytest.approx(100 * (3 * 0.001 + 2 * 0.01 + 2 * 0.011))
    assert seconds_of(classify_audio=0.001, classify=0.01) == pytest.approx(100 * (3 * 0.001 + 4 * 0.01))
    assert seconds_of(classify_audio=0.001, classify_text=0.01) == pytest.approx(100 * (3 * 0.001 + 4 * 0.01))


@pytest.mark.parametrize("text", [True, False])
def test_a_calibration_measures_every_modality_that_is_trained(text: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_CALIBRATION_STEPS", 6)
    monkeypatch.setattr(budget, "_CALIBRATION_CHUNK", 2)
    sample = demo.sample(size=200)
    corpus = sample if text else sample.without_text()
    flags = ("--variants", "none", "noise", "--aligned-variants", "--folds", "session1", "--classify.width", "8")
    config = presets.parse(["demo", *flags])
    _, folds = experiment.plan_folds(config, corpus)
    rates = budget.calibrated(config, corpus, folds, experiment.asked_for(config, corpus).arms)
    stages = {f"classify/{modality}" for modality in (("audio", "text", "both") if text else ("audio",))}
    assert set(rates.step_s) == set(rates.compile_s) == stages and all(each > 0 for each in rates.step_s.values())
    assert rates.restored == frozenset()


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
    assert rates.of("classify/text", 4, 100) == pytest.approx(1.0 + 5.0)  # as heads of whatever modality
    with (tmp_path / TIMES).open("a") as file:
        file.write("\n" + json.dumps(group | {"modality": "audio", "seconds": 4.0}) + "\n")
    rates = budget.measured(tmp_path)
    assert rates is not None and rates.step_s["classify/audio"] == pytest.approx(2.0 / 80 / 4)
    assert rates.of("classify/text", 4, 100) == pytest.approx(1.0 + 5.0)


@pytest.mark.parametrize("text, expected", [("2h", 7200), ("30m", 1800), ("90s", 90), ("1h30m", 5400), ("1h1m1s", 3661)])
def test_times_are_read_and_said(text: str, expected: int) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "2", "h", "1.5h", "0m", "-1h", "30m1h", "2 h", "٢h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InfoserError, match="give a time such as 2h"):
        seconds(text)


def test_times_in_words() -> None:
    assert [budget.said(each) for each in (3.4, 75.0, 7500.0)] == ["3 s", "1 min 15 s", "2 h 05 min"]
