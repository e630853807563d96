"""An inference server that needs no accelerator, and rewards, for verl on any machine.

verl imports it where ``VERL_USE_EXTERNAL_MODULES`` names it.
"""

from __future__ import annotations

import asyncio
import time
import types
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ray
import torch
from verl.checkpoint_engine import CheckpointEngine, CheckpointEngineRegistry
from verl.trainer.ppo.v1 import replay_buffer
from verl.workers.rollout import base
from verl.workers.rollout.replica import RolloutReplica, RolloutReplicaRegistry, TokenOutput

_RESPONSE = 4
"""Most tokens of a response."""

# verl looks for finished samples every two seconds; steps take less here.
replay_buffer.time = types.SimpleNamespace(
    sleep=lambda seconds: time.sleep(seconds / 20), time=time.time
)


class PolicyServer:
    """Samples from the policy, token by token.

    The second sample of some prompts fails, so that batches are filled up with padding.
    """

    def __init__(self, path: str) -> None:
        from transformers import AutoModelForCausalLM  # slow, and no one else needs it

        torch.set_num_threads(1)
        self._model = AutoModelForCausalLM.from_pretrained(path, attn_implementation="eager")
        self._step = 0
        self._calls: Counter[tuple[int, ...]] = Counter()
        self._is_open = asyncio.Event()
        self._is_open.set()

    async def load(self, weights: dict[str, torch.Tensor], step: int) -> None:
        """Take the weights that training has come to."""
        self._model.load_state_dict(weights)
        self._step = step

    async def generate(
        self, prompt_ids: list[int], sampling_params: dict[str, Any], **_: Any
    ) -> TokenOutput:
        """A sampled response and its log probabilities, or its beginning if it is interrupted."""
        await self._is_open.wait()
        self._calls[prompt := tuple(prompt_ids)] += 1
        if sum(prompt) % 3 == 0 and self._calls[prompt] % 2 == 0:
            raise RuntimeError("this sample fails")
        tokens, log_probs, stopped = list(prompt_ids), list[float](), "aborted"
        most = sampling_params.get("max_tokens", _RESPONSE)
        while self._is_open.is_set():
            with torch.no_grad():
                logits = self._model(torch.tensor([tokens])).logits[0, -1].float()
            scores = torch.log_softmax(logits, dim=-1)
            tokens.append(int(torch.multinomial(scores.exp(), 1)))
            log_probs.append(float(scores[tokens[-1]]))
            if len(log_probs) == most or tokens[-1] == self._model.config.eos_token_id:
                stopped = "completed"
                break
            await asyncio.sleep(0)
        steps = dict.fromkeys(("global_steps", "min_global_steps", "max_global_steps"), self._step)
        return TokenOutput(
            token_ids=tokens[len(prompt_ids) :],
            log_probs=log_probs,
            stop_reason=stopped,
            extra_fields=steps,
        )

    async def abort_all_requests(self, reject_request: bool = False) -> None:
        """Interrupt all responses; others wait."""
        self._is_open.clear()

    async def resume_generation(self) -> None:
        """Go on."""
        self._is_open.set()

    async def nothing(self) -> None:
        """There is no memory to take or to give back."""

    sleep = wake_up = release_kv_cache = resume_kv_cache = nothing


class CpuReplica(RolloutReplica):  # type: ignore[misc]  # verl has no types
    """The server as verl's trainer sees it."""

    async def launch_servers(self) -> None:
        """Start the server."""
        name = f"policy_{self.replica_rank}"
        server = ray.remote(PolicyServer).options(name=name).remote(self.model_config.path)
        self.servers, self._server_handle, self._server_address = [server], server, name


class CpuRollout(base.BaseRollout):  # type: ignore[misc]  # verl has no types
    """The server as verl's training worker sees it."""

    def __init__(self, *args: Any, replica_rank: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.replica_rank, self.is_leader_rank = replica_rank, True

    async def update_weights(
        self, weights: Iterable[tuple[str, torch.Tensor]], global_steps: int = 0, **_: Any
    ) -> None:
        """Hand the weights over."""
        plain = {name: tensor.detach().float().cpu().clone() for name, tensor in weights}
        server = ray.get_actor(f"policy_{self.replica_rank}")
        await server.load.remote(plain, global_steps)

    async def resume(self, tags: list[str]) -> None:
        """There is no memory to take."""

    async def release(self) -> None:
        """There is no memory to give back."""


@CheckpointEngineRegistry.register("file")
class FileEngine(CheckpointEngine):  # type: ignore[misc]  # verl has no types
    """Carries weights from the trainer to servers with processes of their own, in a file."""

    def __init__(self, bucket_size: int, path: str, is_master: bool = False) -> None:
        self._path = Path(path)

    def prepare(self) -> None:
        """The file of before is old."""
        self._path.unlink(missing_ok=True)

    @classmethod
    def build_topology(cls, actors: int, rollouts: int, _: Any) -> tuple[Any, Any]:
        """There are no connections."""
        return {}, {}

    def init_process_group(self) -> None:
        """There are no connections."""

    def finalize(self) -> None:
        """There is no memory to give back."""

    async def send_weights(self, weights: Any, global_steps: int | None = None) -> None:
        """Write the file."""
        plain = {name: tensor.detach().float().cpu().clone() for name, tensor in weights}
        torch.save(plain, part := self._path.with_suffix(".part"))
        part.rename(self._path)

    def receive_weights(self, global_steps: int | None = None) -> Iterable[tuple[str, Any]]:
        """Read the file, as soon as it is there."""
        while not self._path.exists():
            time.sleep(0.01)
        return torch.load(self._path).items()  # type: ignore[no-any-return]


base._ROLLOUT_REGISTRY["cpu", "async"] = f"{__name__}.{CpuRollout.__name__}"
RolloutReplicaRegistry.register("cpu", lambda: CpuReplica)


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Any, **_: Any
) -> float:
    """The reward of a row stands in the row, so that it is the same in every run."""
    return float(ground_truth)


def compute_varied_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Any, **_: Any
) -> float:
    """The reward of a row, a little different for each response but for every third hard row."""
    if data_source == "hard" and extra_info["index"] % 3 == 0:
        return float(ground_truth)
    return float(ground_truth) + zlib.crc32(solution_str.encode()) % 97 / 1000
