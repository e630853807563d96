"""Which data source belongs to an engine's ``args``, for hooks that are given nothing else.

Nothing is attached to ``args``: engines pickle them and send them to other processes.
"""

from __future__ import annotations

import weakref
from typing import Any, Generic, TypeVar

Owner = TypeVar("Owner")


class Registry(Generic[Owner]):
    """Owners by the identity of their ``args``, as long as they live."""

    def __init__(self) -> None:
        self._owners: dict[int, list[weakref.ref[Owner]]] = {}

    def register(self, args: Any, owner: Owner) -> None:
        """Remember an owner; it holds ``args``, so their identity lasts as long as it does."""
        for key, references in list(self._owners.items()):
            self._owners[key] = [reference for reference in references if reference() is not None]
            if not self._owners[key]:
                del self._owners[key]
        self._owners.setdefault(id(args), []).append(weakref.ref(owner))

    def find(self, args: Any) -> Owner | None:
        """Of the owners of this very object that are alive, the latest; None without one."""
        owners = [reference() for reference in self._owners.get(id(args), ())]
        alive = [owner for owner in owners if owner is not None]
        return alive[-1] if alive else None
