"""Rows of a user's own function or class, named by its dotted path."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from curriculum_learning.config.kinds import OwnRows
from curriculum_learning.errors import DataError
from curriculum_learning.prompts.kinds.generated import GeneratedRows
from curriculum_learning.prompts.rows import unreadable


class FunctionRows(GeneratedRows):
    """The rows of a function ``f(index) -> row``, or of a class with ``row(index)``.

    A class may also have ``__len__``, ``levels``, ``fingerprint`` and ``close``. Without its own
    fingerprint, the settings and the first rows tell whether it is the same as before.

    Args:
        kind: The function or class, and its arguments.
        source: The name of the source.

    Raises:
        DataError: The class cannot be made, or its first rows cannot.
    """

    def __init__(self, kind: OwnRows, source: str) -> None:
        super().__init__(kind.path, source, kind.rows)
        self._remake = (kind, source)
        self._maker = kind.recipe.kind
        if isinstance(self._maker, type):
            self._read_class(kind)
        settings = orjson.dumps(dict(kind.recipe.arguments), _name_of, orjson.OPT_SORT_KEYS)
        own = getattr(self._maker, "fingerprint", None)
        self.fingerprint = {
            "rows": self.size,
            "span": [None, None],
            "generator": kind.path,
            "settings": settings.decode(),
            "levels": list(self.levels),
            "hash": self.sample_hash() if own is None else own,
        }

    def _read_class(self, kind: OwnRows) -> None:
        try:
            self._maker = maker = kind.recipe.make()
            self.levels = [float(level) for level in getattr(maker, "levels", self.levels)]
            length = len(maker) if hasattr(maker, "__len__") else None
        except Exception as problem:
            raise self._problem(f"cannot be made: {problem!r}") from problem
        if not self.levels or not np.isfinite(self.levels).all():
            raise self._problem(f"has levels {self.levels}; give each a finite number")
        self.size = min((size for size in (length, kind.rows) if size is not None), default=None)

    def _problem(self, problem: str) -> DataError:
        return unreadable(self.source, self.text, f"{self.text} {problem}")

    def make(self, index: int) -> Any:
        """See ``GeneratedRows``."""
        make = getattr(self._maker, "row", self._maker)
        return make(index)

    def close(self) -> None:
        """See ``Rows``."""
        close = getattr(self._maker, "close", None)
        if callable(close):
            close()

    def __reduce__(self) -> tuple[Any, ...]:
        return FunctionRows, self._remake


def _name_of(value: object) -> str:
    return type(value).__qualname__
