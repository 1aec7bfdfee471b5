"""CITATION.cff: what the Citation File Format 1.2 requires is there, and it says what the package says."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import infoser

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def citation() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "CITATION.cff").read_text())


def test_what_the_format_requires_is_there(citation: dict[str, Any]) -> None:
    assert citation["cff-version"] == "1.2.0"
    assert all(citation[key] for key in ("message", "title", "authors"))
    assert citation["type"] == "software"
    for entry in (citation, *citation["references"]):
        assert entry["title"] and entry["type"] and entry["authors"]
        # A person has names, an entity has one; nothing else is either.
        assert all(set(author) in ({"name"}, {"given-names", "family-names"}) for author in entry["authors"])
    known = {"cff-version", "message", "type", "title", "abstract", "version", "license", "authors", "keywords", "references"}
    assert set(citation) <= known


def test_it_is_of_this_version_and_licence(citation: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["version"] == infoser.__version__ == project["version"]
    assert citation["license"] == project["license"]
    assert citation["title"] == project["name"]


def test_the_paper_is_named(citation: dict[str, Any]) -> None:
    (paper,) = citation["references"]
    assert paper["url"].endswith("2510.10078") and paper["doi"] == "10.48550/arXiv.2510.10078"
    assert paper["title"] in (ROOT / "README.md").read_text().replace("\n", " ")
