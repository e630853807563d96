from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curriculum_learning.errors import CheckpointError, ConfigurationError, DataError
from curriculum_learning.shard import ShardedDataSource, shard
from tests.harness import Group, arguments, as_data, data_source, interrupt

SIZES = {"math": 70, "code": 40, "chat": 25}
WEIGHTS = [0.5, "lambda step: 0.3 + step / 10", 0.2]


def ranks(folder: Path, world_size: int, **changes: Any) -> list[ShardedDataSource]:
    """The data sources of all ranks, each made from arguments of its own."""
    changes = {"data_source_weights": WEIGHTS, **changes}
    return [shard(arguments(folder, SIZES, **changes), r, world_size) for r in range(world_size)]


def lockstep(sources: list[ShardedDataSource], step: int, count: int) -> list[Group]:
    """What all ranks are served at a step, in the order of ids."""
    groups: list[Group] = []
    for source in sources:
        source.set_rollout_step(step)
        groups += source.get_samples(count)
    return sorted(groups, key=lambda group: group[0].group_index)


@pytest.mark.parametrize("world_size", [1, 3, 8])
def test_the_ranks_together_are_the_whole_sequence(tmp_path: Path, world_size: int) -> None:
    """At steps with other weights, over several epochs: the same groups with the same ids."""
    whole = data_source(tmp_path, SIZES, data_source_weights=WEIGHTS)
    sources = ranks(tmp_path, world_size)
    for step in range(6):
        whole.set_rollout_step(step)
        expected = whole.get_samples(6 * world_size)
        assert as_data(lockstep(sources, step, 6)) == as_data(expected)


def test_a_rank_serves_the_ids_that_are_its_own(tmp_path: Path) -> None:
    """Rank r of w has the groups whose id is r modulo w."""
    for rank, source in enumerate(ranks(tmp_path, 3)):
        ids = [group[0].group_index for group in source.get_samples(5)]
        assert ids == [rank + 3 * i for i in range(5)]


def test_another_world_size_goes_on_with_the_sequence(tmp_path: Path) -> None:
    """8 ranks, then 5, then 8 again: what waits goes to its new ranks, the rest is as of one."""
    whole = data_source(tmp_path, SIZES, data_source_weights=WEIGHTS, save=None)
    seen: list[Group] = []
    again = 0
    for number, world_size in enumerate((8, 5, 8)):
        sources = ranks(tmp_path, world_size)
        for source in sources:
            source.load(number - 1 if number else None)
        if number:
            waiting = sum(source.get_buffer_length() for source in sources)
            assert waiting == again
            served = [group for s in sources for group in s.get_samples(s.get_buffer_length())]
            assert len(served) == waiting
            assert all(group[0].response == "xxx" for group in served)
            for source in sources:
                source.observe(served, fate="trained")
        groups = lockstep(sources, number, 4)
        seen += groups
        for source in sources:
            mine = [g for g in groups if g[0].group_index % world_size == source.rank]
            source.add_samples([interrupt(mine[0])])
            source.observe(mine[1:], rollout_id=number, fate="trained")
            source.save(number)
        again = world_size
    expected = []
    for number, world_size in enumerate((8, 5, 8)):
        whole.set_rollout_step(number)
        expected += whole.get_samples(4 * world_size)
    rows = [(g[0].group_index, g[0].index, g[0].prompt) for g in seen]
    assert rows == [(g[0].group_index, g[0].index, g[0].prompt) for g in expected]


def test_a_rank_that_is_behind_at_a_save_catches_up(tmp_path: Path) -> None:
    """What it would have been served waits for whichever rank it is of then."""
    whole = data_source(tmp_path, SIZES, data_source_weights=WEIGHTS, save=None)
    expected = whole.get_samples(15)
    sources = ranks(tmp_path, 3)
    seen = []
    for source, counts in zip(sources, ((5,), (3,), (2, 2)), strict=True):
        for count in counts:
            seen += source.get_samples(count)
    sources[2].add_samples([interrupt(seen.pop())])
    for source in sources:
        source.observe([], rollout_id=0, fate="trained")
        source.save(0)
    resumed = ranks(tmp_path, 2)
    for source in resumed:
        source.load(0)
    served = [group for source in resumed for group in source.get_samples(8)]
    first = {g[0].group_index: (g[0].prompt, [s.index for s in g]) for g in served}
    assert {i: first[i] for i in range(15)} == {
        g[0].group_index: (g[0].prompt, [s.index for s in g]) for g in expected
    }
    assert sum(group[0].response == "xxx" for group in served) == 1


def test_ranks_at_different_steps_are_refused(tmp_path: Path) -> None:
    """Their draws are not of one sequence: when all have saved, and at a load."""
    sources = ranks(tmp_path, 2)
    for step, source in enumerate(sources):
        source.set_rollout_step(9 * step)
        source.get_samples(5)
    sources[0].save(0)
    problem = "rank 0 has drawn 10 groups and rank 1 10"
    with pytest.raises(CheckpointError, match=problem):
        sources[1].save(0)
    with pytest.raises(CheckpointError, match=problem):
        ranks(tmp_path, 3)[0].load(0)


def test_a_save_after_a_resume_is_not_held_against_the_states_before(tmp_path: Path) -> None:
    """Ranks that save a rollout again, at other steps, are compared with each other only."""
    before = ranks(tmp_path, 2)
    lockstep(before, 0, 3)
    for rollout_id in (0, 1):
        for source in before:
            source.save(rollout_id)
    sources = ranks(tmp_path, 2)
    for source in sources:
        source.load(0)
    lockstep(sources, 9, 4)
    for source in sources:
        source.save(1)


def test_a_failing_request_changes_nothing(tmp_path: Path) -> None:
    """A row that cannot be read leaves a rank where it was."""
    (source,) = ranks(tmp_path, 3, data_source_cache=False)[1:2]
    path = tmp_path / "chat.jsonl"
    content = path.read_bytes()
    path.write_bytes(b"x" * len(content))
    with pytest.raises(DataError):
        source.get_samples(20)
    path.write_bytes(content)
    assert [group[0].group_index for group in source.get_samples(3)] == [1, 4, 7]
    (other,) = ranks(tmp_path, 3)[1:2]
    other.get_samples(3)
    assert as_data(source.get_samples(20)) == as_data(other.get_samples(20))


def test_a_missing_rank_is_a_missing_state(tmp_path: Path) -> None:
    """A rollout of which one rank has no state is not resumed from."""
    for source in ranks(tmp_path, 3)[:2]:
        source.save(0)
    with pytest.raises(CheckpointError, match="no data source state for rollout 0"):
        ranks(tmp_path, 2)[0].load(0)


@pytest.mark.parametrize(("rank", "world_size"), [(-1, 2), (2, 2), (0, 0)])
def test_a_rank_that_is_none_is_refused(tmp_path: Path, rank: int, world_size: int) -> None:
    """The error names the rank."""
    with pytest.raises(ConfigurationError, match=f"rank is {rank}"):
        shard(arguments(tmp_path, SIZES), rank, world_size)


def test_a_load_folder_without_states_is_an_error(tmp_path: Path) -> None:
    """A folder that was named to be resumed from has the states of all ranks, or it is said."""
    source = ranks(tmp_path, 2, load=str(tmp_path / "nowhere"))[0]
    with pytest.raises(CheckpointError, match=r"no saved state of all ranks in .*nowhere"):
        source.load()
    source.load(-1)
    ranks(tmp_path, 2, load=str(tmp_path / "save"))[0].load()


def test_mixtures_that_follow_what_was_trained_are_refused(tmp_path: Path) -> None:
    """A rank alone does not know what the others trained on."""
    with pytest.raises(ConfigurationError, match="ranks do not communicate"):
        shard(arguments(tmp_path, SIZES, mixture_target="trained"), 0, 2)
