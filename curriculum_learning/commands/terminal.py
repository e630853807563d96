"""What commands show: lines, tables, errors, or JSON; on a terminal with rich."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, NoReturn, TextIO, TypeVar, cast

import orjson

from curriculum_learning.config.visible import visible
from curriculum_learning.errors import CurriculumLearningError

_Item = TypeVar("_Item")


class OutputError(Exception):
    """The output cannot be written."""


@contextmanager
def writing() -> Iterator[None]:
    """Turns what the operating system says of the output into an ``OutputError``.

    Lets BrokenPipeError through: nobody reads the output any more, as with ``| head``.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"the output cannot be written: {error}") from error


def show(text: str = "") -> None:
    """Writes a line; control characters are shown, so that the terminal does not obey them."""
    with writing():
        sys.stdout.write(f"{visible(text)}\n")


def tell(text: str) -> None:
    """Writes lines to standard error, if there is one; the lines after the first are indented."""
    if sys.stderr is not None:
        sys.stderr.write("\n  ".join(map(visible, text.split("\n"))) + "\n")


class _CleanStream:
    """A stream that shows the control characters of all that is written, but for line ends.

    A progress bar starts its line again by a carriage return.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Writes a text."""
        return self.stream.write(visible(text, but="\n\r"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def clean_stderr() -> Iterator[None]:
    """Within the block other libraries, too, write no control characters to standard error."""
    stream = sys.stderr
    if stream is not None:
        sys.stderr = cast("TextIO", _CleanStream(stream))
    try:
        yield
    finally:
        sys.stderr = stream


class Parser(argparse.ArgumentParser):
    """Shows the control characters of words that it quotes."""

    def error(self, message: str) -> NoReturn:
        """Ends the process with code 2."""
        super().error(visible(message))


def show_json(data: Any) -> None:
    """Writes data as JSON."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    text = orjson.dumps(data, default=str, option=options).decode() + "\n"
    if not text.replace("\n", "").isprintable():  # JSON itself allows most control characters
        text = "".join(
            char if char.isprintable() or char == "\n" else _escaped(char) for char in text
        )
    with writing():
        sys.stdout.flush()
        buffer = getattr(sys.stdout, "buffer", None)
        if buffer is None:
            sys.stdout.write(text)
        else:
            buffer.write(text.encode())  # JSON is UTF-8, whatever the terminal is
            buffer.flush()


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def show_errors(errors: Sequence[CurriculumLearningError], as_json: bool) -> None:
    """Writes errors, with their places if they have some."""
    found = [
        {"message": str(e), "key": e.key, "source": e.source, "place": getattr(e, "place", None)}
        for e in errors
    ]
    if as_json:
        show_json({"errors": found})
    else:
        for error in found:
            tell(f"error: {error['message']}")


def show_warnings(warnings: Sequence[str]) -> None:
    """Writes warnings; what is to be pasted follows in a line of its own."""
    for warning in warnings:
        first, *others = warning.split("\n")
        show(f"warning: {first}")
        for line in others:
            show(f"  {line}")


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Writes a table; the first column is flush left, the others are flush right.

    Leaves out columns at the right end that do not fit on a terminal, and names them.
    """
    lines = [[visible(cell) for cell in line] for line in (columns, *rows)]
    left_out: list[str] = []
    while sys.stdout.isatty() and len(lines[0]) > 2 and _width(lines) > _room():
        left_out.insert(0, lines[0][-1])
        lines = [line[:-1] for line in lines]
    _write_table(lines)
    if left_out:
        show(f"left out, as the terminal is narrow (--json has them): {', '.join(left_out)}")


def _room() -> int:
    return shutil.get_terminal_size().columns


def _width(lines: Sequence[Sequence[str]]) -> int:
    """Returns the width of a table with the frame and the padding of rich."""
    return 2 + sum(max(map(len, column)) + 3 for column in zip(*lines, strict=True))


def _write_table(lines: Sequence[Sequence[str]]) -> None:
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

    stream = sys.stderr.stream if isinstance(sys.stderr, _CleanStream) else sys.stderr
    yield from track(items, description=label, console=Console(file=stream), transient=True)


def _is_fancy() -> bool:
    return sys.stdout.isatty() and find_spec("rich") is not None


def _draw_table(lines: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE)
    for number, column in enumerate(lines[0]):
        width = max(len(line[number]) for line in lines)
        table.add_column(
            escape(column),
            justify="right" if number else "left",
            min_width=width if number else None,
            overflow="fold",
        )
    for line in lines[1:]:
        table.add_row(*(escape(cell) for cell in line))
    with writing():
        Console().print(table)
