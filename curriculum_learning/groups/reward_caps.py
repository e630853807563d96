"""Caps on the mean reward of a group: a difficulty filter of each source, while it is trained."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

from curriculum_learning.weights.schedules import Schedule

ALL_ZERO = "all_zero"
REWARD_CAP = "reward_cap"


class RewardCaps:
    """Judges finished groups, and counts the verdicts of a rollout by source.

    A group of a source with a cap is dropped if all its rewards are 0, or if their mean is above
    the cap. Without a cap nothing of a source is dropped.

    Args:
        caps: Of each source by the rollout step; None is no cap.
    """

    def __init__(self, caps: Mapping[str, Schedule | None]) -> None:
        self._caps = {name: cap for name, cap in caps.items() if cap is not None}
        self._verdicts: dict[Hashable, tuple[str, str | None]] = {}
        self._step = 0

    def verdict(
        self, group_index: Hashable, source: str, rewards: Sequence[float], step: int
    ) -> str | None:
        """Why a group is dropped: ``all_zero`` or ``reward_cap``; None if it is not.

        It counts once, however often it is asked about.

        Args:
            group_index: Its id; None counts it not at all.
            source: Its source.
            rewards: Finite numbers, of its samples that have one; of none nothing can be told.
            step: The rollout step.
        """
        if step != self._step:  # where no rollout is logged
            self.forget()
            self._step = step
        cap = self._caps.get(source)
        reason = None
        if cap is not None and rewards:
            if not any(rewards):
                reason = ALL_ZERO
            elif math.fsum(reward / len(rewards) for reward in rewards) > cap(step):
                reason = REWARD_CAP
        if group_index is not None:
            self._verdicts[group_index] = source, reason
        return reason

    def metrics(self, source: str, step: int) -> dict[str, float]:
        """Of a source with a cap: the cap, and the parts of its finished groups it has cost.

        ``filter_ratio_all_zero`` and ``filter_ratio_reward_cap`` are 0 to 1; they are left out
        where no group of the source was judged in this rollout.
        """
        cap = self._caps.get(source)
        if cap is None:
            return {}
        metrics = {"reward_cap": cap(step)}
        reasons = Counter(reason for name, reason in self._verdicts.values() if name == source)
        if finished := reasons.total():
            metrics |= {f"filter_ratio_{r}": reasons[r] / finished for r in (ALL_ZERO, REWARD_CAP)}
        return metrics

    def forget(self) -> None:
        """The rollout is over."""
        self._verdicts = {}
