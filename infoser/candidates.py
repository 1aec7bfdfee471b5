"""The committed candidates of `--select dev`, and those of the command line: what `selected` and `none` are chosen among."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from infoser.arms import BRANCH_SETTINGS
from infoser.cells import SELECTED, ArmName, base_of, cell_name, cell_of, sweep
from infoser.concerns import concerns
from infoser.config import Config
from infoser.errors import InfoserError
from infoser.overrides import SELECT, applied, canonical, parse, value_of
from infoser.variants import GENERATORS, REFERENCE, Variant

#: A head that trains long under much input dropout, on smoothed labels, averaged over more of its steps: better on many
#: features, not on few.
_LONG = "classify.dropout=0.2 classify.ema-decay=0.998 classify.input-dropout=0.5 classify.label-smoothing=0.2"
_LONG += " classify.learning-rate=0.002 classify.steps=1200"
#: Text in the proportions that its encoder gave it, and audio as much as text, however few columns it has.
_EQUAL = "classify.block-scaling=1 classify.text-scaling-power=0"
#: Heads that both lists have, so that what sets the two apart is what was added. The first is taken unless another gains more
#: on dev parts than the gain's standard error.
_SHARED = ("none", f"none {_LONG}", f"none {_LONG} {_EQUAL}", "none classify.dropout=0.7")
#: What `selected` is chosen among: variant, and settings that depart from the command line's.
CANDIDATES = (
    *_SHARED,
    f"none {_LONG} {_EQUAL} space=joined",
    f"teacher {_EQUAL} generate.row-weight=1 space=joined",
    "infogan-notext generate.class-mi-weight=0.03 generate.keep-by=teacher generate.label-by=teacher generate.ratio=0.5",
)
#: What `none` is chosen among: as many, of the head alone (for audio, which scaling of text does not concern, six differ). A
#: shorter list, of a corpus without text, has the first of them.
NONE_CANDIDATES = (
    *_SHARED,
    "none classify.weight-decay=3",
    "none classify.label-smoothing=0.1",
    "none classify.weight-decay=0.3",
)
#: Settings of heads that say nothing where there is no text.
_OF_TEXT = ("classify.block-scaling", "classify.text-scaling-power")
FLAGS = {SELECTED: "--candidates", REFERENCE: "--none-candidates"}


@dataclass(frozen=True)
class Selection:
    """What is chosen among at one label fraction.

    Attributes:
      cell: that the chosen ones' rows carry.
      label_fraction: of its runs.
      lists: the candidates of `selected` and of `none` by these names, equally many, the default first.
    """

    cell: str
    label_fraction: float
    lists: Mapping[str, tuple[ArmName, ...]]

    @property
    def arms(self) -> tuple[ArmName, ...]:
        """All candidates, each once."""
        return tuple(dict.fromkeys(arm for arms in self.lists.values() for arm in arms))


@dataclass(frozen=True)
class Candidate:
    """A variant with settings that depart from the configuration's."""

    text: str
    variant: Variant
    overrides: Mapping[str, Any]

    def at(self, label_fraction: float) -> dict[str, Any]:
        """Its overrides, with the label fraction."""
        return {**self.overrides, "label-fraction": label_fraction}


def read(text: str, flag: str) -> Candidate:
    """The candidate that a text says: a variant, and `key=value` for each setting.

    Args:
      flag: that says it, for messages.

    Raises:
      InfoserError: for an unknown variant or setting, a value that it can't have, or one that candidates can't differ in.
    """
    words = text.split()
    variants: dict[str, Variant] = {name: name for name in get_args(Variant)}
    if not words or words[0] not in variants:
        raise InfoserError(
            f'{flag} "{text}" names no variant; give one and its settings in one argument, such as "noise generate.ratio=2"'
        )
    overrides: dict[str, Any] = {}
    for one in words[1:]:
        key, equals, value = one.partition("=")
        if not equals:
            raise InfoserError(f'{flag} "{text}": {one!r} is no setting; write it as key=value')
        key = canonical(key, flag)
        if key == SELECT or (key in BRANCH_SETTINGS and key != "space"):
            raise InfoserError(f'{flag} "{text}": all candidates are trained at the same {key}')
        overrides[key] = parse(key, value, flag)
    return Candidate(text, variants[words[0]], overrides)


def selections(config: Config, *, has_text: bool = True) -> tuple[tuple[Selection, ...], tuple[str, ...]]:
    """What is chosen among at every label fraction, and what has to be said of it; nothing without `--select dev`.

    Args:
      config: the configuration.
      has_text: whether the corpus has text; candidates that need it are left out.

    Raises:
      InfoserError: for a candidate that can't be read or trained, or lists that leave nothing to choose.
    """
    selected = sweep(config, has_text=has_text).selected
    if not selected:
        return (), ()
    base, notes = base_of(config), []
    texts = {SELECTED: config.candidates or CANDIDATES, REFERENCE: config.none_candidates or NONE_CANDIDATES}
    lists = {name: _usable(base, own, FLAGS[name], has_text, notes) for name, own in texts.items()}
    for one in lists[REFERENCE]:
        if one.variant != REFERENCE:
            raise InfoserError(f'{FLAGS[REFERENCE]} "{one.text}": {REFERENCE} is chosen among its own heads; begin with none')
    size = min(map(len, lists.values()))
    if size < 2:
        sizes = [f"{FLAGS[name]} has {len(own)} that differ here" for name, own in lists.items()]
        raise InfoserError(f"--select dev: there is nothing to choose: {'; '.join([*sizes, *notes])}")
    for name, own in lists.items():
        if own[size:]:
            left = ", ".join(one.text for one in own[size:])
            notes.append(f"{FLAGS[name]}: the last {len(own) - size} left out, so that both lists are as long: {left}")
    kept = {name: own[:size] for name, own in lists.items()}
    for one in [one for own in kept.values() for one in own]:
        cell_of(base, one.overrides, (one.variant,))  # refuses what can't be trained, before anything is
    found = [
        Selection(cell, at, {name: tuple(_arm(base, one, at) for one in own) for name, own in kept.items()})
        for cell, at in selected
    ]
    return tuple(found), tuple(notes)


def _arm(base: Config, candidate: Candidate, label_fraction: float) -> ArmName:
    return cell_name(base, candidate.at(label_fraction)), candidate.variant


def _usable(base: Config, texts: Sequence[str], flag: str, has_text: bool, notes: list[str]) -> list[Candidate]:
    """The candidates that the corpus can have and that differ under this configuration."""
    found: dict[ArmName, Candidate] = {}
    textless, repeated = [], []
    for text in texts:
        one = read(text, flag)
        own = applied(base, one.overrides)
        needs_text = own.space == "joined" or (one.variant in GENERATORS and GENERATORS[one.variant].needs_text)
        if not has_text and (needs_text or any(k in _OF_TEXT for k in one.overrides)):
            textless.append(text)
            continue
        # A setting that says nothing to the variant makes no other candidate.
        told = {k: v for k, v in one.overrides.items() if v != value_of(base, k) and concerns(k, one.variant, own)}
        candidate = Candidate(text, one.variant, told)
        if found.setdefault(_arm(base, candidate, base.label_fraction), candidate) is not candidate:
            repeated.append(text)
    for which, why in ((textless, "the corpus has no text features here"), (repeated, "the same as one before, here")):
        if which:
            notes.append(f"{flag}: {len(which)} of {len(texts)} left out, {why}: {', '.join(which)}")
    return list(found.values())
