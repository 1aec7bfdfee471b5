"""A page that needs nothing but itself: sections, tables, and figures within it; its one script is the only one that "
"may run."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources

from infoser.report.labels import as_html, attribute

#: What tells a report from another page.
GENERATOR = "infoser report"


@dataclass
class Section:
    """A part of the page with an entry in the table of contents.

    Attributes:
      anchor: its id.
      parts: HTML.
    """

    anchor: str
    title: str
    parts: list[str] = field(default_factory=list)

    def paragraph(self, text: str) -> None:
        """A paragraph of plain text."""
        self.parts.append(f"<p>{html.escape(text)}</p>")

    def note(self, text: str) -> None:
        """Something that the reader must not miss."""
        self.parts.append(f'<p class="note">{as_html(text, 4000)}</p>')

    def heading(self, text: str) -> None:
        """A heading within the section."""
        self.parts.append(f"<h3>{as_html(text)}</h3>")

    def items(self, texts: Sequence[str]) -> None:
        """A list."""
        self.parts.append('<ul class="plain">' + "".join(f"<li>{as_html(one, 4000)}</li>" for one in texts) + "</ul>")

    def facts(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Names and values."""
        entries = (f"<dt>{as_html(name)}</dt><dd>{as_html(value, 600)}</dd>" for name, value in pairs)
        self.parts.append(f'<dl class="facts">{"".join(entries)}</dl>')

    def hidden(self, summary: str, content: str) -> None:
        """Content, as HTML, that is shown when it is asked for, and when the page is printed."""
        self.parts.append(f"<details><summary>{html.escape(summary)}</summary>{content}</details>")


def image(svg: str, name: str, alt: str, caption: str) -> str:
    """A figure: SVG in an image, where no script of it could run, with links to its files."""
    width = _width(svg)
    data = base64.b64encode(svg.encode()).decode()
    links = " ".join(f'<a class="file" href="figures/{name}.{kind}">{kind.upper()}</a>' for kind in ("png", "pdf"))
    return (
        f'<figure id="figure-{name}"><div class="scroll" tabindex="0" role="region" aria-label="figure {name}">'
        f'<img style="--natural:{width}px" alt="{attribute(alt, 2000)}" src="data:image/svg+xml;base64,{data}"></div>'
        f"<figcaption>{as_html(caption, 2000)} {links}</figcaption></figure>"
    )


def _width(svg: str) -> int:
    """The width of an SVG in CSS pixels: matplotlib writes points."""
    found = re.search(r'<svg[^>]*? width="([\d.]+)pt"', svg)
    return round(float(found[1]) * 96 / 72) if found else 700


def document(title: str, subtitle: Sequence[str], sections: Sequence[Section], footer: str) -> str:
    """The whole page."""
    style, script = (resources.files("infoser.report").joinpath(f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    contents = "".join(f'<li><a href="#{one.anchor}">{html.escape(one.title)}</a></li>' for one in sections)
    body = "\n".join(
        f'<section id="{one.anchor}" aria-labelledby="{one.anchor}-title"><h2 id="{one.anchor}-title">{html.escape(one.title)}'
        "</h2>\n" + "\n".join(one.parts) + "</section>"
        for one in sections
    )
    under = "".join(f"<p>{as_html(line, 600)}</p>" for line in subtitle)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="{GENERATOR}">
<link rel="icon" href="data:,">
<title>{attribute(title, 120)}</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#{sections[0].anchor}">To the content</a>
<div class="layout">
<header class="top"><h1>{as_html(title, 120)}</h1>{under}</header>
<nav class="contents" aria-label="Contents"><h2>Contents</h2><ol>{contents}</ol></nav>
<main>
{body}
</main>
<footer>{html.escape(footer)}</footer>
</div>
<script>{script}</script>
</body>
</html>
"""
