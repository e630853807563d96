"""Tasks without end, in several forms."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import verifiers.v1 as vf

__all__ = ["CountlessTaskset"]


class CountlessData(vf.TaskData):
    """A number."""

    number: int


class CountlessTask(vf.Task[CountlessData]):
    """Rewards nothing."""


class CountlessConfig(vf.TasksetConfig):
    """Where the numbers begin, and before which one it breaks."""

    first: int = 0
    last: int | None = None


class CountlessTaskset(vf.Taskset[CountlessTask, CountlessConfig]):
    """A text, messages, and no prompt in turn; every other task has a system prompt."""

    INFINITE = True

    def load(self) -> Iterator[CountlessTask]:
        """Yields tasks until ``last``."""
        for number in count(self.config.first):
            if number == self.config.last:
                raise OSError("the disk is gone")
            text = f"number {number}"
            prompt = [text, [vf.UserMessage(content=text)], None][number % 3]
            system = "count" if number % 2 else None
            data = CountlessData(number=number, prompt=prompt, system_prompt=system)
            yield CountlessTask(data, self.config.task)
