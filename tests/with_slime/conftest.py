"""Tests against a checkout of slime: ``pytest tests/with_slime --slime-path FOLDER``.

They are written for slime of August 2026. Without the option nothing in this folder is collected.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_OPTION = "slime_path"
_SECONDS_PER_TEST = 50


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slime-path", metavar="FOLDER", help="a checkout of slime to test against")


def pytest_configure(config: pytest.Config) -> None:
    folder = config.getoption(_OPTION, default=None)
    if folder is None and not _is_named(config):
        return
    if not folder or not (Path(folder) / "slime" / "rollout" / "sglang_rollout.py").is_file():
        raise pytest.UsageError(f"--slime-path must be a checkout of slime, not {folder!r}")
    sys.path.insert(0, str(config.rootpath))  # plain `pytest` does not put it there
    # At the end, because a checkout of slime has folders with the names of ours.
    sys.path.append(str(Path(folder).resolve()))

    from tests.with_slime import stand_ins

    stand_ins.install()


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    return True if config.getoption(_OPTION, default=None) is None else None


def _is_named(config: pytest.Config) -> bool:
    """Whether the command line names this folder or a file of it."""
    named = [Path(argument.partition("::")[0]).resolve() for argument in config.args]
    return any(Path(__file__).parent in (path, *path.parents) for path in named)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Fail a test whose rollout never ends: slime waits for groups for as long as none come."""
    if Path(__file__).parent not in item.path.parents:  # pytest asks for tests of all folders
        return (yield)

    def fail(*_: object) -> None:
        raise TimeoutError(f"not done after {_SECONDS_PER_TEST} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(_SECONDS_PER_TEST)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def slime_path(pytestconfig: pytest.Config) -> Path:
    """The checkout."""
    return Path(pytestconfig.getoption(_OPTION)).resolve()
