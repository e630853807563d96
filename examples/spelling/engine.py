"""Generation that can be interrupted: more groups are started than a batch needs.

The batch is full when enough groups are complete. The others go back to the data source half
written and are finished in a later batch, by a policy that has moved on a little since.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from examples.spelling.policy import Policy
from examples.spelling.task import Task
from examples.spelling.tokens import END

Group = list[Any]
"""The samples of one prompt; their class is the library's, or slime's where that is installed."""


class DataSource(Protocol):
    """What an engine needs of a data source."""

    def get_samples(self, num_samples: int) -> list[Group]:
        """The next groups; those that were given back come first."""

    def add_samples(self, samples: list[Group]) -> None:
        """Give back unfinished groups."""


def collect_batch(
    policy: Policy,
    task: Task,
    source: DataSource,
    batch_size: int,
    started: int,
    generator: torch.Generator,
) -> list[Group]:
    """Start ``started`` groups, return the first ``batch_size`` to be complete, with rewards.

    The rest is given back to ``source``.

    Args:
        policy: Writes the answers.
        task: Says which are right.
        source: Serves the groups.
        batch_size: Groups to return.
        started: Groups to generate at once, at least ``batch_size``.
        generator: Draws the tokens.
    """
    if started < batch_size:
        raise ValueError(f"{started} groups can never fill a batch of {batch_size}: start more")
    groups = source.get_samples(started)
    generate(policy, groups, batch_size, generator)
    complete = [group for group in groups if all(map(_is_done, group))]
    for sample in (sample for group in complete for sample in group):
        sample.reward = task.score(sample.response, sample.label)
    source.add_samples([group for group in groups if not all(map(_is_done, group))])
    return complete


@torch.no_grad()
def generate(
    policy: Policy, groups: Sequence[Group], wanted: int, generator: torch.Generator
) -> None:
    """Continue the groups token by token, in place, until ``wanted`` of them are complete.

    Samples keep what they have: a half-written one goes on after its last token, a finished one
    is left alone. Those that are not done in the end have status ABORTED.

    Args:
        policy: Writes the answers.
        groups: At least ``wanted``.
        wanted: Complete groups at which to stop.
        generator: Draws the tokens.
    """
    text = policy.text
    unfinished = [sample for group in groups for sample in group if not _is_done(sample)]
    row_of = {id(sample): row for row, sample in enumerate(unfinished)}
    for sample in unfinished:
        if not sample.tokens:
            sample.tokens = text.encode_question(sample.prompt)
            sample.rollout_log_probs = []
    prompts = [
        sample.tokens[: len(sample.tokens) - sample.response_length] for sample in unfinished
    ]
    answers = [
        sample.tokens[len(sample.tokens) - sample.response_length :] for sample in unfinished
    ]
    first = torch.tensor([text.longest_prompt - len(prompt) for prompt in prompts])
    columns = torch.tensor([text.longest_prompt - 1 + len(answer) for answer in answers])
    logits, cache = policy.prefill(text.pack(prompts, answers), columns)

    complete = sum(all(map(_is_done, group)) for group in groups)
    while True:
        log_probs = logits.log_softmax(-1)
        tokens = torch.multinomial(log_probs.exp(), 1, generator=generator)
        chosen = log_probs.gather(1, tokens)[:, 0].tolist()
        token_list = tokens[:, 0].tolist()
        for group in groups:
            if complete == wanted:  # in the middle of a step: not one group too many
                break
            written = [sample for sample in group if not _is_done(sample)]
            for sample in written:
                row = row_of[id(sample)]
                _append(sample, token_list[row], chosen[row], text.longest_answer)
            complete += bool(written) and all(map(_is_done, group))
        if complete == wanted:
            break
        # Rows that are done are carried along, in a column that stays within bounds.
        columns = (columns + 1).clamp(max=text.columns - 1)
        logits = policy.step(tokens[:, 0], columns, first, cache)

    for sample in unfinished:
        sample.response = text.decode(sample.tokens[len(sample.tokens) - sample.response_length :])
        if not _is_done(sample):
            sample.status = type(sample).Status.ABORTED


def _append(sample: Any, token: int, log_prob: float, longest: int) -> None:
    sample.tokens.append(token)
    # The log-probability under the policy that chose the token: the update needs that one.
    sample.rollout_log_probs.append(log_prob)
    sample.response_length += 1
    if token == END:
        sample.status = type(sample).Status.COMPLETED
    elif sample.response_length == longest:
        sample.status = type(sample).Status.TRUNCATED


def _is_done(sample: Any) -> bool:
    return sample.status in (type(sample).Status.COMPLETED, type(sample).Status.TRUNCATED)
