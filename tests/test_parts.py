"""A run folder's parts: what is missing is found, nothing twice, whatever was there."""

import itertools
from typing import Any

import numpy as np
import pytest

from infoser.errors import InfoserError
from infoser.parts import Part, beyond, complete, from_json, left_out, missing, prefix, to_json

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
    whole = complete(parts)
    assert set(cubes([whole])) == set(cubes([asked]))
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


CELLS: Any = (("", "none"), ("", "noise"), *((f"generate.ratio={ratio}", "noise") for ratio in range(2, 46)))


def test_a_partly_finished_extension_takes_nothing_from_the_table() -> None:
    finished, begun = Part((0,), ("a", "b"), CELLS), Part((1,), ("a", "b"), CELLS[:2])
    whole = complete([finished, begun])
    assert whole == finished
    assert left_out([finished], finished) == ""
    assert left_out([finished, begun], whole) == (
        "trained, but not in the tables yet: none, noise on seed 1; for that, the same command has to train noise "
        "(generate.ratio=2), noise (generate.ratio=3), noise (generate.ratio=4) and 41 more on seed 1"
    )
    # However many seeds are added: the base cell alone would then fill a larger table.
    many = Part(tuple(range(1, 60)), ("a", "b"), CELLS[:2])
    assert complete([finished, many]) == finished
    rest = missing([finished, begun], Part((0, 1), ("a", "b"), CELLS))
    assert complete([finished, begun, *rest]) == Part((0, 1), ("a", "b"), CELLS)
    assert left_out([finished, begun, *rest], Part((0, 1), ("a", "b"), CELLS)) == ""


def test_seeds_that_are_in_the_table_stay_there_when_cells_are_added_to_some() -> None:
    parts = [Part((0,), ("a",), CELLS[:2]), Part((1,), ("a",), CELLS[:2])]
    assert complete(parts) == Part((0, 1), ("a",), CELLS[:2])
    parts.append(Part((0,), ("a",), CELLS[2:]))
    whole = complete(parts)
    assert whole == Part((0, 1), ("a",), CELLS[:2])
    assert left_out(parts, whole).endswith("noise (generate.ratio=4) and 41 more on seed 1")
    parts.append(Part((1,), ("a",), CELLS[2:-1]))
    assert complete(parts) == Part((0, 1), ("a",), CELLS[:-1])
    assert left_out(parts, complete(parts)) == (
        "trained, but not in the tables yet: noise (generate.ratio=45) on seed 0; for that, the same command has to train "
        "noise (generate.ratio=45) on seed 1"
    )


def test_a_part_that_is_less_than_the_table_by_seeds_and_folds_is_said() -> None:
    parts = [Part((0, 1), ("a", "b"), ARMS[:2]), Part((0,), ("c",), ARMS[:2]), Part((2,), ("a", "b", "c"), ARMS[:1])]
    whole = complete(parts)
    assert whole == Part((0, 1), ("a", "b"), ARMS[:2])
    assert left_out(parts, whole) == (
        "trained, but not in the tables yet: none on seed 0 × fold c and seed 2; noise on seed 0 × fold c; for that, the same "
        "command has to train none on seed 1 × fold c; noise on seed 1 × fold c and seed 2"
    )


def test_of_larger_tables_that_hold_the_earlier_one_the_largest_is_taken() -> None:
    first = Part((0,), ("a",), ARMS[:1])
    # Three seeds × 1 arm, or one seed × 2.
    assert complete([first, Part((1, 2), ("a",), ARMS[:1]), Part((0,), ("a",), ARMS[1:2])]).seeds == (0, 1, 2)
    # Of one size: that of more arms.
    assert complete([first, Part((1,), ("a",), ARMS[:1])]) == Part((0, 1), ("a",), ARMS[:1])
    ragged = [Part((0,), ("a", "b"), ARMS[:2]), Part((1,), ("a",), ARMS[:2])]
    assert complete(ragged) == ragged[0]


def test_arms_that_nobody_asks_for_hold_no_seeds_back() -> None:
    parts = [Part((0,), ("a",), ARMS[:2]), Part((0,), ("a",), ARMS[2:]), Part((1,), ("a",), ARMS[:2])]
    assert complete(parts) == Part((0,), ("a",), ARMS)
    assert complete(parts, ARMS[:2]) == Part((0, 1), ("a",), ARMS[:2])
    assert left_out(parts, complete(parts, ARMS[:2]), ARMS[:2]) == ""
    parts.append(Part((1,), ("a",), ARMS[2:3]))
    assert complete(parts, ARMS[:2]).arms == ARMS[:3]


def subsets(of: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    return [each for size in range(1, len(of) + 1) for each in itertools.combinations(of, size)]


RECTANGLES = [
    (set(itertools.product(itertools.product(seeds, folds), arms)), len(arms))
    for seeds, folds, arms in itertools.product(subsets(SEEDS), subsets(FOLDS), subsets(ARMS))
]


@pytest.mark.parametrize("seed", range(40))
def test_no_part_takes_anything_from_the_table(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts: list[Part] = [Part(some(SEEDS, rng), some(FOLDS, rng), some(ARMS, rng))]
    asked = parts[0]
    for _ in range(rng.integers(1, 4)):
        asked = union(asked, Part(some(SEEDS, rng), some(FOLDS, rng), some(ARMS, rng)))
        for part in missing(parts, asked):
            if rng.random() < 0.7:
                before = set(cubes([complete(parts)]))
                parts.append(Part(part.seeds, part.folds, some(part.arms, rng)))
                after = set(cubes([complete(parts)]))
                assert before <= after <= set(cubes(parts))
                held = {((seed, fold), arm) for seed, fold, arm in cubes(parts)}
                kept = {((seed, fold), arm) for seed, fold, arm in before}
                possible = max((len(one), arms) for one, arms in RECTANGLES if kept <= one <= held)
                assert (len(after), len(complete(parts).arms)) == possible
                assert bool(left_out(parts, complete(parts))) == (after != set(cubes(parts)))
    parts += missing(parts, asked)
    assert set(cubes([complete(parts)])) == set(cubes([asked]))


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
