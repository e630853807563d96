"""Tests with environments of verifiers, collected where it is installed.

``requirements.txt`` of this folder lists what that takes.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

collect_ignore_glob = [] if importlib.util.find_spec("verifiers") else ["test_*.py"]

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples" / "environments"


@pytest.fixture(autouse=True)
def _environments(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environments can be imported, as installed ones can."""
    monkeypatch.syspath_prepend(str(HERE / "environments"))
    monkeypatch.syspath_prepend(str(EXAMPLES))
