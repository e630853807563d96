"""A number of each row: complexity scores and offline pass rates."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.prompts.files.arrow import ArrowRows
from curriculum_learning.prompts.rows import Rows

Numbers = NDArray[np.float64]

_BATCH = 1024


def read_numbers(rows: Rows, metadata_key: str, key: str) -> Numbers:
    """Reads the entry ``key`` of each row's metadata, or the column ``key`` where it has none.

    Args:
        rows: The rows; they have an end.
        metadata_key: The column of the metadata.
        key: The entry, or the column.

    Returns:
        Shape (rows,); NaN for what is missing or no number.
    """
    read: list[Numbers] = []
    for part, span in rows.parts(range(len(rows))):
        by_column = _of_columns(part, span, metadata_key, key)
        read.append(_of_rows(part, span, metadata_key, key) if by_column is None else by_column)
    return np.concatenate(read)


def _of_rows(rows: Rows, span: range, metadata_key: str, key: str) -> Numbers:
    scores = np.full(len(span), np.nan)
    for start in range(0, len(span), _BATCH):
        batch = span[start : start + _BATCH]
        for place, record in enumerate(rows.records(batch), start):
            metadata = record.get(metadata_key)
            inner = metadata.get(key) if isinstance(metadata, dict) else None
            score = record.get(key) if inner is None else inner
            if isinstance(score, (numbers.Real, Decimal)) and not isinstance(score, bool):
                scores[place] = float(score)
    return scores


def _of_columns(rows: Rows, span: range, metadata_key: str, key: str) -> Numbers | None:
    """Reads columns without making rows of them; None where that cannot be done."""
    if not isinstance(rows, ArrowRows):
        return None
    read: list[Numbers] = []
    for batch in rows.slices(span):
        columns = _columns(batch, metadata_key, key)
        if columns is None:
            return None
        scores = np.full(len(batch), np.nan)
        for column in columns:
            missing = np.isnan(scores) if column is columns[0] else _is_null(columns[0])
            scores[missing] = _floats(column)[missing]
        read.append(scores)
    return np.concatenate(read)


def _columns(batch: Any, metadata_key: str, key: str) -> Sequence[Any] | None:
    """Returns the columns that hold the number, the one to be preferred first."""
    from pyarrow import types

    found = []
    place = batch.schema.get_field_index(metadata_key)
    if place >= 0:
        metadata = batch.column(place)
        if not (types.is_struct(metadata.type) or types.is_null(metadata.type)):
            return None
        if types.is_struct(metadata.type) and metadata.type.get_field_index(key) >= 0:
            # flattened, a field is null where the whole is
            found.append(metadata.flatten()[metadata.type.get_field_index(key)])
    if (place := batch.schema.get_field_index(key)) >= 0:
        found.append(batch.column(place))
    kinds = [column.type for column in found]
    plain = (types.is_integer, types.is_floating, types.is_null, types.is_string, types.is_boolean)
    return found if all(any(test(kind) for test in plain) for kind in kinds) else None


def _is_null(column: Any) -> NDArray[np.bool_]:
    nulls: NDArray[np.bool_] = column.is_null().to_numpy(zero_copy_only=False)
    return nulls


def _floats(column: Any) -> Numbers:
    import pyarrow
    from pyarrow import types

    if not (types.is_integer(column.type) or types.is_floating(column.type)):
        return np.full(len(column), np.nan)
    floats = column.cast(pyarrow.float64(), safe=False)
    values: Numbers = floats.to_numpy(zero_copy_only=False)
    return values
