"""miles' own rollout functions around our data source.

What runs between the two is miles': its command line, its rollout functions and their event loop,
its filters, its buffer of finished groups, and its metrics. Stood in for are the inference server,
the tokenizer, the tracker, and the manager, whose calls are repeated here.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from miles.ray.rollout import metrics as rollout_metrics
from miles.ray.rollout.rollout_data_conversion import postprocess_rollout_data
from miles.rollout.base_types import (
    GenerateFnInput,
    GenerateFnOutput,
    RolloutFnConstructorInput,
    RolloutFnTrainInput,
)
from miles.rollout.inference_rollout import inference_rollout_common, inference_rollout_train
from miles.rollout.inference_rollout.compatibility import (
    call_rollout_function,
    load_rollout_function,
)
from miles.utils import async_utils
from miles.utils.arguments import get_miles_extra_args_provider
from miles.utils.misc import load_function
from miles.utils.types import Sample

from tests.with_slime.prompts import SOURCES, write_prompts

SYNCHRONOUS = "miles.rollout.inference_rollout.inference_rollout_common.InferenceRolloutFn"
FULLY_ASYNC = "miles.rollout.fully_async_rollout.FullyAsyncRolloutFn"

ROLLOUTS = 12
WEIGHTS = {"short": 0.3, "medium": 0.5, "filtered": 0.2}


def make_args(folder: Path, **ours: Any) -> argparse.Namespace:
    """The arguments that miles makes of its command line, with ``ours`` set on them afterwards."""
    command = f"""
        train_async.py
        --data-source-path
            curriculum_learning.data_source.MultipleWeightedRolloutDataSourceWithBuffer
        --custom-rollout-log-function-path
            curriculum_learning.custom_log.custom_rollout_log_function
        --dynamic-sampling-filter-path
            miles.rollout.filter_hub.dynamic_sampling_filters.check_reward_nonzero_std
        --custom-generate-function-path tests.with_miles.engine.generate
        --custom-rm-path tests.with_miles.engine.reward
        --hf-checkpoint {folder / "model"} --save {folder / "checkpoints"}
        --rollout-batch-size 16 --over-sampling-batch-size 24 --n-samples-per-prompt 4
        --rollout-shuffle --use-wandb --rollout-num-gpus 1 --global-batch-size 64
    """
    with pytest.MonkeyPatch.context() as patch:
        # miles looks there for functions that have options of their own.
        patch.setattr(sys, "argv", command.split())
        parser = argparse.ArgumentParser()
        get_miles_extra_args_provider()(parser)
        args, _ = parser.parse_known_args()
    settings = {
        # what the parsers of the trainer and of the inference server would add
        "load_debug_rollout_data": None,
        "sglang_server_concurrency": 64,
        "sglang_speculative_algorithm": None,
        "prompt_data": [write_prompts(folder, name, rows) for name, rows in SOURCES.items()],
        "data_source_weights": WEIGHTS,
        **ours,
    }
    for key, value in settings.items():
        setattr(args, key, value)
    return args


async def generate(input: GenerateFnInput) -> GenerateFnOutput:  # its name in miles
    """Generate tokens of a random number; an abort leaves what there is by then."""
    sample = input.sample
    luck = random.Random(f"{sample.index} {len(sample.tokens)}")
    sample.status = Sample.Status.COMPLETED
    for _ in range(luck.randint(1, 40)):
        await asyncio.sleep(0)
        if input.state.aborted:
            sample.status = Sample.Status.ABORTED
            break
        sample.tokens = [*sample.tokens, luck.randrange(256)]
        sample.response += "x"
        sample.response_length += 1
    sample.weight_versions.append("1")
    return GenerateFnOutput(samples=sample)


async def reward(args: Any, sample: Any, **_: Any) -> float:
    """A rule-based reward; more than half of the groups of "filtered" have no spread in theirs."""
    chance = 8 if sample.prompt.startswith("filtered") else 2
    return float(sample.tokens[-1] % chance > 0)


class Run:
    """A process of miles', from start to end, and a record of what it did.

    Args:
        args: What ``make_args`` gave.
        path: The rollout function.
    """

    source: Any

    def __init__(self, args: argparse.Namespace, path: str = SYNCHRONOUS) -> None:
        self.args, self._path = args, path
        self.served: list[list[Any]] = []
        """The groups handed out, as they were then: source, row, step, and id."""
        self.returned = 0
        """How many times groups were given back."""
        self.samples: list[list[Any]] = []
        """What each rollout trained on."""
        self.tracked: list[dict[str, Any]] = []
        """What reached the tracker."""
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> Run:
        async def nothing(*_: Any, **__: Any) -> list[str]:
            return []

        self._patch.setattr(inference_rollout_common, "load_tokenizer", lambda *_, **__: None)
        self._patch.setattr(inference_rollout_common, "load_processor", lambda *_, **__: None)
        self._patch.setattr(inference_rollout_train, "get_worker_urls", nothing)
        dumper = inference_rollout_train.dumper_utils
        self._patch.setattr(dumper, "configure_sglang", nothing)
        again = "recompute_samples_rollout_logprobs_via_prefill"
        self._patch.setattr(inference_rollout_train, again, nothing)
        self._patch.setattr(rollout_metrics.tracking, "log", self._track)
        self.source = load_function(self.args.data_source_path)(self.args)
        self._get_samples, self._add_samples = self.source.get_samples, self.source.add_samples
        self._patch.setattr(self.source, "get_samples", self._record_request)
        self._patch.setattr(self.source, "add_samples", self._record_return)
        given = RolloutFnConstructorInput(args=self.args, data_source=self.source)
        self._rollout = load_rollout_function(given, self._path)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        worker = getattr(self._rollout, "_worker", None)
        if worker is not None:
            async_utils.get_async_loop().loop.call_soon_threadsafe(worker.cancel)
        self._patch.undo()
        self.source.close()

    def generate(self, rollout_id: int) -> list[Any]:
        """One rollout, with the calls that miles' manager makes; the samples to train on."""
        output = call_rollout_function(
            self._rollout, RolloutFnTrainInput(rollout_id=rollout_id, weight_version=1)
        )
        samples, _ = postprocess_rollout_data(self.args, output.samples, None)
        rollout_metrics.log_rollout_data(rollout_id, self.args, samples, output.metrics, 0.1)
        self.samples.append(samples)
        return list(samples)

    def _track(self, args: Any, log: dict[str, Any], step_key: str) -> None:
        assert step_key in log
        self.tracked.append(log)

    def _record_request(self, num_samples: int) -> list[Any]:
        groups: list[Any] = self._get_samples(num_samples)
        for first, *_ in groups:
            data = first.metadata
            place = [data[f"data_source{key}"] for key in ("", "_row", "_rollout_step")]
            self.served.append([*place, first.group_index])
        return groups

    def _record_return(self, groups: list[Any]) -> None:
        self._add_samples(groups)
        self.returned += len(groups)
