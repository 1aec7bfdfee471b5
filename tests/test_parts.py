"""A run folder's parts: what is missing is found, nothing twice, whatever was there."""

from typing import Any

import numpy as np
import pytest

from infoser.errors import InfoserError
from infoser.parts import Part, beyond, complete, from_json, missing, prefix, to_json

SEEDS, FOLDS = (0, 1, 2, 3), ("a", "b", "c")
ARMS: Any = (("", "none"), ("", "noise"), ("generate.ratio=2", "noise"), ("label-fraction=0.1", "none"))


def some(of: tuple[Any, ...], rng: np.random.Generator) -> tuple[Any, ...]:
    kept = rng.random(len(of)) < 0.5
    kept[rng.integers(len(of))] = True
    return tuple(one for one, own in zip(of, kept, strict=True) if own)


def cubes(parts: list[Part]) -> list[tuple[Any, ...]]:
    return [(*unit, arm) for part in parts for unit in part.units for arm in part.arms]


def union(one: Part, other: Part) -> Part:
    def both(name: str, of: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(each for each in of if each in getattr(one, name) or each in getattr(other, name))

    return Part(both("seeds", SEEDS), both("folds", FOLDS), both("arms", ARMS))


@pytest.mark.parametrize("seed", range(100))
def test_what_is_asked_for_is_trained_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    asks = [Part(some(SEEDS, rng), some(FOLDS, rng), some(ARMS, rng)) for _ in range(rng.integers(1, 5))]
    parts: list[Part] = []
    asked = asks[0]
    for more in asks:
        asked = union(asked, more)
        before = list(parts)
        parts += missing(parts, asked)
        assert parts[: len(before)] == before
        held = cubes(parts)
        assert len(held) == len(set(held)) and set(held) == set(cubes([asked]))
        assert missing(parts, asked) == [] and beyond(parts, asked) == []
    whole, others = complete(parts)
    assert others == [] and set(cubes([whole])) == set(cubes([asked]))
    assert from_json(to_json(parts)) == parts


def test_extensions_keep_to_the_blocks_that_are_there() -> None:
    first = Part((0,), ("a", "b"), ARMS[:2])
    assert missing([first], Part((0, 1), ("a", "b"), ARMS[:3])) == [
        Part((0,), ("a", "b"), ARMS[2:3]),
        Part((1,), ("a", "b"), ARMS[:3]),
    ]
    assert missing([first], Part((0, 1), ("a", "b", "c"), ARMS[:2])) == [
        Part((0,), ("c",), ARMS[:2]),
        Part((1,), ("a", "b", "c"), ARMS[:2]),
    ]


def test_only_what_has_all_seeds_and_folds_is_complete() -> None:
    parts = [Part((0,), ("a", "b"), ARMS[:3]), Part((1, 2), ("a", "b"), ARMS[:1])]
    assert complete(parts) == (Part((0, 1, 2), ("a", "b"), ARMS[:1]), list(ARMS[1:3]))


def test_what_is_there_beyond_the_question_is_said() -> None:
    parts = [Part((0, 1), ("a", "b"), ARMS[:3])]
    said = beyond(parts, Part((0,), ("b",), ARMS[:1]))
    assert said == ["seeds 1", "folds a", "variants noise, noise (generate.ratio=2)"]
    assert [prefix(number) for number in range(3)] == ["", "part2/", "part3/"]


GOOD = {"seeds": [0], "folds": ["a"], "arms": [["", "none"]]}


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [None],
        [{}],
        [GOOD | {"seeds": []}],
        [GOOD | {"seeds": ["0"]}],
        [GOOD | {"seeds": [True]}],
        [GOOD | {"folds": [1]}],
        [GOOD | {"arms": [["", "nobody"]]}],
        [GOOD | {"arms": [["x=1", "none"]]}],
        [GOOD | {"arms": [["generate.ratio=x", "none"]]}],
        [GOOD | {"arms": [["none"]]}],
        [GOOD | {"arms": [[["generate.ratio=1"], "none"]]}],
    ],
)
def test_other_values_are_refused(wrong: Any) -> None:
    with pytest.raises(InfoserError):
        from_json(wrong)
