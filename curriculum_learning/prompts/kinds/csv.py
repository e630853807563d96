"""Rows of a csv file with a header."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from curriculum_learning.prompts.files.converted import ConvertedRows


class CsvRows(ConvertedRows):
    """The rows of a csv file: comma, double quotes, a header, line breaks within quotes.

    A column whose values are all numbers, or all true or false, is one of numbers or truths, and
    an empty field is None in it; any other column is text.
    """

    def _tables(self, path: str) -> Iterator[Any]:
        """See ``ConvertedRows``."""
        import pyarrow
        import pyarrow.csv

        parsing = pyarrow.csv.ParseOptions(newlines_in_values=True)
        table = pyarrow.csv.read_csv(path, parse_options=parsing)
        texts = {field.name: pyarrow.string() for field in table.schema if not _is_kept(field.type)}
        if texts:  # dates, say: prompts have them as they are written
            options = pyarrow.csv.ConvertOptions(column_types=texts)
            table = pyarrow.csv.read_csv(path, parse_options=parsing, convert_options=options)
        yield table


def _is_kept(kind: Any) -> bool:
    from pyarrow import types

    return any(
        test(kind)
        for test in (types.is_integer, types.is_floating, types.is_boolean, types.is_string)
    )
