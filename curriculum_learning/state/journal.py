"""A journal of feedback: what a checkpoint was written too early to hold.

Some trainers save before they tell their sampler the rewards of the step. Each update is a line
of JSON with its number; after a resume the updates that the checkpoint lacks are read from it.
"""

from __future__ import annotations

import itertools
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
    drawn: int = 0
    """Batches that were drawn before it; a loader with workers draws ahead."""


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

    def read(self, run: str, first: int, last: int) -> list[Entry]:
        """Returns the entries of a run from update ``first`` on, up to ``last`` or to a gap.

        A run that was resumed begins again at a lower number: what it had written from there on
        before does not count.
        """
        found: dict[int, Entry] = {}
        if self._path.exists():
            with open(self._path, "rb") as file:
                for line in file:
                    try:
                        entry = msgspec.json.decode(line, type=Entry)
                    except msgspec.DecodeError:
                        continue  # cut short by a kill
                    if entry.run == run and entry.update <= last:
                        found = {n: kept for n, kept in found.items() if n < entry.update}
                        if entry.update >= first:
                            found[entry.update] = entry
        wanted = itertools.takewhile(found.__contains__, range(first, last + 1))
        return [found[update] for update in wanted]
