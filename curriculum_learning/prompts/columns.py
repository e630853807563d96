"""The sources and complexity scores of a data set's rows, by column where it has columns.

Reading a row of a training data set tokenizes it; reading a column does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from curriculum_learning.errors import DataError

SOURCE_COLUMN = "data_source"
SCORE_COLUMN = "complexity_score"
EXTRA_COLUMN = "extra_info"

_SHOWN = 5
"""How many rows an error message names."""


def read_sources(dataset: Any) -> dict[str, NDArray[np.int64]]:
    """The row numbers of each source, ascending; sources in the order of their first row.

    Raises:
        DataError: Rows lack ``data_source``, or there are no rows.
    """
    names = _read(dataset, [SOURCE_COLUMN])[SOURCE_COLUMN]
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


def read_numbers(dataset: Any, rows: NDArray[np.int64], key: str) -> NDArray[np.float64]:
    """Returns a number for each of ``rows``: ``extra_info``'s entry ``key``, else that column.

    NaN stands for what is missing or no number.
    """
    return np.array([_as_number(value) for value in _values(dataset, rows, key)])


def _values(dataset: Any, rows: NDArray[np.int64], key: str) -> list[Any]:
    columns = _read(dataset, [EXTRA_COLUMN, key], inner={EXTRA_COLUMN: key})
    places = rows.tolist()
    values = [columns[EXTRA_COLUMN][row] for row in places]
    if all(value is None for value in values):
        values = [columns[key][row] for row in places]
    return values


def read_scores(
    dataset: Any, rows: NDArray[np.int64], source: str, key: str = SCORE_COLUMN
) -> NDArray[np.float64]:
    """Returns the complexity scores of ``rows``, all of ``source``; see ``read_numbers``.

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
            f"{EXTRA_COLUMN}.{key}, a finite number; give each row one. "
            f"The first without, by row: {shown}",
            source=source,
            key=key,
            value=next(iter(shown.values())),
        )
    return scores


def _as_number(value: Any) -> float:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _read(
    dataset: Any, names: Sequence[str], inner: dict[str, str] | None = None
) -> dict[str, Sequence[Any]]:
    """Columns by name; of those in ``inner`` that entry of each mapping, None where missing."""
    inner = inner or {}
    table = _table(dataset)
    if table is None:
        return _row_by_row(dataset, names, inner)
    is_datasets = hasattr(table, "column_names")
    present = list(table.column_names if is_datasets else table.columns)
    columns: dict[str, Sequence[Any]] = {}
    for name in names:
        if name not in present:
            columns[name] = [None] * len(table)
        elif is_datasets:
            columns[name] = _of_datasets(table, name, inner.get(name))
        else:
            columns[name] = _inner(table[name].tolist(), inner.get(name))
    return columns


def _table(dataset: Any) -> Any:
    """The data set's columns: its ``dataframe`` (verl's), or itself if it has them."""
    for candidate in (getattr(dataset, "dataframe", None), dataset):
        if hasattr(candidate, "select_columns") or hasattr(candidate, "iloc"):
            return candidate
    return None


def _of_datasets(table: Any, name: str, inner: str | None) -> Sequence[Any]:
    """A column of a Hugging Face data set, its indices mapping followed."""
    column = table.select_columns([name]).with_format("arrow")[:][name]
    if inner is not None:
        import pyarrow as pa
        import pyarrow.compute as pc

        if not pa.types.is_struct(column.type):
            return _inner(column.to_pylist(), inner)
        if column.type.get_field_index(inner) < 0:
            return [None] * len(column)
        column = pc.struct_field(column, inner)
    values: Sequence[Any] = column.to_pylist()
    feature = table.features.get(name)
    if hasattr(feature, "int2str"):  # class labels are stored as numbers
        return [None if value is None else feature.int2str(value) for value in values]
    return values


def _row_by_row(
    dataset: Any, names: Sequence[str], inner: dict[str, str]
) -> dict[str, Sequence[Any]]:
    what = f"reading {' and '.join(names)}"
    rows = tqdm(range(len(dataset)), desc=what, unit=" rows", delay=2, disable=None)
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for index in rows:
        row = dataset[index]
        for name in names:
            columns[name].append(row.get(name) if hasattr(row, "get") else None)
    return {name: _inner(column, inner.get(name)) for name, column in columns.items()}


def _inner(values: Iterable[Any], inner: str | None) -> list[Any]:
    if inner is None:
        return list(values)
    return [value.get(inner) if hasattr(value, "get") else None for value in values]
