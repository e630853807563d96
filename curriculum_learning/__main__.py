"""The command line: look before you train, and look into what was saved.

python -m curriculum_learning {preview,simulate,inspect} --help
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from curriculum_learning.config_file import read_run_config
from curriculum_learning.errors import ConfigurationError, CurriculumLearningError
from curriculum_learning.plan import PlacedError, Plan, read_plan
from curriculum_learning.preview import batch_of, length_of, look_ahead
from curriculum_learning.preview import table as outlook_table
from curriculum_learning.terminal import show, show_json, show_table

WELL, WARNED, WRONG = 0, 1, 2

_CODES = (
    "exit codes: 0 all well (warnings included), 1 warnings with --strict, 2 an error in the "
    "command, the configuration, the data or the state"
)
_CONFIG_HELP = (
    "a YAML file (slime's --custom-config-path, or verl's), a text file or script with verl's "
    "overrides, or key=value; several add up"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Of the command line; None is the process's own.

    Returns:
        The exit code: 0 all well, 1 warnings with ``--strict``, 2 an error.
    """
    parser = _parser()
    options, left = parser.parse_known_args(arguments)
    # Overrides may come behind options too, where argparse takes no further CONFIG.
    if any(word.startswith("-") for word in left) or (left and not hasattr(options, "config")):
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    if left:
        options.config += left
    # The faces show their lines unless somebody has decided about them: here it is decided.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("curriculum_learning").setLevel(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory() as folder:
            options.folder = Path(folder)
            code: int = options.run(options)
    except CurriculumLearningError as error:
        return _tell([error], options.json)
    return code


def _preview(options: argparse.Namespace) -> int:
    plan, errors, warnings = _plan(options)
    if plan is None:
        return _tell(errors, options.json)
    outlook = look_ahead(plan, options.steps, max_epochs=options.max_epochs)
    outlook.warnings[:0] = warnings
    picture = _picture_path(options)
    if picture is not None:
        from curriculum_learning.picture import draw_outlook

        draw_outlook(outlook, picture)
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
    from curriculum_learning import simulate
    from curriculum_learning.simulated_engine import EngineSettings

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
    engine = EngineSettings(
        batch=batch_of(plan),
        request=options.over_sampling or plan.values.get("over_sampling_batch_size"),
        latency=_per_source(options.latency, names, "--latency", 1.0),
        spread=options.spread,
        drop=_per_source(options.drop, names, "--drop", 0.0),
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
    from curriculum_learning import inspect_state

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


def _plan(options: argparse.Namespace) -> tuple[Plan | None, list[PlacedError], list[str]]:
    run = read_run_config(options.config)
    rows = {name: int(size) for name, size in _named(options.rows, "--rows").items()}
    for name, size in rows.items():
        if size < 1:
            raise ConfigurationError(f"--rows: '{name}' has {size} rows; give at least 1")
    return read_plan(run, rows, options.batch, options.folder)


def _named(text: str, key: str) -> dict[str, float]:
    values: dict[str, float] = {}
    for pair in filter(None, text.split(",")):
        name, equals, number = pair.rpartition("=")
        try:
            values[name] = float(number)
        except ValueError:
            equals = ""
        if not equals or not name or not 0 <= values[name] < float("inf"):
            raise ConfigurationError(
                f"{key}: {pair!r} must be the name of a source and a number >= 0: NAME=NUMBER,...",
                key=key,
                value=pair,
            )
    return values


def _per_source(text: str, names: Sequence[str], key: str, default: float) -> dict[str, float]:
    values = _named(text, key)
    unknown = sorted(set(values) - set(names))
    if unknown:
        raise ConfigurationError(
            f"{key}: {unknown} are no sources; the sources are {list(names)}",
            key=key,
            value=unknown,
        )
    return {name: values.get(name, default) for name in names}


def _picture_path(options: argparse.Namespace) -> Path | None:
    if options.no_picture:
        return None
    if options.picture is not None:
        return Path(options.picture)
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


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number >= 1")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="curriculum-learning",
        description="Look at a mixture before training, and into its saved states.",
        epilog=_CODES,
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, summary: str, examples: str) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=f"examples:\n{examples}\n\n{_CODES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument("--json", action="store_true", help="for scripts: JSON, nothing else")
        return command

    preview = add(
        "preview",
        "check a configuration and show what it will draw",
        "  curriculum-learning preview configs/demo.yaml\n"
        "  curriculum-learning preview sources.yaml --steps 500 --rows math=40000,code=9000\n"
        "  curriculum-learning preview launch.sh --steps 200 data.sampler.alpha=0.2",
    )
    simulate = add(
        "simulate",
        "run the data source against a simulated engine",
        "  curriculum-learning simulate configs/demo.yaml --latency easy=5,medium=7,hard=10\n"
        "  curriculum-learning simulate sources.yaml --steps 200 --fully-async --drop math=0.5",
    )
    for command in (preview, simulate):
        command.add_argument("config", nargs="+", metavar="CONFIG", help=_CONFIG_HELP)
        command.add_argument(
            "--steps", "--rollouts", type=_count, metavar="N", help="rollouts; default: the run's"
        )
        command.add_argument(
            "--batch",
            type=_count,
            metavar="N",
            help="groups of a rollout, where none is configured",
        )
        command.add_argument(
            "--rows", default="", metavar="NAME=ROWS,...",
            help="sizes of the sources; no prompt file is opened then",
        )  # fmt: skip
        command.add_argument(
            "--strict", action="store_true", help="exit code 1 if there are warnings"
        )
    preview.add_argument(
        "--max-epochs", type=float, default=4.0, metavar="N",
        help="warn of a source that is gone through more often; default: 4",
    )  # fmt: skip
    preview.add_argument("--picture", metavar="FILE", help="PNG to write; default: preview.png")
    preview.add_argument("--no-picture", action="store_true", help="write no picture")
    preview.set_defaults(run=_preview)
    simulate.add_argument(
        "--over-sampling", type=_count, metavar="N",
        help="groups of a request; default: over_sampling_batch_size, else the batch",
    )  # fmt: skip
    simulate.add_argument(
        "--latency", default="", metavar="NAME=TIME,...",
        help="mean time to generate a group of a source, in any unit; default: 1",
    )  # fmt: skip
    simulate.add_argument(
        "--spread", type=float, default=0.5, metavar="S",
        help="standard deviation of the logarithm of a time; default: 0.5",
    )  # fmt: skip
    simulate.add_argument(
        "--drop", default="", metavar="NAME=RATE,...",
        help="part of a source's groups that the engine's filter refuses, 0 to below 1",
    )  # fmt: skip
    simulate.add_argument(
        "--fully-async", action="store_true", help="groups are generated across rollouts"
    )
    simulate.add_argument("--seed", type=int, default=0, help="of times and drops; default: 0")
    simulate.set_defaults(run=_simulate)
    inspect = add(
        "inspect",
        "show what is in a saved state",
        "  curriculum-learning inspect checkpoints/rollout/curriculum_learning_199.state\n"
        "  curriculum-learning inspect checkpoints --json",
    )
    inspect.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a .state or .autosave file, or a folder with them"
    )
    inspect.set_defaults(run=_inspect)
    return parser


if __name__ == "__main__":
    sys.exit(main())
