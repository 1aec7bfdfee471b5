"""How many groups of runs an experiment trains, as far as its settings tell."""

from infoser.config import Config
from infoser.variants import GENERATORS

_MODALITIES = 3  # audio, text, both


def count_groups(config: Config, *, has_text: bool) -> int:
    """The groups of one space: aligners, the teacher, each structure of generators, and the heads of each modality.

    Heads whose added rows do not fit in memory together train in more groups than this says.

    Args:
      config: `variants` and `space` say what is run.
      has_text: whether the corpus has text features.
    """
    recipes = [GENERATORS[variant] for variant in config.variants if variant in GENERATORS]
    aligned = config.space != "encoder" or any(recipe.conditioned_on_text for recipe in recipes)
    asked = (config.generate.label_by, config.generate.keep_by)
    taught = "teacher" in config.variants or bool(recipes and ("teacher" in asked or "consensus" in asked))
    return aligned + taught + len({recipe.group for recipe in recipes}) + (_MODALITIES if has_text else 1)
