"""Files of rows: which there are, and which kind each of them is."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter

from curriculum_learning.errors import DataError
from curriculum_learning.prompts.cache import Cache
from curriculum_learning.prompts.kinds.arrow_file import ArrowFileRows
from curriculum_learning.prompts.kinds.csv import CsvRows
from curriculum_learning.prompts.kinds.datasets import SavedRows, is_saved
from curriculum_learning.prompts.kinds.json import CopiedLines
from curriculum_learning.prompts.kinds.jsonl import JsonlRows
from curriculum_learning.prompts.kinds.parquet import ParquetRows
from curriculum_learning.prompts.packed import ending_of, is_packed
from curriculum_learning.prompts.rows import Rows
from curriculum_learning.prompts.sharded import ShardedRows

_KINDS: dict[str, type[JsonlRows] | type[ParquetRows] | type[CsvRows] | type[ArrowFileRows]] = {
    ".jsonl": JsonlRows,
    ".json": CopiedLines,
    ".csv": CsvRows,
    ".parquet": ParquetRows,
    ".arrow": ArrowFileRows,
}
_NUMBERED = re.compile(r"(.*-)(\d+)(-of-)(\d+)(\D.*|)$")
"""The name of a shard that says how many there are."""


def open_files(path: str, source: str, cache: Cache) -> Rows:
    """Opens a file, the files of a folder, or those that a glob such as ``data/*.parquet`` matches.

    Several files are shards of one source, in the order of their names.

    Raises:
        DataError: There is no such file, a shard is missing, or one is unreadable.
    """
    place = os.path.abspath(path)  # engines change the working directory of their workers
    if os.path.isfile(place):
        return _open_file(place, source, cache)
    if is_saved(place):
        return SavedRows(place, source, cache)
    files = _files_of_folder(place, source) if os.path.isdir(place) else _matching(place, source)
    _check_numbers(files, source, path)
    shards: list[Rows] = []
    try:
        shards.extend(_open_file(file, source, cache) for file in files)
    except BaseException:
        for shard in shards:
            shard.close()
        raise
    return ShardedRows(shards)


def _open_file(path: str, source: str, cache: Cache) -> Rows:
    kind = _KINDS.get(ending_of(path))
    if kind is None:
        known = ", ".join(_KINDS)
        raise error(
            path,
            source,
            f"is no file of rows; convert it to one of {known}, packed as .gz or .zst or not",
        )
    if kind is JsonlRows and is_packed(path):
        kind = CopiedLines
    return kind(path, source, cache)


def _files_of_folder(folder: str, source: str) -> list[str]:
    files = [
        entry.path
        for entry in os.scandir(folder)
        if entry.name[0] not in "._" and entry.is_file() and ending_of(entry.name) in _KINDS
    ]
    endings = Counter(map(ending_of, files))
    if len(endings) > 1:
        found = ", ".join(f"{count} {ending}" for ending, count in sorted(endings.items()))
        problem = f"is a folder of several kinds of files, {found}"
        raise error(folder, source, f"{problem}; name one kind: {folder}/*{min(endings)}")
    if not files:
        raise error(
            folder, source, f"is a folder without any file of rows; they end in {', '.join(_KINDS)}"
        )
    return sorted(files)


def _matching(pattern: str, source: str) -> list[str]:
    files = sorted(file for file in glob.glob(pattern, recursive=True) if os.path.isfile(file))
    if files:
        return files
    relative = f"paths are relative to the working directory, {os.getcwd()}"
    if glob.has_magic(pattern):
        raise error(pattern, source, f"matches no file; {relative}")
    problem = "is not a file" if os.path.exists(pattern) else "does not exist"
    raise error(pattern, source, f"{problem}; {relative}")


def _check_numbers(files: list[str], source: str, path: str) -> None:
    """Raises DataError if a shard is missing of those that say how many there are."""
    there, matches = set(files), filter(None, map(_NUMBERED.match, files))
    for start, width, middle, total, end in {
        (start, len(number), *others) for start, number, *others in (m.groups() for m in matches)
    }:
        names = (f"{start}{at:0{width}}{middle}{total}{end}" for at in range(int(total)))
        missing = [name for name in names if name not in there]
        if missing:
            raise error(
                path, source, f"lacks {len(missing)} of {int(total)} shards, such as {missing[0]}; "
                f"add them, or rename the others",
            )  # fmt: skip


def error(path: str, source: str, problem: str) -> DataError:
    """Makes the error of a path that cannot be used."""
    message = f"prompt_data of source '{source}': {path!r} {problem}"
    return DataError(message, source=source, key="prompt_data", value=path)
