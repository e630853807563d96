"""Tests in TRL itself, collected where it is installed.

``requirements.txt`` of this folder lists what that takes.
"""

from __future__ import annotations

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("trl") else ["test_*.py"]
