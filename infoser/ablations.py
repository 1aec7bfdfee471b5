"""The named ablations: what each compares, as overrides of the configuration and as variants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from infoser.variants import Variant

AblationName = Literal[
    "mutual_information",
    "estimator",
    "cross_modal",
    "adversarial",
    "condition",
    "ratio",
    "filter",
    "label_fraction",
    "alignment",
]
NAMES: tuple[AblationName, ...] = get_args(AblationName)
_ESTIMATORS = ("barber-agakov", "infonce", "nwj", "dv", "mine", "jsd", "smile", "club")
_TERMS = ("class", "text", "pair")


@dataclass(frozen=True)
class Ablation:
    """What an ablation compares.

    Attributes:
      variants: that are trained in the base cell, whatever `--variants` says.
      needs: trained too if no variant at hand is concerned by any of the cells.
      cells: overrides; one that changes nothing of the configuration at hand is the base cell itself.
    """

    variants: tuple[Variant, ...] = ()
    needs: tuple[Variant, ...] = ()
    cells: tuple[Mapping[str, Any], ...] = ()


def _each(key: str, *values: Any) -> tuple[Mapping[str, Any], ...]:
    return tuple({key: value} for value in values)


_WEIGHTS = tuple(f"generate.{term}-mi-weight" for term in _TERMS)

ABLATIONS: dict[AblationName, Ablation] = {
    "mutual_information": Ablation(
        needs=("infogan",),
        cells=(
            *({weight: 0.0} for weight in _WEIGHTS),
            dict.fromkeys(_WEIGHTS, 0.0),
            *({f"generate.{term}-mi-estimator": estimator for term in _TERMS} for estimator in _ESTIMATORS),
        ),
    ),
    "estimator": Ablation(
        needs=("infogan",),
        cells=tuple({f"generate.{term}-mi-estimator": estimator} for term in _TERMS for estimator in _ESTIMATORS),
    ),
    "cross_modal": Ablation(
        variants=("infogan", "infogan-notext", "infogan-paired", "infogan-other-text", "infogan-wrong-text"),
    ),
    "adversarial": Ablation(needs=("infogan",), cells=_each("generate.loss", "hinge", "non-saturating", "wasserstein")),
    "condition": Ablation(
        variants=("cgan", "infogan", "infogan-notext", "infogan-text-alone", "infogan-unconditional"),
    ),
    "ratio": Ablation(needs=("infogan",), cells=_each("generate.ratio", 0.1, 0.25, 0.5, 1.0, 2.0)),
    "filter": Ablation(
        needs=("infogan",),
        cells=_each("generate.keep-by", "all-rows", "discriminator", "recogniser", "teacher", "consensus"),
    ),
    "label_fraction": Ablation(cells=_each("label-fraction", 1.0, 0.25, 0.1, 0.05)),
    "alignment": Ablation(
        needs=("infogan",),
        cells=(
            {"align.contrastive-weight": 0.0},
            {"align.mi-weight": 0.0},
            {"align.contrastive-weight": 0.0, "align.mi-weight": 0.0},
            *_each("align.mi-estimator", *_ESTIMATORS),
            *_each("space", "encoder", "aligned", "joined"),
        ),
    ),
}
