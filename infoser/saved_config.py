"""A configuration as JSON: written into the run folder, read back with every value checked."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from infoser.config import (
    AlignConfig,
    AugmentConfig,
    ClassifyConfig,
    Config,
    Data,
    GenerateConfig,
    validate,
)
from infoser.errors import InfoserError

#: Settings that do not change results.
INERT = ("data_dir", "run_dir", "checkpoint_every_s", "chunk_steps", "final", "final_variant")


def to_json(config: Config) -> dict[str, Any]:
    """The configuration as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def from_json(values: dict[str, Any]) -> Config:
    """The inverse of `to_json`.

    Raises:
      InfoserError: if a setting is missing or unknown, as in a run folder of another version.
    """
    try:
        nested: Any = {
            "data": Data(**values["data"]),
            "align": AlignConfig(**values["align"]),
            "generate": GenerateConfig(**values["generate"]),
            "augment": AugmentConfig(**values["augment"]),
            "classify": ClassifyConfig(**values["classify"]),
        }
        lists: Any = {key: tuple(values[key]) for key in ("variants", "aligned_variants", "seeds", "folds")}
        paths: Any = {key: Path(values[key]) for key in ("data_dir", "run_dir")}
        config = Config(**(values | nested | lists | paths))
    except (KeyError, TypeError) as error:
        raise InfoserError(f"it is no configuration of this version of infoser ({error})") from error
    _check_types(config)
    validate(config)
    return config


def _check_types(config: Any, prefix: str = "") -> None:
    """Refuses a value that is not of its setting's type, which only a damaged or edited file has."""
    for entry in dataclasses.fields(config):
        value, name = getattr(config, entry.name), f"{prefix}{entry.name}"
        if dataclasses.is_dataclass(value):
            _check_types(value, f"{name}.")
        elif not _is_a(value, entry.type):
            raise InfoserError(f"its setting {name} can't be {value!r}")


def _is_a(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_is_a(one, get_args(kind)[0]) for one in value)
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def fingerprint(config: Config) -> str:
    """A short hash of everything that determines results: not where they are kept, nor how often they are saved.

    Nor by which name the shards are found among others of the corpus: their own hash is what counts.
    """
    values = {k: v for k, v in to_json(config).items() if k not in INERT}
    values["data"].pop("config")
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
