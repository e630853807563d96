"""Warnings of what people get wrong, each with the line that mends it, and notes of what is normal.

A warning is two lines: what is wrong, and what to paste into the configuration.
"""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np

from curriculum_learning.commands.forecast import weights_over
from curriculum_learning.commands.outlook import Outlook, SourceOutlook, request_of
from curriculum_learning.commands.plan import Plan
from curriculum_learning.config.data_source import HOOKS, PLAIN
from curriculum_learning.config.plan import ALL_SAMPLES_FUNCTION, CAP_FILTER, LOG_FUNCTION
from curriculum_learning.config.problems import listed
from curriculum_learning.config.sources import CAPS_KEY
from curriculum_learning.config.weights import in_parts
from curriculum_learning.errors import ScheduleError
from curriculum_learning.mixing.mixture import Mixture
from curriculum_learning.weights.shares import KEY as WEIGHTS_KEY

FILTER = PLAIN["dynamic_filter"]

_VERL_KEYS = {
    "num_rollout": "trainer.total_training_steps",
    "rollout_batch_size": "data.train_batch_size",
}
_SHOWN = 3
"""Sources that one warning names."""


def advise(plan: Plan, outlook: Outlook, max_epochs: float) -> None:
    """Adds warnings and notes to an outlook, in the order of its sources.

    Args:
        plan: The configuration.
        outlook: What it will draw; is added to.
        max_epochs: Warn of a source that is passed through more often.
    """
    last, end_step = _last_changes(plan, outlook.steps)
    for source in outlook.sources:
        found = (
            _never_reached(plan, source, outlook),
            _rounded_out(plan, source, outlook.batch),
            _few_open(plan, source, outlook.batch),
        )
        outlook.warnings += [f"source '{source.name}': {text}" for text in found if text]
    outlook.warnings += _repeated(plan, outlook, max_epochs)
    if end_step is None:  # else they have no end
        outlook.warnings += _cut_off(plan, last, outlook.steps)
    if plan.caps and plan.values and plan.values.get(FILTER) is None:
        outlook.warnings.append(
            f"reward caps: {CAPS_KEY} drops nothing, as no filter of groups asks for it:\n"
            f"{FILTER}: {CAP_FILTER}"
        )
    if (hooks := _missing_hooks(plan)) is not None:
        outlook.warnings.append(f"hooks: {hooks}")
    outlook.notes += _notes(last, end_step, outlook.steps)
    if plan.saved is not None:
        step = plan.saved + 1
        outlook.notes.append(
            f"a state of rollout {plan.saved} is saved: load() continues at step {step}, not at 0"
        )


def _line(plan: Plan, key: str, value: object) -> str:
    """Returns what to paste: a line of YAML, or an override of verl's."""
    return f"{_VERL_KEYS[key]}={value}" if plan.engine == "verl" else f"{key}: {value}"


def _never_reached(plan: Plan, source: SourceOutlook, outlook: Outlook) -> str | None:
    if source.groups:
        return None
    if source.largest_weight:
        problem = (
            f"its largest share, {source.largest_share:.2g}, is less than one group of the run"
        )
    else:
        problem = "its weight is 0 at every step"
    totals = map(math.fsum, zip(*(other.weights for other in outlook.sources), strict=True))
    others = max(total - own for total, own in zip(totals, source.weights, strict=True))
    weight = float(f"{others / max(outlook.batch - 1, 1) + 5e-4:.3f}")
    line = f"{source.name}: {weight:g}"
    if plan.engine == "verl":
        line = f"+data.sampler.source_weights.{source.name}={weight:g}"
    elif isinstance(plan.values.get(WEIGHTS_KEY), list):
        line = f"- {weight:g}  # {source.name}, in {WEIGHTS_KEY}"
    else:
        line += f"  # in {WEIGHTS_KEY}"
    return f"never reached: {problem}; for one group in each rollout:\n{line}"


def _repeated(plan: Plan, outlook: Outlook, max_epochs: float) -> list[str]:
    """Warns of all sources that are passed through too often: one end of the run mends all."""
    passes = {
        source.name: max(source.groups / source.served_rows, source.epochs)
        for source in outlook.sources
        if source.rows is not None
    }
    often = {name: times for name, times in passes.items() if times > max_epochs}
    if not often:
        return []
    line = _line(plan, "num_rollout", max(int(outlook.steps * max_epochs / max(often.values())), 1))
    shown = [f"of {name!r} {times:.1f} times" for name, times in [*often.items()][:_SHOWN]]
    if len(often) > _SHOWN:
        shown.append(f"and of {len(often) - _SHOWN} more sources")
    weights = "its weight" if len(often) == 1 else "their weights"
    return [
        f"rows come more often than --max-epochs {max_epochs:g}: {', '.join(shown)}; lower "
        f"{weights}, or end earlier:\n{line}"
    ]


def _rounded_out(plan: Plan, source: SourceOutlook, batch: int) -> str | None:
    few = source.scarcity
    if few is None or not source.groups:
        return None
    line = _line(plan, "rollout_batch_size", math.ceil(1 / few.least))
    return (
        f"less than 1 of {batch} groups in {few.steps} steps ({few.first} to {few.last}, down to "
        f"{few.least * batch:.2g}): some rollouts have none of it; raise its weight, or:\n{line}"
    )


def _few_open(plan: Plan, source: SourceOutlook, batch: int) -> str | None:
    """Warns of a percentile so small that rows come again within a rollout."""
    is_open = round(source.open_shares[0] * source.served_rows)
    groups = math.ceil(source.shares[0] * batch)
    if source.curriculum not in ("time", "reward") or is_open >= min(groups, source.served_rows):
        return None
    key, percent = "initial_complexity_percentile", math.ceil(100 * groups / source.served_rows)
    line = f"{key}: {min(percent, 100)}  # in percent"
    if plan.engine == "verl":
        line = f"+data.sampler.{key}={min(percent, 100)}"
    return f"{is_open} of its rows open at first, for {groups} groups in each rollout:\n{line}"


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


def _has_no_end(last: int, steps: int) -> bool:
    return last >= _horizon(steps) - 100


def _cut_off(plan: Plan, last: dict[str, int], steps: int) -> list[str]:
    """Warns of schedules that the run ends before."""
    longer = {name: step for name, step in last.items() if step > steps}
    names = [name for name, step in longer.items() if not _has_no_end(step, steps)]
    if not names:
        return []
    end = max(longer[name] for name in names)
    text = f"the weight of {listed(names)} changes until step {end}, and the run ends after {steps}"
    return [f"{text} steps:\n{_line(plan, 'num_rollout', end)}"]


def _notes(last: dict[str, int], end_step: int | None, steps: int) -> list[str]:
    """Says which schedules end before the run, and which never do: both are normal."""
    ends = defaultdict(list)
    for name, step in last.items():
        if step < 0.9 * steps:
            ends[step].append(name)
    notes = [
        f"from step {step} of {steps} on the weight of {listed(names)} is constant"
        for step, names in sorted(ends.items())
    ]
    endless = [name for name, step in last.items() if step > steps and _has_no_end(step, steps)]
    if endless:
        notes.append(f"the weight of {listed(endless)} still changes when the run ends")
    if end_step is not None:
        notes.append(f"beyond the end of the run, at step {end_step}, no weight is usable any more")
    return notes


def _missing_hooks(plan: Plan) -> str | None:
    if plan.config is None:
        return None
    log, process = HOOKS
    if not plan.config.accounting:
        return (
            f"nothing reports which groups are trained: a resume loses those in flight, and the "
            f"step is a guess:\n{log}: {LOG_FUNCTION}"
        )
    values = plan.values
    requested = request_of(plan) or 0
    discards = requested > (plan.batch or 0) and not values.get("partial_rollout")
    filters = values.get(FILTER) is not None
    if (discards or filters) and values.get(process) != ALL_SAMPLES_FUNCTION:
        return (
            f"{'dropped' if filters else 'discarded'} groups count as in flight for "
            f"{plan.config.max_in_flight_rollouts} rollouts; in synchronous rollouts report them:\n"
            f"{process}: {ALL_SAMPLES_FUNCTION}"
        )
    return None
