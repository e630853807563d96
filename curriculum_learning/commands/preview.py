"""What a configuration will do, worked out by drawing from its real mixture, without a model."""

from __future__ import annotations

import dataclasses
from typing import Any

from curriculum_learning.commands.plan import Plan
from curriculum_learning.commands.terminal import progress
from curriculum_learning.config.data_source import HOOKS
from curriculum_learning.config.plan import ALL_SAMPLES_FUNCTION, LOG_FUNCTION
from curriculum_learning.curricula.rows.reward import RewardCurriculum
from curriculum_learning.errors import ConfigurationError, ScheduleError

_SHOWN_EPOCHS = 3
"""Ends of epochs that a table shows."""


@dataclasses.dataclass
class SourceOutlook:
    """What becomes of one source; the lists have an entry for each step."""

    name: str
    rows: int
    """In the file."""
    served_rows: int
    """Within the length limit."""
    weights: list[float] = dataclasses.field(default_factory=list)
    shares: list[float] = dataclasses.field(default_factory=list)
    open_shares: list[float] = dataclasses.field(default_factory=list)
    """Of the served rows, 0 to 1."""
    groups: int = 0
    """Drawn in all steps."""
    epoch_ends: list[int] = dataclasses.field(default_factory=list)
    """The step in which each epoch ends."""
    has_curriculum: bool = False


@dataclasses.dataclass
class Outlook:
    """What becomes of all sources in so many steps of so many groups."""

    steps: int
    batch: int
    sources: list[SourceOutlook]
    assumptions: list[str]
    warnings: list[str]

    def as_data(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self)


def look_ahead(plan: Plan, steps: int | None, *, max_epochs: float) -> Outlook:
    """Draw what a run will draw, if every group is trained and nothing comes back.

    Rewards are not known ahead: adaptive weights stay as configured, and a curriculum that waits
    for rewards stays at its first level.

    Args:
        plan: What to draw from; its mixture is used up.
        steps: Steps to draw; None is the whole run.
        max_epochs: Epochs of a source above which to warn.

    Raises:
        ConfigurationError: The length of the run or the batch size is not known.
    """
    steps, batch = length_of(plan, steps), batch_of(plan)
    mixture = plan.mixture
    outlooks = [
        SourceOutlook(s.name, plan.rows[s.name], s.size, has_curriculum=s.curriculum is not None)
        for s in mixture.sources
    ]
    for step in progress(range(steps), "drawing"):
        weights, shares = mixture.weights(step), mixture.shares(step)
        for outlook, source in zip(outlooks, mixture.sources, strict=True):
            is_open = source.open_rows(step)
            outlook.weights.append(weights[source.name])
            outlook.shares.append(shares[source.name])
            outlook.open_shares.append(is_open / source.size)
        for _ in range(batch):
            mixture.draw(step)
        for outlook, source in zip(outlooks, mixture.sources, strict=True):
            outlook.epoch_ends += [step] * (source.epoch - len(outlook.epoch_ends))
    for outlook, drawn in zip(outlooks, mixture.drawn, strict=True):
        outlook.groups = drawn
    outlook_of_all = Outlook(steps, batch, outlooks, _assumptions(plan), [])
    outlook_of_all.warnings += _warnings(plan, outlook_of_all, max_epochs)
    return outlook_of_all


def _assumptions(plan: Plan) -> list[str]:
    assumptions = []
    if plan.mixture.rule is not None and plan.mixture.rule.learns:
        assumptions.append("rewards are not known ahead: adaptive weights stay as configured")
    assumptions += [
        f"rewards are not known ahead: source '{source.name}' stays at its first level"
        if isinstance(source.curriculum, RewardCurriculum)
        else f"rewards are not known ahead: the rows of source '{source.name}' come equally often"
        for source in plan.mixture.sources
        if source.curriculum is not None and source.curriculum.learns
    ]
    return assumptions


def length_of(plan: Plan, steps: int | None) -> int:
    """Steps to look at: those asked for, else those of the run.

    Raises:
        ConfigurationError: Neither is known.
    """
    steps = plan.steps if steps is None else steps
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        key = "num_rollout" if plan.engine == "slime" else "trainer.total_training_steps"
        raise ConfigurationError(
            f"the length of the run is not known: {key} is {steps!r}; set it, or give --steps",
            key=key,
            value=steps,
        )
    return steps


def batch_of(plan: Plan) -> int:
    """Groups of a step.

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


def _warnings(plan: Plan, outlook: Outlook, max_epochs: float) -> list[str]:
    warnings = []
    last, end_step = _last_changes(plan, outlook.steps)
    for source in outlook.sources:
        found = (
            _never_reached(source),
            _repeated(source, max_epochs),
            _rounded_out(source, outlook.batch),
            _ends(last.get(source.name), end_step, outlook.steps),
        )
        warnings += [f"source '{source.name}': {warning}" for warning in found if warning]
    return warnings + _missing_hooks(plan)


def _never_reached(source: SourceOutlook) -> str | None:
    if source.groups:
        return None
    if not any(source.weights):
        return "never reached: its weight is 0 at every step; remove the source or raise its weight"
    return (
        f"never reached: its largest share ({max(source.shares):.2g}) gives it less than one group "
        f"of the run; raise its weight"
    )


def _repeated(source: SourceOutlook, max_epochs: float) -> str | None:
    passes = max(source.groups / source.served_rows, len(source.epoch_ends))
    if passes <= max_epochs:
        return None
    what = "open rows" if source.has_curriculum else f"{source.served_rows} rows"
    return (
        f"its {what} are gone through {passes:.1f} times, more than "
        f"{max_epochs:g}; lower its weight, or accept it with --max-epochs {passes:.0f}"
    )


def _rounded_out(source: SourceOutlook, batch: int) -> str | None:
    few = [step for step, share in enumerate(source.shares) if 0 < share * batch < 1]
    if not few or not source.groups:
        return None
    least = min(source.shares[step] for step in few)
    return (
        f"less than one group of {batch} is its own in {len(few)} steps ({few[0]} to {few[-1]}, "
        f"down to {least * batch:.2g} groups): some rollouts have none of it, and no metrics; "
        f"raise its weight or the batch size"
    )


def _last_changes(plan: Plan, steps: int) -> tuple[dict[str, int], int | None]:
    """The last step at which each weight changes, of those that do; the step at which they end.

    Looked at are more steps than the run has, so that a schedule that is too long is seen.
    """
    last: dict[str, int] = {}
    before = plan.mixture.weights(0)
    for step in range(1, _horizon(steps)):
        try:
            now = plan.mixture.weights(step)
        except ScheduleError:
            return last, step
        last.update((name, step) for name, weight in now.items() if weight != before[name])
        before = now
    return last, None


def _horizon(steps: int) -> int:
    return 2 * steps + 1000


def _ends(last: int | None, end_step: int | None, steps: int) -> str | None:
    """Whether a schedule ends long before the run, or after it."""
    if last is None:
        return None
    end = ""
    if end_step is not None:
        end = f", and at step {end_step} there is no usable weight any more"
    if last >= steps:
        if not end and last < _horizon(steps) - 100:
            end = f", and does until step {last}"
        return f"its weight still changes when the run ends after {steps} steps{end}"
    if last < 0.9 * steps:
        return f"its schedule ends before the run: from step {last} of {steps} on it is constant"
    return None


def _missing_hooks(plan: Plan) -> list[str]:
    if plan.config is None:
        return []
    log, process = HOOKS
    if not plan.config.accounting:
        return [
            f"hooks: {log} is not {LOG_FUNCTION}, so nothing tells which groups were trained: what "
            f"is in flight when a state is saved is not served again, and a clock stands in for "
            f"the rollout. Set it; in synchronous rollouts set {process} to {ALL_SAMPLES_FUNCTION} "
            f"as well"
        ]
    values = plan.values
    requested = values.get("over_sampling_batch_size") or 0
    discards = requested > (plan.batch or 0) and not values.get("partial_rollout")
    filters = values.get("dynamic_sampling_filter_path") is not None
    if (discards or filters) and values.get(process) != ALL_SAMPLES_FUNCTION:
        return [
            f"hooks: groups will be {'dropped' if filters else 'discarded'} and {process} is not "
            f"{ALL_SAMPLES_FUNCTION}: until {plan.config.max_in_flight_rollouts} rollouts later "
            f"they count as in flight, and a resume serves them again; in synchronous rollouts "
            f"set it"
        ]
    return []


def table(outlook: Outlook) -> tuple[list[str], list[list[str]]]:
    """Columns, and a row for each source."""
    columns = ["source", "rows", "served", "weight", "share", "groups", "epochs", "ends at", "open"]
    return columns, [
        [
            source.name,
            str(source.rows),
            str(source.served_rows),
            _three(source.weights),
            _three(source.shares),
            str(source.groups),
            str(len(source.epoch_ends))
            if source.has_curriculum
            else f"{source.groups / source.served_rows:.2f}",
            _ends_shown(source.epoch_ends),
            f"{source.open_shares[0]:.0%} > {source.open_shares[-1]:.0%}",
        ]
        for source in outlook.sources
    ]


def _three(values: list[float]) -> str:
    """At the start, in the middle and at the end."""
    return " > ".join(f"{values[at]:.3g}" for at in (0, len(values) // 2, -1))


def _ends_shown(steps: list[int]) -> str:
    shown = ", ".join(map(str, steps[:_SHOWN_EPOCHS]))
    return f"{shown}, ..." if len(steps) > _SHOWN_EPOCHS else shown or "-"
