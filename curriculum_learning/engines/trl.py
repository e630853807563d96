"""What TRL's trainers are told and asked: the length of a pass, the prompts of a process, rewards.

TRL generates completions for a block of prompts at once and trains on it for several micro-steps.
A block is the same on all processes; each takes its own part.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Clock:
    """The sampler of TRL's data loader: it counts rows and chooses none.

    Loaders read ahead, by a batch or more. So the prompts are drawn when their completions are
    about to be generated, and what comes through the loader is not looked at.

    Args:
        length: Rows of a pass over the data, repetitions included.
    """

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        return itertools.repeat(0, self._length)


def part_of_process(rows: Sequence[int], *, copies: int, process: int, processes: int) -> list[int]:
    """Returns the rows that one process generates for, in TRL's order.

    Args:
        rows: The prompts of a block.
        copies: Completions of each prompt.
        process: 0 to ``processes`` - 1.
        processes: How many there are; a group may lie on two of them.
    """
    repeated = [row for row in rows for _ in range(copies)]
    size = len(repeated) // processes
    return repeated[process * size : (process + 1) * size]


def total_rewards(rewards: Any, weights: Any) -> NDArray[np.float64]:
    """Returns the reward of each completion as TRL forms it; NaN where no function gave one.

    Args:
        rewards: A tensor of shape (completions, reward functions), NaN where a function gave none.
        weights: A tensor of shape (reward functions,).
    """
    values = rewards.detach().double().cpu().numpy()
    total: NDArray[np.float64] = np.nansum(values * weights.double().cpu().numpy(), axis=1)
    total[np.isnan(values).all(axis=1)] = np.nan
    return total
