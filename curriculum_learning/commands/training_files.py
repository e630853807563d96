"""verl's training files, as far as samplers look at them: sources and complexity scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curriculum_learning.errors import ConfigurationError, DataError
from curriculum_learning.prompts.files import open_rows


def assumed_rows(rows: Mapping[str, int]) -> list[dict[str, Any]]:
    """Rows of the sizes given, their complexity rising evenly."""
    return [
        {"data_source": name, "complexity_score": float(row)}
        for name, size in rows.items()
        for row in range(size)
    ]


def training_rows(files: Any) -> list[dict[str, Any]]:
    """The rows of verl's training files, as far as samplers look at them.

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
        file = str(Path(str(path)).expanduser())
        try:
            rows += _parquet_rows(file) if file.endswith(".parquet") else _other_rows(file)
        except (OSError, ValueError, ImportError) as error:
            if isinstance(error, DataError):
                error.key = "train_files"
                raise
            raise DataError(
                f"data.train_files: {file} cannot be read: {error}; name a .parquet or .jsonl file",
                key="train_files",
                value=file,
            ) from error
    return rows


def _parquet_rows(path: str) -> list[dict[str, Any]]:
    import pyarrow.parquet as parquet

    wanted = ["data_source", "extra_info.complexity_score", "complexity_score"]
    table = parquet.ParquetFile(path).read(columns=wanted).flatten()
    columns = {name.rpartition(".")[-1]: table[name].to_pylist() for name in table.column_names}
    if not columns:
        return [{}] * parquet.ParquetFile(path).metadata.num_rows
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _other_rows(path: str) -> list[dict[str, Any]]:
    rows = open_rows(path, path, None)
    try:
        return [dict(record) for record in rows.records(range(len(rows)))]
    finally:
        rows.close()
