"""What an experiment asks for: its folds, its arms and what it chooses among, checked against the corpus; and in words."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from infoser import nested, protocols
from infoser.cells import sweep
from infoser.config import Config
from infoser.corpus import Corpus
from infoser.encoders.identity import describe
from infoser.errors import InfoserError
from infoser.execution import counted, modalities_of, planned
from infoser.leakage import Fold
from infoser.matrix import Unit, check_text, usable_labels
from infoser.nested import Nested
from infoser.parts import Part
from infoser.variants import GENERATORS


def plan_folds(config: Config, corpus: Corpus) -> tuple[str, tuple[Fold, ...]]:
    """The resolved protocol, and the folds that are asked for; checks that the settings fit the corpus.

    Raises:
      InfoserError: for a fold that does not exist, a variant that the corpus can't have, or a class without transcripts.
    """
    if corpus.text is None:
        flags = {"--variants": config.variants, "--aligned-variants": config.aligned_variants}
        flags |= {"--joined-variants": config.joined_variants}
        if config.space == "joined" or config.joined_variants:
            raise InfoserError(
                f"the joined space can't be had: corpus {corpus.name!r} has no text features here to align audio with; use "
                "--space encoder and no --joined-variants"
            )
        flags |= {"--final-variant": (config.final_variant,)} if config.final else {}
        conditioned = {v for variants in flags.values() for v in variants if v in GENERATORS and GENERATORS[v].needs_text}
        without = {
            flag: dict.fromkeys(_without_text(variant) if variant in conditioned else variant for variant in variants)
            for flag, variants in flags.items()
            if conditioned & set(variants)
        }
        if conditioned:
            raise InfoserError(
                f"{' and '.join(sorted(conditioned))} can't be had: corpus {corpus.name!r} has no text features here; "
                f"try {' '.join(' '.join((flag, *variants)) for flag, variants in without.items())}"
            )
    protocol = protocols.resolve_protocol(corpus, config.protocol)
    if config.keep_partner and protocol != "speaker":
        raise InfoserError(
            f"--keep-partner is for --protocol speaker; corpus {corpus.name!r} is split by {protocol} here, which holds "
            "nobody's partner back"
        )
    folds = protocols.select_folds(protocols.make_folds(corpus, protocol, keep_partner=config.keep_partner), config.folds)
    fractions = {cell.config.label_fraction: cell.config for cell in sweep(config, has_text=corpus.text is not None).cells}
    for fold in () if corpus.has_text is None else folds:
        for seed, own in itertools.product(config.seeds, fractions.values()):
            check_text(corpus, Unit(fold, seed, usable_labels(own, corpus, fold, seed)))
    return protocol, folds


def _without_text(variant: str) -> str:
    return "diffusion-notext" if GENERATORS[variant].model == "diffusion" else "infogan-notext"


def asked_for(config: Config, corpus: Corpus) -> Part:
    """All that a configuration asks for: seeds, folds, and arms.

    Raises:
      InfoserError: as `plan_folds` and `cells.sweep`.
    """
    _, folds = plan_folds(config, corpus)
    arms = tuple(sweep(config, has_text=corpus.text is not None).arms)
    return Part(config.seeds, tuple(fold.name for fold in folds), arms)


def plan_selection(config: Config, corpus: Corpus) -> Nested | None:
    """What `--select` asks for; raises as `plan_folds` and `nested.plan`."""
    return nested.plan(config, corpus, *plan_folds(config, corpus)) if config.select == "dev" else None


def plan(config: Config, corpus: Corpus, there: Sequence[Part] = (), todo: Sequence[Part] | None = None) -> str:
    """What is going to be trained, in a line.

    Args:
      there: parts that are trained already, or were begun.
      todo: further parts; all that the configuration asks for, if not given.
    """
    protocol, folds = plan_folds(config, corpus)
    todo = [asked_for(config, corpus)] if todo is None else todo
    plans = planned(config, [*there, *todo])
    new = [one for one in plans if one.part in todo] or plans
    aligners, generators, heads = counted(new, modalities=len(modalities_of(corpus)), n_classes=len(corpus.classes))
    cells = len({cell for part in todo or there for cell, _ in part.arms})
    sizes = f"{len(folds)} folds ({protocol}) × {len(config.seeds)} seeds" + (
        f", {cells} cells" if config.ablate or config.grid else ""
    )
    return (
        f"{corpus.name}: {sizes}: {aligners} aligners, {generators} generators, {heads} heads, in "
        f"{config.run_dir}{_encoded_by(corpus)}"
    )


def _encoded_by(corpus: Corpus) -> str:
    """A line on the encoders behind the features; nothing for features that were made elsewhere."""
    settings = corpus.provenance.get("settings", {})
    if settings.get("kind") != "recordings":
        return ""
    used = {"audio": settings["audio"], "text": None if corpus.text is None else settings["text"]}
    return "\nfeatures: " + "; ".join(f"{modality} by {describe(one)}" for modality, one in used.items() if one)
