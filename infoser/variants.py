"""The variants of an experiment by name: what each trains the classifier on besides real rows."""

from typing import Literal, NamedTuple, get_args

Variant = Literal[
    "none",
    "natural",
    "focal",
    "logit-adjust",
    "oversample",
    "noise",
    "mixup",
    "smote",
    "class-gaussian",
    "teacher",
    "cgan",
    "infogan",
    "infogan-notext",
    "infogan-paired",
    "infogan-other-text",
    "infogan-wrong-text",
    "infogan-text-alone",
    "infogan-unconditional",
    "diffusion",
    "diffusion-notext",
    "diffusion-paired",
    "diffusion-other-text",
    "diffusion-wrong-text",
    "diffusion-text-alone",
    "diffusion-unconditional",
]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
#: What every difference is taken to.
REFERENCE: Variant = "none"


class Recipe(NamedTuple):
    """What a generator makes features from, and how it is trained.

    Attributes:
      model: "gan" or "diffusion".
      by_class: whether the class is part of the condition.
      text: "none"; "own": the text of the row that the discriminator sees; "other": of another row of its class; "made":
        generated along with the audio features.
      information: whether the information terms have their weights; 0 otherwise.
      wrong_text: draws its rows for a class together with the text of another class: a probe.
    """

    model: Literal["gan", "diffusion"] = "gan"
    by_class: bool = True
    text: Literal["none", "own", "other", "made"] = "none"
    information: bool = True
    wrong_text: bool = False

    @property
    def conditioned_on_text(self) -> bool:
        """Whether it needs an aligner's text representations."""
        return self.text in ("own", "other")

    @property
    def needs_text(self) -> bool:
        """Whether it can't be had of a corpus without text."""
        return self.text != "none"

    @property
    def group(self) -> str:
        """What trains together: recipes that differ in numbers, or in what is drawn from them, only."""
        condition = "class" if self.by_class else ""
        condition += {"none": "", "own": "_text", "other": "_other_text", "made": "_paired"}[self.text]
        return ("" if self.model == "gan" else "diffusion_") + (condition.strip("_") or "nothing")


#: Variants that learn a generator.
GENERATORS: dict[str, Recipe] = {
    "cgan": Recipe(text="own", information=False),
    "infogan": Recipe(text="own"),
    "infogan-notext": Recipe(),
    "infogan-paired": Recipe(text="made"),
    "infogan-other-text": Recipe(text="other"),
    "infogan-wrong-text": Recipe(text="own", wrong_text=True),
    "infogan-text-alone": Recipe(by_class=False, text="own"),
    "infogan-unconditional": Recipe(by_class=False),
    "diffusion": Recipe(model="diffusion", text="own"),
    "diffusion-notext": Recipe(model="diffusion"),
    "diffusion-paired": Recipe(model="diffusion", text="made"),
    "diffusion-other-text": Recipe(model="diffusion", text="other"),
    "diffusion-wrong-text": Recipe(model="diffusion", text="own", wrong_text=True),
    "diffusion-text-alone": Recipe(model="diffusion", by_class=False, text="own"),
    "diffusion-unconditional": Recipe(model="diffusion", by_class=False),
}
#: Variants that make rows without learning a generator.
CONTROLS: tuple[Variant, ...] = ("oversample", "noise", "mixup", "smote", "class-gaussian")
#: The five of the plain comparison.
CORE_VARIANTS: tuple[Variant, ...] = ("none", "noise", "cgan", "infogan", "infogan-notext")
