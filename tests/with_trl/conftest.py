"""Tests in TRL itself, collected where it is installed.

``requirements.txt`` of this folder lists what that takes.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

# For a tiny model one thread is the fastest; also in the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
collect_ignore_glob = [] if importlib.util.find_spec("trl") else ["test_*.py"]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny model."""
    from tests.with_trl import inputs  # TRL may be missing

    return inputs.write_model(tmp_path_factory.mktemp("model"))
