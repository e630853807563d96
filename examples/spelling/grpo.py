"""Group relative policy optimisation: one clipped policy gradient update per batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from examples.spelling.policy import Policy
from examples.spelling.tokens import Text

CLIP = (0.8, 1.28)
MAX_GRADIENT_NORM = 1.0


class Batch(NamedTuple):
    """What an update learns from; one row per sample."""

    rows: Tensor
    """Tokens as ``Text.pack`` gives them, [rows, columns]."""
    mask: Tensor
    """1 where there is an answer token, [rows, longest answer]."""
    old_log_probs: Tensor
    """Of the answer tokens when they were chosen, [rows, longest answer]."""
    advantages: Tensor
    """[rows]."""


def advantages(rewards: Tensor) -> Tensor:
    """Rewards in standard deviations from their group's mean, [groups, samples] -> the same."""
    centred = rewards - rewards.mean(1, keepdim=True)
    return centred / (rewards.std(1, keepdim=True) + 1e-6)


def make_batch(text: Text, groups: Sequence[Sequence[Any]]) -> Batch:
    """The batch of complete groups with rewards, all of one size.

    Groups whose samples all have the same reward stay in: their advantage is 0, but the entropy
    bonus keeps the policy exploring where it has found no reward yet.
    """
    samples = [sample for group in groups for sample in group]
    prompts, answers = [], []
    for sample in samples:
        start = len(sample.tokens) - sample.response_length
        prompts.append(sample.tokens[:start])
        answers.append(sample.tokens[start:])
    rows = text.pack(prompts, answers)
    lengths = torch.tensor([sample.response_length for sample in samples])
    longest = rows.shape[1] - text.longest_prompt
    old = [
        sample.rollout_log_probs + [0.0] * (longest - sample.response_length) for sample in samples
    ]
    rewards = torch.tensor([[float(sample.reward) for sample in group] for group in groups])
    return Batch(
        rows=rows,
        mask=(torch.arange(longest) < lengths[:, None]).float(),
        old_log_probs=torch.tensor(old),
        advantages=advantages(rewards).flatten(),
    )


def loss(policy: Policy, batch: Batch, entropy_bonus: float) -> tuple[Tensor, dict[str, float]]:
    """The loss, a mean over answer tokens, and figures to log.

    Without the entropy bonus the policy becomes certain of ending its answers early, as short
    words are rewarded first.
    """
    log_probs = policy(batch.rows).log_softmax(-1)
    answers = batch.rows[:, policy.text.longest_prompt :]
    chosen = log_probs.gather(2, answers[:, :, None])[:, :, 0]
    entropy = -(log_probs.exp() * log_probs).sum(-1)
    # The old log-probabilities are those recorded token by token. In a sample that was
    # interrupted they come from several policies, so the ratio is not 1 for its older tokens.
    ratio = ((chosen - batch.old_log_probs) * batch.mask).exp()
    advantage = batch.advantages[:, None]
    gain = torch.minimum(ratio * advantage, ratio.clamp(*CLIP) * advantage)
    tokens = batch.mask.sum()
    objective = ((gain + entropy_bonus * entropy) * batch.mask).sum() / tokens
    clipped = ((ratio < CLIP[0]) | (ratio > CLIP[1])).float() * batch.mask
    return -objective, {
        "loss": -objective.item(),
        "entropy": ((entropy * batch.mask).sum() / tokens).item(),
        "clipped": (clipped.sum() / tokens).item(),
    }


def make_optimizer(policy: Policy) -> torch.optim.AdamW:
    """The optimizer; its state is part of a checkpoint. ``update`` sets the learning rate."""
    return torch.optim.AdamW(policy.parameters(), lr=0.0, betas=(0.9, 0.95))


def update(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    groups: Sequence[Sequence[Any]],
    learning_rate: float,
    entropy_bonus: float,
) -> dict[str, float]:
    """One update of the policy from complete groups; returns figures to log."""
    batch = make_batch(policy.text, groups)
    value, figures = loss(policy, batch, entropy_bonus)
    optimizer.zero_grad()
    value.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    norm = nn.utils.clip_grad_norm_(policy.parameters(), MAX_GRADIENT_NORM)
    for parameters in optimizer.param_groups:
        parameters["lr"] = learning_rate
    optimizer.step()
    mixed = sum(len({sample.reward for sample in group}) > 1 for group in groups)
    return {"mixed_reward_groups": mixed, "gradient_norm": norm.item(), **figures}
