"""Which data source belongs to an engine's ``args``, for hooks that are given nothing else.

Nothing is attached to ``args``: engines pickle them and send them to other processes.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, Protocol, TypeVar


class Server(Protocol):
    """What serves samples, and can tell them from those of others."""

    args: Any
    """What it was made from."""

    def tell_apart(self) -> None:
        """Prepares for ``recognises``: there are others of the same ``args`` from now on."""

    def recognises(self, sample: Any) -> int:
        """How surely a sample was served here; 0 if it was not."""


Owner = TypeVar("Owner", bound=Server)


class Registry(Generic[Owner]):
    """Owners by the identity of their ``args``, as long as they live.

    An engine may hand a copy of ``args`` to its hooks; it stands for the one owner of equal ones.
    """

    def __init__(self) -> None:
        self._owners: dict[int, list[weakref.ref[Owner]]] = {}

    def register(self, args: Any, owner: Owner) -> None:
        """Remembers an owner; it holds ``args``, so their identity lasts as long as it does."""
        self._keep(lambda reference: reference() is not None)
        self._owners.setdefault(id(args), []).append(weakref.ref(owner))
        owners = self.alive(args)
        for one in owners if len(owners) > 1 else []:
            one.tell_apart()

    def forget(self, owner: Owner) -> None:
        """Forgets an owner that is closed."""
        self._keep(lambda reference: reference() is not owner)

    def _keep(self, wanted: Callable[[weakref.ref[Owner]], bool]) -> None:
        self._owners = {
            key: kept
            for key, references in self._owners.items()
            if (kept := [*filter(wanted, references)])
        }

    def alive(self, args: Any) -> list[Owner]:
        """Returns the owners of ``args`` that are alive, in the order they were made."""
        if owners := _alive(self._owners.get(id(args), ())):
            return owners
        others = [owner for references in self._owners.values() for owner in _alive(references)]
        copied = [owner for owner in others if _are_equal(owner.args, args)]
        return copied if len(copied) == 1 else []

    def split(self, args: Any, samples: Sequence[Any]) -> dict[Owner, list[Any]]:
        """Divides samples among the owners of ``args`` that have served them.

        Samples that nobody recognises go with most of the others, or to the owner made last. The
        owner of most samples comes first; without any owner the result is empty.
        """
        owners = self.alive(args)
        if len(owners) < 2:
            return {owner: list(samples) for owner in owners}
        parts: dict[Owner | None, list[Any]] = {}
        for sample in samples:
            owner = max(owners, key=lambda one: one.recognises(sample))
            parts.setdefault(owner if owner.recognises(sample) else None, []).append(sample)
        unknown = parts.pop(None, [])
        most_first = sorted(parts.items(), key=lambda part: len(part[1]), reverse=True)
        known = {owner: part for owner, part in most_first if owner is not None}
        known.setdefault(next(iter(known), owners[-1]), []).extend(unknown)
        return known


def _alive(references: Iterable[weakref.ref[Owner]]) -> list[Owner]:
    owners = [reference() for reference in references]
    return [owner for owner in owners if owner is not None]


def _are_equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # arrays of other shapes, for one
        return False
