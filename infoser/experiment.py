"""One experiment, from a corpus to its results: the folds, the runs of every space, their scores, and what is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infoser import (
    budget,
    choosing,
    compilation_cache,
    demo,
    exchange,
    final_folder,
    hosts,
    joining,
    parallel,
    parts,
    prediction_table,
    results,
    run_folder,
    shards,
)
from infoser import nested as selecting
from infoser.arms import branch_name
from infoser.candidates import selections
from infoser.cells import SELECTED, check_primary, root_of, sweep
from infoser.choosing import Chosen
from infoser.config import Config
from infoser.corpus import Corpus
from infoser.execution import Planned, count_groups, modalities_of, planned, run_planned
from infoser.leakage import Fold
from infoser.matrix import Places
from infoser.metrics.scores import Predictions
from infoser.nested import Nested
from infoser.overrides import applied, overrides_of
from infoser.parts import Part
from infoser.planning import asked_for, plan, plan_folds, plan_selection
from infoser.progress import Pieces
from infoser.quality import quality_rows
from infoser.runs import HeadOutputs, run_space
from infoser.stages.classify import MODALITIES
from infoser.trainer import Trainer, say


def train(config: Config) -> dict[str, Any] | None:
    """Trains an experiment from where it stopped, writes its results into the run folder, and returns them.

    None if the budget does not suffice for anything.

    Raises:
      InfoserError: for a corpus, settings or a run folder that can't be used, and from training.
    """
    parallel.use_all_cores()
    compilation_cache.keep_compiled()
    corpus = load_corpus(config)
    # The name that was found, so that shards of another encoder pair, prepared later, leave no doubt.
    found = {"config": corpus.provenance.get("shards_config", config.data.config), **joining.found_configs(config, corpus)}
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, **found))
    # Refuses what can't be run before the run folder is claimed.
    asked = asked_for(config, corpus)
    nested = plan_selection(config, corpus)
    mode = check_mode(config)
    with run_folder.locked(config.run_dir):
        run_folder.check_same_on_hosts(config, corpus)
        # What was chosen before is there to stay, even if something else is chosen now, by more seeds.
        allowed = asked if nested is None else dataclasses.replace(asked, arms=asked.arms + nested.arms)
        every_fold = [fold.name for fold in plan_folds(dataclasses.replace(config, folds=()), corpus)[1]]
        there = exchange.from_primary(run_folder.opened, config, corpus, allowed, every_fold)
        if config.final:
            exchange.from_primary(final_folder.check_final, config.run_dir, config.final_variant, config.seeds)
        todo, final = parts.missing(there, asked), config.final
        if config.budget:
            last = plans_of_final(config) if final else ()
            todo, final = budget.allowed(config, corpus, plan_folds(config, corpus)[1], there, asked, last)
            if not there and not todo:
                return None
        if hosts.primary():
            run_folder.record(config, corpus, [*there, *todo], asked)
        chosen = None
        if nested is not None:
            chosen = _choose(nested, config, corpus, config.run_dir, mode)
            asked = dataclasses.replace(asked, arms=tuple(dict.fromkeys(asked.arms + chosen.arms)))
            todo += parts.missing([*there, *todo], asked)
            if hosts.primary():
                run_folder.record(config, corpus, [*there, *todo], asked)
        trainer = make_trainer(config, config.run_dir, plan=plan(config, corpus, there, todo), mode=mode)
        with Pieces(str(config.run_dir), _groups(config, corpus, [*there, *todo], final=final), unit="group"):
            heads: dict[str, list[HeadOutputs]] = {}
            results = run(config, corpus, trainer, [*there, *todo], heads, chosen)
            prediction_table.write(config.run_dir, prediction_table.table(heads, corpus))
            run_folder.write_results(config.run_dir, results)
            if hosts.primary():
                run_folder.record(config, corpus, [*there, *todo], asked, trained=True)
            if final:
                train_final(config, corpus, trainer)
                final_folder.write_final(config.run_dir, config.final_variant, config.seeds)
    left, refit = parts.missing([*there, *todo], asked), budget.final_refit(config) if config.final and not final else ""
    if left or refit:
        say(f"{budget.what_is_left(left, asked, refit)}; run the same command again to go on")
    return results


def train_final(config: Config, corpus: Corpus, trainer: Trainer) -> None:
    """Refits the chosen variant on all labelled utterances, for prediction and export; nothing is left to score it on."""
    final = final_config(config, config.final_variant)
    run_space(final, corpus, [final_fold(len(corpus))], trainer, prefix=final_prefix(config.final_variant))


def final_config(config: Config, variant: Any) -> Config:
    """The settings of the final model of a variant."""
    return dataclasses.replace(config, variants=(variant,), aligned_variants=(), joined_variants=(), label_fraction=1.0)


def restored_final(folder: Path, config: Config, variant: Any) -> Config:
    """`final_config` of a model that a run folder has: a folder that was extended since has more seeds than it."""
    final = final_config(config, variant)
    return dataclasses.replace(final, seeds=final_folder.final_seeds(folder, variant) or final.seeds)


def plans_of_final(config: Config) -> list[Planned]:
    """What the final model trains, as a part of its own."""
    last, prefix = final_config(config, config.final_variant), final_prefix(config.final_variant)
    own = Part(last.seeds, (run_folder.FINAL,), ((root_of(last), config.final_variant),))
    places = [(plan, f"{prefix}{plan.places.folder}") for plan in planned(last, [own])]
    return [dataclasses.replace(plan, places=Places(place, place)) for plan, place in places]


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
    own = parts_of(folder, config, corpus)
    chosen = chosen_by(folder, config, corpus)
    with Pieces(f"restoring {folder}", _groups(config, corpus, own), unit="group"):
        return run(config, corpus, make_trainer(config, folder, restore_only=True), own, chosen=chosen)


def chosen_by(folder: Path, config: Config, corpus: Corpus) -> Chosen | None:
    """What a run folder has chosen among candidates; None if it had nothing to choose. Raises as `score`."""
    nested = plan_selection(config, corpus)
    return None if nested is None else _choose(nested, config, corpus, folder)


def _choose(nested: Nested, config: Config, corpus: Corpus, folder: Path, mode: parallel.RunsMode | None = None) -> Chosen:
    """Trains the candidates on the inner folds of a run folder and chooses; without a mode, only reads what they came to."""
    place, train = folder / selecting.SELECTION, mode is not None
    said = selecting.said(nested, config, corpus, place) if train else ""
    # Thousands of inner runs would bury the outer ones in TensorBoard.
    plain = dataclasses.replace(config, tensorboard=False)
    trainer = make_trainer(plain, place, plan=said, mode=mode, restore_only=not train)
    return selecting.choose(nested, config, corpus, trainer, place, train=train)


def _groups(config: Config, corpus: Corpus, own: Sequence[Part], *, final: bool = False) -> int:
    """How many groups of runs are trained or restored, as far as is known."""
    plans = planned(config, own) + (plans_of_final(config) if final else [])
    return count_groups(plans, modalities=len(modalities_of(corpus)), n_classes=len(corpus.classes))


def parts_of(folder: Path, config: Config, corpus: Corpus) -> list[Part]:
    """The parts of a run folder that was read, but for what was never begun; raises InfoserError if they can't be read."""
    return run_folder.begun_parts(folder) or [asked_for(config, corpus)]


def restore(folder: Path, data_dir: Path | None = None) -> tuple[Config, Corpus]:
    """The settings of a run folder, and the corpus that it was trained on; raises as `score` does."""
    config, shards_hash = run_folder.read(folder)
    if data_dir is not None:
        config = dataclasses.replace(config, data_dir=data_dir)
    parallel.use_all_cores()
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
    corpus = corpus if config.data.text else corpus.without_text()
    return joining.join(corpus, config) if joining.names_others(config) else corpus


def check_mode(config: Config) -> parallel.RunsMode:
    """How devices are used; refuses batches that they can't share, of any cell or candidate.

    Raises:
      InfoserError: naming the flag.
    """
    mode = parallel.make_mode(config.parallel, config.accumulate)
    compared = [cell for selection in selections(config)[0] for cell, _ in selection.arms]
    settings = [cell.config for cell in sweep(config).cells] + [applied(config, overrides_of(cell)) for cell in compared]
    for own in settings:
        for stage in ("align", "generate", "classify"):
            pack = own.generate.pack if stage == "generate" else 1
            mode.check_batch(f"--{stage}.batch-size", getattr(own, stage).batch_size, pack)
    return mode


def make_trainer(
    config: Config, folder: Path, *, plan: str = "", restore_only: bool = False, mode: parallel.RunsMode | None = None
) -> Trainer:
    """The trainer of a run folder, on all devices, as the settings say."""
    mode = mode or check_mode(config)
    return Trainer(
        folder,
        chunk_steps=config.chunk_steps,
        checkpoint_every_s=config.checkpoint_every_s,
        mode=mode,
        plan=plan,
        restore_only=restore_only,
        tensorboard=config.tensorboard,
    )


def run(
    config: Config,
    corpus: Corpus,
    trainer: Trainer,
    own: Sequence[Part],
    kept: dict[str, list[HeadOutputs]] | None = None,
    chosen: Chosen | None = None,
) -> dict[str, Any]:
    """Trains (or restores) every run and scores them.

    Args:
      config: the settings.
      corpus: the corpus.
      trainer: of the run folder.
      own: its parts.
      kept: takes up what the heads of each cell say, where it is given.
      chosen: of which candidates the rows of selection are made up; without it there are none.

    Returns:
      The results as plain JSON values: `rows`, `quality`, `provenance`, `notes`; `table`, the long-form table; and
      `selection`, what was chosen.

    Raises:
      InfoserError: for settings that do not fit the corpus, and from training.
    """
    protocol, folds = plan_folds(config, corpus)
    found = sweep(config, has_text=corpus.text is not None)
    whole = parts.complete(own, found.arms)
    folds = tuple(fold for fold in folds if fold.name in {name for part in own for name in part.folds})
    scored = tuple(fold for fold in folds if fold.name in whole.folds)
    notes = [*corpus.provenance.get(joining.NOTES, ()), *found.notes]
    notes += [f"fold {fold.name}: {note}" for fold in scored for note in fold.notes]
    check_primary(found, config)
    refit = (set() if chosen is None else set(whole.arms)) - set(found.arms)
    if left := parts.left_out(own, whole, found.arms):
        notes.append(left)
    for space, variants in (("aligned", config.aligned_variants), ("joined", config.joined_variants)):
        if variants and "none" not in variants:
            notes.append(
                f"variants in the {space} space are compared to none in the encoder space; add none to --{space}-variants"
            )
    outputs = run_planned(planned(config, own), corpus, folds, trainer)
    notes += outputs.notes
    names, seeds, arms = {fold.name for fold in scored}, set(whole.seeds), set(whole.arms) - refit
    within = [head for head in outputs.heads if head.unit.fold.name in names and head.unit.seed in seeds]
    heads = [head for head in within if (head.cell, head.variant) in arms]
    if chosen is not None:
        # Candidates that were chosen for some fold are scored where they were, and nowhere by themselves.
        heads += choosing.composed(chosen, within)
        notes += [*chosen.notes, *choosing.said(chosen)]
    if kept is not None:
        for head in heads:
            if not head.probe:
                kept.setdefault(head.cell, []).append(head)
    predictions = [
        Predictions(
            variant=head.variant,
            cell=head.cell,
            modality=head.modality,
            seed=head.unit.seed,
            fold=head.unit.fold.name,
            rows=head.rows,
            predicted=head.log_probability.argmax(axis=1),
        )
        for head in heads
        if not head.probe and len(head.rows)
    ]
    root = whole.arms[0][0]
    ordered = [arm for arm in found.arms if arm in arms]
    ordered += [arm for arm in whole.arms if arm in arms and arm not in ordered]
    cells = list(dict.fromkeys(cell for cell, _ in ordered))
    quality = []
    for cell in cells:
        same_branch = branch_name(cell) == branch_name(root)
        aligned = {fold: by for fold, by in outputs.alignment.get(cell, {}).items() if fold in names}
        own_alignment = {fold: [by[seed] for seed in by if seed in seeds] for fold, by in aligned.items()}
        quality += quality_rows(heads, corpus, cell, own_alignment, root if same_branch else None)
    scores = results.scored(config, corpus, predictions, scored, results.protocol_name(protocol, config), root)
    order = [*dict.fromkeys(variant for _, variant in ordered), SELECTED]
    position = {cell: number for number, cell in enumerate([*cells, *(one.name for one in found.selected)])}
    rows = sorted(
        scores.rows,
        key=lambda row: (position[row["cell"]], MODALITIES.index(row["modality"]), order.index(row["variant"])),
    )
    return {
        "rows": rows,
        "table": results.long_table(rows, scores, found, config),
        "quality": quality,
        "notes": list(dict.fromkeys(notes + scores.notes)),
        "provenance": results.provenance(config, corpus, results.protocol_name(protocol, config), scored, whole.seeds),
        **({} if chosen is None else {"selection": chosen.rows}),
    }


def plans_of(folder: Path, config: Config, corpus: Corpus) -> list[Planned]:
    """The branches of all parts of a run folder; raises as `parts_of`."""
    return planned(config, parts_of(folder, config, corpus))
