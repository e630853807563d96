"""One sequence of draws, divided among the ranks of an SPMD trainer without communication.

The groups have one order, that of their ids. Rank r of w serves those whose id is r modulo w: it
draws all of them in the ledger, which costs a few microseconds each, and makes samples of its own.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from curriculum_learning.config.plan import DataSourcePlan
from curriculum_learning.data_source import MultipleWeightedRolloutDataSourceWithBuffer
from curriculum_learning.engines.slime import sample_class
from curriculum_learning.errors import CheckpointError, ConfigurationError
from curriculum_learning.groups.run import Run
from curriculum_learning.groups.served import listed, packed
from curriculum_learning.state.checkpoint import read_state
from curriculum_learning.state.files import Found, find_state, saved_rollouts, states_in

_FOLDER = "shard_{}_of_{}"
_SHARED = ("mixture", "clock", "feedback", "replacements")
"""What all ranks have alike at one position."""


def shard(args: Any, rank: int, world_size: int) -> ShardedDataSource:
    """The data source of one rank; see ``ShardedDataSource``."""
    return ShardedDataSource(args, rank, world_size)


class ShardedDataSource(MultipleWeightedRolloutDataSourceWithBuffer):
    """The part of one rank of what a data source serves.

    ``get_samples(n)`` of all ranks together gives what ``get_samples(n * world_size)`` gives of
    the whole, with the same ids. For that all ranks make the same requests at the same rollout
    steps, as trainers do in lockstep. What a rank gives back, it is served again: a rank that has
    groups waiting draws fewer fresh ones, so that its position is another than that of the others
    from then on. ``load`` brings ranks that are behind up to the others: what they would have been
    served waits for them. It refuses ranks whose draws differ because their steps did, and so does
    ``save`` of the last rank.

    ``save`` writes to ``{save}/shard_{rank}_of_{world_size}/``. ``load`` reads the states of all
    ranks of the rollout, of whatever world size, and takes its own groups out of them.

    Args:
        args: As for ``MultipleWeightedRolloutDataSourceWithBuffer``.
        rank: 0 to ``world_size`` - 1.
        world_size: At least 1.

    Raises:
        ConfigurationError: The rank is none of these; or the mixture depends on what was trained
            (``mixture_target: trained``, adaptive weights, reward curricula), which a rank alone
            cannot know.
    """

    def __init__(self, args: Any, rank: int, world_size: int) -> None:
        if not 0 <= rank < world_size:
            raise ConfigurationError(
                f"shard: rank is {rank!r} of world_size {world_size!r}; it must be 0 to "
                f"world_size - 1",
                key="rank",
                value=rank,
            )
        self.rank, self.world_size = rank, world_size
        super().__init__(args)
        if self._run.feedback is not None or self.config.mixture_target == "trained":
            raise ConfigurationError(
                "shard: mixture_target: trained, adaptive weights and reward curricula follow what "
                "was trained on all ranks, and ranks do not communicate; use ray_service instead",
                key="mixture_target",
                value=self.config.mixture_target,
            )

    def _read_config(self, args: Any) -> DataSourcePlan:
        config = super()._read_config(args)
        if config.save is None:
            return config
        folder = config.save / _FOLDER.format(self.rank, self.world_size)
        return dataclasses.replace(config, save=folder)

    def save(self, rollout_id: int) -> None:
        """As the data source; the last rank to save finds out whether all can be loaded together.

        Raises:
            CheckpointError: They cannot, because their draws differ; the states are written.
        """
        super().save(rollout_id)
        if self.config.save is None:
            return
        ranks = (_FOLDER.format(rank, self.world_size) for rank in range(self.world_size))
        there = (file for rank in ranks for file in states_in(self.config.save.parent / rank))
        files = [file for file in there if file.rollout_id == rollout_id and not file.autosaved]
        # Others have yet to save it, or have one of an earlier attempt, where counters differ.
        counters = {0 if file.stamp is None else file.stamp.counter for file in files}
        if len(files) == self.world_size and len(counters) == 1:
            merged(self._caught_up([read_state(file.path) for file in files]))

    def _find_state(self, rollout_id: int | None) -> Found | None:
        found = _find_states(self.config.load, rollout_id)
        if found:
            states = self._caught_up([one.state for one in found])
            state = own(merged(states), self.rank, self.world_size)
            return Found(state, max(one.counter for one in found))
        load, save, on_missing = self.config.load, self.config.save, self.config.on_missing_state
        if rollout_id is None and on_missing == "error" and load != (save and save.parent):
            raise CheckpointError(
                f"there is no saved state of all ranks in {load}; name the folder that the ranks "
                f"had as save, or call load(-1) for a fresh start",
                key="load",
                value=str(load),
            )
        return find_state(None, rollout_id, on_missing)

    def _caught_up(self, states: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The states of all ranks after the requests that the rank ahead of all had made.

        What the others would have been served waits.
        """
        ahead = max(states, key=lambda state: int(state["groups"]["next_group"]))
        caught_up = list(states)
        for rank, state in enumerate(states):
            missing = ahead["groups"]["next_group"] - state["groups"]["next_group"]
            if missing and state["identity"] == self._states.constants()["identity"]:
                caught_up[rank] = self._drawn(state, ahead, rank, len(states), missing)
        return caught_up

    def _drawn(
        self,
        state: dict[str, Any],
        ahead: dict[str, Any],
        rank: int,
        world_size: int,
        missing: int,
    ) -> dict[str, Any]:
        """The state of a rank after ``missing`` more groups, those of the other ranks included."""
        run = Run(
            self.config, self._prompts, sample_class(), None, None, rank=rank, world_size=world_size
        )
        # They were asked for in the rollout of now, or in the one that was logged before the save.
        for back in (0, 1):
            run.load_state_dict(state, held=True)
            if back:
                run.clock.override(max(run.step - back, 0))
            groups = run.fresh.draw(missing // world_size, run.groups.ledger)
            if run.state_dict()["mixture"] == ahead["mixture"]:
                break
        run.groups.give_up([group[0].group_index for group in groups])
        return {**state, **run.state_dict(), "clock": state["clock"]}


def merged(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The state of the whole, from those of all ranks that have drawn as many groups.

    Raises:
        CheckpointError: They have not drawn the same ones.
    """
    first = states[0]
    for rank, state in enumerate(states):
        differs = [key for key in _SHARED if state[key] != first[key]]
        drawn = [one["groups"]["next_group"] for one in (first, state)]
        if differs or drawn[0] != drawn[1]:
            raise CheckpointError(
                f"rank 0 has drawn {drawn[0]} groups and rank {rank} {drawn[1]} (of all ranks), "
                f"and they differ in {differs or ['groups']}: they are not at the same position. "
                f"Make all requests of a rollout at the same steps on all ranks, or resume a "
                f"rollout where they were",
                key="load",
                value=drawn[1],
            )
    groups = [state["groups"] for state in states]
    counts: dict[str, Counter[str]] = {what: Counter() for what in groups[0]["counts"]}
    for one in groups:
        for what, by_source in one["counts"].items():
            counts[what].update(by_source)
    return {
        **first,
        "runs": list(dict.fromkeys(_all(state["runs"] for state in states))),
        "groups": {
            **groups[0],
            "accounting": any(one["accounting"] for one in groups),
            "counts": {what: dict(by_source) for what, by_source in counts.items()},
            **{key: packed(_all(listed(g[key]) for g in groups)) for key in _OUT},
        },
        **{key: _all(state[key] for state in states) for key in ("waiting", *_GENERATED)},
    }


def own(state: Mapping[str, Any], rank: int, world_size: int) -> dict[str, Any]:
    """Of the state of the whole what one rank goes on from; rank 0 goes on with the counts."""

    def mine(group_index: int) -> bool:
        return group_index % world_size == rank

    groups = state["groups"]
    generated = list(zip(*(state[key] for key in _GENERATED), strict=True))
    kept = [entry for entry in generated if mine(entry[0])]
    return {
        **state,
        "groups": {
            **groups,
            "counts": groups["counts"] if rank == 0 else {what: {} for what in groups["counts"]},
            **{key: packed(out for out in listed(groups[key]) if mine(out[0])) for key in _OUT},
        },
        "waiting": [entry for entry in state["waiting"] if mine(entry[0])],
        **{key: [entry[i] for entry in kept] for i, key in enumerate(_GENERATED)},
    }


_OUT = ("in_flight", "presumed")
_GENERATED = ("generated", "generated_begun", "generated_data")


def _all(lists: Iterable[Iterable[Any]]) -> list[Any]:
    return list(itertools.chain.from_iterable(lists))


def _find_states(folder: Path | None, rollout_id: int | None) -> list[Found]:
    """The states of all ranks of a rollout, of the world size that saved it last; or none."""
    if folder is None:
        return []
    found: list[tuple[tuple[bool, int, int], list[Path], int]] = []
    for first in folder.glob(_FOLDER.format(0, "*")):
        world_size = int(first.name.rpartition("_")[2])
        ranks = [folder / _FOLDER.format(rank, world_size) for rank in range(world_size)]
        rollouts = set.intersection(*(set(saved_rollouts(rank)) for rank in ranks))
        found += [
            (state.age, ranks, state.rollout_id)
            for state in states_in(first)
            if not state.autosaved and state.rollout_id in rollouts
            if rollout_id in (None, state.rollout_id)
        ]
    if not found:
        return []
    _, ranks, rollout = max(found, key=lambda item: item[0])
    states = [find_state(rank, rollout, "error") for rank in ranks]
    return [state for state in states if state is not None]
