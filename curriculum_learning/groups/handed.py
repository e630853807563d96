"""Recognises the very samples that were handed out, without a mark on them."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterable
from typing import Any

from curriculum_learning.samples.sample import flatten


class HandedOut:
    """The sample objects that were handed out and are still alive."""

    def __init__(self) -> None:
        self._references: dict[int, weakref.ref[Any]] = {}

    def add(self, groups: Iterable[Any]) -> None:
        """Remembers the samples of groups; it keeps none of them alive."""
        for sample in flatten(groups):
            forget = functools.partial(self._forget, id(sample))
            self._references[id(sample)] = weakref.ref(sample, forget)

    def __contains__(self, sample: Any) -> bool:
        reference = self._references.get(id(sample))
        return reference is not None and reference() is sample

    def _forget(self, key: int, _: object) -> None:
        # Another sample may live at this address by now.
        if (reference := self._references.get(key)) is not None and reference() is None:
            del self._references[key]
