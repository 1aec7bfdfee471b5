"""Generators of every kind, what labels and selects their rows, and the joined space, by the commands."""

import json
from typing import Any

import pytest


@pytest.fixture(scope="module")
def trained(run_train: Any, tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("generators")
    variants = ("none", "teacher", "infogan-wrong-text", "infogan-unconditional", "diffusion-wrong-text")
    flags = ("--variants", *variants, "--aligned-variants", "--joined-variants", "none", "infogan", "--folds", "session3")
    flags += ("--generate.label-by", "teacher", "--generate.keep-by", "teacher", "--generate.fill", "minority")
    flags += ("--generate.curriculum", 0.5, "--generate.noise-levels", 5, "--augment.teacher-parts", 2)
    outcome = run_train("demo", "--data-dir", folder, "--run-dir", folder / "run", *flags, *tiny)
    assert outcome.status == 0, outcome.err
    return folder / "run", variants, outcome


def test_every_variant_and_the_joined_space_have_their_rows(trained: Any) -> None:
    folder, variants, _ = trained
    results = json.loads((folder / "results.json").read_text())
    found = {(row["variant"], row["cell"]) for row in results["rows"]}
    assert found == {(name, "") for name in variants} | {("none", "space=joined"), ("infogan", "space=joined")}
    held = {(row["variant"], row["cell"]): row for row in results["quality"] if row["modality"] == "audio"}
    # What a teacher adds are real rows: there is nothing generated to look at.
    assert set(held) == {(name, "") for name in (*variants[2:], "real")} | {
        ("real", "space=joined"),
        ("infogan", "space=joined"),
    }
    for (variant, _), row in held.items():
        if variant != "real":
            assert 0 <= row["trts_ua"] <= 1 and 0 <= row["recovered_ua"] <= 1


def test_it_is_said_that_other_text_is_lent(trained: Any) -> None:
    notes = " ".join(json.loads((trained[0] / "results.json").read_text())["notes"])
    assert "infogan-wrong-text: of another class" in notes


def test_scoring_anew_gives_the_same(trained: Any, run_eval: Any) -> None:
    outcome = run_eval("score", trained[0])
    assert outcome.status == 0 and "to the last digit" in outcome.out, outcome.err


def test_structures_of_generators_train_by_flags(run_train: Any, tiny: Any, groups: Any, tmp_path: Any) -> None:
    flags = ("--variants", "none", "infogan", "--aligned-variants", "--folds", "session3")
    flags += ("--generate.loss", "non-saturating", "--generate.critic-steps", 2, "--generate.discriminator", "auxiliary")
    flags += ("--generate.spectral-norm", "--generate.pack", 2, "--generate.unlabelled-weight", 0.5)
    flags += ("--generate.class-mi-estimator", "mine", "--generate.text-mi-estimator", "club", "--generate.critic", "bilinear")
    flags += ("--generate.keep-by", "consensus", "--generate.label-by", "recogniser", "--generate.fill", "prior")
    flags += ("--align.mi-estimator", "smile", "--align.critic", "distance")
    outcome = run_train("demo", "--data-dir", tmp_path, "--run-dir", tmp_path / "run", *flags, *tiny)
    assert outcome.status == 0, outcome.err
    (metrics,) = (tmp_path / "run").rglob("generate/*/metrics.jsonl")
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert {"auxiliary", "unlabelled", "r1", "recogniser", "class_information", "text_information"} <= set(lines[-1])
    assert groups(tmp_path / "run")
