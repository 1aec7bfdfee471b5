"""What an experiment's results say: score rows, and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import infoser
from infoser import parallel, protocols
from infoser.config import Config
from infoser.corpus import Corpus
from infoser.leakage import Fold
from infoser.links import speaker_clusters
from infoser.metrics.scores import Predictions, Scores, score_rows
from infoser.overrides import overrides_of
from infoser.saved_config import fingerprint
from infoser.stages.classify import MODALITIES


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
            base_cell=root,
        )
        scores += [row | _label_fraction(row["cell"], config) for row in part.rows]
        notes += [f"{note}{which and f' (utterances{which})'}" for note in part.notes]
    return Scores(scores, notes)


def _label_fraction(cell: str, config: Config) -> dict[str, float]:
    """The label fraction of a cell, as its rows have it."""
    return {"label_fraction": overrides_of(cell).get("label-fraction", config.label_fraction)}


def protocol_name(protocol: str, config: Config) -> str:
    """The protocol as rows name it: with what departs from its rule."""
    return f"{protocol}, partner kept" if protocol == "speaker" and config.keep_partner else protocol


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
            "speakers": len(np.unique(corpus.speaker)),
            "shards_hash": corpus.provenance.get("shards_hash"),
        },
        "protocol": protocol,
        "folds": {fold.name: {"train": len(fold.train), "test": len(fold.test)} for fold in folds},
        "devices": parallel.device_kind(),
        "versions": parallel.versions(),
    }
