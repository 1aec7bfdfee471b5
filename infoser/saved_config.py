"""A configuration as JSON: written into the run folder, read back with every value checked."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from infoser.config import (
    AlignConfig,
    AugmentConfig,
    ClassifyConfig,
    Config,
    Data,
    GenerateConfig,
)
from infoser.errors import InfoserError
from infoser.validation import validate

#: Settings that do not change results.
INERT = ("data_dir", "run_dir", "checkpoint_every_s", "chunk_steps", "resident_gib", "final", "final_variant", "cache")
INERT += ("primary", "budget", "tensorboard")
#: Settings that say how much is trained: a run folder may be asked for more of it later.
EXTENDABLE = ("variants", "aligned_variants", "joined_variants", "ablate", "grid", "seeds", "folds")
EXTENDABLE += ("select", "candidates", "none_candidates")
#: Settings of several corpora.
_OF_SEVERAL = ("train_with", "test_corpus", "classes", "normalise")
#: Settings that earlier versions did not write, and those of one start, which none writes: each takes its default.
LATER = ("cache", "resident_gib", "hosts", "ablate", "grid", "primary", "budget", "tensorboard", *_OF_SEVERAL)
LATER += ("select", "candidates", "none_candidates")
#: Settings of heads that came later, whose defaults change nothing of what there was.
_OF_HEADS = ("audio_scaling_power", "text_scaling_power", "block_scaling")
LATER += _OF_HEADS
_NESTED = {
    "data": Data,
    "align": AlignConfig,
    "generate": GenerateConfig,
    "augment": AugmentConfig,
    "classify": ClassifyConfig,
}
_LISTS = tuple(name for name in EXTENDABLE if name != "select")


def to_json(config: Config) -> dict[str, Any]:
    """The configuration as plain JSON values, without the hosts: those of one start are not those of the next."""
    values = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    del values["hosts"]
    return values


def from_json(values: Any, *, complete: bool = True) -> Config:
    """The inverse of `to_json`.

    Args:
      values: what was read, which may be any JSON value.
      complete: whether every setting must be there; without it, one that is missing takes its default.

    Raises:
      InfoserError: if a setting is missing, unknown or wrong, as in a run folder of another version.
    """
    try:
        nested: Any = {name: _made(kind, _tuples(values[name]), complete) for name, kind in _NESTED.items()}
        # What is no list stays what it is, and is refused below: the letters of a word are not its values.
        lists: Any = {key: tuple(values[key]) for key in _LISTS if isinstance(values.get(key, ()), list)}
        paths: Any = {key: Path(values[key]) for key in ("data_dir", "run_dir")}
        config = _made(Config, values | nested | lists | paths, complete)
    except (KeyError, TypeError) as error:
        raise InfoserError(f"it is no configuration of this version of infoser ({error})") from error
    _check_types(config)
    validate(config)
    return config


def _tuples(values: Any) -> Any:
    """Lists of a table of settings as the tuples that they were."""
    if not isinstance(values, dict):
        return values
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def _made(kind: Any, values: Any, complete: bool) -> Any:
    if not isinstance(values, dict):
        raise TypeError(f"{kind.__name__} is no table of settings")
    missing = [entry.name for entry in dataclasses.fields(kind) if entry.name not in (*values, *LATER)]
    if missing and complete:  # it would take its default without a word
        raise KeyError(f"{', '.join(missing)} missing")
    return kind(**values)


def _check_types(config: Any, prefix: str = "") -> None:
    """Refuses a value that is not of its setting's type, which only a damaged or edited file has."""
    for entry in dataclasses.fields(config):
        value, name = getattr(config, entry.name), f"{prefix}{entry.name}"
        if dataclasses.is_dataclass(value):
            _check_types(value, f"{name}.")
        elif not _is_a(value, entry.type):
            raise InfoserError(f"its setting {name} can't be {value!r}")


def _is_a(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Annotated:
        return _is_a(value, get_args(kind)[0])
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_is_a(one, get_args(kind)[0]) for one in value)
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, kind)


def fingerprint(config: Config, *, base: bool = False) -> str:
    """A short hash of everything that determines results: not where they are kept, nor how often they are saved.

    Nor by which name the shards are found among others of the corpus: their own hash is what counts.

    Args:
      config: the configuration.
      base: leave out how much is trained (`EXTENDABLE`).
    """
    values = {k: v for k, v in to_json(config).items() if k not in INERT and not (base and k in EXTENDABLE)}
    for name in ("ablate", "grid", "candidates", "none_candidates"):  # without any, as before there were such
        if not values.get(name):
            values.pop(name, None)
    if values.get("select") == "off":
        del values["select"]
    for name in _OF_HEADS:
        if values["classify"][name] == getattr(ClassifyConfig, name):
            del values["classify"][name]
    data = values["data"]
    for name in ("config", "cache"):
        data.pop(name)
    if data["train_with"] or data["test_corpus"]:
        data["train_with"] = [name.partition("/")[0] for name in data["train_with"]]
        data["test_corpus"] = data["test_corpus"].partition("/")[0]
    else:  # runs of one corpus are what they were before there were others
        for name in _OF_SEVERAL:
            data.pop(name)
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
