"""The report of a run folder: a page with its tables and figures, written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import infoser
from infoser.errors import InfoserError, can_be_written
from infoser.progress import Progress
from infoser.report import contents, page, sources, style
from infoser.report.contents import Report
from infoser.report.sources import Sources


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
      folder: the run folder.
      out: where the report goes; None: `report` in the run folder.
      embeddings: whether added rows are drawn beside real ones, for which generators are restored.
      data_dir: where the corpus is, if it was moved.
    """

    folder: Path
    out: Path | None = None
    embeddings: bool = True
    data_dir: Path | None = None


def write(request: Request) -> Path:
    """Makes the report of a run folder.

    Returns:
      The page.

    Raises:
      InfoserError: for a run folder without results, or whose files are damaged; for a place that holds something else than
        a report, or can't be written.
    """
    found = sources.read(request.folder, request.data_dir)
    out = request.out or request.folder / "report"
    _check_place(out)
    with can_be_written(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        # Beside the place, so that it is put there by being renamed.
        made = Path(tempfile.mkdtemp(prefix=f".{out.name[:40]}-", dir=out.parent))
        try:
            for name in ("tables", "figures"):
                (made / name).mkdir()
            with style.styled():
                _build(found, request, made)
            made.chmod(0o777 & ~_umask())
            _put(made, out)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return out / "index.html"


def _check_place(out: Path) -> None:
    """Refuses to replace what is no report."""
    if out.exists() and not out.is_dir():
        raise InfoserError(f"{out} is a file; give a folder with --out")
    if out.is_dir() and any(out.iterdir()):
        try:
            head = (out / "index.html").read_text("utf-8", "replace")[:4000]
        except OSError:
            head = ""
        if f'content="{page.GENERATOR}"' not in head:
            raise InfoserError(f"{out} has files that are no report, which would be lost; give another folder with --out")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _put(made: Path, out: Path) -> None:
    """Puts the new report in the place of the old one."""
    if not out.exists():
        made.rename(out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name[:40]}-old-", dir=out.parent))
    out.rename(old / "report")
    try:
        made.rename(out)
    except OSError:
        (old / "report").rename(out)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _build(found: Sources, request: Request, folder: Path) -> None:
    report = Report(found, folder)

    def features(report: Report) -> None:
        if request.embeddings:
            contents.features(report, request.data_dir)
        else:
            contents.left_out(report, "embeddings", "Real and generated features", "left out by --no-embeddings")

    sections: list[Callable[[Report], None]] = [contents.summary, contents.scores, contents.selection, contents.classes]
    sections += [contents.studies, contents.information, contents.quality, features, contents.predictions]
    sections += [contents.training, contents.warnings, contents.environment]
    with Progress("writing the report", len(sections), unit="sections") as progress:
        for number, write_section in enumerate(sections, start=1):
            write_section(report)
            progress.update(number)
    provenance = found.results["provenance"]
    title = f"{found.corpus['name']}: {' '.join(contents.variants(found))}"
    (folder / "index.html").write_text(
        page.document(
            title, contents.subtitle(found), report.sections, f"infoser {infoser.__version__}, run by {provenance['infoser']}"
        ),
        "utf-8",
    )
