"""What a configuration will do, found by drawing from its real mixture, without a model."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from curriculum_learning.commands.forecast import Drawn, Forecast, Reckoned
from curriculum_learning.commands.plan import Plan
from curriculum_learning.commands.terminal import progress
from curriculum_learning.config.problems import shown
from curriculum_learning.config.weights import in_parts
from curriculum_learning.curricula import CURRICULA, RULES, RowCurriculum, SourceRule
from curriculum_learning.curricula.rows.reward import RewardCurriculum
from curriculum_learning.curricula.rules.adaptive import AdaptiveWeights
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.mixing.mixture import Mixture

MOST_STEPS = 10_000_000
MOST_DRAWN = 500_000
"""Groups; more are not drawn one by one, but reckoned by the shares."""
MOST_SHOWN = 10_000
"""Steps of a curve, and ends of epochs, that are kept."""


@dataclasses.dataclass
class Scarcity:
    """The steps in which less than one group is a source's own."""

    steps: int
    """How many there are."""
    first: int
    last: int
    least: float
    """The smallest share in them."""


@dataclasses.dataclass
class SourceOutlook:
    """What one source will do; the curves have an entry for each of ``Outlook.curve_steps``."""

    name: str
    rows: int | None
    """Rows in the file; None is without end."""
    served_rows: int
    """Rows within the length limit; difficulty levels of rows without end."""
    curriculum: str | None
    """The type of its curriculum."""
    weights: list[float] = dataclasses.field(default_factory=list)
    shares: list[float] = dataclasses.field(default_factory=list)
    open_shares: list[float] = dataclasses.field(default_factory=list)
    """Open part of the served rows, or levels, 0 to 1."""
    largest_weight: float = 0.0
    largest_share: float = 0.0
    scarcity: Scarcity | None = None
    groups: int = 0
    """Groups drawn in all steps."""
    epochs: int = 0
    epoch_ends: list[int] = dataclasses.field(default_factory=list)
    """The step in which each epoch ends, of the first ``MOST_SHOWN``."""
    reward_caps: list[float] = dataclasses.field(default_factory=list)
    """Empty without a cap."""


@dataclasses.dataclass
class Outlook:
    """What all sources will do in ``steps`` steps of ``batch`` groups."""

    steps: int
    batch: int
    curve_steps: list[int]
    """The steps of the curves: all, or of more than ``MOST_SHOWN`` so many, evenly spaced."""
    sources: list[SourceOutlook]
    assumptions: list[str]
    rule: str | None
    """The type of the source rule."""
    warnings: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    """What is worth knowing and nothing to mend."""


def look_ahead(plan: Plan, steps: int, batch: int) -> Outlook:
    """Finds out what a run will draw if every group is trained and no group is returned.

    Draws the groups, or of more than ``MOST_DRAWN`` reckons by the shares how many each source
    has. Rewards are not known ahead: adaptive weights stay as configured, and a curriculum that
    waits for rewards stays at its first level. Uses up the plan's mixture.
    """
    mixture = plan.mixture
    outlooks = [
        SourceOutlook(s.name, plan.rows[s.name], s.size, _type_of(s.curriculum))
        for s in mixture.sources
    ]
    curve = np.unique(np.rint(np.linspace(0, steps - 1, min(steps, MOST_SHOWN))).astype(np.int64))
    rule = _type_of(mixture.rule)
    outlook = Outlook(steps, batch, curve.tolist(), outlooks, _assumptions(plan), rule)
    is_drawn = steps * batch <= MOST_DRAWN
    forecast = Drawn(mixture, batch) if is_drawn else Reckoned(mixture, batch)
    for part in progress(in_parts(range(steps)), "drawing"):
        asked = curve[(curve >= part.start) & (curve < part.stop)].tolist()
        found = forecast.over(part, asked)
        for number, source in enumerate(outlooks):
            _note(source, part, found.of(number), batch)
    for source, groups in zip(outlooks, forecast.groups(), strict=True):
        source.groups = groups
        if source.name in plan.caps:
            source.reward_caps = [plan.caps[source.name](step) for step in outlook.curve_steps]
    if not is_drawn:
        outlook.assumptions.append(_reckoning(mixture, len(curve)))
    return outlook


def _type_of(part: SourceRule | RowCurriculum | None) -> str | None:
    """Returns the name by which a configuration chooses a rule or curriculum."""
    if part is None:
        return None
    ours = {kind: name for name, kind in (*CURRICULA.items(), *RULES.items())}
    return ours.get(type(part), f"{type(part).__module__}.{type(part).__qualname__}")


def _note(source: SourceOutlook, part: range, found: Forecast, batch: int) -> None:
    """Takes down what a source does in some steps."""
    source.weights += found.weights[found.asked].tolist()
    source.shares += found.shares[found.asked].tolist()
    source.open_shares += (found.open_rows / source.served_rows).tolist()
    source.largest_weight = max(source.largest_weight, float(found.weights.max()))
    source.largest_share = max(source.largest_share, float(found.shares.max()))
    source.epochs = int(found.epochs[-1])
    ends = np.arange(len(source.epoch_ends), min(source.epochs, MOST_SHOWN)) + 1
    source.epoch_ends += (np.searchsorted(found.epochs, ends) + part.start).tolist()
    few = np.flatnonzero((found.shares > 0) & (found.shares * batch < 1))
    if len(few):
        least, last = float(found.shares[few].min()), part[int(few[-1])]
        before = source.scarcity or Scarcity(0, part[int(few[0])], last, least)
        count, least = before.steps + len(few), min(before.least, least)
        source.scarcity = Scarcity(count, before.first, last, least)


def _reckoning(mixture: Mixture, asked: int) -> str:
    # The bound of ``Apportionment``, and one group for rounding.
    most = 2 + sum(1 / number for number in range(1, len(mixture.sources) + 1))
    text = (
        f"more than {MOST_DRAWN} groups are not drawn one by one: each source has its shares of "
        f"them, less than {math.ceil(most)} groups off; an epoch takes about as many groups as "
        f"rows are open"
    )
    parts = [mixture.rule, *(source.curriculum for source in mixture.sources)]
    if any(part is not None for part in parts):
        text += f"; source rules and curricula are asked at {asked} steps, and hold until the next"
    return text


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
        problem = f"the length of the run is not known: {key} is {steps!r}; set it, or give --steps"
        if plan.batch is None:
            problem += ". rollout_batch_size is not set either; set it, or give --batch"
        raise ConfigurationError(
            problem,
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
