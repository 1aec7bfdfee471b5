"""One experiment, from a corpus to its results: the folds, the runs of every space, their scores, and what is written."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import infoser
from infoser import compilation_cache, demo, parallel, protocols, run_folder, shards
from infoser.config import Config
from infoser.corpus import Corpus
from infoser.encoders.identity import describe
from infoser.errors import InfoserError
from infoser.leakage import Fold
from infoser.links import speaker_clusters
from infoser.matrix import Unit, check_text, usable_labels
from infoser.metrics.scores import Predictions, Scores, score_rows
from infoser.quality import quality_rows
from infoser.runs import run_space
from infoser.saved_config import fingerprint
from infoser.stages.classify import MODALITIES
from infoser.trainer import Trainer
from infoser.variants import GENERATORS

ALIGNED_CELL, JOINED_CELL = "space=aligned", "space=joined"


def train(config: Config) -> dict[str, Any]:
    """Trains an experiment from where it stopped, writes its results into the run folder, and returns them.

    Raises:
      InfoserError: for a corpus, settings or a run folder that can't be used, and from training.
    """
    parallel.use_all_cores(len(os.sched_getaffinity(0)))
    compilation_cache.keep_compiled()
    corpus = load_corpus(config)
    # The name that was found, so that shards of another encoder pair, prepared later, leave no doubt.
    found = corpus.provenance.get("shards_config", config.data.config)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, config=found))
    # Both refuse what can't be run before the run folder is claimed.
    plan_folds(config, corpus)
    trainer = make_trainer(config, config.run_dir, plan=plan(config, corpus))
    with run_folder.locked(config.run_dir):
        run_folder.claim(config, corpus)
        results = run(config, corpus, trainer)
        run_folder.write_results(config.run_dir, results)
        if config.final:
            train_final(config, corpus, trainer)
            run_folder.write_final(config.run_dir, config.final_variant)
    return results


def train_final(config: Config, corpus: Corpus, trainer: Trainer) -> None:
    """Refits the chosen variant on all labelled utterances, for prediction and export; nothing is left to score it on."""
    final = final_config(config, config.final_variant)
    run_space(final, corpus, [final_fold(len(corpus))], trainer, prefix=final_prefix(config.final_variant))


def final_config(config: Config, variant: Any) -> Config:
    """The settings of the final model of a variant."""
    return dataclasses.replace(config, variants=(variant,), aligned_variants=(), joined_variants=(), label_fraction=1.0)


def final_fold(utterances: int) -> Fold:
    """What the final model trains on: the whole corpus; nothing is left to test it on."""
    return Fold(run_folder.FINAL, np.arange(utterances), np.zeros(0, np.int64), np.zeros(0, np.int64))


def final_prefix(variant: str) -> str:
    """Where the final model of a variant lies in a run folder."""
    return f"{run_folder.FINAL}/{variant}/"


def score(folder: Path, data_dir: Path | None = None) -> dict[str, Any]:
    """Restores every run of a run folder from its last checkpoint and scores it anew.

    Args:
      folder: the run folder.
      data_dir: where its corpus is now, if it was moved.

    Raises:
      InfoserError: if the folder, its corpus or a checkpoint is missing, damaged or not finished.
    """
    config, corpus = restore(folder, data_dir)
    return run(config, corpus, make_trainer(config, folder, restore_only=True))


def restore(folder: Path, data_dir: Path | None = None) -> tuple[Config, Corpus]:
    """The settings of a run folder, and the corpus that it was trained on; raises as `score` does."""
    config, shards_hash = run_folder.read(folder)
    if data_dir is not None:
        config = dataclasses.replace(config, data_dir=data_dir)
    parallel.use_all_cores(len(os.sched_getaffinity(0)))
    compilation_cache.keep_compiled()
    corpus = load_corpus(config, in_memory=shards_hash is None and data_dir is None)
    run_folder.check_corpus(folder, shards_hash, corpus)
    return config, corpus


def load_corpus(config: Config, *, in_memory: bool = False) -> Corpus:
    """The corpus that the settings name; the demo corpus is made in memory where it has not been prepared.

    Args:
      in_memory: make the demo corpus in memory even if it has been prepared since.

    Raises:
      InfoserError: if there is none, or it is damaged.
    """
    name = config.data.name
    # What was asked for, or stands half-written in its place, is not replaced by a sample: it is read, or refused.
    prepared = config.data.config or config.data_dir.is_file() or (config.data_dir / name).exists()
    if name == "demo" and (in_memory or not prepared):
        corpus = demo.sample()
    else:
        corpus = shards.read_corpus(config.data_dir, name, config.data.config, cache=config.data.cache)
    return corpus if config.data.text else corpus.without_text()


def make_trainer(config: Config, folder: Path, *, plan: str = "", restore_only: bool = False) -> Trainer:
    """The trainer of a run folder, on all devices, as the settings say."""
    mode = parallel.make_mode(config.parallel, config.accumulate)
    for stage in ("align", "generate", "classify"):
        mode.check_batch(f"--{stage}.batch-size", getattr(config, stage).batch_size)
    return Trainer(
        folder,
        chunk_steps=config.chunk_steps,
        checkpoint_every_s=config.checkpoint_every_s,
        mode=mode,
        plan=plan,
        restore_only=restore_only,
    )


def run(config: Config, corpus: Corpus, trainer: Trainer) -> dict[str, Any]:
    """Trains (or restores) every run and scores them.

    Args:
      config: the settings.
      corpus: the corpus.
      trainer: of the run folder.

    Returns:
      The results as plain JSON values: `rows`, `quality`, `provenance`, `notes`.

    Raises:
      InfoserError: for settings that do not fit the corpus, and from training.
    """
    protocol, folds = plan_folds(config, corpus)
    notes = [f"fold {fold.name}: {note}" for fold in folds for note in fold.notes]
    for space, variants in (("aligned", config.aligned_variants), ("joined", config.joined_variants)):
        if variants and "none" not in variants:
            notes.append(
                f"variants in the {space} space are compared to none in the encoder space; add none to --{space}-variants"
            )
    predictions, quality = [], []
    for cell, cell_config in cells(config).items():
        outputs = run_space(cell_config, corpus, folds, trainer)
        notes += outputs.notes
        predictions += [
            Predictions(
                variant=head.variant,
                cell=cell,
                modality=head.modality,
                seed=head.unit.seed,
                fold=head.unit.fold.name,
                rows=head.rows,
                predicted=head.log_probability.argmax(axis=1),
            )
            for head in outputs.heads
            if not head.probe and len(head.rows)
        ]
        quality += quality_rows(outputs, corpus, cell)
    scores = _scores(config, corpus, predictions, folds, _protocol_name(protocol, config))
    order = list(dict.fromkeys(config.variants + config.aligned_variants + config.joined_variants))
    rows = sorted(scores.rows, key=lambda row: (row["cell"], MODALITIES.index(row["modality"]), order.index(row["variant"])))
    return {
        "rows": rows,
        "quality": quality,
        "notes": list(dict.fromkeys(notes + scores.notes)),
        "provenance": provenance(config, corpus, _protocol_name(protocol, config), folds),
    }


def _scores(config: Config, corpus: Corpus, predictions: Sequence[Predictions], folds: Sequence[Fold], protocol: str) -> Scores:
    """Scores of all predictions; what reads text is scored apart where some test utterances have none."""
    groups = {"": (MODALITIES, np.ones(len(corpus), bool))}
    if corpus.text is not None and not all(corpus.with_text[fold.test].all() for fold in folds):
        groups = {"": (MODALITIES[:1], groups[""][1]), " with a transcript": (MODALITIES[1:], corpus.with_text)}
    scores, notes = [], []
    for which, (modalities, scored) in groups.items():
        masks = {fold.name: (scored[fold.test], protocols.subsets(corpus, fold)) for fold in folds}
        part = score_rows(
            [each for each in predictions if each.modality in modalities],
            label=corpus.label,
            speaker=speaker_clusters(corpus),
            classes=corpus.classes,
            subset_masks={
                name: {subset: mask[kept] for subset, mask in subsets.items()}
                for name, (kept, subsets) in masks.items()
                if kept.any()
            },
            protocol=protocol,
            label_fraction=config.label_fraction,
        )
        scores += part.rows
        notes += [f"{note}{which and f' (utterances{which})'}" for note in part.notes]
    return Scores(scores, notes)


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
    for fold in () if corpus.has_text is None else folds:
        for seed in config.seeds:
            check_text(corpus, Unit(fold, seed, usable_labels(config, corpus, fold, seed)))
    return protocol, folds


def _without_text(variant: str) -> str:
    return "diffusion-notext" if GENERATORS[variant].model == "diffusion" else "infogan-notext"


def plan(config: Config, corpus: Corpus) -> str:
    """What is going to be trained, in a line."""
    protocol, folds = plan_folds(config, corpus)
    units, modalities = len(folds) * len(config.seeds), 1 if corpus.text is None else len(MODALITIES)
    aligners = generators = heads = 0
    for part in cells(config).values():
        recipes = [GENERATORS[variant] for variant in part.variants if variant in GENERATORS]
        generators += units * len(recipes)
        heads += units * modalities * len(part.variants)
        conditioned = part.space == "joined" or any(recipe.conditioned_on_text for recipe in recipes)
        aligners += units * (part.align.cross_fits if part.space == "aligned" else conditioned)
    return (
        f"{corpus.name}: {len(folds)} folds ({protocol}) × {len(config.seeds)} seeds: {aligners} aligners, {generators} "
        f"generators, {heads} heads, in {config.run_dir}{_encoded_by(corpus)}"
    )


def _encoded_by(corpus: Corpus) -> str:
    """A line on the encoders behind the features; nothing for features that were made elsewhere."""
    settings = corpus.provenance.get("settings", {})
    if settings.get("kind") != "recordings":
        return ""
    used = {"audio": settings["audio"], "text": None if corpus.text is None else settings["text"]}
    return "\nfeatures: " + "; ".join(f"{modality} by {describe(one)}" for modality, one in used.items() if one)


def _protocol_name(protocol: str, config: Config) -> str:
    """The protocol as rows name it: with what departs from its rule."""
    return f"{protocol}, partner kept" if protocol == "speaker" and config.keep_partner else protocol


def cells(config: Config) -> dict[str, Config]:
    """The parts of an experiment that differ in more than the variant, by the name that their rows carry."""
    plain = dataclasses.replace(config, aligned_variants=(), joined_variants=())
    found = {{"encoder": "", "aligned": ALIGNED_CELL, "joined": JOINED_CELL}[config.space]: plain}
    if config.aligned_variants:
        found[ALIGNED_CELL] = dataclasses.replace(plain, space="aligned", variants=config.aligned_variants)
    if config.joined_variants:
        found[JOINED_CELL] = dataclasses.replace(plain, space="joined", variants=config.joined_variants)
    return found


def provenance(config: Config, corpus: Corpus, protocol: str, folds: Sequence[Fold]) -> dict[str, Any]:
    """What a reader needs to know of where the numbers come from."""
    return {
        "infoser": infoser.__version__,
        "config_fingerprint": fingerprint(config),
        "corpus": {
            "name": corpus.name,
            "utterances": len(corpus),
            "labelled": int(corpus.labelled.sum()),
            "classes": list(corpus.classes),
            "audio_dim": corpus.audio.shape[1],
            "text_dim": None if corpus.text is None else corpus.text.shape[1],
            "with_text": int(corpus.with_text.sum()),
            "frames": {
                modality: frames is not None
                for modality, frames in (("audio", corpus.audio_frames), ("text", corpus.text_frames))
            },
            "speakers": len(set(corpus.speaker.tolist()) - {""}),
            "shards_hash": corpus.provenance.get("shards_hash"),
        },
        "protocol": protocol,
        "folds": {fold.name: {"train": len(fold.train), "test": len(fold.test)} for fold in folds},
        "devices": parallel.device_kind(),
        "versions": parallel.versions(),
    }
