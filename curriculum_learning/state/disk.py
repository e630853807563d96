"""Files that are there whole or not at all, whatever a crash, a full disk or a stranger does."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from curriculum_learning.errors import CheckpointError

_CANNOT_SYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF}
"""What file systems answer that have no fsync, or none for folders."""

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_FOLLOW | getattr(os, "O_BINARY", 0)
_SUFFIX = ".tmp"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Opens a new file that takes the place of ``path`` when the block ends without an error.

    After a crash at any moment the old file or the new one is there. The new file has a name that
    nobody can foresee, so that processes do not share it and no link that was planted is followed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{_SUFFIX}")
    try:
        with open(os.open(temporary, _NEW, 0o666), "wb") as file:
            yield file
            file.flush()
            _sync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def check_writable(folder: Path) -> None:
    """Looks whether files can be made in a folder, which need not be there yet.

    Raises:
        CheckpointError: They cannot.
    """
    there = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
    for problem, is_there in (
        (errno.ENOTDIR, not there.is_dir()),
        (errno.EACCES, not os.access(there, os.W_OK | os.X_OK)),
    ):
        if is_there:
            raise CheckpointError(
                f"save: {folder} cannot be written to ({there}: {os.strerror(problem)}); set save "
                f"to a folder that can",
                key="save",
                value=str(folder),
            )


def remove_leftovers(folder: Path, prefix: str) -> None:
    """Removes what killed writers of ``{prefix}*`` have left; only for who is the one writer."""
    for path in folder.glob(f".{prefix}*{_SUFFIX}"):
        path.unlink(missing_ok=True)


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def _sync_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # not every system opens folders; the file itself is on the disk
        return
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)
