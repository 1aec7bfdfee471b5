"""The folder of an export: written whole, or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infoser import digests, synthetic
from infoser.errors import InfoserError
from infoser.export import card, rows, source
from infoser.export.formats import WRITERS
from infoser.export.source import Request

_EXPORT, _CARD = "export.json", "README.md"


@dataclass(frozen=True)
class Written:
    """What was written: the export, where it is, and what a reader has to know of it."""

    export: rows.Export
    folder: Path
    notes: list[str]


def generate(request: Request, formats: Sequence[str], out: Path, *, overwrite: bool = False) -> Written:
    """Draws rows of a run folder's model and writes them in some formats, with a data card.

    Args:
      request: which model, and how many rows.
      formats: of `WRITERS`.
      out: the folder; it may be there if it is empty, or an earlier export that is to be replaced.
      overwrite: whether it is.

    Raises:
      InfoserError: if there is no such model, the folder holds something else, or can't be written; then all is as it was.
    """
    source.check(request)
    unknown = [one for one in formats if one not in WRITERS]
    if unknown or not formats:
        raise InfoserError(f"--format {' '.join(unknown)}: choose from {', '.join(WRITERS)}".replace("  ", " "))
    if len(set(formats)) < len(formats):
        raise InfoserError(f"--format {' '.join(formats)}: name each format once")
    _check_place(out, request.folder, overwrite=overwrite)
    export = rows.make(source.restore(request), request)
    return Written(export, out, _write(export, formats, out, overwrite=overwrite))


def _check_place(out: Path, run: Path, *, overwrite: bool) -> None:
    """Refuses a place that holds something else than an earlier export, before anything is computed."""
    if out.exists() and not out.is_dir():
        raise InfoserError(f"{out} is a file, not a folder; choose another --out")
    if out.resolve() == run.resolve() or out.resolve() in run.resolve().parents:
        raise InfoserError(f"{out} holds the run folder itself; choose another --out")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / _EXPORT).is_file() or not (out / digests.DIGESTS).is_file():
        raise InfoserError(f"{out} is not empty, and no export: choose another --out")
    if not overwrite:
        raise InfoserError(f"{out} holds an earlier export; give --overwrite to replace it, or another --out")
    other = _added(out)
    if other is not None:
        raise InfoserError(
            f"{out} holds more than the export that was written there ({other}); move that away, or choose another --out"
        )


def _added(out: Path) -> Path | None:
    """A file that the earlier export did not write; the caches that infoser makes beside shards do not count."""
    try:
        known = set(json.loads((out / digests.DIGESTS).read_bytes())) | {digests.DIGESTS}
    except (OSError, ValueError, TypeError):
        return out / digests.DIGESTS
    for path in sorted(path for path in out.rglob("*") if path.is_file() or path.is_symlink()):
        inner = path.relative_to(out)
        cached = any(part.startswith(".cache-") for part in inner.parts)
        if not cached and inner.as_posix() not in known and inner.name != digests.DIGESTS:
            return path
    return None


def summary(written: Written) -> list[str]:
    """What was written, in lines for the user."""
    told, corpus = written.export.metadata, written.export.corpus
    counts = ", ".join(f"{name} {count:,}" for name, count in told["counts"].items())
    model = "the final model" if told["model"] == "final" else f"fold {told['fold']}"
    model += f", seed {told['seed']}, draw {told['draw_seed']}"
    lines = [
        f"{told['rows']['synthetic']:,} synthetic rows by {told['variant']} ({model})",
        f"  classes     {counts}",
        f"  audio       {corpus.audio.shape[1]} features",
        f"  text        {told['text']}",
        f"  made from   {told['made_from']['utterances']:,} utterances of {told['corpus']['name']}",
    ]
    real = told["rows"]["real"]
    if real:
        lines.append(f"  real        {real:,} training rows, {int((~corpus.labelled).sum()):,} of them without a label")
    lines += [f"  note        {note}" for note in written.notes]
    return [*lines, f"  written     {written.folder} (see {_CARD} there)"]


def _write(export: rows.Export, formats: Sequence[str], out: Path, *, overwrite: bool) -> list[str]:
    out = out.resolve()
    made = [folder for folder in (out.parent, *out.parent.parents) if not folder.exists()]
    staging = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        whole = staging / "export"
        whole.mkdir()
        notes = [note for name in formats for note in WRITERS[name](export, whole)]
        # What the rows were made from goes with every format: not all of them have a place for it.
        sets = {name: synthetic.encoded(hashes) for name, hashes in export.made_from.items()}
        described = json.dumps({**export.metadata, "made_from_sets": sets}, indent=1)
        (whole / _EXPORT).write_text(described + "\n", encoding="utf-8")
        (whole / _CARD).write_text(card.text(export, formats, notes), encoding="utf-8")
        digests.seal(whole)
        _publish(whole, out, staging / "replaced")
    except OSError as error:
        raise InfoserError(
            f"the export can't be written to {out}: {error.strerror or error}; nothing was left there. Mend that (free space, "
            "permissions), or choose another --out"
        ) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
    return notes


def _publish(whole: Path, out: Path, replaced: Path) -> None:
    """Moves the new folder to its place, and what was there away; undone where it fails half-way."""
    there = out.exists()
    if there:
        out.rename(replaced)
    try:
        whole.rename(out)
    except BaseException:
        if there:
            replaced.rename(out)
        raise
