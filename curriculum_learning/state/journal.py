"""A journal of feedback: what a checkpoint was written too early to hold.

Some trainers save before they tell their sampler the rewards of the step. Each update is a line
of JSON with its number; after a resume the updates that the checkpoint lacks are read from it.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from curriculum_learning.curricula.results import Result
from curriculum_learning.errors import ConfigurationError


class Entry(msgspec.Struct):
    """One update: its run, its number (1, 2, ...), and its results."""

    run: str
    update: int
    results: list[Result]


class Journal:
    """Appends entries to a file, each on the disk before the call returns.

    Args:
        path: The file; it and its folder are made.

    Raises:
        ConfigurationError: It cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch()
            open(self._path, "ab").close()
        except OSError as error:
            raise ConfigurationError(
                f"sampler.journal: {path} cannot be written: {error}",
                key="sampler.journal",
                value=str(path),
            ) from error

    def append(self, entry: Entry) -> None:
        """Write an entry; one of the same number that is there already is superseded.

        Update 1 begins a new run, and the file anew.
        """
        with open(self._path, "wb+" if entry.update == 1 else "ab+") as file:
            # A line that a kill cut short must not swallow the new one.
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(msgspec.json.encode(entry) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def find(self, run: str, update: int) -> Entry | None:
        """The entry of an update of a run; None where there is none.

        A run that was resumed begins again at a lower number: what it had written from there on
        before does not count.
        """
        found = None
        if self._path.exists():
            with open(self._path, "rb") as file:
                for line in file:
                    try:
                        entry = msgspec.json.decode(line, type=Entry)
                    except msgspec.DecodeError:
                        continue  # cut short by a kill
                    if entry.run == run and entry.update <= update:
                        found = entry if entry.update == update else None
        return found
