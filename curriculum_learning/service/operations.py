"""What a service has done since its last state: a file to which every operation is appended.

A record is the length of its bytes, their CRC-32, and the bytes. A record that a kill cut short is
the last one, and was not answered: it is left out.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

from curriculum_learning.errors import CheckpointError

_HEAD = struct.Struct("<II")


class Operations:
    """Appends records to a new file.

    Args:
        path: The file; one that is there is emptied.

    Raises:
        CheckpointError: It cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = 0
        """Records appended."""
        self.synced = 0
        """As many of them are on the disk."""
        self._failed: OSError | None = None
        self._syncing = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "wb", buffering=0)  # noqa: SIM115  # as long as the service
        except OSError as error:
            raise self._error(error) from error

    def append(self, record: bytes) -> None:
        """Append a record; a kill of the process does not undo it from here on.

        Raises:
            CheckpointError: It cannot be written, or an earlier one could not.
        """
        if self._failed is not None:
            raise self._error(self._failed)
        data = _HEAD.pack(len(record), zlib.crc32(record)) + record
        try:
            if self._file.write(data) != len(data):
                raise OSError("the disk took a part of it only")
        except OSError as error:
            # What has been carried out is not in the file: nothing may be answered any more.
            self._failed = error
            raise self._error(error) from error
        self.written += 1

    def sync(self) -> None:
        """Have all records on the disk, where a crash of the machine does not undo them.

        It may be called on another thread than ``append``.

        Raises:
            CheckpointError: The disk refuses.
        """
        with self._syncing:
            written = self.written
            if written == self.synced:
                return
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                self._failed = error
                raise self._error(error) from error
            self.synced = written

    def close(self) -> None:
        """Release the file."""
        with self._syncing:
            self._file.close()

    def _error(self, error: OSError) -> CheckpointError:
        return CheckpointError(
            f"the operations of the service cannot be written to {self.path}: {error}; free the "
            f"disk and let the service start again",
            key="save",
            value=str(self.path),
        )


def read_operations(path: Path) -> Iterator[bytes]:
    """The records of a file, up to one that was cut short."""
    with open(path, "rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, checksum = _HEAD.unpack(head)
            record = file.read(length)
            if len(record) < length or zlib.crc32(record) != checksum:
                return
            yield record
