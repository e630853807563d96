"""Schedules, rules and row curricula in miles' rollouts, synchronous and fully asynchronous."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.with_miles.engine import FULLY_ASYNC, SYNCHRONOUS, WEIGHTS, Run, make_args
from tests.with_slime.prompts import SOURCES

ROLLOUTS = 8


class Mode(NamedTuple):
    """A way in which miles runs."""

    rollout_function: str
    keys: dict[str, Any]


MODES = {
    "synchronous": Mode(
        SYNCHRONOUS,
        {"rollout_all_samples_process_path": "curriculum_learning.custom_log.process_all_samples"},
    ),
    "fully asynchronous": Mode(FULLY_ASYNC, {}),
}


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> Mode:
    """What makes miles run in one way."""
    return MODES[request.param]


def _run(folder: Path, mode: Mode, rollouts: int, **keys: Any) -> Run:
    with Run(make_args(folder, **mode.keys, **keys), mode.rollout_function) as run:
        for rollout_id in range(rollouts):
            run.generate(rollout_id)
        run.source.save(rollouts - 1)
    return run


def test_weights_follow_the_rollouts(tmp_path: Path, mode: Mode) -> None:
    """A group is drawn with the weights of the rollout after the last logged one."""
    weights = {"short": "lambda step: 1 if step < 4 else 0", "medium": 0.5, "filtered": 0.5}
    keys = {"data_source_weights": weights, "mixture_target": "served"}
    run = _run(tmp_path, mode, ROLLOUTS, **keys)
    first = {group: (source, step) for source, _, step, group in reversed(run.served)}
    early = Counter(source for source, step in first.values() if step < 4)
    late = Counter(source for source, step in first.values() if step >= 4)
    assert early["short"] / early.total() == pytest.approx(0.5, abs=0.02)
    assert late["short"] == 0 < late["medium"]


def test_rules_and_row_curricula_learn(tmp_path: Path, mode: Mode) -> None:
    """They follow the rewards of each rollout, and a resumed run knows what the saved one knew."""
    keys = {
        "data_source_rule": {"type": "sec"},
        "data_source_curricula": {"medium": {"type": "pools"}},
    }
    run = _run(tmp_path, mode, ROLLOUTS, **keys)
    known = run.source.source_status()
    first, last = run.tracked[0], run.tracked[-1]
    pools = ("hard", "normal", "easy", "unseen")
    for metrics in (first, last):
        rows = sum(metrics[f"rollout/medium/pool/{pool}"] for pool in pools)
        assert rows == SOURCES["medium"]
    assert last["rollout/medium/pool/unseen"] < first["rollout/medium/pool/unseen"]
    # A source whose few groups all had equal rewards by chance has taught nothing yet.
    assert max(last[f"rollout/{source}/rule_value"] for source in SOURCES) > 0
    args = make_args(tmp_path, load=run.args.save, **mode.keys, **keys)
    with Run(args, mode.rollout_function) as resumed:
        resumed.source.load(ROLLOUTS - 1)
        status = resumed.source.source_status()
    for source in SOURCES:
        assert status[source]["rule_value"] == known[source]["rule_value"]


def test_lost_groups_of_asynchronous_rollouts_are_replaced(tmp_path: Path) -> None:
    """Nobody tells of drops there: a group counts as lost when it is presumed dropped."""
    run = _run(
        tmp_path,
        MODES["fully asynchronous"],
        40,
        dynamic_sampling_filter_path="tests.with_slime.prompts.drop_many",
        mixture_target="trained",
        max_in_flight_rollouts=2,
    )
    assert sum(run.tracked[-1][f"rollout/{source}/presumed"] for source in SOURCES) > 0
    groups = {s.group_index: s.metadata["data_source"] for b in run.samples[10:] for s in b}
    shares = {source: count / len(groups) for source, count in Counter(groups.values()).items()}
    assert shares == pytest.approx(WEIGHTS, abs=0.05)
