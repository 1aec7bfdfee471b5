"""`eval.py quality`: what it measures of a run folder's added rows, what it writes, and what it refuses."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from infoser import inspection


@pytest.fixture(scope="module")
def inspected(demo: Any, run_eval: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("quality") / "run"
    shutil.copytree(demo.folder, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspection, "_Q_STEPS", 40)
        outcome = run_eval("quality", folder, "--folds", "session2", "--repeats", 2, "--most-rows", 200, "--details")
    assert outcome.status == 0, outcome.err
    return folder, outcome


def rows(folder: Path, **wanted: object) -> list[dict[str, Any]]:
    found = json.loads((folder / "panel.json").read_text())["rows"]
    return [row for row in found if all(row[key] == value for key, value in wanted.items())]


def measure(folder: Path, variant: str, name: str, **wanted: object) -> dict[str, Any]:
    (row,) = rows(folder, variant=variant, measure=name, **{"cell": "", "modality": "audio", "class": "all"} | wanted)
    return row


def test_every_variant_that_adds_rows_has_a_panel_beside_real_rows(inspected: tuple[Path, Any]) -> None:
    folder, _ = inspected
    assert {(row["variant"], row["cell"]) for row in rows(folder)} == {
        ("noise", ""),
        ("infogan", ""),
        ("infogan", "space=aligned"),
    }
    for reference in (inspection.TEST, inspection.SAME_SPEAKERS):
        for variant in ("noise", "infogan"):
            panel = measure(folder, variant, "frechet", reference=reference)
            assert panel["value"] > panel["real"] > 0 and panel["rows"] >= 30 and panel["runs"] == 1
            assert panel["standard_error"] is None  # a single fold says nothing of the spread
    # Other speakers are another distribution, which training rows show and fresh rows of the same speakers do not.
    shift = {one: measure(folder, "noise", "two_sample_accuracy", reference=one) for one in (inspection.TEST, "same speakers")}
    assert shift["same speakers"]["train"] < 0.6 < shift[inspection.TEST]["train"]


def test_an_untrained_generator_is_found_out_and_noisy_copies_are_called_near(inspected: tuple[Path, Any]) -> None:
    folder, _ = inspected
    told = measure(folder, "infogan", "two_sample_accuracy", reference=inspection.SAME_SPEAKERS)
    assert told["value"] > 0.9 and told["p"] < 0.01 and abs(told["real"] - 0.5) < 0.1
    near = measure(folder, "noise", "memorised_nearer_to_train_share", reference=inspection.SAME_SPEAKERS)
    assert near["value"] > 0.6 and abs(near["real"] - 0.5) < 0.1


def test_information_has_its_null_and_its_ceiling(inspected: tuple[Path, Any]) -> None:
    folder, _ = inspected
    held = measure(folder, "noise", "class_information_nats", reference="")
    assert held["null"] < 0.1 < held["value"] < held["ceiling"] and held["real"] < held["ceiling"]
    exact = measure(folder, "noise", "class_information_by_true_posterior_nats", reference="")
    assert 0 < exact["value"] < exact["real"] < 1.3863  # noise takes away
    text = measure(folder, "infogan", "text_information_nats", reference="")
    assert text["ceiling"] > 3 and text["value"] < text["ceiling"]
    assert not rows(folder, variant="noise", measure="text_information_nats")
    assert not rows(folder, cell="space=aligned", measure="class_information_by_true_posterior_nats")


def test_both_files_say_the_same_and_the_tables_name_every_measure(inspected: tuple[Path, Any]) -> None:
    folder, outcome = inspected
    with (folder / "panel.csv").open(newline="") as file:
        of_csv = list(csv.DictReader(file))
    of_json = rows(folder)
    assert len(of_csv) == len(of_json)
    assert [float(row["value"]) for row in of_csv] == [row["value"] for row in of_json]
    for word in (
        "Reference: test part; class: all",
        "class: neutral",
        "Fréchet",
        "C2ST",
        "real rows",
        "true posterior",
        "ceiling",
    ):
        assert word in outcome.out
    assert (folder / "results.json").read_bytes()  # what training wrote stays


@pytest.mark.parametrize(
    "flags, said",
    [
        (("--variants", "cgan"), "--variants cgan"),
        (("--folds", "session9"), "--folds session9"),
        (("--seeds", "7"), "--seeds 7"),
        (("--repeats", "1"), "ask for 2 or more"),
        (("--variants", "none"), "none of its variants adds rows"),
    ],
)
def test_what_the_run_folder_does_not_have_is_refused(demo: Any, run_eval: Any, flags: tuple[str, ...], said: str) -> None:
    outcome = run_eval("quality", demo.folder, *flags)
    assert outcome.status == 2 and said in outcome.err and "Traceback" not in outcome.err
    assert not (demo.folder / "panel.json").exists()
