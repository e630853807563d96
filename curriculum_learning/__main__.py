"""The command line: look before you train, and look into what was saved.

python -m curriculum_learning {preview,simulate,schema,inspect} --help
"""

from __future__ import annotations

import io
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from curriculum_learning.commands import inspect, preview, schema, simulate
from curriculum_learning.commands.arguments import (
    INTERRUPTED,
    UNREAD,
    WARNED,
    WELL,
    WRONG,
    read_arguments,
)
from curriculum_learning.commands.terminal import show_errors
from curriculum_learning.errors import CurriculumLearningError

__all__ = ["INTERRUPTED", "UNREAD", "WARNED", "WELL", "WRONG", "main"]

_COMMANDS = {
    "preview": preview.run,
    "simulate": simulate.run,
    "inspect": inspect.run,
    "schema": schema.run,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: The words of the command line; None reads the process's own.

    Returns:
        The exit code: 0 all well, 1 warnings with ``--strict``, 2 an error, 130 interrupted, 141
        nobody reads the output.
    """
    options = read_arguments(arguments)
    # The faces show their info lines unless the root logger is configured: configure it.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("curriculum_learning").setLevel(logging.WARNING)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for names that the terminal lacks
    try:
        with tempfile.TemporaryDirectory() as folder:
            options.folder = Path(folder)
            code = _COMMANDS[options.command](options)
        sys.stdout.flush()
    except CurriculumLearningError as error:
        return show_errors([error], options.json)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    except BrokenPipeError:  # nobody reads the output any more, as with `| head`
        _close_output()
        return UNREAD
    except OSError as error:
        sys.stderr.write(f"error: the output cannot be written: {error}\n")
        _close_output()
        return WRONG
    return code


def _close_output() -> None:
    """Sends what is still buffered nowhere; else Python fails to flush it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
