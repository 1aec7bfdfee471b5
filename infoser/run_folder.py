"""A run folder: the configuration it belongs to, and its results, written whole or not at all."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infoser import digests, hosts
from infoser.cells import sweep
from infoser.config import Config
from infoser.corpus import Corpus
from infoser.errors import InfoserError, can_be_written
from infoser.locks import held
from infoser.parts import Part, beyond, prefix
from infoser.parts import from_json as parts_from_json
from infoser.parts import to_json as parts_to_json
from infoser.saved_config import EXTENDABLE, INERT, fingerprint, from_json, to_json

_CONFIG = "config.json"
_LOCK = ".lock"
RESULTS = "results.json"
SELECTION = "selection.csv"
PANEL = "panel.json"
#: The folder of final models, and the name of their fold (`final_folder`).
FINAL = "final"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the run folder for this process, making it if need be; the lock ends with the process, however it ends.

    Of several hosts the primary one holds it for all: the others never look at it.

    Raises:
      InfoserError: if another process trains in it, it is not a run folder, or it can't be written.
    """
    if not hosts.primary():
        yield
        return
    if folder.exists() and not folder.is_dir():
        raise InfoserError(f"{folder} is a file, not a folder; choose another --run-dir")
    with can_be_written(folder):
        if folder.is_dir() and any(folder.iterdir()) and not any((folder / name).exists() for name in (_CONFIG, _LOCK)):
            raise InfoserError(f"{folder} has files but no {_CONFIG}: it is not a run folder; choose another --run-dir")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _LOCK).touch()
    with held(folder / _LOCK, f"another process is training in {folder}; wait for it, or use another --run-dir"):
        yield


def opened(config: Config, corpus: Corpus, asked: Part, every_fold: Sequence[str]) -> list[Part]:
    """The parts that the run folder holds already; checks that it belongs to this configuration, on the primary host.

    Last parts that are not asked for and of which nothing was trained, as of a mistyped command, are given up.

    Args:
      config: the configuration; it may ask for more seeds, folds, cells and variants than the folder holds, not for fewer.
      corpus: the corpus.
      asked: all that it asks for.
      every_fold: the names of all folds, which a folder that names none has.

    Raises:
      InfoserError: if it belongs to another configuration or corpus, or holds more than is asked for.
    """
    folder = config.run_dir
    if not (folder / _CONFIG).exists():
        return []
    earlier, shards_hash = read(folder)
    now = to_json(dataclasses.replace(config, data_dir=config.data_dir.absolute()))
    if fingerprint(earlier, base=True) != fingerprint(config, base=True):
        raise InfoserError(
            f"{folder} holds another experiment ({_differences(to_json(earlier), now)}); give this one its own --run-dir"
        )
    check_corpus(folder, shards_hash, corpus)
    if earlier.select != "off" and config.select == "off":
        raise InfoserError(
            f"{folder} holds more than is asked for (what --select {earlier.select} chose); ask for that too, or give this "
            "experiment its own --run-dir"
        )
    parts = read_parts(folder) or [_asked_by(earlier, every_fold, has_text=corpus.text is not None)]
    while len(parts) > 1 and beyond([parts[-1]], asked) and not _begun(folder, len(parts) - 1):
        parts.pop()
        shutil.rmtree(folder / prefix(len(parts)), ignore_errors=True)
    if more := beyond(parts, asked):
        own = folder / prefix(len(parts) - 1)
        give_up = f"delete {own} to give up what was last added, " if len(parts) > 1 and beyond([parts[-1]], asked) else ""
        raise InfoserError(
            f"{folder} holds more than is asked for ({'; '.join(more)}); ask for that too, {give_up}or give this experiment "
            "its own --run-dir"
        )
    return parts


def _asked_by(config: Config, every_fold: Sequence[str], *, has_text: bool) -> Part:
    """What the configuration of a plain run folder, which lists no parts, has in its only one."""
    return Part(config.seeds, config.folds or tuple(every_fold), tuple(sweep(config, has_text=has_text).arms))


def _begun(folder: Path, number: int) -> bool:
    """Whether a part after the first has anything trained: a checkpoint that is whole."""
    return next((folder / prefix(number)).rglob(f"step_*/{digests.DIGESTS}"), None) is not None


def begun_parts(folder: Path) -> list[Part]:
    """The parts that a run folder lists, without the last ones of which nothing was trained; raises as `read_parts`."""
    parts = read_parts(folder)
    while len(parts) > 1 and not _begun(folder, len(parts) - 1):
        parts.pop()
    return parts


def record(config: Config, corpus: Corpus, parts: Sequence[Part], asked: Part, *, trained: bool = False) -> None:
    """Makes the run folder hold these parts, on the primary host: written before they are trained, whole or not at all.

    Args:
      asked: all that the configuration asks for; a plain folder, which holds just that, lists no parts.
      trained: they are; then settings that change nothing of it, such as where the corpus is now, are remembered too.

    Raises:
      InfoserError: if it can't be written.
    """
    folder = config.run_dir
    # The absolute data folder: evaluation may be started from elsewhere.
    saved = to_json(dataclasses.replace(config, data_dir=config.data_dir.absolute()))
    shards_hash = corpus.provenance.get("shards_hash")
    contents = {"config": saved, "corpus": {"shards_hash": shards_hash}, "fingerprint": fingerprint(config)}
    if list(parts) != [asked] or config.ablate or config.grid or config.select != "off":
        contents |= {"parts": parts_to_json(parts), "parts_digest": digests.of_values(parts_to_json(parts))}
    text = json.dumps(contents, indent=1)
    if (folder / _CONFIG).exists():
        earlier, _ = read(folder)
        known = fingerprint(earlier) == fingerprint(config)
        known &= read_parts(folder) == (list(parts) if "parts" in contents else [])
        if known and (not trained or (folder / _CONFIG).read_text() == text):
            return
    write(folder / _CONFIG, text)


def read_parts(folder: Path) -> list[Part]:
    """The parts that a run folder lists; none if it is a plain one, whose configuration says all.

    Raises:
      InfoserError: if they can't be read, or were changed.
    """
    contents = json.loads((folder / _CONFIG).read_text())
    if "parts" not in contents:
        return []
    try:
        parts = parts_from_json(contents["parts"])
    except InfoserError as error:
        raise InfoserError(f"{folder / _CONFIG} can't be used: {error}") from error
    if contents.get("parts_digest") != digests.of_values(parts_to_json(parts)):
        raise InfoserError(f"{folder / _CONFIG} was changed since training; put the original back, or train in another folder")
    return parts


def check_same_on_hosts(config: Config, corpus: Corpus) -> None:
    """Refuses hosts that would not train the same; where each has the corpus does not matter."""
    settings = to_json(config) | {"data_dir": None, "run_dir": None}
    hosts.check_same("settings", json.dumps(settings, sort_keys=True))
    hosts.check_same("shards", str(corpus.provenance.get("shards_hash")))


def read(folder: Path) -> tuple[Config, str | None]:
    """The configuration of a run folder, and the hash of the shards it was trained on.

    Raises:
      InfoserError: if there is none, it can't be read, or it was changed.
    """
    try:
        contents = json.loads((folder / _CONFIG).read_text())
        values, shards_hash = contents["config"], contents["corpus"]["shards_hash"]
        recorded = contents.get("fingerprint")  # earlier versions wrote none, and had fewer settings
    except FileNotFoundError:
        raise InfoserError(f"{folder} is not a run folder: it has no {_CONFIG}") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InfoserError(f"{folder / _CONFIG} can't be read: {error}") from error
    try:
        config = from_json(values, complete=recorded is not None)
    except InfoserError as error:
        raise InfoserError(f"{folder / _CONFIG} can't be used: {error}") from error
    if recorded not in (None, fingerprint(config)):
        raise InfoserError(f"{folder / _CONFIG} was changed since training; put the original back, or train in another folder")
    return config, shards_hash


def check_corpus(folder: Path, shards_hash: str | None, corpus: Corpus) -> None:
    """Refuses a corpus whose shards are not the ones that the run folder was trained on."""
    if corpus.provenance.get("shards_hash") != shards_hash:
        raise InfoserError(
            f"{folder} was trained on other shards of {corpus.name!r} than those at "
            f"{corpus.provenance.get('shards_path', 'hand')}; give the original ones with --data-dir, or use another --run-dir"
        )


def write_results(folder: Path, results: dict[str, Any]) -> None:
    """Writes results.json, the long-form table as scores.csv and scores.parquet, quality.csv, and selection.csv if anything was
    chosen, on the primary host.

    Raises:
      InfoserError: if they can't be written.
    """
    if not hosts.primary():
        return
    write(folder / RESULTS, as_text({name: part for name, part in results.items() if name != "table"}))
    tables = {"scores.csv": results["table"], "quality.csv": results["quality"]}
    tables |= {SELECTION: results["selection"]} if "selection" in results else {}
    for name, rows in tables.items():
        write(folder / name, _csv(rows))
    write(folder / "scores.parquet", _parquet(results["table"], results["provenance"]))


def write_panel(folder: Path, found: dict[str, Any]) -> None:
    """Writes panel.json and panel.csv; raises InfoserError if they can't be written."""
    write(folder / PANEL, as_text(found))
    write(folder / "panel.csv", _csv(found["rows"]))


def write_scores(path: Path, results: dict[str, Any]) -> None:
    """Writes PATH.json, and its rows as PATH.csv, making the folder; raises InfoserError if they can't be written."""
    with can_be_written(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    write(path.with_name(f"{path.name}.json"), as_text(results))
    write(path.with_name(f"{path.name}.csv"), _csv(results["rows"]))


def compare(folder: Path, results: dict[str, Any]) -> str:
    """Says that results are those that training wrote into the folder, to the last digit, or that there are none.

    Raises:
      InfoserError: if they differ, or can't be read.
    """
    try:
        written = json.loads((folder / RESULTS).read_text())
        before = {part: written[part] for part in ("rows", "quality", *(("selection",) if "selection" in results else ()))}
    except FileNotFoundError:
        return f"{folder / RESULTS} is not there: nothing to compare with"
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InfoserError(
            f"{folder / RESULTS} can't be read ({error}): nothing to compare with; the training command writes it again"
        ) from error
    now = json.loads(as_text(results))
    for part in before:
        if now[part] != before[part]:
            raise InfoserError(
                f"the {part} differ from {folder / RESULTS}: another kind of machine or version of a library than in training?"
            )
    return f"the same as {folder / RESULTS}, to the last digit"


def as_text(results: dict[str, Any]) -> str:
    """The text of results.json."""
    return json.dumps(results, indent=1, allow_nan=False) + "\n"


def write(path: Path, contents: str | bytes) -> None:
    """Writes a file atomically: a reader sees the old one or the new one.

    Raises:
      InfoserError: if the file system refuses.
    """
    temporary = path.with_name(path.name + ".tmp")
    with can_be_written(path):
        try:
            with temporary.open("wb") as file:
                file.write(contents.encode() if isinstance(contents, str) else contents)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            if temporary.is_file():
                temporary.unlink()
            raise


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    for row in rows:
        writer.writerow({key: json.dumps(v) if isinstance(v, dict | list) else v for key, v in row.items()})
    return text.getvalue()


def _parquet(rows: list[dict[str, Any]], provenance: dict[str, Any]) -> bytes:
    """Rows as a Parquet file; lists and tables in them as JSON, as in the CSV file. Its metadata holds the provenance."""
    import pyarrow as pa
    from pyarrow import parquet

    flat = [{key: json.dumps(v) if isinstance(v, dict | list) else v for key, v in row.items()} for row in rows]
    table = pa.Table.from_pylist(flat).replace_schema_metadata({"infoser": json.dumps(provenance)})
    file = pa.BufferOutputStream()
    parquet.write_table(table, file)
    return file.getvalue().to_pybytes()


def _differences(earlier: dict[str, Any], now: dict[str, Any], prefix: str = "") -> str:
    found = []
    for key in now:
        name, before = f"{prefix}{key}", earlier.get(key)
        if isinstance(now[key], dict) and isinstance(before, dict):
            inner = _differences(before, now[key], f"{name}.")
            found += [inner] if inner else []
        elif now[key] != before and key not in (*INERT, *EXTENDABLE):
            found.append(f"{name.replace('_', '-')} was {before}, now {now[key]}")
    return "; ".join(found)
