"""The reward caps: a filter of each source's groups by their mean reward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curriculum_learning import ConfigurationError, GroupError, ScheduleError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.custom_log import custom_rollout_log_function, process_all_samples
from curriculum_learning.reward_cap_filter import check_reward_cap_per_source
from tests.harness import Group, arguments, name_of

CAPS: dict[str, Any] = {"math": 0.75, "code": None, "chat": "lambda step: 0.9 - step / 10"}
HOOKS = {
    "custom_rollout_log_function_path": "curriculum_learning.custom_log"
    ".custom_rollout_log_function",
    "rollout_all_samples_process_path": "curriculum_learning.custom_log.process_all_samples",
    "dynamic_sampling_filter_path": "curriculum_learning.reward_cap_filter"
    ".check_reward_cap_per_source",
}


def open_source(folder: Path, **changes: Any) -> DataSource:
    """Three sources with caps; groups of two samples."""
    values = {"data_source_reward_caps": CAPS, "num_rollout": 5, "save": None, **HOOKS, **changes}
    return DataSource(arguments(folder, dict.fromkeys(CAPS, 50), **values))


def scored(source: DataSource, name: str, *rewards: Any) -> Group:
    """A group of source ``name`` with these rewards."""
    group = next(g for g in source.get_samples(3) if name_of(g) == name)
    for sample, reward in zip(group, rewards, strict=True):
        sample.reward = reward
    return group


@pytest.mark.parametrize(
    ("name", "rewards", "reason"),
    [
        ("math", (0, 0), "all_zero_math"),
        ("math", (0, 1), None),
        ("math", (0.5, 1), None),  # at the cap
        ("math", (0.6, 1), "reward_cap_math"),
        ("math", (None, 1), "reward_cap_math"),  # judged by those that have a reward
        ("math", (None, None), None),
        ("math", (float("nan"), 1), "reward_cap_math"),
        ("math", (float("inf"), float("-inf")), None),
        ("math", (1e308, 1e308), "reward_cap_math"),
        ("math", (10**400, 0), "all_zero_math"),  # no reward, and one of 0
        ("chat", (1, 0.9), "reward_cap_chat"),
        ("code", (0, 0), None),  # null filters nothing
        ("code", (1, 1), None),
    ],
)
def test_verdicts(tmp_path: Path, name: str, rewards: tuple[Any, ...], reason: str | None) -> None:
    """All zero, above the cap, or kept; the reason names the source."""
    source = open_source(tmp_path)
    verdict = check_reward_cap_per_source(source.args, scored(source, name, *rewards))
    assert (verdict.keep, verdict.reason) == (reason is None, reason)


def test_rewards_may_be_mappings(tmp_path: Path) -> None:
    """With slime's reward_key that entry counts."""
    source = open_source(tmp_path, reward_key="score")
    high = scored(source, "math", {"score": 1, "format": 0}, {"score": 1, "format": 0})
    assert check_reward_cap_per_source(source.args, high).reason == "reward_cap_math"
    zero = scored(source, "math", {"score": 0, "format": 1}, {"score": 0, "format": 1})
    assert check_reward_cap_per_source(source.args, zero).reason == "all_zero_math"


def test_mappings_without_their_key_are_an_error(tmp_path: Path) -> None:
    """It names reward_key and the entries that there are."""
    source = open_source(tmp_path)
    group = scored(source, "math", {"score": 1}, {"score": 1})
    with pytest.raises(ConfigurationError, match=r"reward_key \(None\).*entries \['score'\]"):
        check_reward_cap_per_source(source.args, group)


def test_without_a_log_a_step_begins_anew(tmp_path: Path) -> None:
    """Ratios are those of the present step where no rollout is logged."""
    source = open_source(tmp_path)
    for step in range(3):
        source.set_rollout_step(step)
        check_reward_cap_per_source(source.args, scored(source, "math", step, step))
        ratio = source.source_status()["math"]["filter_ratio_all_zero"]
        assert ratio == (1 if step == 0 else 0)


def test_a_fan_out_group_is_judged_as_one(tmp_path: Path) -> None:
    """Samples in lists within the group count like the others."""
    source = open_source(tmp_path)
    group = scored(source, "math", 1, 0.6)
    assert not check_reward_cap_per_source(source.args, [[group[0]], [group[1]]]).keep


def test_caps_move_with_the_rollout_step(tmp_path: Path) -> None:
    """The same rewards are kept at one step and dropped at a later one."""
    source = open_source(tmp_path)
    group = scored(source, "chat", 0.8, 0.8)
    verdicts = []
    for step in range(3):
        source.set_rollout_step(step)
        verdicts.append(check_reward_cap_per_source(source.args, group).keep)
        cap = source.source_status()["chat"]["reward_cap"]
        assert cap == pytest.approx(0.9 - step / 10)
    assert verdicts == [True, True, False]


def test_metrics_are_parts_of_the_finished_groups(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each group counts once, though it is asked about twice; the next rollout starts at none."""
    logged: list[dict[str, float]] = []
    source = open_source(
        tmp_path, data_source_metrics_callback=lambda metrics, _: logged.append(metrics)
    )
    rewards = {"math": [(0, 0), (1, 1), (0, 1), (0, 1)], "chat": [(1, 1), (0, 1)], "code": [(0, 0)]}
    groups = [scored(source, name, *pair) for name, pairs in rewards.items() for pair in pairs]
    kept = [group for group in groups if check_reward_cap_per_source(source.args, group).keep]
    assert len(kept) == 4
    process_all_samples(source.args, groups, source.get_samples)
    custom_rollout_log_function(0, source.args, kept, {}, 1.0)
    (metrics,) = logged
    assert metrics["rollout/math/reward_cap"] == 0.75
    assert metrics["rollout/math/filter_ratio_all_zero"] == 0.25
    assert metrics["rollout/math/filter_ratio_reward_cap"] == 0.25
    assert metrics["rollout/chat/filter_ratio_all_zero"] == 0
    assert metrics["rollout/chat/filter_ratio_reward_cap"] == 0.5
    assert not any("code/filter" in key or "code/reward_cap" in key for key in metrics)
    assert metrics["rollout/math/dropped"] == 2
    custom_rollout_log_function(1, source.args, [], {}, 1.0)
    assert not any("filter_ratio" in key for key in logged[1])


def test_without_the_data_source_the_caps_are_read_from_args(tmp_path: Path) -> None:
    """A process that only has args judges by the step in the samples' metadata."""
    source = open_source(tmp_path)
    source.set_rollout_step(2)
    group = scored(source, "chat", 0.8, 0.8)
    elsewhere = dict(vars(source.args))
    assert check_reward_cap_per_source(elsewhere, group).reason == "reward_cap_chat"


def test_a_group_without_a_source_is_an_error(tmp_path: Path) -> None:
    """The message names the tag."""
    source = open_source(tmp_path)
    group = scored(source, "math", 1, 1)
    for sample in group:
        sample.metadata.clear()
    with pytest.raises(GroupError, match=r"no source in metadata\['data_source'\]"):
        check_reward_cap_per_source(source.args, group)


@pytest.mark.parametrize("cap", ["high", -1, {"schedule": "linear"}, "lambda step: 1 / (step - 3)"])
def test_a_cap_that_cannot_be_used_is_an_error(tmp_path: Path, cap: Any) -> None:
    """At the start, with the key and the source."""
    with pytest.raises(ScheduleError, match=r"data_source_reward_caps.* of source 'code'"):
        open_source(tmp_path, data_source_reward_caps={"math": None, "code": cap, "chat": None})
