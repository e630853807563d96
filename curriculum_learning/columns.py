"""The sources and complexity scores of a data set's rows, by column where it has columns.

Reading a row of a training data set tokenizes it; reading a column does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
        DataError: Rows lack ``data_source``.
    """
    column = _column(dataset, SOURCE_COLUMN)
    names = np.asarray(column, dtype=object)
    missing = np.flatnonzero([not isinstance(name, str) for name in names])
    if len(missing):
        raise DataError(
            f"{len(missing)} of {len(names)} rows have no '{SOURCE_COLUMN}', such as rows "
            f"{missing[:_SHOWN].tolist()}; give each row the name of its source",
            key=SOURCE_COLUMN,
            value=names[missing[0]],
        )
    unique, first, codes = np.unique(names.astype(str), return_index=True, return_inverse=True)
    in_order = np.argsort(first, kind="stable")
    return {str(unique[code]): np.flatnonzero(codes == code) for code in in_order}


def read_scores(dataset: Any, rows: NDArray[np.int64], source: str) -> NDArray[np.float64]:
    """The complexity scores of ``rows``, all of ``source``.

    They are in ``extra_info.complexity_score``, else in a column ``complexity_score``.

    Raises:
        DataError: A score is missing, no number, or not finite; the message has the count and the
            first rows.
    """
    values = _scores(dataset)
    scores = np.full(len(rows), np.nan)
    for place, row in enumerate(rows.tolist()):
        value = values[row]
        if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
            scores[place] = value
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        shown = {int(rows[place]): values[int(rows[place])] for place in bad[:_SHOWN]}
        raise DataError(
            f"source '{source}': {len(bad)} of its {len(rows)} rows have no usable "
            f"{EXTRA_COLUMN}.{SCORE_COLUMN}, a finite number. The first, by row: {shown}",
            source=source,
            key=SCORE_COLUMN,
            value=next(iter(shown.values())),
        )
    return scores


def _scores(dataset: Any) -> Sequence[Any]:
    names = _column_names(dataset)
    if names is not None and EXTRA_COLUMN not in names:
        return _column(dataset, SCORE_COLUMN) if SCORE_COLUMN in names else [None] * len(dataset)
    extra = _column(dataset, EXTRA_COLUMN, inner=SCORE_COLUMN)
    if names is not None and SCORE_COLUMN in names and all(value is None for value in extra):
        return _column(dataset, SCORE_COLUMN)
    return extra


def _column(dataset: Any, name: str, inner: str | None = None) -> Sequence[Any]:
    """A column, or one entry of a column of mappings; None where a row has none."""
    table = _table(dataset)
    if table is None:
        return _row_by_row(dataset, name, inner)
    if hasattr(table, "with_format"):  # datasets.Dataset
        if name not in table.column_names:
            return [None] * len(table)
        return _arrow(table.select_columns([name]).with_format("arrow")[:][name], inner)
    if name not in table.columns:  # pandas
        return [None] * len(table)
    return [_inner(value, inner) for value in table[name].tolist()]


def _table(dataset: Any) -> Any:
    """The data set's columns: its ``dataframe`` (verl's), or itself if it has them."""
    for candidate in (getattr(dataset, "dataframe", None), dataset):
        if hasattr(candidate, "select_columns") or hasattr(candidate, "iloc"):
            return candidate
    return None


def _column_names(dataset: Any) -> Sequence[str] | None:
    table = _table(dataset)
    if table is None:
        return None
    return list(getattr(table, "column_names", None) or table.columns)


def _arrow(column: Any, inner: str | None) -> Sequence[Any]:
    if inner is not None:
        import pyarrow as pa
        import pyarrow.compute as pc

        if not pa.types.is_struct(column.type):
            return [_inner(value, inner) for value in column.to_pylist()]
        if column.type.get_field_index(inner) < 0:
            return [None] * len(column)
        column = pc.struct_field(column, inner)
    values: Sequence[Any] = column.to_pylist()
    return values


def _row_by_row(dataset: Any, name: str, inner: str | None) -> Sequence[Any]:
    get: Callable[[Any], Any] = lambda row: row.get(name) if isinstance(row, dict) else None  # noqa: E731 - a one-line default
    rows = tqdm(range(len(dataset)), desc=f"reading {name}", unit=" rows", delay=2, disable=None)
    return [_inner(get(dataset[index]), inner) for index in rows]


def _inner(value: Any, inner: str | None) -> Any:
    if inner is None:
        return value
    return value.get(inner) if isinstance(value, dict) else None
