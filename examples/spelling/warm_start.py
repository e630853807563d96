"""A supervised start, so that the first rewards are not all zero; and how scores are measured."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from curriculum_learning.samples.sample import Sample
from examples.spelling.engine import generate
from examples.spelling.policy import Policy
from examples.spelling.task import Row, Task
from examples.spelling.tokens import END, PAD

logger = logging.getLogger(__name__)

LEARNING_RATE = 1e-3
BATCH_SIZE = 64
WARM_UP_STEPS = 20
FIRST_CHECK, CHECK_EVERY, CHECKED_ROWS = 30, 2, 400


def accuracy(policy: Policy, task: Task, rows: Sequence[Row], generator: torch.Generator) -> float:
    """The share of the rows that one sampled answer (temperature 1) gets right."""
    samples = [
        Sample(prompt=row["input"], label=row["label"], metadata=row["metadata"]) for row in rows
    ]
    generate(policy, [[sample] for sample in samples], len(samples), generator)
    return sum(task.score(sample.response, str(sample.label)) for sample in samples) / len(rows)


def warm_start(
    policy: Policy,
    task: Task,
    rows: Sequence[Sequence[Row]],
    mix: Sequence[float],
    score_wanted: float,
    max_steps: int,
    generator: torch.Generator,
) -> None:
    """Train on right answers until the first source is answered well enough.

    It is the score that ends it and not a number of steps: the skill appears within a few steps,
    and a little later there would be nothing left to learn by reward.

    Args:
        policy: Trained in place.
        task: Says which answers are right.
        rows: The training rows of each source.
        mix: The share of each source in a batch.
        score_wanted: The accuracy on rows of the first source at which to stop.
        max_steps: The number of updates at which to stop in any case.
        generator: Draws the rows.
    """
    text = policy.text
    optimizer = torch.optim.AdamW(policy.parameters(), lr=LEARNING_RATE)
    checked = rows[0][:CHECKED_ROWS]
    shares = torch.tensor(list(mix), dtype=torch.float)
    reached = 0.0
    for step in range(1, max_steps + 1):
        sources = torch.multinomial(shares, BATCH_SIZE, replacement=True, generator=generator)
        picks = torch.rand(BATCH_SIZE, generator=generator).tolist()
        batch = [
            rows[s][int(pick * len(rows[s]))]
            for s, pick in zip(sources.tolist(), picks, strict=True)
        ]
        packed = text.pack(
            [text.encode_question(row["input"]) for row in batch],
            [[*text.encode(row["label"]), END] for row in batch],
        )
        answers = packed[:, text.longest_prompt :]
        value = functional.cross_entropy(
            policy(packed).flatten(0, 1), answers.flatten(), ignore_index=PAD
        )
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        for parameters in optimizer.param_groups:
            parameters["lr"] = LEARNING_RATE * min(step / WARM_UP_STEPS, 1)
        optimizer.step()
        if step >= FIRST_CHECK and step % CHECK_EVERY == 0:
            reached = accuracy(policy, task, checked, generator)
            logger.info(
                "warm start: step %d, loss %.3f, accuracy %.3f", step, value.item(), reached
            )
            if reached >= score_wanted:
                return
    logger.warning("warm start: ended after %d steps at accuracy %.3f", max_steps, reached)
