"""Source rules and row curricula in slime's rollouts, synchronous and fully asynchronous."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curriculum_learning.data_source import MultipleWeightedRolloutDataSourceWithBuffer
from tests.with_slime.engine import CONSTANT, InferenceServer, Run, make_args
from tests.with_slime.prompts import SOURCES

ROLLOUTS = 8
LEARNING = {
    "data_source_weights": CONSTANT,
    "data_source_rule": {"type": "sec"},
    "data_source_curricula": {"medium": {"type": "pools"}},
}
BOTH_HOOKS = {
    "rollout_all_samples_process_path": "curriculum_learning.custom_log.process_all_samples"
}
MODES: dict[str, dict[str, Any]] = {
    "synchronous": BOTH_HOOKS,
    "fully asynchronous": {
        "rollout_function_path": "slime.rollout.fully_async_rollout.generate_rollout_fully_async",
        "sglang_server_concurrency": 16,
    },
}


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What makes slime run in one way."""
    return MODES[request.param]


def _server() -> InferenceServer:
    return InferenceServer(seconds_per_token=0.0005)


def test_rules_and_row_curricula_learn(tmp_path: Path, mode: dict[str, Any]) -> None:
    """They follow the rewards of each rollout, and a resumed run knows what the saved one knew."""
    with Run(make_args(tmp_path, **LEARNING, **mode), server=_server()) as run:
        for rollout_id in range(ROLLOUTS):
            run.generate(rollout_id)
        run.manager.save(ROLLOUTS - 1)
        known = run.source.source_status()
    first, last = run.metrics[0], run.metrics[-1]
    pools = ("hard", "normal", "easy", "unseen")
    for metrics in (first, last):
        rows = sum(metrics[f"rollout/medium/pool/{pool}"] for pool in pools)
        assert rows == SOURCES["medium"]
    assert last["rollout/medium/pool/unseen"] < first["rollout/medium/pool/unseen"]
    # A source whose few groups all had equal rewards by chance has taught nothing yet.
    assert max(last[f"rollout/{source}/rule_value"] for source in SOURCES) > 0
    assert last["rollout/short/weight"] != pytest.approx(CONSTANT["short"])
    resumed = MultipleWeightedRolloutDataSourceWithBuffer(make_args(tmp_path, **LEARNING, **mode))
    resumed.load(ROLLOUTS - 1)
    status = resumed.source_status()
    resumed.close()
    for source in SOURCES:
        assert status[source]["rule_value"] == known[source]["rule_value"]
    for pool in pools:
        assert status["medium"][f"pool/{pool}"] == known["medium"][f"pool/{pool}"]


def test_metrics_of_each_source_are_tracked(tmp_path: Path, mode: dict[str, Any]) -> None:
    """Each rollout tells shares, rewards and the fates of groups of each source."""
    with Run(make_args(tmp_path, data_source_weights=CONSTANT, **mode), server=_server()) as run:
        for rollout_id in range(3):
            run.generate(rollout_id)
    figures = ("weight", "trained_share", "drawn", "trained", "in_flight", "buffer_length")
    for metrics in run.metrics:
        for source in SOURCES:
            has_samples = metrics[f"rollout/{source}/sample_count"] > 0
            assert (f"rollout/{source}/raw_reward/mean" in metrics) == has_samples
            assert {f"rollout/{source}/{figure}" for figure in figures} <= metrics.keys()
    trained = sum(run.metrics[-1][f"rollout/{source}/trained"] for source in SOURCES)
    assert trained == 3 * 16


def test_asynchronous_rollouts_train_what_is_drawn(tmp_path: Path) -> None:
    """Slime filters nothing there: what is trained has the shares, whatever filter is set."""
    args = make_args(
        tmp_path,
        data_source_weights=CONSTANT,
        dynamic_sampling_filter_path="tests.with_slime.prompts.drop_many",
        **MODES["fully asynchronous"],
    )
    with Run(args, server=_server()) as run:
        for rollout_id in range(20):
            run.generate(rollout_id)
    last = run.metrics[-1]
    trained = {source: last[f"rollout/{source}/trained"] / (20 * 16) for source in SOURCES}
    assert trained == pytest.approx(CONSTANT, abs=0.02)
    assert sum(last[f"rollout/{source}/dropped"] for source in SOURCES) == 0
