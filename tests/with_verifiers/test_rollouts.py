"""The example: rollouts of an environment on the groups that the data source serves."""

from __future__ import annotations

import argparse
import asyncio

from examples.environments.model_server import model_server
from examples.environments.rollouts import ARGS, run


def test_rollouts_and_rewards_of_an_environment() -> None:
    """The environment plays and scores each sample; the rewards open the harder sums."""
    with model_server() as address:
        played = asyncio.run(run(argparse.Namespace(**ARGS), address))
    assert [len(samples) for samples in played] == [24] * 5
    for sample in (sample for samples in played for sample in samples):
        task = sample.metadata["verifiers"]["task"]
        assert sample.prompt[-1]["content"] == task["prompt"]
        assert sample.reward == float(sample.response == task["answer"])
    rewards = [sample.reward for samples in played for sample in samples]
    assert 0 < sum(rewards) < len(rewards)
    terms = [{s.metadata["verifiers"]["task"]["terms"] for s in samples} for samples in played]
    assert terms[0] == {2}
    assert terms[-1] == {2, 3, 4}
