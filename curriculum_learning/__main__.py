"""The command line: look before you train, and look into what was saved.

python -m curriculum_learning {preview,simulate,schema,inspect} --help
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext

from curriculum_learning.commands import inspect, preview, schema, simulate
from curriculum_learning.commands.arguments import (
    INTERRUPTED,
    UNREAD,
    WARNED,
    WELL,
    WRONG,
    read_arguments,
)
from curriculum_learning.commands.terminal import (
    OutputError,
    clean_stderr,
    show_errors,
    tell,
    writing,
)
from curriculum_learning.config.dotted_path import importing_nothing
from curriculum_learning.config.visible import LogLines
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
    if arguments is None and hasattr(options, "config") and hasattr(os, "fork"):
        return _watched(options)
    return _command(options)


def _watched(options: argparse.Namespace) -> int:
    """Runs a command in a child: what a configuration names can end the process that it is in."""
    reading, writing_end = os.pipe()
    child = os.fork()
    if child == 0:
        code = _command(options)
        os.write(writing_end, bytes([code]))
        os._exit(code)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the child is interrupted too, and says so
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(child, number))
    _, status = os.waitpid(child, 0)
    os.set_blocking(reading, False)
    os.close(writing_end)
    try:
        return os.read(reading, 1)[0]
    except (BlockingIOError, IndexError):
        if os.WIFSIGNALED(status):
            tell(f"error: the command was ended by signal {os.WTERMSIG(status)}")
        else:
            tell("error: something that the configuration names ends the interpreter")
        return WRONG


def _command(options: argparse.Namespace) -> int:
    """Runs a command; returns its exit code, whatever happens."""
    if sys.stdout is None:
        tell("error: standard output is closed")
        return WRONG
    # The faces show their info lines unless the root logger is configured: configure it.
    handler = logging.StreamHandler()
    handler.setFormatter(LogLines("%(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.captureWarnings(True)
    logging.getLogger("curriculum_learning").setLevel(logging.WARNING)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for names that the terminal lacks
    try:
        with clean_stderr():
            code = _run(options)
    except BrokenPipeError:  # nobody reads the output any more, as with `| head`
        _close_output()
        return UNREAD
    except OutputError as error:
        tell(f"error: {error}")
        _close_output()
        return WRONG
    return code


def _run(options: argparse.Namespace) -> int:
    """Runs the command; turns every error but those of the output into an exit code."""
    try:
        untrusted = getattr(options, "untrusted", False)
        with importing_nothing() if untrusted else nullcontext():
            code = _COMMANDS[options.command](options)
        with writing():
            sys.stdout.flush()
    except CurriculumLearningError as error:
        show_errors([error], options.json)
        return WRONG
    except KeyboardInterrupt:
        tell("interrupted")
        return INTERRUPTED
    except (BrokenPipeError, OutputError):
        raise
    except SystemExit as ended:
        tell(f"error: something that the configuration names ends the interpreter: {ended!r}")
        return WRONG
    except OSError as error:
        tell(f"error: {error}")
        return WRONG
    except BaseException:  # exit code 1 is taken
        tell(f"error: this is a fault of curriculum-learning\n{traceback.format_exc()}")
        return WRONG
    return code


def _close_output() -> None:
    """Sends what is still buffered nowhere; else Python fails to flush it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    if sys.path[0] == os.getcwd():  # at the end: a file there hides no installed module
        sys.path.append(sys.path.pop(0))
    sys.exit(main())
