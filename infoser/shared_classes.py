"""The classes that two corpora share: by name, or through a class map that says which of one count as which of the other."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from infoser.class_map import count_unlabelled, map_labels, parse_class_map
from infoser.corpus import UNLABELLED, Corpus
from infoser.errors import InfoserError


@dataclass(frozen=True)
class SharedClasses:
    """How the classes of another corpus stand to a corpus' own.

    Attributes:
      members: for each shared class, in the order of the own ones, the other's classes that count as it.
      label: (N,) of the other corpus' rows: index into the own classes, −1 for a row outside the shared ones.
      counts: rows of each shared class.
      left_out: the other's rows outside the shared classes, by class; '' for those without a label.
      missing: own classes without a counterpart.
    """

    members: Mapping[str, tuple[str, ...]]
    label: Int[np.ndarray, " rows"]
    counts: Mapping[str, int]
    left_out: Mapping[str, int]
    missing: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the shared classes, in the order of the own ones."""
        return tuple(self.members)

    def notes(self, own: str, other: str) -> list[str]:
        """What a reader has to know, in sentences; `own` and `other` are the corpora's names."""
        said = []
        if self.left_out:
            rows = ", ".join(f"{count:,} {name or 'without a label'}" for name, count in self.left_out.items())
            said.append(f"rows of {other} outside the shared classes: {rows}")
        if self.missing:
            hint = "; what is one class under two names has to be named in a class map" if set(self.left_out) - {""} else ""
            said.append(f"classes of {own} without a counterpart in {other}: {', '.join(self.missing)}{hint}")
        return said


def share_classes(own: Sequence[str], other: Corpus, items: Sequence[str], flag: str) -> SharedClasses:
    """The classes that a corpus with classes `own` shares with another.

    Args:
      own: class names.
      other: the other corpus.
      items: `class=code,code…`: an own class and the other's classes that count as it; classes that are not named are
        then not shared. Without any, classes of one name are shared.
      flag: what gives `items` on the command line, for messages.

    Raises:
      InfoserError: for a map of classes that are not there, or fewer than two shared classes.
    """
    codes = np.array(["", *other.classes])[other.label + 1]
    own_codes = dict.fromkeys(codes[other.labelled].tolist())
    class_map = parse_class_map(separated(items)) if items else {name: (name,) for name in own if name in own_codes}
    unknown = [name for name in class_map if name not in own]
    if unknown:
        raise InfoserError(
            f"{flag} {unknown[0]}=…: there is no class {unknown[0]!r} to begin with; the classes are {', '.join(own)} (give "
            f"one of them before the =, and classes of {other.name!r} after it)"
        )
    members = {name: class_map[name] for name in own if name in class_map}
    if len(members) < 2:
        what = f"only the class {next(iter(members))!r}" if members else "no class"
        raise InfoserError(
            f"{what} is shared: the classes here are {', '.join(own)}, and those of corpus {other.name!r} "
            f"{', '.join(other.classes)}; say which of these count as which of those with {flag} "
            f"{own[0]}=CODE,CODE… {own[-1]}=CODE…"
        )
    label = map_labels(codes, members, f"corpus {other.name!r}")
    index = np.array([*(own.index(name) for name in members), UNLABELLED], np.int32)
    counts = np.bincount(label[label >= 0], minlength=len(members)).tolist()
    return SharedClasses(
        members=members,
        label=index[label],
        counts=dict(zip(members, counts, strict=True)),
        left_out=count_unlabelled(codes, label),
        missing=tuple(name for name in own if name not in members),
    )


def separated(items: Sequence[str]) -> list[str]:
    """Items apart that were given as one quoted word: where there are several `=`, a space before CLASS= begins a new one."""
    return [part for item in items for part in (re.split(r"\s+(?=[^\s=]+=)", item.strip()) if item.count("=") > 1 else [item])]
