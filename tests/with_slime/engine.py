"""slime's own manager and rollout functions around our data source, and a server for them.

What runs between the two is slime's: its command line, the manager that calls the data source, the
rollout functions, the HTTP calls and their abort, rewards, filters and metrics, and the way to the
tracker. Stood in for are the server's answers, the tokenizer, the actors and the tracker.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import copy
import json
import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import pytest
from slime.observability import logging_utils, rollout_metrics
from slime.ray import rollout as rollout_manager
from slime.rollout import fully_async_rollout, sample_hooks, sglang_rollout
from slime.utils import http_utils
from slime.utils.arguments import get_slime_extra_args_provider
from slime.utils.misc import SingletonMeta
from slime.utils.types import Sample

from curriculum_learning.data_source import MultipleWeightedRolloutDataSourceWithBuffer
from tests.with_slime.prompts import SOURCES, write_prompts

ROLLOUTS = 20
CONSTANT = {"short": 0.3, "medium": 0.5, "filtered": 0.2}
VARYING = {
    "short": {"schedule": "linear", "start": 0.9, "end": 0.1, "steps": ROLLOUTS},
    "medium": 0.5,
    "filtered": "lambda rollout_step: 0.1 + 0.02 * rollout_step",
}
BOUND_FOR_VARYING = 1 + 1 / 2 + 1 / 3 + 1
"""How far draws can be off changing shares of three sources."""

_LAYERS = 2

_MANAGER = rollout_manager.RolloutManager
if hasattr(_MANAGER, "__ray_metadata__"):
    _MANAGER = _MANAGER.__ray_metadata__.modified_class  # the class itself, where ray is installed


def varying_shares(step: int) -> dict[str, float]:
    """The shares that ``VARYING`` means at a step of the run."""
    weights = {"short": 0.9 - 0.04 * step, "medium": 0.5, "filtered": 0.1 + 0.02 * step}
    return {source: weight / sum(weights.values()) for source, weight in weights.items()}


def make_args(folder: Path, **ours: Any) -> argparse.Namespace:
    """The arguments that slime makes of its command line, with ``ours`` set on them afterwards.

    The latter is what slime does with the file that ``--custom-config-path`` names.
    """
    parser = argparse.ArgumentParser()
    get_slime_extra_args_provider()(parser)
    args = parser.parse_args(
        f"""
        --data-source-path
            curriculum_learning.data_source.MultipleWeightedRolloutDataSourceWithBuffer
        --custom-rollout-log-function-path
            curriculum_learning.custom_log.custom_rollout_log_function
        --eval-function-path slime.rollout.sglang_rollout.generate_rollout
        --dynamic-sampling-filter-path
            slime.rollout.filter_hub.dynamic_sampling_filters.check_reward_nonzero_std
        --custom-rm-path tests.with_slime.engine.reward
        --hf-checkpoint {folder / "model"} --save {folder / "checkpoints"}
        --rollout-batch-size 16 --over-sampling-batch-size 24 --n-samples-per-prompt 4
        --rollout-max-response-len 40 --rollout-shuffle --partial-rollout
        --use-rollout-routing-replay --use-wandb
        """.split()
    )
    settings = {
        # what the parsers of the trainer and of the inference server would add
        "debug_rollout_only": False,
        "debug_train_only": False,
        "eval_datasets": [],
        "load_debug_rollout_data": None,
        "moe_router_topk": 1,
        "num_layers": _LAYERS,
        "rollout_num_engines": 1,
        "sglang_dp_size": 1,
        "sglang_router_ip": "127.0.0.1",
        "sglang_router_port": 30000,
        "sglang_server_concurrency": 64,
        "prompt_data": [write_prompts(folder, name, rows) for name, rows in SOURCES.items()],
        **ours,
    }
    for key, value in settings.items():
        setattr(args, key, value)
    return args


async def reward(args: Any, sample: Any) -> float:
    """A rule-based reward; most groups of the source 'filtered' have no spread in theirs."""
    chance = 32 if sample.prompt.startswith("filtered") else 2
    return float(sample.tokens[-1] % chance > 0)


def lose_source_of_aborted(args: Any, sample: Any) -> Any:
    """A user's sample hook with a mistake: an unfinished sample loses its metadata."""
    if sample.status is Sample.Status.ABORTED:
        sample.metadata = {}
    return sample


class Tokenizer:
    """One token per byte."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """The tokens of a text."""
        return list(text.encode())


class _Response:
    """An HTTP response."""

    def __init__(self, content: Any) -> None:
        self._content = json.dumps(content).encode()

    def raise_for_status(self) -> None:
        pass

    async def aread(self) -> bytes:
        return self._content

    async def aclose(self) -> None:
        pass


class InferenceServer:
    """The HTTP client of an inference server and its router, with the server behind it.

    All requests are decoded together, a token at a time, and their lengths are random: the short
    ones end first, and an abort finds the others at different places.

    Args:
        seconds_per_token: How long one token takes; 0 is as fast as the event loop turns.
        seed: Chooses lengths and tokens.
    """

    def __init__(self, *, seconds_per_token: float = 0, seed: int = 0) -> None:
        self._seconds_per_token = seconds_per_token
        self._random = random.Random(seed)
        self._aborts = 0
        self._running: collections.Counter[int] = collections.Counter()
        """Requests running, by the number of aborts before each."""

    async def get(self, url: str) -> _Response:
        """Answer a GET."""
        if url.endswith("/workers"):
            return _Response({"workers": [{"url": url.removesuffix("/workers")}]})
        return _Response({"loads": [{"num_reqs": self._still_to_abort()}]})

    async def post(self, url: str, *, json: dict[str, Any], headers: Any) -> _Response:
        """Answer a POST."""
        if not url.endswith("/abort_request"):
            return _Response(await self._generate(json))
        self.abort()
        while self._still_to_abort():
            await asyncio.sleep(self._seconds_per_token)
        return _Response({})

    def abort(self) -> None:
        """End all running requests at their next token; may be called from any thread."""
        self._aborts += 1

    def _still_to_abort(self) -> int:
        return sum(count for aborts, count in self._running.items() if aborts < self._aborts)

    async def _generate(self, request: dict[str, Any]) -> dict[str, Any]:
        limit = request["sampling_params"]["max_new_tokens"]
        length = self._random.randint(1, 50)
        finish = "stop" if length <= limit else "length"
        tokens: list[int] = []
        aborts = self._aborts
        self._running[aborts] += 1
        for _ in range(min(length, limit)):
            await asyncio.sleep(self._seconds_per_token)
            if aborts < self._aborts:
                finish = "abort"
                break
            tokens.append(self._random.randrange(256))
        self._running[aborts] -= 1
        known = len(request["input_ids"])
        return {
            "text": "x" * len(tokens),
            "meta_info": {
                "finish_reason": {"type": finish},
                "output_token_logprobs": [[-0.5, token, None] for token in tokens],
                "prompt_tokens": known,
                "completion_tokens": len(tokens),
                "cached_tokens": known // 2,
                "e2e_latency": 0.1,
                "weight_version": "1",
                "routed_experts": [1] * _LAYERS * (known + len(tokens) - 1),
            },
        }


class Serving(NamedTuple):
    """One time that a group was handed out."""

    group_index: int
    indices: tuple[int, ...]
    source: str
    row: int
    step: int
    share: float
    rollout_id: int
    """The rollout that slime was in before."""
    logged: int
    """The rollouts that slime had logged afterwards."""
    again: bool
    """It had been handed out before."""
    partial: bool
    """Tokens of it had been generated before."""

    @property
    def identity(self) -> tuple[int, tuple[int, ...], str, int]:
        """What never changes."""
        return self[:4]


class Run:
    """A process of slime's, from start to end, and a record of what passes the data source.

    The manager exists inside ``with``; what is recorded stays.

    Args:
        args: What ``make_args`` gave.
        server: Answers slime's HTTP calls.
        waiting: The groups that an earlier process handed out and that were not trained, in the
            order in which they must be handed out again.
    """

    manager: Any
    source: MultipleWeightedRolloutDataSourceWithBuffer

    def __init__(
        self,
        args: argparse.Namespace,
        *,
        server: InferenceServer | None = None,
        waiting: list[int] | None = None,
    ) -> None:
        self.args = args
        self.server = server or InferenceServer()
        self.requests: list[int] = []
        """The size of each request for groups."""
        self.servings: list[Serving] = []
        self.served_out_of_turn: list[list[int]] = []
        """Requests whose groups did not begin with the waiting ones, oldest first."""
        self.returned = 0
        """How many times groups were given back."""
        self.samples: list[list[Any]] = []
        """What each rollout trained on."""
        self.metrics: list[dict[str, Any]] = []
        """What reached the tracker after each rollout."""
        self.slime_metrics: list[dict[str, Any]] = []
        """What would have reached it without our log function."""
        self._waiting = list(waiting or [])
        self._known = set(self._waiting)
        self._rollout_id = -1
        self._tracked: list[dict[str, Any]] = []
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> Run:
        self._stand_in()
        self.manager = _MANAGER(self.args, None)
        self.source = self.manager.data_source
        self._get_samples, self._add_samples = self.source.get_samples, self.source.add_samples
        self._patch.setattr(self.source, "get_samples", self._record_request)
        self._patch.setattr(self.source, "add_samples", self._record_return)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What slime keeps for the life of its process goes with it.
        fully_async_rollout._stop_global_worker()
        SingletonMeta._instances.clear()
        sample_hooks.set_current_rollout_id(None)
        self._patch.undo()

    def generate(self, rollout_id: int) -> dict[str, Any]:
        """One rollout, as slime's training loops ask for it.

        Returns:
            What it gives them to train on.
        """
        self._rollout_id = rollout_id
        data: dict[str, Any] = self.manager.generate(rollout_id)
        return data

    def evaluate(self, rollout_id: int) -> dict[str, Any]:
        """An evaluation, as slime's training loops ask for it; what it tells the tracker."""
        self._tracked.clear()
        self.manager.eval(rollout_id)
        (metrics,) = self._tracked
        return metrics

    @property
    def drawn(self) -> list[Serving]:
        """The groups that were handed out for the first time."""
        return [serving for serving in self.servings if not serving.again]

    @property
    def trained(self) -> set[int]:
        """The groups trained on."""
        return {sample.group_index for samples in self.samples for sample in samples}

    def unfinished(self) -> list[int]:
        """The groups that a resume must hand out again, in that order: in flight, then waiting."""
        in_flight = self._known - self.trained - set(self._waiting)
        return [*sorted(in_flight), *self._waiting]

    def _stand_in(self) -> None:
        """Take the place of servers, other processes and the tracker."""
        self._patch.setattr(http_utils, "_http_client", self.server)
        self._patch.setattr(sglang_rollout, "load_tokenizer", lambda *_, **__: Tokenizer())
        self._patch.setattr(sglang_rollout, "load_processor", lambda *_, **__: None)
        self._patch.setattr(rollout_manager, "start_rollout_servers", lambda *_: ({}, []))
        self._patch.setattr(rollout_manager, "init_tracking", lambda *_, **__: None)
        self._patch.setattr(rollout_manager, "Lock", _Actor)
        self._patch.setattr(_MANAGER, "_split_train_data_by_dp", lambda _, data: data)
        # Otherwise slime takes away the log handlers of pytest.
        self._patch.setattr(logging_utils, "_LOGGER_CONFIGURED", True)
        self._patch.setattr(logging_utils.wandb, "log", self._tracked.append)
        self._patch.setattr(rollout_manager, "log_rollout_data", self._log_rollout)
        # Otherwise the worker looks for something to do once a second.
        make_worker = fully_async_rollout.AsyncRolloutWorker.__init__

        def make_quick_worker(worker: Any, *args: Any, **kwargs: Any) -> None:
            make_worker(worker, *args, **kwargs)
            worker.poll_interval = 0.001

        self._patch.setattr(fully_async_rollout.AsyncRolloutWorker, "__init__", make_quick_worker)

    def _log_rollout(
        self, rollout_id: int, args: Any, samples: list[Any], metrics: Any, seconds: float
    ) -> None:
        self._tracked.clear()
        self.samples.append(samples)
        rollout_metrics.log_rollout_data(rollout_id, args, samples, metrics, seconds)
        by_default = copy.copy(args)
        by_default.custom_rollout_log_function_path = None
        rollout_metrics.log_rollout_data(rollout_id, by_default, samples, metrics, seconds)
        with_ours, without_ours = self._tracked
        self.metrics.append(with_ours)
        self.slime_metrics.append(without_ours)

    def _record_request(self, num_samples: int) -> list[Any]:
        rollout_id = self._rollout_id
        groups = self._get_samples(num_samples)
        self.requests.append(num_samples)
        ids = [group[0].group_index for group in groups]
        first, self._waiting = self._waiting[:num_samples], self._waiting[num_samples:]
        if ids[: len(first)] != first:
            self.served_out_of_turn.append(ids)
        self.servings += [self._serving(group, rollout_id) for group in groups]
        self._known.update(ids)
        return groups

    def _record_return(self, groups: list[Any]) -> None:
        self._add_samples(groups)
        self.returned += len(groups)
        self._waiting += [group[0].group_index for group in groups]

    def _serving(self, group: list[Any], rollout_id: int) -> Serving:
        first = group[0]
        return Serving(
            first.group_index,
            tuple(sample.index for sample in group),
            first.metadata["data_source"],
            first.metadata["data_source_row"],
            first.metadata["data_source_rollout_step"],
            first.metadata["data_source_weight"],
            rollout_id,
            len(self.samples),
            again=first.group_index in self._known,
            partial=any(sample.response for sample in group),
        )


def farthest_from_shares(
    drawn: Iterable[Serving], shares_at: Callable[[int], Mapping[str, float]]
) -> float:
    """Groups that a source was off its shares at the worst moment of all the draws."""
    counts = dict.fromkeys(SOURCES, 0)
    due = dict.fromkeys(SOURCES, 0.0)
    farthest = 0.0
    for serving in drawn:
        counts[serving.source] += 1
        for source, share in shares_at(serving.step).items():
            due[source] += share
            farthest = max(farthest, abs(counts[source] - due[source]))
    return farthest


class _Actor:
    """An actor class of which nothing but one instance is asked."""

    @classmethod
    def options(cls, **options: Any) -> type[_Actor]:
        return cls

    @classmethod
    def remote(cls) -> None:
        pass
