"""All benchmarks, as a table with targets and as JSON.

python -m benchmarks [--only NAME ...] [--out DIR]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import Findings, figures_table, markdown
from benchmarks.fresh import run_fresh

_BENCHMARKS = (
    "serving",
    "starting",
    "many_rows",
    "kinds",
    "drawing",
    "ordering",
    "weighted",
    "curricula",
    "returning",
    "metrics",
    "samplers",
    "loaders",
)
_OUT = Path(__file__).parent / "results"
_PACKAGES = ("numpy", "orjson", "msgspec", "torch", "datasets", "torchdata")


def main() -> None:
    """Measure, print the tables, and write them."""
    arguments = _arguments()
    began = time.perf_counter()
    machine = _machine()
    found: dict[str, Findings] = {}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        for name in arguments.only or _BENCHMARKS:
            print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
            seconds, found[name] = _measure(name, Path(folder))
            print(f"{seconds:.0f} s", file=sys.stderr, flush=True)
    machine["load_after"] = os.getloadavg()[0]
    machine["seconds"] = time.perf_counter() - began
    text = _text(found, machine)
    print(text)
    _write(arguments.out, text, found, machine)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=_BENCHMARKS, help="leave out all others")
    parser.add_argument("--out", type=Path, default=_OUT, help="folder of the results")
    return parser.parse_args()


def _measure(name: str, folder: Path) -> tuple[float, Findings]:
    """Seconds of a benchmark, and what it found, with a process and a cache of its own."""
    began = time.perf_counter()
    data = run_fresh(f"benchmarks.{name}:measure", str(folder), cache=folder / f"cache {name}")
    return time.perf_counter() - began, Findings.of(data)


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "load_before": os.getloadavg()[0],
    }


def _text(found: dict[str, Findings], machine: dict[str, Any]) -> str:
    """All tables as Markdown."""
    figures = [figure for findings in found.values() for figure in findings.figures]
    blocks = [figures_table(figures)] if figures else []
    blocks += [
        f"{table.title}:\n\n{markdown(table.columns, table.rows)}"
        for findings in found.values()
        for table in findings.tables
    ]
    verdicts = [figure.met for figure in figures if figure.met is not None]
    blocks.append(
        f"{sum(verdicts)} of {len(verdicts)} targets met. P: see benchmarks/plain.py. "
        f"{machine['cores']} cores, Python {machine['python']}, "
        f"{machine['seconds']:.0f} s; processes at work {machine['load_before']:.1f} before, "
        f"{machine['load_after']:.1f} after."
    )
    return "\n\n".join(blocks)


def _write(out: Path, text: str, found: dict[str, Findings], machine: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.md").write_text(text + "\n", encoding="utf-8")
    results = {name: findings.as_data() for name, findings in found.items()}
    content = json.dumps({"machine": machine, **results}, indent=1)
    (out / "results.json").write_text(content + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
