"""Loads objects by dotted path, as configurations name them."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from types import ModuleType
from typing import Any

_HARMLESS = tuple(
    f"curriculum_learning.{name}"
    for name in ("custom_log", "reward_cap_filter", "weight_scheduler")
)
"""Modules of ours whose functions may be named where nothing is imported."""
_REFUSED = "--untrusted imports nothing that a configuration names"
_importing = ContextVar("importing", default=True)


def is_harmless(path: str) -> bool:
    """Whether a path names something in a module of ours that may be named anywhere."""
    return path.rpartition(".")[0] in _HARMLESS


@contextmanager
def importing_nothing() -> Iterator[None]:
    """Within the block a path is refused, unless it names a function of our own."""
    token = _importing.set(False)
    try:
        yield
    finally:
        _importing.reset(token)


class NoModuleError(ValueError):
    """There is no such module, neither installed nor below the working directory."""


def load_callable(path: str) -> Callable[..., Any]:
    """Returns the callable at ``package.module.name``; searches the working directory last.

    Raises:
        NoModuleError: There is no such module.
        ValueError: Importing the module raises, there is no such name in it, or it cannot be
            called.
    """
    module_path, _, name = path.rpartition(".")
    if not module_path:
        raise ValueError("it is no dotted path such as package.module.function")
    if not (_importing.get() or is_harmless(path)):
        raise ValueError(f"{_REFUSED}; give a number or a lambda, or leave out --untrusted")
    try:
        module = _import(module_path) or _import_from_working_directory(module_path)
        function = getattr(module, name, None)
    except (Exception, SystemExit) as error:
        raise ValueError(f"importing it raises {error!r}") from error
    if module is None:
        raise NoModuleError(
            f"there is no module {module_path}, neither installed nor below the working "
            f"directory {os.getcwd()}; correct the path, or put the module's folder on PYTHONPATH"
        )
    if function is None:
        public = [n for n, item in vars(module).items() if n[0] != "_" and callable(item)]
        near = get_close_matches(name, public, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"module {module_path} has no function {name}{hint}")
    if not callable(function):
        raise ValueError(f"it is a {type(function).__name__}, not a function; name one")
    return function  # type: ignore[no-any-return]  # of a user's module


def _import(path: str) -> ModuleType | None:
    """Returns the module at ``path``, or None without one; errors inside it pass through."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        # Only "it is not there" is None; a module that fails to import another one is an error.
        if error.name is not None and f"{path}.".startswith(f"{error.name}."):
            return None
        raise


def _import_from_working_directory(path: str) -> ModuleType | None:
    # The workers of an engine are often started without the working directory on their path.
    directory = os.getcwd()
    if directory in sys.path or "" in sys.path:
        return None
    with _working_directory_last(directory):
        return _import(path)


@contextmanager
def _working_directory_last(directory: str) -> Iterator[None]:
    sys.path.append(directory)  # at the end: a file there hides no installed module
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(directory)


@contextmanager
def importing_by_library() -> Iterator[None]:
    """Within the block a library imports what a configuration names, as ``load_callable`` would.

    Raises:
        ValueError: Nothing may be imported.
    """
    if not _importing.get():
        raise ValueError(f"{_REFUSED}; leave out --untrusted, or give --rows")
    with _working_directory_last(os.getcwd()):
        yield
