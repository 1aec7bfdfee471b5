"""Configurations read back: what earlier versions did not write, and what says nothing about results."""

import dataclasses
from typing import Any

import pytest

from infoser.config import Config
from infoser.errors import InfoserError
from infoser.presets import PRESETS
from infoser.saved_config import fingerprint, from_json, to_json


def demo() -> Config:
    return PRESETS["demo"][1]


def test_a_run_folder_from_before_the_cache_is_read() -> None:
    values = to_json(demo())
    del values["data"]["cache"], values["tensorboard"]
    assert from_json(values) == demo()
    del values["data"]["text"]
    with pytest.raises(InfoserError, match="text missing"):
        from_json(values)


def test_further_corpora_make_another_experiment_and_none_leave_it_as_it_was() -> None:
    def differing(**changes: Any) -> str:
        return fingerprint(dataclasses.replace(demo(), data=dataclasses.replace(demo().data, **changes)))

    values = to_json(demo())
    for name in ("train_with", "test_corpus", "classes", "normalise"):  # before there were any
        del values["data"][name]
    assert from_json(values) == demo() and fingerprint(from_json(values)) == fingerprint(demo())
    prints = [differing(), differing(test_corpus="a"), differing(train_with=("a",)), differing(train_with=("b",))]
    prints += [differing(test_corpus="a", normalise="corpus"), differing(test_corpus="a", classes=("x=y",))]
    assert len(set(prints)) == len(prints)
    assert differing(test_corpus="a/one", train_with=("b/two",)) == differing(test_corpus="a", train_with=("b",))
    pooled = dataclasses.replace(demo(), data=dataclasses.replace(demo().data, train_with=("a", "b/two"), classes=("x=y",)))
    assert from_json(to_json(pooled)) == pooled


def test_how_shards_are_read_does_not_make_another_experiment() -> None:
    def differing(**changes: Any) -> str:
        return fingerprint(dataclasses.replace(demo(), data=dataclasses.replace(demo().data, **changes)))

    assert differing(cache=False) == differing(config="another") == fingerprint(demo())
    assert fingerprint(dataclasses.replace(demo(), tensorboard=False)) == fingerprint(demo())
    assert differing(text=False) != fingerprint(demo())
    values = to_json(demo())
    values["data"]["cache"] = "yes"
    with pytest.raises(InfoserError, match=r"data\.cache can't be 'yes'"):
        from_json(values)


def test_folders_of_before_heads_could_weigh_columns_are_read_as_they_were():
    config = demo()
    values = to_json(config)
    later = ("audio_scaling_power", "text_scaling_power", "block_scaling")
    defaults = [values["classify"].pop(name) for name in later]
    assert defaults == [1.0, 1.0, 0.0]
    assert from_json(values) == config
    told = {
        fingerprint(dataclasses.replace(config, classify=dataclasses.replace(config.classify, **{name: 0.5}))) for name in later
    }
    assert len(told) == 3 and fingerprint(config) not in told
