"""Stand-ins for the packages that miles imports and a test environment does not have.

Whatever miles names of them while it is imported is there; a test that came to use one of these
names would fail.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence
from typing import Any

_PACKAGES = (
    *("aiohttp", "deep_ep", "megatron", "polars", "pybase64", "pylatexenc", "sglang"),
    "sglang_router",
)


class _Named:
    """Something that miles names while it is imported, and that no test comes to use."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(f"{type(self).__name__} is not installed")

    @staticmethod
    def add_cli_args(*args: Any, **kwargs: Any) -> None:
        """It has no options."""


class _Module(types.ModuleType):
    """A module that has every name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = name if name.isupper() else type(name, (_Named,), {})
        setattr(self, name, value)
        return value


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules of the missing packages."""

    def __init__(self, packages: Sequence[str]) -> None:
        self._packages = packages

    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Answer for the missing packages only."""
        if name.partition(".")[0] not in self._packages:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """Make the module."""
        return _Module(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """There is nothing in it."""


def install() -> None:
    """Let the packages that are missing be imported."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    sys.meta_path.append(_Finder(missing))
