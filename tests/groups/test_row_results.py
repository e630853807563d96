"""Which results reach the statistics of rows in the data source."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.custom_log import custom_rollout_log_function, process_all_samples
from tests.curricula.faces import CURRICULUM_CASES, data_source
from tests.engine import keeps
from tests.harness import Group, row_of


def learning(folder: Path, **changes: Any) -> DataSource:
    """Both sources learn by row."""
    curriculum = CURRICULUM_CASES["learnability"]
    return data_source(folder, data_source_curricula=curriculum, **changes)


def score(groups: list[Group]) -> None:
    """Group i has i % 5 samples of reward 1; those with none are refused by the filter."""
    for number, group in enumerate(groups):
        for place, sample in enumerate(group):
            sample.reward = float(place < number % 5)
            sample.status = type(sample).Status.COMPLETED


def counted(source: DataSource) -> Counter[tuple[str, int]]:
    """The results of each row."""
    found: Counter[tuple[str, int]] = Counter()
    for name, place in source.state_dict()["mixture"]["sources"].items():
        counts = np.frombuffer(place["statistics"]["counts"], dtype=np.uint32)
        found.update({(name, row): int(n) for row, n in enumerate(counts) if n})
    return found


def rows(groups: list[Group]) -> Counter[tuple[str, int]]:
    """How often each row is among groups."""
    return Counter((name, row) for name, _, row in map(row_of, groups))


@pytest.mark.parametrize("told", [True, False])
def test_all_finished_groups_count_where_they_are_told(tmp_path: Path, told: bool) -> None:
    """Those that the filter refuses included; without that hook the trained ones do."""
    source = learning(tmp_path)
    groups = source.get_samples(15)
    score(groups)
    trained = [group for group in groups if keeps(source.args, group)]
    if told:
        process_all_samples(source.args, groups, source.get_samples)
    custom_rollout_log_function(0, source.args, trained, {}, 1.0)
    assert counted(source) == rows(groups if told else trained)
    status = source.source_status()
    dull = [g for g in (groups if told else trained) if len({s.reward for s in g}) == 1]
    expected = len(dull) / len(groups if told else trained)
    n = {name: sum(c for (s, _), c in counted(source).items() if s == name) for name in status}
    found = sum(status[name]["no_signal_share"] * n[name] for name in status) / sum(n.values())
    assert found == pytest.approx(expected)


def test_each_group_counts_once(tmp_path: Path) -> None:
    """A group that is shown in several reports, or trained later, has one result."""
    source = learning(tmp_path, partial_rollout=True, surplus="keep", drop=0.0)
    groups = source.get_samples(6)
    score(groups)
    for _ in range(2):
        process_all_samples(source.args, groups, source.get_samples)
    custom_rollout_log_function(0, source.args, groups[:4], {}, 1.0)
    again = source.get_samples(2)
    assert rows(again) == rows(groups[4:])
    source.observe(again, fate="finished")
    custom_rollout_log_function(1, source.args, again, {}, 1.0)
    assert counted(source) == rows(groups)


def test_dropped_groups_count_when_they_are_reported(tmp_path: Path) -> None:
    """A loop that reports its drops by itself has them in the statistics, too."""
    source = learning(tmp_path)
    groups = source.get_samples(6)
    score(groups)
    source.observe(groups[:2], fate="dropped")
    source.observe(groups[2:], rollout_id=0, fate="trained")
    assert counted(source) == rows(groups)


def test_samples_without_a_reward_are_left_out(tmp_path: Path) -> None:
    """The others of the group count; a group without any is no result."""
    source = learning(tmp_path)
    groups = source.get_samples(3)
    score(groups)
    groups[0][0].reward = groups[0][1].reward = None
    for sample in groups[1]:
        sample.reward = float("nan")
    custom_rollout_log_function(0, source.args, groups, {}, 1.0)
    assert counted(source) == rows([groups[0], groups[2]])
