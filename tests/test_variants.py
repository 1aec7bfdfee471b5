"""The table of variants, and what is refused of settings that contradict each other."""

import itertools
from typing import Any

import pytest

from infoser import demo, experiment, presets
from infoser.arms import Arm
from infoser.errors import InfoserError
from infoser.generators import new_structures
from infoser.variants import GENERATORS, VARIANTS


def test_what_trains_together_differs_in_numbers_only() -> None:
    assert set(GENERATORS) < set(VARIANTS)
    for one, other in itertools.combinations(GENERATORS.values(), 2):
        same = (one.model, one.by_class, one.text) == (other.model, other.by_class, other.text)
        assert same == (one.group == other.group), (one, other)


def test_what_a_variant_needs() -> None:
    needing = {name for name, recipe in GENERATORS.items() if recipe.needs_text}
    assert needing == set(GENERATORS) - {
        "infogan-notext",
        "infogan-unconditional",
        "diffusion-notext",
        "diffusion-unconditional",
    }
    conditioned = {name for name, recipe in GENERATORS.items() if recipe.conditioned_on_text}
    assert conditioned == needing - {"infogan-paired", "diffusion-paired"}
    assert GENERATORS["diffusion-wrong-text"].group == GENERATORS["diffusion"].group
    assert GENERATORS["infogan-wrong-text"].group == GENERATORS["infogan"].group == GENERATORS["cgan"].group


@pytest.mark.parametrize(("variant", "probe"), [("infogan", "infogan-wrong-text"), ("diffusion", "diffusion-wrong-text")])
def test_a_probe_of_wrong_text_is_the_generator_that_it_probes(variant: Any, probe: Any) -> None:
    one, other = (Arm(name, "", presets.parse(["demo"])) for name in (variant, probe))
    assert [count for _, _, count in new_structures([one, other], [], 4)] == [1]
    assert new_structures([other], [one], 4) == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--generate.pack", "3"), "--generate.pack 3: must divide --generate.batch-size 128"),
        (("--generate.pack", "0"), "--generate.pack"),
        (("--generate.critic-steps", "0"), "--generate.critic-steps"),
        (("--generate.keep-share", "0"), "--generate.keep-share"),
        (("--generate.curriculum", "1.5"), "--generate.curriculum"),
        (("--augment.teacher-parts", "1"), "--augment.teacher-parts must be at least 2"),
        (("--variants", "none", "diffusion", "--generate.keep-by", "discriminator"), "neither discriminator nor recogniser"),
        (("--variants", "none", "diffusion-notext", "--generate.keep-by", "consensus"), "teacher can judge it"),
        (
            ("--joined-variants", "none", "diffusion-paired", "--generate.label-by", "recogniser"),
            "--generate.label-by recogniser",
        ),
        (("--variants", "none", "diffusion", "--generate.curriculum", "0.5"), "add --generate.keep-by teacher"),
        (("--variants", "none", "diffusion-unconditional"), "add --generate.label-by teacher"),
        (("--space", "joined", "--aligned-variants", "--joined-variants", "none"), "--joined-variants adds to another space"),
        (("--joined-variants", "none", "none"), "--joined-variants names none more than once"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(flags: tuple[str, ...], said: str) -> None:
    with pytest.raises(InfoserError, match=said.replace("(", r"\(")):
        presets.parse(["demo", *flags])


def test_diffusion_may_be_judged_by_the_teacher() -> None:
    flags = ("--generate.keep-by", "teacher", "--generate.label-by", "teacher", "--generate.curriculum", "0.5")
    assert presets.parse(["demo", "--variants", "none", "diffusion", *flags]).generate.keep_by == "teacher"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--space", "joined", "--aligned-variants"), "no text features here to align audio with"),
        (("--joined-variants", "none", "--aligned-variants", "--variants", "none"), "the joined space can't be had"),
        (("--variants", "none", "diffusion", "--aligned-variants"), "try --variants none diffusion-notext"),
        (("--variants", "none", "infogan-text-alone", "--aligned-variants"), "try --variants none infogan-notext"),
    ],
)
def test_a_corpus_without_text_is_told_what_it_can_have(flags: tuple[str, ...], said: str) -> None:
    corpus: Any = demo.sample(size=60).without_text()
    with pytest.raises(InfoserError, match=said):
        experiment.plan_folds(presets.parse(["demo", *flags]), corpus)


def test_without_text_a_generator_that_needs_none_is_planned() -> None:
    config = presets.parse(["demo", "--variants", "none", "infogan-unconditional", "diffusion-notext", "--aligned-variants"])
    assert "10 generators" in experiment.plan(config, demo.sample().without_text())
