"""The groups of verl's v1 trainer: which of them ended, how, and with which rewards.

verl stores each sample in a TransferQueue under ``{uid}_{session}_{output}``, and each prompt that
is not used up under ``{uid}``. ``uid`` names the group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import transfer_queue

_PARTITION = "train"


class Ended(NamedTuple):
    """A group that ended."""

    uid: str
    fate: str
    """``trained``, or one of ``row_account.LOSSES``."""
    rewards: list[float]
    """The reward of each sample; empty if the group did not finish."""


class CapJudge(Protocol):
    """Knows the source of each group, and its cap on rewards."""

    def refuses(self, uid: str, rewards: list[float]) -> bool:
        """Whether a finished group is not to be trained."""


class WatchedBuffer:
    """Mixed into verl's replay buffer, it remembers the groups that the buffer evicts.

    A buffer of another kind (``trainer.v1.sampler.custom_sampler``) is not asked: the trainer finds
    its groups gone.
    """

    # What verl's buffers have.
    trainer_mode: str
    partitions: Mapping[str, Mapping[str, Any]]
    finished_keys: Mapping[str, set[str]]
    _dapo_classification_cache: Mapping[str, dict[str, float | None]]

    scores_samples: bool
    """Whether samples have rewards before they are trained."""
    evicted: list[Ended]
    caps: CapJudge | None
    """Judges finished groups by the cap of their source."""

    def _dapo_filtered_keys(self, partition_id: str) -> tuple[set[str], Counter[float]]:
        """Finished groups that verl filters, and those that the cap of their source refuses.

        verl asks for each of its decisions, and keeps what it has found out in a table: so does
        this. In the table a refused group has a reward.
        """
        known = set(self._dapo_classification_cache[partition_id])
        filtered, counts = super()._dapo_filtered_keys(partition_id)  # type: ignore[misc]
        if partition_id != _PARTITION or self.caps is None:
            return filtered, counts
        table = self._dapo_classification_cache[partition_id]
        keys = [key for key in self.partitions[partition_id] if group_of(key) not in known]
        rewards = rewards_by_group(key for key in keys if group_of(key) in table)
        for uid, own in rewards.items():
            if self.caps.refuses(uid, own) and uid not in filtered:
                table[uid] = sum(own) / len(own)
        refused = {uid: reward for uid, reward in table.items() if reward is not None}
        return set(refused), Counter(refused.values())

    def _clear_groups(self, partition_id: str, uids: set[str]) -> None:
        """Evicts groups; verl calls it for each of its reasons."""
        if partition_id == _PARTITION:
            self._remember(uids)
        super()._clear_groups(partition_id, uids)  # type: ignore[misc]

    def _remember(self, uids: set[str]) -> None:
        finished = uids & self.finished_keys[_PARTITION]
        filtered = self._dapo_classification_cache[_PARTITION]
        rewards: dict[str, list[float]] = {}
        if self.scores_samples:
            samples = self.partitions[_PARTITION]
            rewards = rewards_by_group(key for key in samples if group_of(key) in finished)
        for uid in sorted(uids):
            if uid not in finished:
                fate = "failed"
            elif filtered.get(uid) is not None:
                fate = "dropped"
            else:
                fate = "discarded" if self.trainer_mode == "sync" else "stale"
            self.evicted.append(Ended(uid, fate, rewards.get(uid, [])))


def watch(buffer: Any, *, scores_samples: bool) -> Any:
    """Returns a replay buffer of verl's as one that remembers what it evicts."""
    # verl chooses the class, or the user: so it is derived from here, not by name.
    buffer.__class__ = type(type(buffer).__name__, (WatchedBuffer, type(buffer)), {})
    buffer.scores_samples, buffer.evicted, buffer.caps = scores_samples, [], None
    return buffer


def group_of(key: str) -> str:
    """Returns the uid of the group that a key of the queue belongs to."""
    return key.split("_", 1)[0]


def rewards_by_group(keys: Iterable[str]) -> dict[str, list[float]]:
    """Reads the reward of each sample, by the uid of its group.

    Of the outputs of one session the last one counts, as for verl's advantages.
    """
    last: dict[tuple[str, str], tuple[int, str]] = {}
    for key in keys:
        uid, session, output = key.rsplit("_", 2)
        at = (int(output), key)
        last[uid, session] = max(last.get((uid, session), at), at)
    if not last:
        return {}
    data = transfer_queue.kv_batch_get(
        keys=[key for _, key in last.values()],
        partition_id=_PARTITION,
        select_fields=["rm_scores"],
    )
    rewards: dict[str, list[float]] = {}
    for (uid, _), scores in zip(last, data["rm_scores"], strict=True):
        rewards.setdefault(uid, []).append(float(scores.sum()))
    return rewards


def trained_groups(batch: Any) -> list[Ended]:
    """Lists the groups of a trained batch, without the padding that verl adds."""
    tagged = zip(batch.keys, batch.tags, strict=True)
    keys = [key for key, tag in tagged if not tag.get("is_padding", False)]
    return [Ended(uid, "trained", rewards) for uid, rewards in rewards_by_group(keys).items()]


def waiting_groups() -> set[str]:
    """Returns the uids of the prompts in the queue: pending, running, or finished but not used."""
    tags = (transfer_queue.kv_list(_PARTITION) or {}).get(_PARTITION, {})
    return {key for key, tag in tags.items() if tag.get("is_prompt", False)}
