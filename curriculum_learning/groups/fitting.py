"""A source without end whose prompts have a length limit: rows are measured when they are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curriculum_learning.errors import ConfigurationError
from curriculum_learning.mixing.endless import EndlessSource
from curriculum_learning.mixing.source import RowSource, Taken
from curriculum_learning.prompts.prompts import Prompts

_MOST = 1000
"""Rows in a row that may be too long; more are an error, as the search might have no end."""
_COUNT = "rows_left_out"


class FittingSource(EndlessSource):
    """Serves the rows within ``rollout_max_prompt_len``; passes over the others, and counts them.

    Args:
        levels: The walk over the levels.
        prompts: Measure the rows.
    """

    def __init__(self, levels: RowSource, prompts: Prompts) -> None:
        super().__init__(levels)
        self._prompts = prompts
        self._left_out = 0

    def take(self, step: int) -> Taken:
        """See ``RowSource``.

        Raises:
            DataError: A row cannot be made.
            ConfigurationError: Many rows in a row are too long.
        """
        passed: list[Any] = []
        try:
            while True:
                row, epoch, before = super().take(step)
                passed.append(before)
                if self._prompts.fits(row):
                    break
                if len(passed) == _MOST:
                    raise self._none_fits()
        except BaseException:
            self._walk_back(passed)
            raise
        self._left_out += len(passed) - 1
        return row, epoch, passed

    def _none_fits(self) -> ConfigurationError:
        limit = self._prompts.config.max_prompt_len
        return ConfigurationError(
            f"source '{self.name}': {_MOST} prompts in a row are longer than "
            f"rollout_max_prompt_len={limit} tokens; raise the limit, or have its generator make "
            f"shorter prompts",
            source=self.name,
            key="rollout_max_prompt_len",
            value=limit,
        )

    def put_back(self, before: list[Any]) -> None:
        """See ``RowSource``: the rows that were passed over too."""
        self._left_out -= len(before) - 1
        self._walk_back(before)

    def _walk_back(self, passed: list[Any]) -> None:
        for before in reversed(passed):
            super().put_back(before)

    def metrics(self, step: int) -> dict[str, float]:
        """See ``RowSource``: how many rows were too long, since the run began."""
        return {**super().metrics(step), _COUNT: self._left_out}

    def place(self) -> dict[str, Any]:
        """See ``RowSource``."""
        return {**super().place(), _COUNT: self._left_out}

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**super().state_dict(), _COUNT: self._left_out}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads what ``state_dict`` returned, also of a run without a limit."""
        super().load_state_dict(state)
        self._left_out = state.get(_COUNT, 0)
