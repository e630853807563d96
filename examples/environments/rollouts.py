"""Rollouts of an environment of verifiers, on the groups that the data source serves.

PYTHONPATH=examples/environments python -m examples.environments.rollouts

verifiers imports an environment by a name of one word, so its folder has to be on the path.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import time
from contextlib import AsyncExitStack
from typing import Any

import verifiers.v1 as vf

from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.custom_log import custom_rollout_log_function
from examples.environments.model_server import model_server

logger = logging.getLogger(__name__)

ARGS = {
    "prompt_data": {"type": "verifiers", "taskset": "sums", "settings": {"tasks": 60}},
    "data_source_curricula": {
        "type": "reward",
        "complexity_key": "terms",
        "reward_threshold": 0.5,
        "num_intervals": 3,
        "initial_complexity_percentile": 33,
        "min_batches_per_level": 1,
    },
    "rollout_batch_size": 6,
    "n_samples_per_prompt": 4,
    "rollout_shuffle": True,
    "num_rollout": 5,
    "custom_rollout_log_function_path": (
        "curriculum_learning.custom_log.custom_rollout_log_function"
    ),
}


def environment_of(sample: Any) -> Any:
    """Makes the environment that a sample is of; its harness runs in this process."""
    taskset = sample.metadata["verifiers"]["taskset"]
    config = {"taskset": taskset, "agent": {"runtime": {"type": "subprocess"}}}
    return vf.load_environment(vf.resolve_env_config(config))


async def play(environment: Any, sample: Any, context: vf.ModelContext) -> None:
    """Runs the rollout of a sample, which gets the response and the reward."""
    task_type = type(environment.taskset).task_type()
    data = task_type.data_type().model_validate(sample.metadata["verifiers"]["task"])
    task = task_type(data, environment.taskset.config.task)
    episode = await environment.run_episode(task, context)
    if not episode.ok:
        errors = [*episode.errors, *(error for trace in episode.traces for error in trace.errors)]
        raise RuntimeError(f"the rollout of task {data.idx} has failed: {errors}")
    (trace,) = episode.traces
    sample.response, sample.reward = trace.last_reply, trace.reward
    sample.response_length = trace.num_output_tokens
    sample.status = type(sample).Status.COMPLETED


async def run(args: argparse.Namespace, address: str) -> list[list[Any]]:
    """Runs all rollouts, and gives the rewards back after each; returns their samples."""
    source = DataSource(args)
    client = vf.EvalClientConfig(base_url=address, api_key_var="NO_KEY")
    context = vf.ModelContext(model="stand-in", client=client, sampling=vf.SamplingConfig())
    environment, rollouts = None, []
    async with AsyncExitStack() as stack:
        for rollout_id in range(args.num_rollout):
            start = time.monotonic()
            groups = source.get_samples(args.rollout_batch_size)
            samples = [sample for group in groups for sample in group]
            if environment is None:  # each row says which it is; here all are of one
                environment = environment_of(samples[0])
                await stack.enter_async_context(environment.serving())
            await asyncio.gather(*(play(environment, one, context) for one in samples))
            custom_rollout_log_function(rollout_id, args, samples, {}, time.monotonic() - start)
            terms = {sample.metadata["verifiers"]["task"]["terms"] for sample in samples}
            mean = sum(sample.reward for sample in samples) / len(samples)
            logger.info("rollout %d: sums of %s numbers, mean reward %.2f",
                        rollout_id, sorted(terms), mean)  # fmt: skip
            rollouts.append(samples)
    return rollouts


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    logger.setLevel(logging.INFO)
    with model_server() as server:
        asyncio.run(run(argparse.Namespace(**ARGS), server))
