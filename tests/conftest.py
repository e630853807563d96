"""What all tests share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import hypothesis
import pytest

# A busy machine is no failure: speed is measured in benchmarks.
hypothesis.settings.register_profile("project", deadline=None)
hypothesis.settings.load_profile("project")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is worked out of prompt files is kept in a folder of the tests."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("CURRICULUM_LEARNING_CACHE", str(folder))


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """The samplers make their lines visible for the whole process: put that back after a test."""
    ours = logging.getLogger("curriculum_learning")
    level, handlers = ours.level, list(ours.handlers)
    yield
    ours.setLevel(level)
    ours.handlers[:] = handlers
