"""Files of rows: which there are, and which kind each of them is."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter

from curriculum_learning.config.paths import lost
from curriculum_learning.prompts.cache import Cache
from curriculum_learning.prompts.files.packed import ending_of, is_packed
from curriculum_learning.prompts.files.remote import RemoteFiles, is_remote
from curriculum_learning.prompts.files.sharded import ShardedRows
from curriculum_learning.prompts.kinds.arrow_file import ArrowFileRows
from curriculum_learning.prompts.kinds.csv import CsvRows
from curriculum_learning.prompts.kinds.datasets import SavedRows, is_saved
from curriculum_learning.prompts.kinds.json import CopiedLines
from curriculum_learning.prompts.kinds.jsonl import JsonlRows
from curriculum_learning.prompts.kinds.parquet import ParquetRows
from curriculum_learning.prompts.rows import Rows, unusable

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

    Several files are shards of one source, in the order of their names. A path may be a URL.

    Raises:
        DataError: There is no such file, a shard is missing, or one is unreadable.
    """
    if is_remote(path):
        return _open_remote(path, source, cache)
    place = os.path.abspath(path)  # engines change the working directory of their workers
    if os.path.isfile(place):
        return _open_file(place, source, cache)
    if is_saved(place):
        return SavedRows(place, source, cache)
    if os.path.isdir(place):
        entries = [entry.path for entry in os.scandir(place) if entry.is_file()]
        files = _shards_among(sorted(entries), source, path)
    else:
        files = _matching(place, source, path)
    _check_numbers(files, source, path)
    return _open_shards(files, files, source, cache)


def _open_remote(url: str, source: str, cache: Cache) -> Rows:
    remote = RemoteFiles(url, source, cache)
    paths, is_folder = remote.find()
    if is_folder:
        paths = _shards_among(paths, source, url)
    if not paths:
        raise unusable(url, source, "matches no file; correct it")
    _check_numbers(paths, source, url)
    return _open_shards(paths, [remote.fetch(path) for path in paths], source, cache)


def _open_shards(names: list[str], files: list[str], source: str, cache: Cache) -> Rows:
    shards: list[Rows] = []
    try:
        for name, file in zip(names, files, strict=True):
            shards.append(_open_file(file, source, cache, name))
    except BaseException:
        for shard in shards:
            shard.close()
        raise
    return shards[0] if len(shards) == 1 else ShardedRows(shards)


def _open_file(path: str, source: str, cache: Cache, name: str | None = None) -> Rows:
    """Opens a file; messages about its rows call it ``name``."""
    kind = _KINDS.get(ending_of(path))
    if kind is None:
        known = f"{', '.join(_KINDS)}, packed as .gz or .zst or not"
        raise unusable(name or path, source, f"is no file of rows; convert it to one of {known}")
    if kind is JsonlRows and is_packed(path):
        kind = CopiedLines
    rows = kind(path, source, cache)
    rows.path = name or path
    return rows


def _shards_among(paths: list[str], source: str, folder: str) -> list[str]:
    """Returns the files of rows in a folder."""
    names = {path: path.rstrip("/").rpartition("/")[-1] for path in paths}
    files = [
        path for path, name in names.items() if name[0] not in "._" and ending_of(name) in _KINDS
    ]
    endings = Counter(map(ending_of, files))
    if len(endings) > 1:
        found = ", ".join(f"{count} {ending}" for ending, count in sorted(endings.items()))
        problem = f"is a folder of several kinds of files, {found}"
        raise unusable(folder, source, f"{problem}; name one kind: {folder}/*{min(endings)}")
    if not files:
        raise unusable(
            folder, source, f"is a folder without any file of rows; they end in {', '.join(_KINDS)}"
        )
    return files


def _matching(pattern: str, source: str, written: str) -> list[str]:
    files = sorted(file for file in glob.glob(pattern, recursive=True) if os.path.isfile(file))
    if files:
        return files
    relative = f"paths are relative to the working directory, {os.getcwd()}"
    raise unusable(written, source, lost(written) or f"matches no file; {relative}")


def _check_numbers(files: list[str], source: str, path: str) -> None:
    """Raises DataError if a shard is missing of those that say how many there are."""
    there, matches = set(files), filter(None, map(_NUMBERED.match, files))
    for start, width, middle, total, end in {
        (start, len(number), *others) for start, number, *others in (m.groups() for m in matches)
    }:
        names = (f"{start}{at:0{width}}{middle}{total}{end}" for at in range(int(total)))
        missing = [name for name in names if name not in there]
        if missing:
            raise unusable(
                path, source, f"lacks {len(missing)} of {int(total)} shards, such as {missing[0]}; "
                f"add them, or rename the others",
            )  # fmt: skip
