"""The command line: look before you train, and look into what was saved.

python -m curriculum_learning {preview,simulate,inspect} --help
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from curriculum_learning.commands.arguments import named_numbers, per_source, read_arguments
from curriculum_learning.commands.plan import PlacedError, Plan, read_plan
from curriculum_learning.commands.preview import batch_of, length_of, look_ahead
from curriculum_learning.commands.preview import table as outlook_table
from curriculum_learning.commands.schema import schema_of
from curriculum_learning.commands.terminal import show, show_json, show_table
from curriculum_learning.config.files import read_run_config
from curriculum_learning.errors import ConfigurationError, CurriculumLearningError

WELL, WARNED, WRONG = 0, 1, 2
INTERRUPTED, UNREAD = 130, 141  # as a shell tells of SIGINT and SIGPIPE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Of the command line; None is the process's own.

    Returns:
        The exit code: 0 all well, 1 warnings with ``--strict``, 2 an error, 130 interrupted, 141
        nobody reads the output.
    """
    options = read_arguments(arguments)
    # The faces show their lines unless somebody has decided about them: here it is decided.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("curriculum_learning").setLevel(logging.WARNING)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names that the terminal cannot show
    try:
        with tempfile.TemporaryDirectory() as folder:
            options.folder = Path(folder)
            code = _COMMANDS[options.command](options)
        sys.stdout.flush()
    except CurriculumLearningError as error:
        return _tell([error], options.json)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    except BrokenPipeError:  # nobody reads any more, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    except OSError as error:
        sys.stderr.write(f"error: the output cannot be written: {error}\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return WRONG
    return code


def _preview(options: argparse.Namespace) -> int:
    plan, errors, warnings = _plan(options)
    if plan is None:
        return _tell(errors, options.json)
    outlook = look_ahead(plan, options.steps, max_epochs=options.max_epochs)
    outlook.warnings[:0] = warnings
    picture = _picture_path(options)
    if picture is not None:
        from curriculum_learning.commands.picture import draw_outlook

        try:
            draw_outlook(outlook, picture)
        except ConfigurationError as error:
            if options.picture is not None:
                raise
            outlook.warnings.append(str(error))
            picture = None
    if options.json:
        show_json({"errors": [], **outlook.as_data()})
    else:
        show(
            f"{outlook.steps} steps of {outlook.batch} groups, each of them trained; "
            f"weight and share at the start > in the middle > at the end"
        )
        show_table(*outlook_table(outlook))
        for assumption in outlook.assumptions:
            show(f"assumed: {assumption}")
        _show_warnings(outlook.warnings)
        if picture is not None:
            show(f"picture: {picture}")
    return WARNED if options.strict and outlook.warnings else WELL


def _simulate(options: argparse.Namespace) -> int:
    from curriculum_learning.commands import simulate
    from curriculum_learning.commands.simulated_engine import EngineSettings

    plan, errors, warnings = _plan(options)
    if plan is None:
        return _tell(errors, options.json)
    if plan.config is None:
        raise ConfigurationError(
            "simulate runs the data source; a sampler of verl hands out rows and hears of rewards "
            "only: use preview",
            key="data.sampler",
        )
    names = list(plan.rows)
    request = options.over_sampling or plan.values.get("over_sampling_batch_size")
    if request is not None and (type(request) is not int or request < 1):
        raise ConfigurationError(
            f"over_sampling_batch_size ({request!r}) must be a whole number >= 1",
            key="over_sampling_batch_size",
            value=request,
        )
    engine = EngineSettings(
        batch=batch_of(plan),
        request=request,
        latency=per_source(options.latency, names, "--latency", 1.0),
        spread=options.spread,
        drop=per_source(options.drop, names, "--drop", 0.0),
        reward=per_source(options.reward, names, "--reward", 1.0),
        fully_async=options.fully_async,
        partial=bool(plan.values.get("partial_rollout", False)),
        seed=options.seed,
    )
    result = simulate.simulate(plan.values, engine, length_of(plan, options.steps))
    result.notes[:0] = warnings
    if options.json:
        show_json(dataclasses.asdict(result))
    else:
        show(simulate.headline(result))
        show_table(*simulate.table(result))
        _show_warnings(result.notes)
    return WARNED if options.strict and result.notes else WELL


def _inspect(options: argparse.Namespace) -> int:
    from curriculum_learning.commands import inspect as inspect_state

    found = inspect_state.look_at(Path(options.checkpoint))
    if options.json:
        show_json(found)
    else:
        for state in found["states"]:
            show(inspect_state.line(state))
        if found["latest"] is not None:
            show()
            inspect_state.show_details(found["latest"])
    return WRONG if any(state["problem"] for state in found["states"]) else WELL


def _schema(options: argparse.Namespace) -> int:
    show_json(schema_of(options.face))
    return WELL


def _plan(options: argparse.Namespace) -> tuple[Plan | None, list[PlacedError], list[str]]:
    run = read_run_config(options.config)
    rows = {name: int(size) for name, size in named_numbers(options.rows, "--rows").items()}
    for name, size in rows.items():
        if size < 1:
            raise ConfigurationError(f"--rows: '{name}' has {size} rows; give at least 1")
    return read_plan(run, rows, options.batch, options.folder)


def _picture_path(options: argparse.Namespace) -> Path | None:
    if options.no_picture:
        return None
    if options.picture is not None:
        path = Path(options.picture)
        if path.is_dir() or not path.suffix:
            raise ConfigurationError(
                f"--picture ({options.picture}) must be a file with a suffix such as .png",
                key="--picture",
                value=options.picture,
            )
        return path
    if options.json:
        return None
    try:
        import matplotlib  # noqa: F401 - without it there is no picture unless one is asked for
    except ImportError:
        return None
    return Path("preview.png")


def _tell(errors: Sequence[CurriculumLearningError], as_json: bool) -> int:
    """Show errors; the exit code."""
    if as_json:
        found = [
            {
                "message": str(e),
                "key": e.key,
                "source": e.source,
                "place": getattr(e, "place", None),
            }
            for e in errors
        ]
        show_json({"errors": found})
    else:
        for error in errors:
            sys.stderr.write(f"error: {error}\n")
    return WRONG


def _show_warnings(warnings: Sequence[str]) -> None:
    for warning in warnings:
        show(f"warning: {warning}")


_COMMANDS = {"preview": _preview, "simulate": _simulate, "inspect": _inspect, "schema": _schema}


if __name__ == "__main__":
    sys.exit(main())
