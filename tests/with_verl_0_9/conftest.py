"""Tests in verl itself, collected where verl 0.9 or later is installed.

``requirements.txt`` of this folder lists what that takes.
"""

from __future__ import annotations

import importlib.metadata


def _has_verl() -> bool:
    # By its metadata: importing verl takes a dozen seconds.
    try:
        version = importlib.metadata.version("verl")
    except importlib.metadata.PackageNotFoundError:
        return False
    major, minor = version.split(".")[:2]
    return (int(major), int(minor)) >= (0, 9)


collect_ignore_glob = [] if _has_verl() else ["test_*.py"]
