"""Synthetic rows in folds: trained on, never tested on, and left out where they were made from what a fold holds out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from infoser import synthetic
from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.leakage import Fold


def with_synthetic(corpus: Corpus, folds: Sequence[Fold]) -> tuple[Fold, ...]:
    """The folds of the corpus' real rows, as folds of the whole corpus.

    To each training part come the synthetic rows that were made from none of the real utterances outside it: not from test and
    dev rows, nor from what was left out beside them (a partner, or the unlabelled rows of a held-out session).

    Args:
      corpus: with synthetic rows.
      folds: of `synthetic.real_part(corpus)`.

    Raises:
      InfoserError: if no fold could train on any synthetic row.
    """
    made = synthetic.mask(corpus)
    assert made is not None
    real, hashes = np.flatnonzero(~made), synthetic.id_hashes(corpus.utterance_id[~made])
    sets = synthetic.sets(corpus)
    named = corpus.columns[synthetic.MADE_FROM]
    unknown = int((made & (named == "")).sum())
    whole = []
    for fold in folds:
        outside = np.ones(len(real), bool)
        outside[fold.train] = False
        leaking = {name for name, ids in sets.items() if np.isin(hashes[outside], ids).any()}
        kept = made & ~np.isin(named, list(leaking))
        notes = (f"{int(kept.sum()):,} synthetic rows are trained on",)
        if not kept.all() and leaking:
            left = int((made & ~kept).sum())
            notes += (f"left out of training: {left:,} synthetic rows made from utterances that this fold holds out",)
        if unknown:
            notes += (f"{unknown:,} of the synthetic rows say that they were made from no utterance, which can't be checked",)
        whole.append(
            dataclasses.replace(
                fold,
                train=np.sort(np.concatenate([real[fold.train], np.flatnonzero(kept)])),
                test=real[fold.test],
                dev=real[fold.dev],
                notes=fold.notes + notes,
            )
        )
    if whole and not any(made[fold.train].any() for fold in whole):
        raise InfoserError(
            f"corpus {corpus.name!r}: its synthetic rows were made from utterances that every fold holds out "
            f"({int(made.sum()):,} rows), so that no fold may train on one; export rows of each fold's own model "
            "(eval.py generate --fold …), or leave them out"
        )
    return tuple(whole)
