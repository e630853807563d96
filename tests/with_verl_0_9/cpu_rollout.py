"""An inference server that needs no accelerator, and a reward, for verl on any machine.

verl imports it where ``VERL_USE_EXTERNAL_MODULES`` names it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import ray
import torch
from verl.workers.rollout import base
from verl.workers.rollout.replica import RolloutReplica, RolloutReplicaRegistry, TokenOutput

_SERVER = "policy"
_RESPONSE = 4
"""Most tokens of a response."""


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

    def load(self, weights: dict[str, torch.Tensor], step: int) -> None:
        """Take the weights that training has come to."""
        self._model.load_state_dict(weights)
        self._step = step

    @torch.no_grad()
    def generate(self, prompt_ids: list[int], **_: Any) -> TokenOutput:
        """A sampled response and its log probabilities."""
        self._calls[prompt := tuple(prompt_ids)] += 1
        if sum(prompt) % 3 == 0 and self._calls[prompt] % 2 == 0:
            raise RuntimeError("this sample fails")
        tokens, log_probs = list(prompt_ids), []
        for _token in range(_RESPONSE):
            logits = self._model(torch.tensor([tokens])).logits[0, -1].float()
            scores = torch.log_softmax(logits, dim=-1)
            tokens.append(int(torch.multinomial(scores.exp(), 1)))
            log_probs.append(float(scores[tokens[-1]]))
            if tokens[-1] == self._model.config.eos_token_id:
                break
        steps = dict.fromkeys(("global_steps", "min_global_steps", "max_global_steps"), self._step)
        return TokenOutput(
            token_ids=tokens[len(prompt_ids) :],
            log_probs=log_probs,
            stop_reason="completed",
            extra_fields=steps,
        )

    def sleep(self) -> None:
        """There is no memory to give back."""

    def wake_up(self) -> None:
        """There is no memory to take."""


class CpuReplica(RolloutReplica):  # type: ignore[misc]  # verl has no types
    """The server as verl's trainer sees it."""

    async def launch_servers(self) -> None:
        """Start the server."""
        server = ray.remote(PolicyServer).options(name=_SERVER).remote(self.model_config.path)
        self.servers, self._server_handle, self._server_address = [server], server, "cpu:0"


class CpuRollout(base.BaseRollout):  # type: ignore[misc]  # verl has no types
    """The server as verl's training worker sees it."""

    async def update_weights(
        self, weights: Iterable[tuple[str, torch.Tensor]], global_steps: int = 0, **_: Any
    ) -> None:
        """Hand the weights over."""
        plain = {name: tensor.detach().float().cpu().clone() for name, tensor in weights}
        await ray.get_actor(_SERVER).load.remote(plain, global_steps)

    async def resume(self, tags: list[str]) -> None:
        """There is no memory to take."""

    async def release(self) -> None:
        """There is no memory to give back."""


base._ROLLOUT_REGISTRY["cpu", "async"] = f"{__name__}.{CpuRollout.__name__}"
RolloutReplicaRegistry.register("cpu", lambda: CpuReplica)


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Any, **_: Any
) -> float:
    """The reward of a row stands in the row, so that it is the same in every run."""
    return float(ground_truth)
