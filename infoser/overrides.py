"""Overrides: settings of the command line by name, parsed and checked as their flags are; a cell's name is made of them."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args, get_origin

from infoser.config import Config
from infoser.errors import InfoserError

#: Why some settings can't be varied within one experiment.
_FIXED = {
    **dict.fromkeys(
        ("data", "data-dir", "protocol", "folds", "keep-partner"), "what is scored has to be the same for all cells"
    ),
    **dict.fromkeys(("seeds",), "give all seeds to --seeds"),
    **dict.fromkeys(("variants", "aligned-variants", "joined-variants"), "name all variants in --variants"),
    **dict.fromkeys(("final", "final-variant"), "there is one final model"),
    **dict.fromkeys(
        ("run-dir", "hosts", "parallel", "accumulate", "max-group-gib", "resident-gib", "chunk-steps", "checkpoint-every-s")
        + ("tensorboard",),
        "it says how training is done, not what is trained",
    ),
    **dict.fromkeys(("ablate", "grid", "budget", "primary", "candidates", "none-candidates"), "it says which cells there are"),
}
#: What cells are named by, and no grid varies: what is chosen among candidates is no setting of a run.
SELECT = "select"

#: A setting's place: the names of the fields that lead to it.
Path = tuple[str, ...]
#: Settings by their canonical names, each with its value.
Overrides = Mapping[str, Any]


def settings() -> dict[str, tuple[Path, Any]]:
    """Every setting that cells may differ in, by its canonical name: its place and its type."""
    found: dict[str, tuple[Path, Any]] = {}
    for entry in dataclasses.fields(Config):
        name = entry.name.replace("_", "-")
        if name in _FIXED:
            continue
        if isinstance(entry.default_factory, type) and dataclasses.is_dataclass(entry.default_factory):
            for inner in dataclasses.fields(entry.default_factory):
                found[f"{name}.{inner.name.replace('_', '-')}"] = ((entry.name, inner.name), inner.type)
        else:
            found[name] = ((entry.name,), entry.type)
    return found


SETTINGS = settings()


def canonical(key: str, flag: str = "--grid") -> str:
    """The canonical name of a setting.

    Args:
      flag: that names it, for messages.

    Raises:
      InfoserError: if there is none of this name, with the nearest ones; or it can't be varied, with the reason.
    """
    name = key.removeprefix("--").replace("_", "-")
    if name in SETTINGS:
        return name
    if name in _FIXED or name.split(".")[0] in _FIXED:
        raise InfoserError(
            f"{flag} {name}: can't be varied within one experiment: {_FIXED.get(name) or _FIXED[name.split('.')[0]]}"
        )
    near = difflib.get_close_matches(name, SETTINGS, n=2, cutoff=0.5)
    near = near or [one for one in SETTINGS if one.rpartition(".")[2] == name.rpartition(".")[2]]
    hint = f"; did you mean {' or '.join(near)}?" if near else "; train.py demo --help names all settings"
    raise InfoserError(f"{flag} {name}: there is no such setting{hint}")


def parse(key: str, text: str, flag: str = "--grid") -> Any:
    """The value of a setting that a text says.

    Args:
      key: a canonical name.
      flag: that says it, for messages.

    Raises:
      InfoserError: if it is none of the setting's type.
    """
    kind = SETTINGS[key][1]
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            near = difflib.get_close_matches(text, get_args(kind), n=1)
            raise InfoserError(
                f"{flag} {key}={text}: it is one of {', '.join(get_args(kind))}"
                + (f"; did you mean {near[0]}?" if near else "")
            )
        return text
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise InfoserError(f"{flag} {key}={text}: it is true or false")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError:
        what = {int: "an integer", float: "a number"}[kind]
        raise InfoserError(f"{flag} {key}={text}: {text!r} is not {what}") from None


def written(value: Any) -> str:
    """A value as cells' names have it: the shortest text that gives it back."""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def value_of(config: Config, key: str) -> Any:
    """The value that a configuration gives to a setting."""
    value: Any = config
    for name in SETTINGS[key][0]:
        value = getattr(value, name)
    return value


def name_of(config: Config, overrides: Overrides) -> str:
    """The canonical name of a cell: what departs from the base configuration, by key."""
    kept = {key: value for key, value in overrides.items() if value != value_of(config, key)}
    return " ".join(f"{key}={written(kept[key])}" for key in sorted(kept))


def overrides_of(name: str) -> dict[str, Any]:
    """The overrides that a cell's name says; raises InfoserError for what is no such name."""
    found = {}
    for one in name.split(" ") if name else ():
        key, equals, text = one.partition("=")
        if not equals:
            raise InfoserError(f"{one!r} is no override: key=value")
        key = canonical(key)
        found[key] = parse(key, text)
    return found


def applied(config: Config, overrides: Overrides) -> Config:
    """A configuration with some settings replaced, unchecked."""
    for key, value in overrides.items():
        first, *inner = SETTINGS[key][0]
        own: Any = dataclasses.replace(getattr(config, first), **{inner[0]: value}) if inner else value
        changed: Any = {first: own}
        config = dataclasses.replace(config, **changed)
    return config


def parse_grid(grid: Iterable[str]) -> tuple[dict[str, tuple[Any, ...]], list[str]]:
    """The values of every setting that `--grid KEY=V,V…` names, and what has to be said of them.

    Raises:
      InfoserError: for what can't be read, a setting that there is not, a value that it can't have, or a setting named twice.
    """
    found: dict[str, tuple[Any, ...]] = {}
    notes = []
    for one in grid:
        key, equals, texts = one.partition("=")
        if not equals or not key or not all(texts.split(",")):
            raise InfoserError(f"--grid {one}: give KEY=VALUE,VALUE…, such as generate.ratio=0.25,1")
        key = canonical(key)
        if key == SELECT:
            raise InfoserError("--grid select: can't be varied within one experiment: --select dev has rows of both kinds")
        if key in found:
            raise InfoserError(f"--grid names {key} twice; give it once, with all its values: --grid {key}=V,V…")
        values = [parse(key, text) for text in texts.split(",")]
        found[key] = tuple(dict.fromkeys(values))
        repeated = len(values) - len(found[key])
        if repeated:
            notes.append(f"--grid {one}: {repeated} of its values repeat others and count once")
    return found, notes
