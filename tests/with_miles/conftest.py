"""Tests against a checkout of miles: ``pytest tests/with_miles --miles-path=FOLDER``.

They are written for miles of August 2026. Without the option nothing in this folder is collected.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

_OPTION = "miles_path"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--miles-path", metavar="FOLDER", help="a checkout of miles to test against")


def pytest_configure(config: pytest.Config) -> None:
    folder = config.getoption(_OPTION, default=None)
    if folder is None:
        return
    if not folder or not (Path(folder) / "miles" / "rollout" / "base_types.py").is_file():
        raise pytest.UsageError(f"--miles-path must be a checkout of miles, not {folder!r}")
    sys.path.insert(0, str(config.rootpath))  # plain `pytest` does not put it there
    # At the end, because a checkout of miles has folders with the names of ours.
    sys.path.append(str(Path(folder).resolve()))

    from tests.with_miles import stand_ins

    stand_ins.install()


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    return True if config.getoption(_OPTION, default=None) is None else None
