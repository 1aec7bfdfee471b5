"""Bars: what a terminal is too narrow for is left out, and nothing is taken for markup."""

import dataclasses
import io
import re

import pytest
from rich.console import Console

from infoser import bars as module


@dataclasses.dataclass
class Work:
    words: str
    counted: str
    when: str
    done: float = 0.5
    task: int | None = None

    def title(self) -> str:
        return self.words

    def count(self) -> str:
        return self.counted

    def share(self) -> float:
        return self.done

    def clock(self) -> str:
        return self.when


@pytest.mark.parametrize(
    ("width", "barred", "lines"),
    [
        (90, True, ["runs/[red]iemocap group 3 of 12 0:01:10", "  generate/class_text x 9 400 of 1,000 steps 0:00:06 left"]),
        (60, False, ["runs/[red]iemocap group 3 of 12 0:01:10", "  generate/class_text x 9 400 of 1,000 steps 0:00:06 left"]),
        (36, False, ["runs/[red]iemocap group 3 of 12", "  generate/class… 400 of 1,000 steps"]),
        (20, False, ["… group 3 of 12", "… 400 of 1,000 steps"]),
    ],
)
def test_what_is_too_wide_is_left_out(width: int, barred: bool, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    monkeypatch.setattr(module, "Console", lambda **_: console)
    bars = module.Bars()
    whole, part = (
        Work("runs/[red]iemocap", "group 3 of 12", "0:01:10"),
        Work("generate/class_text x 9", "400 of 1,000 steps", "0:00:06 left"),
    )
    for depth, one in enumerate((whole, part)):
        one.task = bars.add(one, depth)
    with console.capture() as capture:
        console.print(bars.get_renderable())
    drawn = capture.get().splitlines()
    assert [re.sub(r"(?<=\S)[ ━╸╺]+", " ", line).rstrip() for line in drawn] == lines
    assert all(len(line) <= width and ("━" in line) == barred for line in drawn)
    bars.take_away(part)
    assert [task.description for task in bars.tasks] == ["runs/[red]iemocap"]
