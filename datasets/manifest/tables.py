"""Tables on disk: rows with the line they stand in, from CSV, TSV, JSON lines or Parquet."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infoser.errors import InfoserError

Cell = str | int | float | bool | None
SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
UNWRITABLE = re.compile("[\0\ud800-\udfff]")  # NumPy cuts NULs off; halves of a surrogate pair are no text


@dataclass(frozen=True)
class Table:
    """Named columns of equal length.

    Attributes:
      path: the file.
      columns: cells by column; text files of values (CSV, TSV) give text only.
      lines: for each row, where it starts in the file, from 1.
      unit: what `lines` counts.
      typed: whether the file tells numbers from text.
    """

    path: Path
    columns: Mapping[str, Sequence[Cell]]
    lines: Sequence[int]
    unit: str = "line"
    typed: bool = True

    def where(self, row: int, column: str) -> str:
        """What a message about a cell begins with."""
        return f"{self.path}, {self.unit} {self.lines[row]}, column {column!r}"


def read_table(path: Path) -> Table:
    """Reads a table by its suffix, one of `SUFFIXES`.

    Raises:
      InfoserError: for a file that is missing, of another type, not UTF-8, or not what its suffix says, with the line.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InfoserError(f"{path}: manifests are {', '.join(SUFFIXES)} files, not {suffix or 'files without a suffix'}")
    if not path.is_file():
        raise InfoserError(f"manifest {path} {'is not a file' if path.exists() else 'does not exist'}")
    try:
        if suffix == ".parquet":
            return _read_parquet(path)
        text = _decode(path)
    except OSError as error:
        raise InfoserError(f"{path} can't be read: {error.strerror or error}") from error
    return _read_json_lines(path, text) if suffix == ".jsonl" else _read_values(path, text, "\t" if suffix == ".tsv" else ",")


def _decode(path: Path) -> str:
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InfoserError(f"{path} is UTF-16; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InfoserError(f"{path}, line {line}: is not UTF-8 ({error.reason}); save the file as UTF-8") from error


def _read_values(path: Path, text: str, delimiter: str) -> Table:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, lines, names = [], [], []
    start = 1
    try:
        for row in reader:
            line, start = start, reader.line_num + 1
            where = f"{path}, line {line}"
            if not row:
                continue  # an empty line
            if delimiter == "\t" and any("\t" in value and ("\n" in value or "\r" in value) for value in row):
                # Many .tsv files quote nothing: a transcript that begins with a quote takes in the lines after it.
                raise InfoserError(
                    f"{where}: a quote opens a value that ends in line {start - 1}, with tabs and line breaks; where the quote "
                    "is part of the text, put the value in quotes and double those within"
                )
            if not names:
                names = _check_names([name.strip() for name in row], where)
            elif len(row) != len(names):
                counted = f"{len(row)} value{'s' * (len(row) != 1)}"
                raise InfoserError(f"{where}: has {counted}, but the header names {len(names)} columns")
            else:
                rows.append(row)
                lines.append(line)
    except csv.Error as error:
        raise InfoserError(f"{path}, line {start}: {error}; quotes within a quoted value are doubled") from error
    return Table(path, {name: [row[index] for row in rows] for index, name in enumerate(names)}, lines, typed=False)


def _check_names(names: list[str], where: str) -> list[str]:
    for name in names:
        if not name:
            raise InfoserError(f"{where}: the header has a column without a name")
        if UNWRITABLE.search(name):
            raise InfoserError(f"{where}: column {name!r} has a character in its name that can't be written")
        if names.count(name) > 1:
            raise InfoserError(f"{where}: the header names column {name!r} twice")
    return names


def _read_json_lines(path: Path, text: str) -> Table:
    rows: list[dict[str, Cell]] = []
    lines: list[int] = []
    kinds: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line, object_pairs_hook=lambda pairs, where=where: _object(pairs, where))
        except (ValueError, RecursionError) as error:
            raise InfoserError(f"{where}: is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise InfoserError(f'{where}: expected an object such as {{"utterance_id": …}}, not {line.strip()[:40]}')
        for key, cell in row.items():
            kind = _kind(cell)
            if kind is None:
                raise InfoserError(f"{where}, column {key!r}: expected text, a number, true, false or null")
            seen, first = kinds.setdefault(key, (kind, number)) if kind != "null" else (kind, number)
            if seen != kind:
                raise InfoserError(f"{where}, column {key!r}: is {kind}, but {seen} in line {first}; give all the same type")
        rows.append(row)
        lines.append(number)
    names = _check_names(list(dict.fromkeys(key for row in rows for key in row)), f"{path}")
    return Table(path, {name: [row.get(name) for row in rows] for name in names}, lines)


def _object(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise InfoserError(f"{where}: names {repeated[0]!r} twice")
    return dict(pairs)


def _kind(cell: Any) -> str | None:
    """What a JSON value is, in words; None for one that no cell can be."""
    if cell is None:
        return "null"
    kinds = {str: "text", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(cell))


def _read_parquet(path: Path) -> Table:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InfoserError(f"{path}: reading Parquet needs pyarrow; install it (pip install pyarrow)") from error
    try:
        with path.open("rb") as file:
            table = pyarrow.parquet.ParquetFile(file).read()
    except (pyarrow.ArrowException, OSError) as error:
        raise InfoserError(f"{path} is no Parquet file, or damaged: {str(error).splitlines()[0]}") from error
    names = _check_names(list(table.column_names), f"{path}")
    columns = {}
    for index, name in enumerate(names):
        column = table.column(index)
        if pyarrow.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        kind = pyarrow.types
        fits = (kind.is_string, kind.is_large_string, kind.is_integer, kind.is_floating, kind.is_boolean, kind.is_null)
        if not any(check(column.type) for check in fits):
            raise InfoserError(f"{path}, column {name!r}: has type {column.type}; expected text, numbers, or true and false")
        columns[name] = column.to_pylist()
    return Table(path, columns, range(1, table.num_rows + 1), "row")
