"""Runs the experiment, tunes its methods, or writes its page.

python -m benchmarks.evidence run|tune|report [--seeds N] [--tasks NAME ...] [--curricula NAME ...]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.evidence.errors import UsageError
from benchmarks.evidence.grid import grid, perform_all
from benchmarks.evidence.methods import (
    FOLDER,
    SETTINGS_FILE,
    read_methods,
    read_search,
    read_settings,
)
from benchmarks.evidence.report import PAGE, write_page
from benchmarks.evidence.results import Results, read_results
from benchmarks.evidence.tasks import TASKS
from benchmarks.evidence.tuning import choose, tuning_runs, write_settings

_RESULTS = FOLDER / "results.jsonl.gz"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "report":
            write_page(read_results(options.results), options.page)
        elif options.command == "tune":
            _tune(options)
        else:
            _run(options)
    except KeyboardInterrupt:
        print("\ninterrupted; the same command continues", file=sys.stderr)
        return 130
    except (UsageError, OSError) as error:
        print(f"evidence: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="the reported runs")
    run.add_argument("--seeds", type=int, default=10, help="how many; default: %(default)s")
    _add_grid(run, _RESULTS)
    tune = commands.add_parser("tune", help="the search for settings")
    _add_grid(tune, FOLDER / "tuning.jsonl.gz")
    report = commands.add_parser("report", help="tables and pictures, from the results alone")
    report.add_argument("--results", type=Path, default=_RESULTS, help="default: %(default)s")
    report.add_argument("--page", type=Path, default=PAGE, help="default: %(default)s")
    return parser


def _add_grid(parser: argparse.ArgumentParser, results: Path) -> None:
    names = list(read_methods())
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK")
    parser.add_argument("--curricula", nargs="+", choices=names, default=names, metavar="METHOD")
    parser.add_argument("--workers", type=int, default=2, help="cores; default: %(default)s")
    parser.add_argument("--rollouts", type=int, help="shorter runs, to try it; needs --results")
    parser.add_argument("--results", type=Path, help=f"one line per run; default: {results}")
    parser.add_argument("--settings", type=Path, default=SETTINGS_FILE, help="of the methods")
    parser.set_defaults(reported_to=results)


def _results(options: argparse.Namespace) -> Results:
    if options.rollouts is not None and options.results is None:
        raise UsageError(
            f"--rollouts {options.rollouts}: give --results, a file for these shorter runs; "
            f"{options.reported_to} is for whole ones"
        )
    return Results(options.results or options.reported_to)


def _run(options: argparse.Namespace) -> None:
    first = read_search().first_reported
    seeds = range(first, first + options.seeds)
    if not seeds or set(seeds) & set(read_search().seeds):
        raise UsageError(
            f"--seeds {options.seeds} must be from 1 to {min(read_search().seeds) - first}: the "
            f"settings were chosen on other seeds than the reported ones, which begin at {first}"
        )
    settings = read_settings(options.settings)
    runs = grid(options.tasks, options.curricula, settings, seeds, options.rollouts)
    with _results(options) as results:
        perform_all(runs, results, options.workers)


def _tune(options: argparse.Namespace) -> None:
    runs = tuning_runs(options.tasks, options.curricula, options.rollouts)
    with _results(options) as results:
        chosen = choose(perform_all(runs, results, options.workers))
    settings = read_settings(options.settings)
    for task, of_methods in chosen.items():
        settings[task] |= of_methods
    write_settings(settings, options.settings)


if __name__ == "__main__":
    sys.exit(main())
