"""The arguments of the command line, and their help."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

from curriculum_learning.commands.schema import FACES
from curriculum_learning.errors import ConfigurationError

_CODES = (
    "exit codes: 0 all well (warnings included), 1 warnings with --strict, 2 an error in the "
    "command, the configuration, the data or the state"
)
_CONFIG_HELP = (
    "a YAML file (slime's --custom-config-path, or verl's), a text file or script with verl's "
    "overrides, or key=value; several add up"
)


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments of a command; ends the process with code 2 where they cannot be read."""
    parser = _parser()
    options, left = parser.parse_known_args(arguments)
    # Overrides may come behind options too, where argparse takes no further CONFIG.
    if any(word.startswith("-") for word in left) or (left and not hasattr(options, "config")):
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    if left:
        options.config += left
    return options


def named_numbers(text: str, key: str) -> dict[str, float]:
    """What ``NAME=NUMBER,...`` says.

    Raises:
        ConfigurationError: It is something else, or a number is negative or not finite.
    """
    values: dict[str, float] = {}
    for pair in filter(None, text.split(",")):
        name, _, number = pair.rpartition("=")
        try:
            values[name] = float(number)
        except ValueError:
            values[name] = math.nan
        if not name or not 0 <= values[name] < math.inf:
            raise ConfigurationError(
                f"{key}: {pair!r} must be the name of a source and a number >= 0: NAME=NUMBER,...",
                key=key,
                value=pair,
            )
    return values


def per_source(text: str, names: Sequence[str], key: str, default: float) -> dict[str, float]:
    """The same for each of the sources ``names``; ``default`` for those that are not named.

    Raises:
        ConfigurationError: As ``named_numbers``, or it names what is no source.
    """
    values = named_numbers(text, key)
    unknown = sorted(set(values) - set(names))
    if unknown:
        raise ConfigurationError(
            f"{key}: {unknown} are no sources; the sources are {list(names)}",
            key=key,
            value=unknown,
        )
    return {name: values.get(name, default) for name in names}


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

    _add_preview(
        add(
            "preview",
            "check a configuration and show what it will draw",
            "  curriculum-learning preview configs/demo.yaml\n"
            "  curriculum-learning preview sources.yaml --steps 500 --rows math=40000,code=9000\n"
            "  curriculum-learning preview launch.sh --steps 200 data.sampler.alpha=0.2",
        )
    )
    _add_simulate(
        add(
            "simulate",
            "run the data source against a simulated engine",
            "  curriculum-learning simulate configs/demo.yaml --latency easy=5,medium=7,hard=10\n"
            "  curriculum-learning simulate sources.yaml --steps 200 --fully-async --drop math=0.5",
        )
    )
    add(
        "schema",
        "print the JSON schema of the configuration's keys, for editors",
        "  curriculum-learning schema > slime.schema.json\n"
        "  curriculum-learning schema verl > verl.schema.json",
    ).add_argument(
        "face", nargs="?", choices=FACES, default="slime", help="whose keys; default: slime"
    )
    add(
        "inspect",
        "show what is in a saved state",
        "  curriculum-learning inspect checkpoints/rollout/curriculum_learning_199.state\n"
        "  curriculum-learning inspect checkpoints --json",
    ).add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a .state or .autosave file, or a folder with them"
    )
    return parser


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument("config", nargs="+", metavar="CONFIG", help=_CONFIG_HELP)
    command.add_argument(
        "--steps", "--rollouts", type=_count, metavar="N", help="rollouts; default: the run's"
    )
    command.add_argument(
        "--batch", type=_count, metavar="N", help="groups of a rollout, where none is configured"
    )
    command.add_argument(
        "--rows", default="", metavar="NAME=ROWS,...",
        help="sizes of the sources; no prompt file is opened then",
    )  # fmt: skip
    command.add_argument("--strict", action="store_true", help="exit code 1 if there are warnings")


def _add_preview(command: argparse.ArgumentParser) -> None:
    _add_config(command)
    command.add_argument(
        "--max-epochs", type=float, default=4.0, metavar="N",
        help="warn of a source that is gone through more often; default: 4",
    )  # fmt: skip
    command.add_argument("--picture", metavar="FILE", help="PNG to write; default: preview.png")
    command.add_argument("--no-picture", action="store_true", help="write no picture")


def _add_simulate(command: argparse.ArgumentParser) -> None:
    _add_config(command)
    command.add_argument(
        "--over-sampling", type=_count, metavar="N",
        help="groups of a request, or in generation at any time if fully asynchronous; default: "
        "over_sampling_batch_size, else the batch",
    )  # fmt: skip
    command.add_argument(
        "--latency", default="", metavar="NAME=TIME,...",
        help="mean time to generate a group of a source, in any unit; default: 1",
    )  # fmt: skip
    command.add_argument(
        "--spread", type=float, default=0.5, metavar="S",
        help="standard deviation of the logarithm of a time; default: 0.5",
    )  # fmt: skip
    command.add_argument(
        "--drop", default="", metavar="NAME=RATE,...",
        help="part of a source's groups that the engine's filter refuses, 0 to below 1",
    )  # fmt: skip
    command.add_argument(
        "--reward", default="", metavar="NAME=PART,...",
        help="part of a source's samples that have reward 1, the others have 0; default: 1",
    )  # fmt: skip
    command.add_argument(
        "--fully-async", action="store_true", help="groups are generated across rollouts"
    )
    command.add_argument("--seed", type=int, default=0, help="of times and drops; default: 0")
