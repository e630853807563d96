"""Sources and complexity scores of a data set's rows, read by column where it has columns.

Reading a row of a training data set tokenizes it; reading a column does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from curriculum_learning.config.visible import visible
from curriculum_learning.errors import DataError

SOURCE_COLUMN = "data_source"
SCORE_COLUMN = "complexity_score"
EXTRA_COLUMN = "extra_info"

_SHOWN = 5
"""Rows that an error message names."""


def read_sources(dataset: Any) -> dict[str, NDArray[np.int64]]:
    """Returns the row numbers of each source, ascending; sources in the order of their first row.

    Raises:
        DataError: Rows lack ``data_source``, or there are no rows.
    """
    (names,) = _read(dataset, SOURCE_COLUMN)
    if not len(names) or len(names) != len(dataset):
        raise DataError(
            f"the data set has {len(dataset)} rows and {len(names)} entries of '{SOURCE_COLUMN}'",
            key=SOURCE_COLUMN,
            value=len(names),
        )
    missing = [row for row, name in enumerate(names) if not isinstance(name, str)]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(names)} rows have no '{SOURCE_COLUMN}' that is text, such as "
            f"rows {missing[:_SHOWN]} (row {missing[0]} has {names[missing[0]]!r}); give each row "
            f"the name of its source",
            key=SOURCE_COLUMN,
            value=names[missing[0]],
        )
    codes: dict[str, int] = {}
    coded = np.fromiter((codes.setdefault(str(name), len(codes)) for name in names), np.int64)
    return {name: np.flatnonzero(coded == code) for name, code in codes.items()}


def read_entries(dataset: Any, path: str) -> Sequence[Any]:
    """Returns an entry of each row, ``column.entry``; None where it is missing."""
    return _read(dataset, path)[0]


def read_numbers(dataset: Any, rows: NDArray[np.int64], key: str) -> NDArray[np.float64]:
    """Returns a number for each of ``rows``: ``extra_info``'s entry ``key``, else that column.

    NaN stands for what is missing or no number.
    """
    return np.array([_as_number(value) for value in _values(dataset, rows, key)])


def _values(dataset: Any, rows: NDArray[np.int64], key: str) -> list[Any]:
    entries, column = _read(dataset, f"{EXTRA_COLUMN}.{key}", key)
    places = rows.tolist()
    values = [entries[row] for row in places]
    return [column[row] for row in places] if all(v is None for v in values) else values


def read_scores(
    dataset: Any, rows: NDArray[np.int64], source: str, key: str = SCORE_COLUMN
) -> NDArray[np.float64]:
    """Returns the complexity scores of ``rows``, which are the rows of ``source``.

    Reads ``extra_info``'s entry ``key``; if no row has it, the column ``key``.

    Raises:
        DataError: A score is missing, no number, or not finite; the message has the count and the
            first rows.
    """
    values, places = _values(dataset, rows, key), rows.tolist()
    scores = np.array([_as_number(value) for value in values])
    bad = np.flatnonzero(~np.isfinite(scores)).tolist()
    if bad:
        shown = {places[place]: values[place] for place in bad[:_SHOWN]}
        raise DataError(
            f"source '{source}': {len(bad)} of its {len(places)} rows have no usable "
            f"{EXTRA_COLUMN}.{key}, a finite number; give each row one, or name another entry with "
            f"complexity_key. The first without, by row: {shown}",
            source=source,
            key=key,
            value=next(iter(shown.values())),
        )
    return scores


def _as_number(value: Any) -> float:
    if value is None or isinstance(value, (bool, str)):
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _read(dataset: Any, *paths: str) -> list[Sequence[Any]]:
    """Reads columns by name, or entries of their mappings by ``name.entry``; missing is None."""
    for table in (getattr(dataset, "dataframe", None), dataset):  # verl's has a dataframe
        if hasattr(table, "select_columns") or hasattr(table, "iloc"):
            return [_column(table, *path.split(".")) for path in paths]
    label = visible(f"reading {' and '.join(paths)}")
    columns: list[list[Any]] = [[] for _ in paths]
    for index in tqdm(range(len(dataset)), desc=label, unit=" rows", delay=2, disable=None):
        row = dataset[index]
        for path, column in zip(paths, columns, strict=True):
            value = row
            for name in path.split("."):
                value = _entry(value, name)
            column.append(value)
    return list(columns)


def _column(table: Any, name: str, entry: str | None = None) -> Sequence[Any]:
    is_pandas = not hasattr(table, "column_names")
    if name not in (table.columns if is_pandas else table.column_names):
        return [None] * len(table)
    if is_pandas:
        values: Sequence[Any] = table[name].tolist()
    else:
        # Selecting keeps the mapping of indices: rows that were filtered out stay out.
        column = table.select_columns([name]).with_format("arrow")[:][name]
        if entry is not None and hasattr(column.type, "get_field_index"):  # a struct
            return _field(column, entry)
        values = _labelled(column.to_pylist(), table.features.get(name))
    return values if entry is None else [_entry(value, entry) for value in values]


def _entry(value: Any, name: str) -> Any:
    return value.get(name) if hasattr(value, "get") else None


def _field(column: Any, name: str) -> Sequence[Any]:
    """Reads one field of a struct column; the others are not turned into Python objects."""
    import pyarrow.compute

    if column.type.get_field_index(name) < 0:
        return [None] * len(column)
    values: Sequence[Any] = pyarrow.compute.struct_field(column, name).to_pylist()
    return values


def _labelled(values: Sequence[Any], feature: Any) -> Sequence[Any]:
    """Names class labels, which are stored as numbers."""
    if not hasattr(feature, "int2str"):
        return values
    return [None if value is None else feature.int2str(value) for value in values]
