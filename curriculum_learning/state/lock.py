"""One writer per folder: a lock that the operating system takes back when its holder ends."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
from pathlib import Path

from curriculum_learning.errors import CheckpointError
from curriculum_learning.state.disk import NO_FOLLOW

try:
    import fcntl
except ImportError:  # not on this platform
    fcntl = None  # type: ignore[assignment]  # where it is missing the file itself is the lock

logger = logging.getLogger(__name__)

_NAME = ".curriculum_learning.lock"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
"""What file systems answer that are mounted without locks."""


class FolderLock:
    """The right to write to a folder, held from ``acquire`` to ``release`` or the process's end.

    Without ``fcntl`` the lock is a file that is there or not; a killed process leaves it behind,
    and the error of the next one says which file to remove.

    Args:
        folder: The folder; ``acquire`` makes it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / _NAME
        self._descriptor: int | None = None

    def __del__(self) -> None:
        self.release()

    def acquire(self) -> None:
        """Takes the lock, unless it is held already.

        Raises:
            CheckpointError: Somebody else holds it.
            OSError: The folder cannot be written to.
        """
        if self._descriptor is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        exclusive = os.O_EXCL if fcntl is None else 0
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | NO_FOLLOW | exclusive, 0o666)
        except FileExistsError:
            raise self._held(f"; if that process is gone, remove {self._path}") from None
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise self._held("") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(descriptor)
                raise
            logger.warning(
                "%s is on a file system without locks (%s): take care that one process at a time "
                "saves to it",
                self._folder, error,
            )  # fmt: skip
        self._descriptor = descriptor
        os.ftruncate(descriptor, 0)
        os.write(descriptor, _this_process().encode())

    def check(self) -> None:
        """Takes nothing; raises CheckpointError if another process holds the lock."""
        if fcntl is None or self._descriptor is not None:
            return
        with contextlib.suppress(OSError), open(self._path, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if file.read() != _this_process().encode():
                    raise self._held("") from None

    def release(self) -> None:
        """Gives the lock back."""
        if self._descriptor is None:
            return
        if fcntl is None:
            self._path.unlink(missing_ok=True)
        self.let_go()

    def let_go(self) -> None:
        """Closes a copy that a fork has made; the lock stays with the parent process."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _held(self, remedy: str) -> CheckpointError:
        holder = "another process"
        with contextlib.suppress(OSError, ValueError):
            said = self._path.read_text(encoding="utf-8").strip()
            holder = said if said and said.isprintable() else holder
        if holder == _this_process():
            holder = "another data source of this process"
        return CheckpointError(
            f"save: {self._folder} is being written to by {holder}; two "
            f"writers would mix their states. Give each run a save folder of its own, or close "
            f"the other data source{remedy}",
            key="save",
            value=str(self._folder),
        )


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"
