"""Collects the results of a rollout's groups for source rules and curricula."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

from curriculum_learning.curricula.results import Result
from curriculum_learning.groups.in_flight import GroupLedger
from curriculum_learning.samples.ids import group_id
from curriculum_learning.samples.rewards import reward_of
from curriculum_learning.samples.sample import flatten

logger = logging.getLogger(__name__)


class Feedback:
    """Collects rewards until the rollout ends. It counts each group once.

    Args:
        reward_key: The entry to read where rewards are mappings.
    """

    def __init__(self, reward_key: str | None) -> None:
        self.updates = 0
        """Rollouts that had rewards."""
        self._reward_key = reward_key
        self.results: list[Result] = []
        """Those of the rollout so far; another list when it has ended."""
        self._unusable = 0

    def read(self, samples: Iterable[Any], ledger: GroupLedger) -> dict[int, Result]:
        """Returns the results of samples, flat or in groups, by group; nothing changes.

        It skips groups that the ledger does not know, or whose rewards were counted before. All
        samples of a group must come in one call. Rewards that are no finite number are NaN.
        """
        found: dict[int, Result | None] = {}
        for sample in flatten(samples):
            group_index = group_id(sample)
            if group_index is None:
                continue
            if group_index not in found:
                served = ledger.served(group_index)
                counts = served is not None and not served.rewarded
                found[group_index] = (
                    Result(served.source, served.row, served.step, [])
                    if served and counts
                    else None
                )
            result = found[group_index]
            if result is not None:
                reward = reward_of(sample, self._reward_key)
                usable = reward is not None and math.isfinite(reward)
                result.rewards.append(reward if reward is not None and usable else math.nan)
        return {group_index: result for group_index, result in found.items() if result}

    def take(self, results: Mapping[int, Result], ledger: GroupLedger) -> None:
        """Takes in what ``read`` returned; these groups count as rewarded from now on."""
        for group_index, result in results.items():
            ledger.mark_rewarded(group_index)
            usable = [reward for reward in result.rewards if not math.isnan(reward)]
            self._unusable += len(result.rewards) - len(usable)
            if usable:
                self.results.append(result._replace(rewards=usable))

    def close(self) -> list[Result]:
        """Ends the rollout; returns its results, and forgets them."""
        if self._unusable:
            logger.warning(
                "%d samples had no finite reward (where rewards are mappings, reward_key names the "
                "entry that counts); adaptive weights and curricula skip them",
                self._unusable,
            )
        results, self.results, self._unusable = self.results, [], 0
        self.updates += bool(results)
        return results

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"updates": self.updates, "results": [[*result] for result in self.results]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads what ``state_dict`` returned."""
        results = [Result(*result) for result in state["results"]]
        self.updates, self.results, self._unusable = state["updates"], results, 0
