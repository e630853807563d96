"""What a result depends on beside its configuration: processor, versions and code."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

_CPU_FILE = Path("/proc/cpuinfo")
_FOLDER = Path(__file__).parent


@cache
def facts() -> dict[str, str]:
    """Returns facts about the machine and the code; none of them tells one machine from another."""
    return {
        "cpu": _cpu(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "numpy": version("numpy"),
        "commit": _commit(),
    }


def _cpu() -> str:
    if _CPU_FILE.exists():
        for line in _CPU_FILE.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    """Returns the commit, with ``+`` where code differs from it; empty without a repository."""
    commit = _git("rev-parse", "--short=12", "HEAD").stdout.strip()
    # Not all files: results are in the repository, and grow.
    changed = _git("diff", "--quiet", "HEAD", "--", ":/*.py", ":/*.yaml").returncode == 1
    return commit + "+" * changed


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", *arguments], cwd=_FOLDER, capture_output=True, text=True, check=False
    )
