"""Warnings of what people get wrong: sources, schedules and hooks that do not do what they seem."""

from __future__ import annotations

import numpy as np

from curriculum_learning.commands.forecast import weights_over
from curriculum_learning.commands.outlook import Outlook, SourceOutlook, request_of
from curriculum_learning.commands.plan import Plan
from curriculum_learning.config.data_source import HOOKS
from curriculum_learning.config.plan import ALL_SAMPLES_FUNCTION, LOG_FUNCTION
from curriculum_learning.config.weights import in_parts
from curriculum_learning.errors import ScheduleError
from curriculum_learning.mixing.mixture import Mixture


def warnings_of(plan: Plan, outlook: Outlook, max_epochs: float) -> list[str]:
    """Returns the warnings of a configuration, in the order of its sources.

    Args:
        plan: The configuration.
        outlook: What it will draw.
        max_epochs: Warn of a source that is passed through more often.
    """
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
    hooks = _missing_hooks(plan)
    return warnings + ([f"hooks: {hooks}"] if hooks else [])


def _never_reached(source: SourceOutlook) -> str | None:
    if source.groups:
        return None
    if not source.largest_weight:
        return "never reached: its weight is 0 at every step; remove the source or raise its weight"
    return (
        f"never reached: its largest share ({source.largest_share:.2g}) gives it less than one "
        f"group of the run; raise its weight"
    )


def _repeated(source: SourceOutlook, max_epochs: float) -> str | None:
    if source.rows is None:
        return None
    passes = max(source.groups / source.served_rows, source.epochs)
    if passes <= max_epochs:
        return None
    rows = "open rows" if source.curriculum else f"{source.served_rows} rows"
    return (
        f"its {rows} are gone through {passes:.1f} times, more than "
        f"{max_epochs:g}; lower its weight, or accept it with --max-epochs {passes:.0f}"
    )


def _rounded_out(source: SourceOutlook, batch: int) -> str | None:
    few = source.scarcity
    if few is None or not source.groups:
        return None
    return (
        f"less than one group of {batch} is its own in {few.steps} steps ({few.first} to "
        f"{few.last}, down to {few.least * batch:.2g} groups): some rollouts have none of it, and "
        f"no metrics; raise its weight or the batch size"
    )


def _last_changes(plan: Plan, steps: int) -> tuple[dict[str, int], int | None]:
    """Finds the last step at which each weight changes, and the step from which one is unusable.

    Looks beyond the end of the run, to notice schedules that are longer than it.
    """
    last: dict[str, int] = {}
    mixture, before = plan.mixture, weights_over(plan.mixture, range(1))
    for part in in_parts(range(1, _horizon(steps))):
        usable = part
        try:
            now = weights_over(mixture, part)
        except ScheduleError:
            usable = range(part.start, _first_unusable(mixture, part))
            now = weights_over(mixture, usable)
        changes = np.diff(np.hstack((before, now)), axis=1) != 0
        for name, changed in zip(mixture.names, changes, strict=True):
            if changed.any():
                last[name] = usable[int(np.flatnonzero(changed)[-1])]
        if usable != part:
            return last, usable.stop
        before = now[:, -1:]
    return last, None


def _first_unusable(mixture: Mixture, steps: range) -> int:
    for step in steps:
        try:
            mixture.weights(step)
        except ScheduleError:  # noqa: PERF203 - the first one ends the loop
            return step
    return steps.stop


def _horizon(steps: int) -> int:
    return 2 * steps + 1000


def _ends(last: int | None, end_step: int | None, steps: int) -> str | None:
    """Warns of a schedule that ends long before the run, or after it."""
    if last is None:
        return None
    if last >= steps:
        end = ""
        if end_step is not None:
            end = f", and at step {end_step} there is no usable weight any more"
        elif last < _horizon(steps) - 100:
            end = f", and does until step {last}"
        return f"its weight still changes when the run ends after {steps} steps{end}"
    if last < 0.9 * steps:
        return f"its schedule ends before the run: from step {last} of {steps} on it is constant"
    return None


def _missing_hooks(plan: Plan) -> str | None:
    if plan.config is None:
        return None
    log, process = HOOKS
    if not plan.config.accounting:
        return (
            f"{log} is not {LOG_FUNCTION}, so nothing tells which groups were trained: what is in "
            f"flight when a state is saved is not served again, and a clock stands in for the "
            f"rollout. Set it; in synchronous rollouts set {process} to {ALL_SAMPLES_FUNCTION} as "
            f"well"
        )
    values = plan.values
    requested = request_of(plan) or 0
    discards = requested > (plan.batch or 0) and not values.get("partial_rollout")
    filters = values.get("dynamic_sampling_filter_path") is not None
    if (discards or filters) and values.get(process) != ALL_SAMPLES_FUNCTION:
        return (
            f"groups will be {'dropped' if filters else 'discarded'} and {process} is not "
            f"{ALL_SAMPLES_FUNCTION}: until {plan.config.max_in_flight_rollouts} rollouts later "
            f"they count as in flight, and a resume serves them again; in synchronous rollouts "
            f"set it"
        )
    return None
