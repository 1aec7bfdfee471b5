"""What every head said of every test utterance, as a table: predictions.parquet of a run folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infoser import hosts
from infoser.corpus import Corpus
from infoser.errors import InfoserError, can_be_written
from infoser.runs import HeadOutputs

PREDICTIONS = "predictions.parquet"
#: Columns beside the probabilities, which are named `probability_CLASS`, in the order of the classes.
NAMES = ("utterance_id", "fold", "cell", "variant", "modality", "seed", "label")
_PREFIX = "probability_"


def table(heads: Mapping[str, Iterable[HeadOutputs]], corpus: Corpus) -> pa.Table:
    """One row for each cell, variant, modality, fold, seed and test utterance, as `schema` names its columns.

    Args:
      heads: of every cell; probes, which saw added rows alone, are left out.
      corpus: for ids, labels and class names.
    """
    parts = [
        _rows(cell, head, corpus, schema(corpus.classes))
        for cell, own in heads.items()
        for head in own
        if not head.probe and len(head.rows)
    ]
    return pa.concat_tables(parts) if parts else schema(corpus.classes).empty_table()


def schema(classes: Sequence[str]) -> pa.Schema:
    """The columns: names as dictionaries of strings, `label` the true class' name, float32 probabilities that sum to 1."""
    name: Any = pa.dictionary(pa.int32(), pa.string())
    kinds = {column: pa.int64() if column == "seed" else name for column in NAMES}
    kinds |= {f"{_PREFIX}{one}": pa.float32() for one in classes}
    return pa.schema(list(kinds.items()), metadata={"classes": json.dumps(list(classes))})


def _rows(cell: str, head: HeadOutputs, corpus: Corpus, columns: pa.Schema) -> pa.Table:
    size = len(head.rows)

    def one(value: str) -> Any:
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(size, np.int32)), pa.array([value], pa.string()))

    ids: Any = pa.array(corpus.utterance_id[head.rows].astype(str), pa.string()).dictionary_encode()
    label = pa.DictionaryArray.from_arrays(pa.array(corpus.label[head.rows].astype(np.int32)), pa.array(corpus.classes))
    names = [ids, one(head.unit.fold.name), one(cell), one(head.variant), one(head.modality)]
    probability = np.exp(head.log_probability.astype(np.float32))
    arrays = [*names, pa.array(np.full(size, head.unit.seed, np.int64)), label, *(pa.array(own) for own in probability.T)]
    return pa.Table.from_arrays(arrays, schema=columns)


def write(folder: Path, rows: pa.Table) -> None:
    """Writes predictions.parquet atomically, on the primary host; raises InfoserError if it can't be written."""
    if not hosts.primary():
        return
    path, temporary = folder / PREDICTIONS, folder / f"{PREDICTIONS}.tmp"
    with can_be_written(path):
        try:
            pq.write_table(rows.unify_dictionaries(), temporary, compression="zstd")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def read(folder: Path, cell: str | None = None) -> pa.Table:
    """The predictions of a run folder; of one cell, if it is named.

    Raises:
      FileNotFoundError: if it has none: earlier versions wrote none.
      InfoserError: if they can't be read, or are no predictions.
    """
    path = folder / PREDICTIONS
    try:
        rows = pq.read_table(path, filters=None if cell is None else [("cell", "==", cell)])
        classes = class_names(rows)
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise InfoserError(f"{path} can't be read ({error}); run the training command again: it writes it anew") from error
    if rows.schema.names != schema(classes).names:
        raise InfoserError(f"{path} has other columns than predictions have; run the training command again")
    return rows


def class_names(rows: pa.Table) -> list[str]:
    """The classes, in the order of the probabilities."""
    return json.loads((rows.schema.metadata or {})[b"classes"])


def probabilities(rows: pa.Table) -> np.ndarray:
    """(rows, classes) float32."""
    return np.stack([rows.column(f"{_PREFIX}{one}").to_numpy() for one in class_names(rows)], axis=1)
