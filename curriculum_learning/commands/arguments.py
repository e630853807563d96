"""The arguments of the command line, their help, and the exit codes."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from curriculum_learning.commands.terminal import Parser
from curriculum_learning.errors import ConfigurationError

WELL, WARNED, WRONG = 0, 1, 2
PRESETS = ("ladder", "impossible", "mastered")
"""What learners ``simulate`` has."""
_MOST_ROWS = 100_000_000
FACES = ("slime", "verl")
"""Whose keys ``schema`` can print."""
INTERRUPTED, UNREAD = 130, 141  # what a shell reports for SIGINT and SIGPIPE

_CODES = (
    "exit codes: 0 all well (warnings included), 1 warnings with --strict, 2 an error in the "
    "command, the configuration, the data or the state"
)
_ABOUT = {
    "preview": (
        "check a configuration and show what it will draw",
        "  curriculum-learning preview configs/demo.yaml\n"
        "  curriculum-learning preview sources.yaml --steps 500 --rows math=40000,code=9000\n"
        "  curriculum-learning preview launch.sh --steps 200 data.sampler.alpha=0.2",
    ),
    "simulate": (
        "run the data source against a simulated engine",
        "  curriculum-learning simulate configs/demo.yaml --latency easy=5,medium=7,hard=10\n"
        "  curriculum-learning simulate sources.yaml --steps 200 --fully-async --drop math=0.5\n"
        "  curriculum-learning simulate sources.yaml --learner ladder --compare a.yaml b.yaml",
    ),
    "schema": (
        "print the JSON schema of the configuration's keys, for editors",
        "  curriculum-learning schema > slime.schema.json\n"
        "  curriculum-learning schema verl > verl.schema.json",
    ),
    "inspect": (
        "show what is in a saved state",
        "  curriculum-learning inspect checkpoints/rollout/curriculum_learning_199.state\n"
        "  curriculum-learning inspect checkpoints --json",
    ),
}
"""A summary of each command, and examples."""


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parses the arguments of a command; ends the process with code 2 if they are wrong."""
    parser = _parser()
    options, left = parser.parse_known_args(arguments)
    # Overrides may come after options too, where argparse takes no more CONFIG.
    if any(word.startswith("-") for word in left) or (left and not hasattr(options, "config")):
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    if left:
        options.config += left
    return options


def read_sizes(text: str) -> dict[str, int]:
    """Parses ``--rows``: the number of rows of each source, at least 1.

    Raises:
        ConfigurationError: It says something else.
    """
    sizes = _named_numbers(text, "--rows")
    for name, size in sizes.items():
        if not (size.is_integer() and 1 <= size <= _MOST_ROWS):
            raise ConfigurationError(
                f"--rows: '{name}' has {size:g} rows; give a whole number from 1 to {_MOST_ROWS}",
                key="--rows",
                value=size,
            )
    return {name: int(size) for name, size in sizes.items()}


def per_source(
    text: str, names: Sequence[str], key: str, default: Mapping[str, float] | float
) -> dict[str, float]:
    """Parses ``NAME=NUMBER,...`` into a number for each of ``names``.

    Args:
        text: What to parse.
        names: The sources.
        key: The option.
        default: The number of a source that is not named; by source if numbers may be below 0,
            or infinite.

    Raises:
        ConfigurationError: It says something else, or names an unknown source.
    """
    of_each = default if isinstance(default, Mapping) else dict.fromkeys(names, default)
    values = _named_numbers(text, key, -math.inf if isinstance(default, Mapping) else 0)
    unknown = sorted(set(values) - set(names))
    if unknown:
        raise ConfigurationError(
            f"{key}: {unknown} are no sources; the sources are {list(names)}",
            key=key,
            value=unknown,
        )
    return {name: values.get(name, of_each[name]) for name in names}


def picture_path(options: argparse.Namespace, default: str | None) -> Path | None:
    """Returns where the picture goes: ``--picture``, else ``default``; None if there is none.

    Raises:
        ConfigurationError: ``--picture`` is no file.
    """
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
    if default is None or options.json or find_spec("matplotlib") is None:
        return None
    return Path(default)


def _named_numbers(text: str, key: str, least: float = 0.0) -> dict[str, float]:
    """Parses ``NAME=NUMBER,...``; where numbers may be below 0, they may be infinite, too."""
    values: dict[str, float] = {}
    wanted = "a number >= 0" if least == 0 else "a number, or inf"
    # A comma without a "=" before the next one belongs to a name.
    for pair in re.findall(r"[^=]*=[^,]*|[^=]+$", text.rstrip(",")):
        name, _, number = pair.removeprefix(",").rpartition("=")
        if name in values:
            raise ConfigurationError(f"{key} names {name!r} twice", key=key, value=pair)
        try:
            values[name] = float(number)
        except ValueError:
            values[name] = math.nan
        most = math.nextafter(math.inf, 0) if least == 0 else math.inf
        if not name or not least <= values[name] <= most:
            raise ConfigurationError(
                f"{key}: {pair!r} must be the name of a source and {wanted}: NAME=NUMBER,...",
                key=key,
                value=pair,
            )
    return values


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number >= 1")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="curriculum-learning",
        description="Look at a mixture before training, and into its saved states.",
        epilog=_CODES,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (summary, examples) in _ABOUT.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=f"examples:\n{examples}\n\n{_CODES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument("--json", action="store_true", help="for scripts: JSON, nothing else")
    _add_config(commands.choices["preview"])
    _add_preview(commands.choices["preview"])
    _add_config(commands.choices["simulate"])
    _add_simulate(commands.choices["simulate"])
    commands.choices["schema"].add_argument(
        "face", nargs="?", choices=FACES, default="slime", help="whose keys; default: slime"
    )
    commands.choices["inspect"].add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a .state or .autosave file, or a folder with them"
    )
    return parser


# fmt: off
def _add_config(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("config", nargs="*" if command.prog.endswith(" simulate") else "+", metavar="CONFIG",
        help="a YAML file (slime's --custom-config-path, or verl's), a script that launches slime, "
        "a text file or script with verl's overrides, or key=value; several add up")
    add("--steps", "--rollouts", type=_count, metavar="N", help="rollouts; default: the run's")
    add("--batch", type=_count, metavar="N", help="groups of a rollout, where none is configured")
    add("--rows", default="", metavar="NAME=ROWS,...",
        help="sizes of the sources; no prompt file is opened then")
    add("--untrusted", action="store_true",
        help="import nothing that the configuration names, run no code of a tokenizer, download "
        "nothing, and write nothing but the picture; without it, functions by dotted path are "
        "imported from installed packages and the working directory, and called")
    add("--strict", action="store_true", help="exit code 1 if there are warnings")


def _add_preview(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--max-epochs", type=float, default=4.0, metavar="N",
        help="warn of a source that is gone through more often; default: 4")
    _add_picture(command, "preview.png")


def _add_picture(command: argparse.ArgumentParser, default: str) -> None:
    command.add_argument("--picture", metavar="FILE", help=f"PNG to write; default: {default}")
    command.add_argument("--no-picture", action="store_true", help="write no picture")


def _add_simulate(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--over-sampling", type=_count, metavar="N",
        help="groups of a request, or in generation at any time if fully asynchronous; default: "
        "over_sampling_batch_size, else the batch")
    add("--latency", default="", metavar="NAME=TIME,...",
        help="mean time to generate a group of a source, in any unit; default: 1")
    add("--spread", type=float, default=0.5, metavar="S",
        help="standard deviation of the logarithm of a time; default: 0.5")
    add("--drop", default="", metavar="NAME=RATE,...",
        help="part of a source's groups that the engine's filter refuses, 0 to below 1")
    add("--reward", default="", metavar="NAME=PART,...",
        help="part of a source's samples that have reward 1, the others have 0; default: 1")
    add("--fully-async", action="store_true", help="groups are generated across rollouts")
    add("--seed", type=int, default=0, help="of times, drops and the learner; default: 0")
    add("--learner", choices=PRESETS,
        help="rewards come from a learner that is trained: each source is harder than the one "
        "before (ladder), the last one is impossible, or 80 %% of all rows are mastered")
    add("--difficulty", default="", metavar="NAME=NUMBER,...",
        help="of a source's rows for the learner: it solves half of those of difficulty 0 at the "
        "start; inf is impossible")
    add("--gain", type=float, default=0.01, metavar="G",
        help="how much a group can teach the learner; default: 0.01")
    add("--forgetting", type=float, default=0.0, metavar="F",
        help="part of a skill that is lost in a rollout without the source; default: 0")
    add("--compare", nargs="+", default=[], metavar="CONFIG",
        help="run each of these, added to CONFIG, and show them side by side")
    _add_picture(command, "compare.png with --compare, else none")
