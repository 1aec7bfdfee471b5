"""What the tests of wrong inputs share: distinct generated examples, one message each, and nothing half-written."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

#: Distinct wrong inputs that the tests of each kind give at least; they hold themselves to it by `for_every`.
AT_LEAST = {"flags": 270, "arrays": 129, "run folders": 171}

SLOW = (HealthCheck.too_slow, HealthCheck.filter_too_much)


def for_every(cases: st.SearchStrategy[Any], check: Callable[[Any], None], *, examples: int, at_least: int = 0) -> None:
    """Checks generated cases, the same ones every time; fails if fewer than `at_least` of them were distinct."""
    seen: set[str] = set()

    # A case that fails is shown as it is: making it smaller would take longer than it helps.
    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=SLOW,
    )
    @given(cases)
    def run(case: Any) -> None:
        seen.add(repr(case))
        check(case)

    run()
    assert len(seen) >= at_least, f"only {len(seen)} distinct cases"


def refusal(outcome: Any) -> str:
    """The one message of a command that must fail: a line, or a frame that the parser draws."""
    assert outcome.status == 2, (outcome.status, outcome.err)
    assert "Traceback" not in outcome.err
    messages = [line for line in outcome.err.splitlines() if line.startswith(("error: ", "╭"))]
    assert len(messages) == 1, outcome.err
    assert any(character.isalnum() for character in messages[0].removeprefix("error: "))
    return outcome.err


def snapshot(*folders: Path) -> dict[str, bytes | None]:
    """All that lies in the folders: the bytes of files, None for folders; of one that is not there, nothing."""
    found = sorted(path for folder in folders for path in [folder, *folder.rglob("*")] if path.exists())
    return {str(path): None if path.is_dir() else path.read_bytes() for path in found}


def one_of(values: Sequence[Any]) -> st.SearchStrategy[Any]:
    """Any of the values; the first is the simplest."""
    return st.sampled_from(list(values))
