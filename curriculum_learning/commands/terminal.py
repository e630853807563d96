"""What commands show: lines, tables, errors, or JSON; on a terminal with rich."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any, TypeVar

import orjson

from curriculum_learning.commands.arguments import WRONG
from curriculum_learning.errors import CurriculumLearningError

_Item = TypeVar("_Item")


def show(text: str = "") -> None:
    """Writes a line; control characters are shown, so that the terminal does not obey them."""
    sys.stdout.write(f"{_visible(text)}\n")


def show_json(data: Any) -> None:
    """Writes data as JSON."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    content = orjson.dumps(data, default=str, option=options) + b"\n"
    sys.stdout.flush()
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:
        sys.stdout.write(content.decode())
    else:
        buffer.write(content)  # JSON is UTF-8, whatever the terminal is
        buffer.flush()


def show_errors(errors: Sequence[CurriculumLearningError], as_json: bool) -> int:
    """Writes errors, with their places if they have some; returns the exit code."""
    found = [
        {"message": str(e), "key": e.key, "source": e.source, "place": getattr(e, "place", None)}
        for e in errors
    ]
    if as_json:
        show_json({"errors": found})
    else:
        sys.stderr.writelines(f"error: {error['message']}\n" for error in found)
    return WRONG


def show_warnings(warnings: Sequence[str]) -> None:
    """Writes warnings, a line each."""
    for warning in warnings:
        show(f"warning: {warning}")


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Writes a table; the first column is flush left, the others are flush right."""
    lines = [list(columns), *map(list, rows)]
    if _is_fancy():
        _draw_table(lines)
        return
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *others in lines:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        show("  ".join([first.ljust(widths[0]), *cells]).rstrip())


def progress(items: Sequence[_Item], label: str) -> Iterator[_Item]:
    """Yields the items; on a terminal with rich a bar shows how far they have come."""
    if not (_is_fancy() and sys.stderr.isatty()):
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, description=label, console=Console(stderr=True), transient=True)


def _is_fancy() -> bool:
    return sys.stdout.isatty() and find_spec("rich") is not None


def _draw_table(lines: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE)
    for number, column in enumerate(lines[0]):
        table.add_column(column, justify="right" if number else "left")
    for line in lines[1:]:
        table.add_row(*(escape(_visible(cell)) for cell in line))
    Console().print(table)


def _visible(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
