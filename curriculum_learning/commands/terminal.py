"""What commands show: tables and lines, or JSON; with rich on a terminal where it is installed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import orjson

_Item = TypeVar("_Item")


def show(text: str = "") -> None:
    """Write a line; what a terminal would carry out is shown instead."""
    sys.stdout.write(f"{_visible(text)}\n")


def show_json(data: Any) -> None:
    """Write data as JSON."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    content = orjson.dumps(data, default=str, option=options) + b"\n"
    sys.stdout.flush()
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:
        sys.stdout.write(content.decode())
    else:
        buffer.write(content)  # JSON is UTF-8, whatever the terminal is
        buffer.flush()


def _visible(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table; the first column is flush left, the others are flush right."""
    rows = [list(row) for row in rows]
    rich = _rich("table", "console")
    if rich is not None:
        table, console = rich
        drawn = table.Table(box=importlib.import_module("rich.box").SIMPLE)
        for number, column in enumerate(columns):
            drawn.add_column(column, justify="right" if number else "left")
        for row in rows:
            escape = importlib.import_module("rich.markup").escape
            drawn.add_row(*(escape(_visible(cell)) for cell in row))
        console.Console().print(drawn)
        return
    lines = [list(columns), *rows]
    widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
    for line in lines:
        cells = [
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        show("  ".join(cells).rstrip())


def progress(items: Sequence[_Item], label: str) -> Iterator[_Item]:
    """The items; on a terminal with rich a bar shows how far they have come."""
    rich = _rich("progress", "console") if sys.stderr.isatty() else None
    if rich is None:
        yield from items
        return
    bar, console = rich
    yield from bar.track(
        items, description=label, console=console.Console(stderr=True), transient=True
    )


def _rich(*modules: str) -> list[Any] | None:
    """Modules of rich, or None where it is not installed or nobody looks."""
    if not sys.stdout.isatty():
        return None
    try:
        return [importlib.import_module(f"rich.{module}") for module in modules]
    except ImportError:
        return None
