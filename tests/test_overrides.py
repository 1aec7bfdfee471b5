"""Settings by name: as their flags are, parsed, refused and written back."""

import dataclasses
from typing import Any, Literal, get_args, get_origin

import pytest

from infoser import overrides
from infoser.config import Config, Data
from infoser.errors import InfoserError

CONFIG = Config(data=Data("demo"))


def another_value(key: str) -> Any:
    """A value of the setting's type that the configuration does not have."""
    kind, now = overrides.SETTINGS[key][1], overrides.value_of(CONFIG, key)
    if get_origin(kind) is Literal:
        return next(one for one in get_args(kind) if one != now)
    return not now if kind is bool else kind(now + 1) if kind is int else now / 2 + 0.125


@pytest.mark.parametrize("key", sorted(overrides.SETTINGS))
def test_every_setting_is_changed_named_and_read_back(key: str) -> None:
    value = another_value(key)
    changed = overrides.applied(CONFIG, {key: value})
    assert overrides.value_of(changed, key) == value
    assert overrides.applied(changed, {key: overrides.value_of(CONFIG, key)}) == CONFIG
    name = overrides.name_of(CONFIG, {key: value})
    assert name.startswith(f"{key}=") and overrides.overrides_of(name) == {key: value}


def test_names_are_canonical() -> None:
    given = {"generate.text-mi-weight": 0.0, "generate.ratio": 0.25, "generate.loss": CONFIG.generate.loss}
    assert overrides.name_of(CONFIG, given) == "generate.ratio=0.25 generate.text-mi-weight=0"
    assert overrides.name_of(CONFIG, dict(reversed(given.items()))) == overrides.name_of(CONFIG, given)
    assert overrides.name_of(CONFIG, {"generate.ratio": 1.0}) == ""
    assert overrides.written(1e-5) == "1e-05" and overrides.written(2.0) == "2" and overrides.written(True) == "true"


def test_a_grid_is_read() -> None:
    grid, notes = overrides.parse_grid(["generate.ratio=0.5,1.0,0.50", "--generate.spectral_norm=true,false"])
    assert grid == {"generate.ratio": (0.5, 1.0), "generate.spectral-norm": (True, False)}
    assert notes == ["--grid generate.ratio=0.5,1.0,0.50: 1 of its values repeat others and count once"]


@pytest.mark.parametrize(
    "grid, said",
    [
        (["generate.ratio"], "give KEY=VALUE,VALUE"),
        (["generate.ratio="], "give KEY=VALUE,VALUE"),
        (["generate.ratio=1,,2"], "give KEY=VALUE,VALUE"),
        (["=1"], "give KEY=VALUE,VALUE"),
        (["generate.text-mi-wieght=0"], "no such setting; did you mean generate.text-mi-weight"),
        (["ratio=1"], "generate.ratio"),
        (["zzz=1"], "train.py demo --help names all settings"),
        (["generate.ratio=much"], "'much' is not a number"),
        (["generate.width=1.5"], "'1.5' is not an integer"),
        (["generate.spectral-norm=yes"], "true or false"),
        (["generate.loss=hing"], "one of hinge, non-saturating, wasserstein; did you mean hinge?"),
        (["seeds=0,1"], "give all seeds to --seeds"),
        (["variants=none"], "name all variants in --variants"),
        (["data.name=a,b"], "what is scored has to be the same"),
        (["hosts.count=2"], "how training is done"),
        (["chunk-steps=2"], "how training is done"),
        (["grid=1"], "which cells there are"),
        (["generate.ratio=1", "generate.ratio=2"], "names generate.ratio twice"),
    ],
)
def test_what_is_no_grid_is_refused(grid: list[str], said: str) -> None:
    with pytest.raises(InfoserError, match=r"^--grid") as error:
        overrides.parse_grid(grid)
    assert said in str(error.value)


def test_every_field_is_a_setting_or_refused_with_a_reason() -> None:
    for entry in dataclasses.fields(Config):
        name = entry.name.replace("_", "-")
        own = [key for key in overrides.SETTINGS if key == name or key.startswith(f"{name}.")]
        if not own:
            with pytest.raises(InfoserError, match="can't be varied within one experiment: "):
                overrides.canonical(name)


def test_what_is_no_cell_is_refused() -> None:
    for name in ("generate.ratio", "nothing=1", "generate.ratio=x"):
        with pytest.raises(InfoserError):
            overrides.overrides_of(name)
