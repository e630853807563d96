"""What a configuration will do, found by drawing from its real mixture, without a model."""

from __future__ import annotations

import dataclasses

from curriculum_learning.commands.plan import Plan
from curriculum_learning.commands.terminal import progress
from curriculum_learning.config.problems import shown
from curriculum_learning.curricula import SourceRule
from curriculum_learning.curricula.rows.reward import RewardCurriculum
from curriculum_learning.curricula.rules.adaptive import AdaptiveWeights
from curriculum_learning.errors import ConfigurationError

MOST_STEPS = 10_000_000


@dataclasses.dataclass
class SourceOutlook:
    """What one source will do; the lists have an entry for each step."""

    name: str
    rows: int
    """Rows in the file."""
    served_rows: int
    """Rows within the length limit."""
    weights: list[float] = dataclasses.field(default_factory=list)
    shares: list[float] = dataclasses.field(default_factory=list)
    open_shares: list[float] = dataclasses.field(default_factory=list)
    """Open part of the served rows, 0 to 1."""
    groups: int = 0
    """Groups drawn in all steps."""
    epoch_ends: list[int] = dataclasses.field(default_factory=list)
    """The step in which each epoch ends."""
    has_curriculum: bool = False


@dataclasses.dataclass
class Outlook:
    """What all sources will do in ``steps`` steps of ``batch`` groups."""

    steps: int
    batch: int
    sources: list[SourceOutlook]
    assumptions: list[str]
    warnings: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    """What is worth knowing and nothing to mend."""


def look_ahead(plan: Plan, steps: int, batch: int) -> Outlook:
    """Draws what a run will draw if every group is trained and no group is returned.

    Rewards are not known ahead: adaptive weights stay as configured, and a curriculum that waits
    for rewards stays at its first level. Uses up the plan's mixture.
    """
    mixture = plan.mixture
    outlooks = [
        SourceOutlook(s.name, plan.rows[s.name], s.size, has_curriculum=s.curriculum is not None)
        for s in mixture.sources
    ]
    for step in progress(range(steps), "drawing"):
        weights, shares = mixture.weights(step), mixture.shares(step)
        for outlook, source in zip(outlooks, mixture.sources, strict=True):
            outlook.weights.append(weights[source.name])
            outlook.shares.append(shares[source.name])
            outlook.open_shares.append(source.open_rows(step) / source.size)
        for _ in range(batch):
            mixture.draw(step)
        for outlook, source in zip(outlooks, mixture.sources, strict=True):
            outlook.epoch_ends += [step] * (source.epoch - len(outlook.epoch_ends))
    for outlook, drawn in zip(outlooks, mixture.drawn, strict=True):
        outlook.groups = drawn
    return Outlook(steps, batch, outlooks, _assumptions(plan))


def _assumptions(plan: Plan) -> list[str]:
    unknown = "rewards are not known ahead: "
    rule = plan.mixture.rule
    assumptions = [f"{_noun(rule)} stay as configured"] if rule is not None and rule.learns else []
    for source in plan.mixture.sources:
        curriculum = source.curriculum
        if isinstance(curriculum, RewardCurriculum):
            assumptions.append(f"source '{source.name}' stays at its first level")
        elif curriculum is not None and curriculum.learns:
            assumptions.append(f"the rows of source '{source.name}' come as often as at the start")
    return [unknown + assumption for assumption in assumptions]


def _noun(rule: SourceRule) -> str:
    return "adaptive weights" if isinstance(rule, AdaptiveWeights) else "shares of the source rule"


def steps_of(plan: Plan, asked: int | None) -> int:
    """Returns the number of steps to look at: ``asked`` for, else those of the run.

    Raises:
        ConfigurationError: Neither is known, or there are too many.
    """
    steps = plan.steps if asked is None else asked
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        key = "num_rollout" if plan.engine == "slime" else "trainer.total_training_steps"
        raise ConfigurationError(
            f"the length of the run is not known: {key} is {steps!r}; set it, or give --steps",
            key=key,
            value=steps,
        )
    if steps > MOST_STEPS:
        key = "--steps" if asked is not None else "num_rollout"
        raise ConfigurationError(
            f"{key} is {steps}; at most {MOST_STEPS} steps can be looked at; "
            f"give fewer with --steps",
            key=key,
            value=steps,
        )
    return steps


def batch_of(plan: Plan) -> int:
    """Returns the number of groups of a step.

    Raises:
        ConfigurationError: It is not known.
    """
    if plan.batch is None:
        raise ConfigurationError(
            "rollout_batch_size is not set, so it is not known how many groups a rollout takes; "
            "set it, or give --batch",
            key="rollout_batch_size",
        )
    return plan.batch


def request_of(plan: Plan) -> int | None:
    """Returns the number of groups of an engine's request; None if it is not configured.

    Raises:
        ConfigurationError: It is no whole number >= 1.
    """
    key = "over_sampling_batch_size"
    request = plan.values.get(key)
    if request is None or (type(request) is int and request >= 1):
        return request
    problem = f"{key} {shown(request)} must be a whole number >= 1"
    raise ConfigurationError(problem, key=key, value=request)
