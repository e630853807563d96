"""The sources and complexity scores in verl's training files: all that samplers read of them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from curriculum_learning.errors import ConfigurationError, DataError
from curriculum_learning.prompts.columns import EXTRA_COLUMN, SOURCE_COLUMN
from curriculum_learning.prompts.opening import open_rows


def assumed_rows(sizes: Mapping[str, int], score_keys: Collection[str]) -> list[dict[str, Any]]:
    """Makes rows of these sources, their complexity rising evenly."""
    return [
        {SOURCE_COLUMN: name, **dict.fromkeys(score_keys, float(row))}
        for name, size in sizes.items()
        for row in range(size)
    ]


def training_rows(files: Any, keys: Collection[str]) -> list[dict[str, Any]]:
    """Reads the rows of verl's training files, as far as samplers look at them.

    Args:
        files: A path, or a list of paths.
        keys: The columns, or entries of ``extra_info``, with scores and offline pass rates.

    Raises:
        ConfigurationError: ``files`` is neither a path nor a list of paths.
        DataError: A file cannot be read.
    """
    paths = [files] if isinstance(files, str) else files
    if not isinstance(paths, Sequence) or not paths:
        raise ConfigurationError(
            f"data.train_files ({files!r}) must be a path or a list of paths; without the files, "
            f"give the sizes of the sources: --rows NAME=ROWS,...",
            key="train_files",
            value=files,
        )
    rows: list[dict[str, Any]] = []
    for path in paths:
        rows += _rows_of(os.path.expanduser(str(path)), keys)
    return rows


def _rows_of(path: str, keys: Collection[str]) -> list[dict[str, Any]]:
    try:
        return _parquet_rows(path, keys) if path.endswith(".parquet") else _other_rows(path)
    except DataError as error:
        error.key = "train_files"
        raise
    except (OSError, ValueError, ImportError) as error:
        raise DataError(
            f"data.train_files: {path} cannot be read: {error}; name a .parquet or .jsonl file",
            key="train_files",
            value=path,
        ) from error


def _parquet_rows(path: str, keys: Collection[str]) -> list[dict[str, Any]]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        total = file.metadata.num_rows
        entries = [f"{EXTRA_COLUMN}.{key}" for key in keys]
        table = file.read(columns=[SOURCE_COLUMN, *entries, *keys]).flatten()
    names = [name.rpartition(".")[-1] for name in table.column_names]
    return table.rename_columns(names).to_pylist() if names else [{}] * total


def _other_rows(path: str) -> list[dict[str, Any]]:
    rows = open_rows(path, path)
    try:
        return rows.records(range(len(rows)))
    finally:
        rows.close()
