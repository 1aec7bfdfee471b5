"""A page, read as a browser would: its elements, their attributes and texts."""

import csv
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

_VOID = {"meta", "link", "img", "br"}


@dataclass
class Element:
    """An element with what it holds."""

    tag: str
    attributes: dict[str, str | None]
    parts: list[Any] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text in it."""
        return "".join(part if isinstance(part, str) else part.text for part in self.parts)

    def find(self, *tags: str) -> list["Element"]:
        """Every element below it of these tags."""
        found = []
        for part in self.parts:
            if isinstance(part, Element):
                found += [part] if part.tag in tags else []
                found += part.find(*tags)
        return found


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.open[-1].parts.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> ends <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].parts.append(data)


def parse(path: Path) -> Element:
    """The page; every element that is not void must end."""
    parser = _Parser()
    parser.feed(path.read_text("utf-8"))
    parser.close()
    assert len(parser.open) == 1
    return parser.open[0]


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
