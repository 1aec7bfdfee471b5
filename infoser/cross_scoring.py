"""Scores of a run folder's heads on another corpus, whose rows none of them was trained on.

The rows are appended to the run's corpus as unlabelled rows outside every training part, so that they go the very way that
test rows go: the same standardisation, the same aligners, the same heads.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from infoser import digests, experiment, final_folder, parts, run_folder, shards, synthetic
from infoser.cells import SELECTED, root_of, sweep
from infoser.choosing import composed
from infoser.config import Config
from infoser.corpora import brought_to, check_alike, check_frames_alike, rows_of, standardised
from infoser.corpus import Corpus
from infoser.cross_target import Target, appended, modality_notes, read_target, subset_masks
from infoser.errors import InfoserError
from infoser.execution import modalities_of, planned, run_planned
from infoser.leakage import Fold
from infoser.links import speaker_clusters
from infoser.metrics.model_scores import Posterior, restricted, score_models
from infoser.metrics.scores import Scores
from infoser.overlap import check_unseen, speakers_of_one_name
from infoser.parts import ArmName, Part
from infoser.results import label_fraction_of, provenance
from infoser.runs import HeadOutputs, run_space
from infoser.shared_classes import SharedClasses, share_classes
from infoser.stages.classify import MODALITIES
from infoser.variants import GENERATORS

Normalise = Literal["auto", "training", "corpus", "speaker"]
Among = Literal["shared", "all"]
PROTOCOL = "cross-corpus"


@dataclass(frozen=True)
class Request:
    """What is asked.

    Attributes:
      folder: the run folder.
      target: the folder of the other corpus, or of one of the ways in which it was prepared: DATA_DIR/NAME[/CONFIG].
      classes: `class=code,code…`, a class of the run and those of the target that count as it; none: classes of one name.
      normalise: what standardises the target's features; `auto` for what the run was trained with.
      among: which classes heads may choose.
      fold: the model that was tested on this fold, or `final`; '' for every fold's, and the final one where there is one.
      text: whether heads that read text are asked.
      data_dir: where the run's corpus is, if it was moved.
    """

    folder: Path
    target: Path
    classes: tuple[str, ...] = ()
    normalise: Normalise = "auto"
    among: Among = "shared"
    fold: str = ""
    text: bool = True
    data_dir: Path | None = None


def score_corpus(request: Request) -> dict[str, Any]:
    """Restores the models of a run folder and scores them on another corpus.

    Returns:
      The results as plain JSON values: `rows`, `provenance`, `notes`.

    Raises:
      InfoserError: if the folder, a model or a corpus is missing, damaged or not finished; if the corpora have features of
        different encoders or widths, share fewer than two classes, or share utterances that models were trained on.
    """
    config, corpus = experiment.restore(request.folder, request.data_dir)
    request = dataclasses.replace(request, normalise=_normalise(request, config))
    target = read_target(request.target)
    _, folds = experiment.plan_folds(config, corpus)
    models = _models(request, config, corpus, folds)
    if not any(_reads_frames(each) for each, _ in models.values()):
        corpus, target = (dataclasses.replace(one, audio_frames=None, text_frames=None) for one in (corpus, target))
    if not request.text:
        target = target.without_text()
    notes = check_alike(corpus, target)
    notes += modality_notes(corpus, target, text=request.text)
    if corpus.text is None:
        target = target.without_text()
    check_frames_alike(corpus, target)
    shared = share_classes(corpus.classes, target, request.classes, "--classes")
    kept, made = shared.label >= 0, synthetic.mask(target)
    if made is not None:
        notes.append(f"{int((kept & made).sum()):,} synthetic rows of {target.name} are not scored")
        kept &= ~made
    check_unseen(
        _unstandardised(request, config, corpus), [fold for _, trained in models.values() for fold in trained], target, kept
    )
    notes += shared.notes(corpus.name, target.name) + speakers_of_one_name(corpus, target)
    scored = rows_of(target, kept)
    normal = target
    if request.normalise in ("corpus", "speaker"):
        normal, said = standardised(target, request.normalise)
        notes += said
    plain = rows_of(normal, kept)
    rows: list[dict[str, Any]] = []
    for part, (part_config, trained) in models.items():
        by_fold = {fold.name: plain for fold in trained}
        # A run whose corpora were standardised by themselves reads the target's so standardised features as they are.
        if request.normalise != "training" and config.data.normalise == "training":
            by_fold = {fold.name: brought_to(plain, corpus, fold.train) for fold in trained}
        given = Target(scored, shared.label[kept], shared, by_fold)
        found, said = _rows_of_models(request, part_config, corpus, trained, given, part)
        rows += found
        notes += said
    order = list(dict.fromkeys((*config.variants, *config.aligned_variants, *config.joined_variants, "none", SELECTED)))
    rank = {name: number for number, name in enumerate(dict.fromkeys(row["model"] for row in rows))}
    rows.sort(
        key=lambda row: (
            rank[row["model"]],
            MODALITIES.index(row["modality"]),
            row["cell"],
            order.index(row["variant"]) if row["variant"] in order else len(order),
        )
    )
    return {
        "rows": rows,
        "notes": list(dict.fromkeys(notes)),
        "provenance": _provenance(request, config, corpus, folds, models, target, shared, kept),
    }


def _unstandardised(request: Request, config: Config, corpus: Corpus) -> Corpus:
    """The run's corpus with features as they were prepared, in which utterances of another corpus can be known again."""
    if config.data.normalise == "training":
        return corpus
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, normalise="training"))
    config = config if request.data_dir is None else dataclasses.replace(config, data_dir=request.data_dir)
    return experiment.load_corpus(config)


def _normalise(request: Request, config: Config) -> Normalise:
    """The choice that is asked for, checked against that of the run."""
    trained = config.data.normalise
    if request.normalise == "auto":
        return trained
    if trained != "training" and request.normalise != trained:
        raise InfoserError(
            f"--normalise {request.normalise}: {request.folder} was trained on features standardised by each {trained}, and "
            f"reads no others; leave --normalise out, or give --normalise {trained}"
        )
    return request.normalise


def _models(
    request: Request, config: Config, corpus: Corpus, folds: Sequence[Fold]
) -> dict[str, tuple[Config, tuple[Fold, ...]]]:
    """What is asked: of the folds, of the final model, or both; with the folds that a group holds together."""
    by_name = {fold.name: fold for fold in folds}
    final = None
    if request.fold in ("", run_folder.FINAL) and final_folder.has_final(request.folder):
        variant = final_folder.read_final(request.folder)
        final = (experiment.restored_final(request.folder, config, variant), (experiment.final_fold(len(corpus)),))
    if request.fold == run_folder.FINAL:
        if final is None:
            raise InfoserError(
                f"{request.folder} has no final model; run its training command again with --final, or leave --fold out"
            )
        return {run_folder.FINAL: final}
    if request.fold and request.fold not in by_name:
        raise InfoserError(
            f"{request.folder} has no fold {request.fold!r}; its folds: {', '.join(by_name)}, and final for a final model"
        )
    asked = tuple(folds) if not request.fold else (by_name[request.fold],)
    return {"folds": (config, asked)} | ({} if final is None or request.fold else {run_folder.FINAL: final})


def _in_tables(request: Request, config: Config, corpus: Corpus) -> tuple[list[Part], Sequence[ArmName], Part]:
    """The run folder's parts, the arms that were asked for by name, and what its tables are made of."""
    own, plain = experiment.parts_of(request.folder, config, corpus), sweep(config, has_text=corpus.text is not None).arms
    return own, plain, parts.complete(own, plain)


def _reads_frames(config: Config) -> bool:
    """Whether aligners take part, and read frames where the corpus has them."""
    spaces = config.space != "encoder" or config.aligned_variants or config.joined_variants or config.ablate or config.grid
    spaces = spaces or config.select != "off"
    conditioned = any(GENERATORS[one].conditioned_on_text for one in config.variants if one in GENERATORS)
    return config.align.frames and bool(spaces or conditioned)


def _rows_of_models(
    request: Request, config: Config, corpus: Corpus, folds: Sequence[Fold], target: Target, model: str
) -> tuple[list[dict[str, Any]], list[str]]:
    """Score rows of one set of models."""
    extended, asked = appended(corpus, folds, target)
    trainer = experiment.make_trainer(config, request.folder, restore_only=True)
    all_folds = experiment.plan_folds(config, corpus)[1] if model == "folds" else folds
    by_name = {fold.name: fold for fold in asked}
    # A group holds all folds: those that are not asked are restored too, and asked nothing.
    restored = [by_name.get(fold.name, dataclasses.replace(fold, test=fold.test[:0])) for fold in all_folds]
    read = modalities_of(target.scored)
    left_out = ""
    if model == run_folder.FINAL:
        said = run_space(config, extended, restored, trainer, experiment.final_prefix(config.variants[0]), read).heads
    else:
        # Candidates are scored where they were chosen, and nowhere by themselves.
        own, plain, whole = _in_tables(request, config, corpus)
        if request.fold and request.fold not in whole.folds:
            raise InfoserError(
                f"{request.folder}: fold {request.fold!r} is not in its tables yet; run its training command again"
            )
        chosen = experiment.chosen_by(request.folder, config, corpus)
        arms, seeds = set(whole.arms) & set(plain), set(whole.seeds)
        left_out = parts.left_out(own, whole, plain)
        every = run_planned(planned(config, own), extended, restored, trainer, read).heads
        every = [head for head in every if head.unit.seed in seeds and head.unit.fold.name in whole.folds]
        said = [head for head in every if (head.cell, head.variant) in arms]
        said += [] if chosen is None else composed(chosen, every)
    heads = [head for head in said if not head.probe and head.unit.fold.name in by_name and len(head.rows)]
    masks = subset_masks(extended, folds, asked)
    found, notes = [], [left_out] if left_out else []
    for modality in read:
        of_modality = [head for head in heads if head.modality == modality]
        if of_modality:
            scores = _scored(request, config, corpus, of_modality, target, masks)
            found += [{"model": model, **row} for row in scores.rows]
            notes += scores.notes
    return found, notes


def _scored(
    request: Request,
    config: Config,
    corpus: Corpus,
    heads: Sequence[HeadOutputs],
    target: Target,
    masks: Mapping[str, np.ndarray],
) -> Scores:
    """Score rows of one modality, on the rows that have what it reads."""
    classes, label = corpus.classes, target.label
    chosen = np.arange(len(classes))
    if request.among == "shared":
        classes = target.shared.classes
        chosen = np.array([corpus.classes.index(name) for name in classes])
        label = np.searchsorted(chosen, label)  # shared classes stand in the order of the run's
    read = target.scored.with_text if heads[0].modality != "audio" else np.ones(len(target.scored), bool)
    posteriors = [
        Posterior(
            head.variant,
            head.cell,
            head.modality,
            head.unit.seed,
            head.unit.fold.name,
            restricted(head.log_probability, chosen),
        )
        for head in heads
    ]
    scores = score_models(
        posteriors,
        label=label[read],
        speaker=speaker_clusters(target.scored)[read],
        classes=classes,
        masks={name: mask[read] for name, mask in masks.items()},
        protocol=PROTOCOL,
        label_fraction=config.label_fraction,
        base_cell=root_of(config),
    )
    choices = {"target": target.scored.name, "normalise": request.normalise, "among": request.among}
    rows = [choices | row | {"label_fraction": label_fraction_of(row["cell"], config)} for row in scores.rows]
    return Scores(rows, scores.notes)


def _provenance(
    request: Request,
    config: Config,
    corpus: Corpus,
    folds: Sequence[Fold],
    models: Mapping[str, tuple[Config, tuple[Fold, ...]]],
    target: Corpus,
    shared: SharedClasses,
    kept: np.ndarray,
) -> dict[str, Any]:
    """What a reader needs to know of where the numbers come from."""
    protocol, _ = experiment.plan_folds(config, corpus)
    *_, whole = _in_tables(request, config, corpus)
    trained = provenance(config, corpus, protocol, folds, whole.seeds)
    return {
        "run": trained,
        "target": {
            "name": target.name,
            "config": target.provenance.get("shards_config"),
            "shards_hash": target.provenance.get("shards_hash"),
            "utterances": len(target),
            "scored": int(kept.sum()),
            "scored_with_text": int(target.with_text[kept].sum()),
            "speakers": len(np.unique(speaker_clusters(rows_of(target, kept)))),
        },
        "classes": {
            "shared": {name: list(members) for name, members in shared.members.items()},
            "counts": dict(shared.counts),
            "left_out": dict(shared.left_out),
            "missing": list(shared.missing),
        },
        "normalise": request.normalise,
        "among": request.among,
        "models": {
            name: [one.name for one in own if name == run_folder.FINAL or one.name in whole.folds]
            for name, (_, own) in models.items()
        },
        "seeds": list(whole.seeds),
    }


def file_name(request: Request, results: Mapping[str, Any]) -> str:
    """The name, without a suffix, under which results lie in the run folder: the target, and choices other than the default."""
    target = results["provenance"]["target"]
    config = target["config"]
    parts = [target["name"] + ("" if config in (None, shards.PLAIN) else f".{config}")]
    normalise = results["provenance"]["normalise"]
    chosen = {"normalise": (normalise, "training"), "among": (request.among, "shared"), "fold": (request.fold, "")}
    parts += [f"{name}={value}" for name, (value, default) in chosen.items() if value != default]
    parts += [] if request.text else ["no-text"]
    parts += [f"classes={digests.of_values(sorted(request.classes))[:8]}"] if request.classes else []
    return re.sub(r"[^\w.+=,-]", "_", ",".join(parts))


def write(request: Request, results: Mapping[str, Any]) -> Path:
    """Writes the results into the run folder, below `cross`; raises InfoserError if they can't be written."""
    path = request.folder / "cross" / file_name(request, results)
    run_folder.write_scores(path, dict(results))
    return path
