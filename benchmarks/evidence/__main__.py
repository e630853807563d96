"""Runs the experiment, tunes its methods, or writes its page.

python -m benchmarks.evidence run|tune|report [--seeds N] [--tasks NAME ...] [--curricula NAME ...]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.evidence.grid import grid, perform_all
from benchmarks.evidence.methods import FOLDER, read_methods, read_search
from benchmarks.evidence.report import PAGE, write_page
from benchmarks.evidence.results import Results, read_results
from benchmarks.evidence.tasks import TASKS
from benchmarks.evidence.tuning import choose, tuning_runs, write_settings


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
    except (ValueError, BlockingIOError) as error:
        print(f"evidence: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    names = list(read_methods())
    for command, text, file in (
        ("run", "the reported runs", "results.jsonl.gz"),
        ("tune", "the search for settings; writes settings.yaml", "tuning.jsonl.gz"),
    ):
        of = commands.add_parser(command, help=text)
        of.add_argument(
            "--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="default: all"
        )
        of.add_argument("--curricula", nargs="+", choices=names, default=names, help="default: all")
        of.add_argument("--workers", type=int, default=2, help="cores; default: %(default)s")
        of.add_argument("--rollouts", type=int, help="shorter runs, to try it out")
        of.add_argument("--results", type=Path, default=FOLDER / file, help="grows with each run")
        if command == "run":
            of.add_argument("--seeds", type=int, default=10, help="1 to N; default: %(default)s")
    report = commands.add_parser("report", help="tables and pictures, from the results alone")
    report.add_argument("--results", type=Path, default=FOLDER / "results.jsonl.gz")
    report.add_argument("--page", type=Path, default=PAGE)
    return parser


def _run(options: argparse.Namespace) -> None:
    if options.seeds >= min(read_search().seeds):
        raise ValueError(f"--seeds {options.seeds}: the seeds of the search must not be reported")
    runs = grid(options.tasks, options.curricula, range(1, options.seeds + 1), options.rollouts)
    with Results(options.results) as results:
        perform_all(runs, results, options.workers)


def _tune(options: argparse.Namespace) -> None:
    runs = tuning_runs(options.tasks, options.curricula, options.rollouts)
    with Results(options.results) as results:
        chosen = choose(perform_all(runs, results, options.workers))
    write_settings(chosen)


if __name__ == "__main__":
    sys.exit(main())
