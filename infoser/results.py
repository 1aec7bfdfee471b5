"""What an experiment's results say: score rows, and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import infoser
from infoser import joining, parallel, scored_subsets
from infoser.cells import PRIMARY_MODALITIES, SELECTED, Sweep, base_of, cell_name, primary_of
from infoser.concerns import concerns
from infoser.config import Config
from infoser.corpus import Corpus
from infoser.leakage import Fold
from infoser.links import speaker_clusters
from infoser.metrics.intervals import holm
from infoser.metrics.label_multiplier import label_multiplier
from infoser.metrics.scores import Predictions, Scores, score_rows
from infoser.overrides import applied, overrides_of, value_of
from infoser.saved_config import fingerprint
from infoser.stages.classify import MODALITIES
from infoser.variants import REFERENCE


def scored(
    config: Config, corpus: Corpus, predictions: Sequence[Predictions], folds: Sequence[Fold], protocol: str, root: str
) -> Scores:
    """Scores of all predictions; what reads text is scored apart where some test utterances have none.

    Args:
      config: the settings.
      corpus: the corpus.
      predictions: of all runs.
      folds: that they are of.
      protocol: as rows name it.
      root: the base cell.
    """
    groups = {"": (MODALITIES, np.ones(len(corpus), bool))}
    if corpus.text is not None and not all(corpus.with_text[fold.test].all() for fold in folds):
        groups = {"": (MODALITIES[:1], groups[""][1]), " with a transcript": (MODALITIES[1:], corpus.with_text)}
    scores, notes, p_values = [], [], {}
    for which, (modalities, scored) in groups.items():
        masks = {fold.name: (scored[fold.test], scored_subsets.subsets(corpus, fold)) for fold in folds}
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
            base_cell=root,
        )
        scores += [row | {"label_fraction": label_fraction_of(row["cell"], config)} for row in part.rows]
        p_values |= part.p_values
        notes += [f"{note}{which and f' (utterances{which})'}" for note in part.notes]
    return Scores(scores, notes, p_values)


def long_table(rows: Sequence[dict[str, Any]], scores: Scores, found: Sweep, config: Config) -> list[dict[str, Any]]:
    """The score rows as a long-form table: with the overrides of their cells, and what their differences are worth.

    Every setting that some cell overrides is a column; rows of other cells have the base configuration's value.
    `ua_minus_none_p` is the p-value of the pooled difference, `ua_minus_none_p_holm` the same after Holm's method over the
    primary family: the pooled differences on all utterances, of every modality, of the family's arms other than `none`.
    Where cells differ in the label fraction, `label_multiplier` is the equivalent multiple of the labels of a pooled
    difference, by the learning curve of its reference (`metrics.label_multiplier`), with those of the ends of the difference's
    interval, the curve being taken as given; each with a `_bound`, which is > or < beyond the curve.
    `family` names it in its members' rows, and `family_size` says how many they are; a difference without a p-value counts.
    The family `selected` is `selected` by audio and both, with all labels and a tenth of them, and nothing else.

    Args:
      rows: the rows in their final order.
      scores: with their p-values.
      found: the cells and families.
      config: names the primary family.
    """
    primary = primary_of(config)
    chosen = [(cell.name, SELECTED) for cell in found.selected]
    arms = {tuple(arm) for arm in found.sets.get(primary, [*found.arms, *chosen])}
    modalities = PRIMARY_MODALITIES if primary == SELECTED else MODALITIES
    key = [(row["variant"], row["cell"], row["modality"], row["subset"]) for row in rows]
    pooled = [row["aggregate"] == "pooled" for row in rows]
    family = [
        number
        for number, row in enumerate(rows)
        if pooled[number]
        and row["subset"] == "all"
        and key[number] in scores.p_values
        and (row["cell"], row["variant"]) in arms
        and row["modality"] in modalities
    ]
    known = [number for number in family if scores.p_values[key[number]] is not None]
    p_values = np.array([scores.p_values[key[number]] for number in known], float)
    lacking = np.ones(len(family) - len(known))
    adjusted = dict(zip(known, holm(np.concatenate([p_values, lacking])).tolist(), strict=False))
    settings = sorted({name for row in rows for name in overrides_of(row["cell"])})
    base = {name: value_of(base_of(config), name) for name in settings}
    multiples = _multiples(rows, config)
    return [
        {"variant": row["variant"], "cell": row["cell"]}
        | base
        | overrides_of(row["cell"])
        | {name: value for name, value in row.items() if name not in ("recalls", "confusion")}
        | {
            "ua_minus_none_p": scores.p_values.get(key[number]) if pooled[number] else None,
            "ua_minus_none_p_holm": adjusted.get(number),
            **multiples[number],
            "family": primary if number in family else "",
            "family_size": len(family) if number in family else None,
        }
        | {"recalls": row["recalls"], "confusion": row["confusion"]}
        for number, row in enumerate(rows)
    ]


def _multiples(rows: Sequence[dict[str, Any]], config: Config) -> list[dict[str, Any]]:
    """The columns of label multipliers of every row; none at all where no cells differ in their label fraction alone."""
    bases = {cell: _reference_cell(cell, config) for cell in dict.fromkeys(row["cell"] for row in rows)}
    curves: dict[tuple[str, str, str], dict[float, float]] = {}
    for row in rows:
        if row["aggregate"] == "pooled" and row["variant"] == REFERENCE:
            curve = bases[row["cell"]], row["modality"], row["subset"]
            curves.setdefault(curve, {})[label_fraction_of(row["cell"], config)] = row["ua"]
    if all(len(curve) < 2 for curve in curves.values()):
        return [{} for _ in rows]
    ends = {f"label_multiplier{end}": f"ua_minus_none{end}" for end in ("", "_low", "_high")}
    found = []
    for row in rows:
        own: dict[str, Any] = {f"{name}{part}": None for name in ends for part in ("", "_bound")}
        curve = curves.get((bases[row["cell"]], row["modality"], row["subset"]), {})
        at = label_fraction_of(row["cell"], config)
        if row["aggregate"] == "pooled" and row.get("ua_minus_none") is not None and len(curve) > 1 and at in curve:
            for name, end in ends.items():
                if row.get(end) is not None:
                    own[name], own[f"{name}_bound"] = label_multiplier(row[end], at, curve)
        found.append(own)
    return found


def _reference_cell(cell: str, config: Config) -> str:
    """What the points of the reference's learning curve share: the cell's settings that concern it, but for the fraction."""
    own = overrides_of(cell)
    settings = applied(base_of(config), own)
    kept = {k: v for k, v in own.items() if k != "label-fraction" and concerns(k, REFERENCE, settings)}
    return cell_name(base_of(config), kept)


def label_fraction_of(cell: str, config: Config) -> float:
    """The label fraction of a cell."""
    return overrides_of(cell).get("label-fraction", config.label_fraction)


def protocol_name(protocol: str, config: Config) -> str:
    """The protocol as rows name it: with what departs from its rule."""
    departures = ["partner kept"] if protocol == "speaker" and config.keep_partner else []
    if config.data.normalise != "training":
        departures.append(f"each {config.data.normalise} standardised by itself (transductive)")
    return ", ".join([protocol, *departures])


def provenance(
    config: Config, corpus: Corpus, protocol: str, folds: Sequence[Fold], seeds: Sequence[int] | None = None
) -> dict[str, Any]:
    """What a reader needs to know of where the numbers come from.

    Args:
      config: the settings.
      corpus: the corpus.
      protocol: resolved.
      folds: that are scored.
      seeds: that are scored, if not all of the settings'.
    """
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
            "settings": corpus.provenance.get("settings"),
            **({joining.CORPORA: corpus.provenance[joining.CORPORA]} if joining.CORPORA in corpus.provenance else {}),
        },
        "protocol": protocol,
        "folds": {fold.name: {"train": len(fold.train), "test": len(fold.test)} for fold in folds},
        "seeds": list(config.seeds if seeds is None else seeds),
        "devices": parallel.device_kind(),
        "versions": parallel.versions(),
    }
