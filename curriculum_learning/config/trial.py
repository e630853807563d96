"""Tries the schedules of a configuration at all steps of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.config.keys import Recipe
from curriculum_learning.config.problems import Findings
from curriculum_learning.config.weights import in_parts, numbers_over
from curriculum_learning.curricula import SourceRule
from curriculum_learning.errors import ConfigurationError, ScheduleError
from curriculum_learning.weights.schedules import Schedule
from curriculum_learning.weights.shares import KEY, normalise_all, refuse_all_zero

STEPS_CHECKED = 1000
"""How many steps are tried where ``num_rollout`` is not known."""
MOST_CHECKED = 1_000_000
"""How many are tried at most."""


def try_schedules(
    weights: Mapping[str, Schedule],
    caps: Mapping[str, Schedule],
    recipe: Recipe | None,
    num_rollout: int | None,
    findings: Findings,
    key: str = KEY,
) -> bool:
    """Tries every weight and cap at up to a million steps: mistakes show before an engine starts.

    Args:
        weights: The weight of each source.
        caps: The caps on rewards, of sources that have one.
        recipe: The source rule.
        num_rollout: Rollouts of the run; None tries ``STEPS_CHECKED`` steps.
        findings: Collects the errors.
        key: The configuration key of the weights.

    Returns:
        Whether the shares differ between steps.
    """
    left, caps = dict(weights), dict(caps)
    rule = None if recipe is None else _made(recipe, list(weights), findings)
    vary, first = rule is not None, None
    # The step after the last one counts too: asynchronous engines draw ahead.
    steps = STEPS_CHECKED if num_rollout is None else min(num_rollout + 1, MOST_CHECKED)
    for part in in_parts(range(steps)):
        tried = _tried(left, part, findings)
        _tried(caps, part, findings)
        if len(tried) < len(weights) or not tried:
            continue
        now = np.array(list(tried.values()))
        try:
            _check(list(tried), now, part, rule, key)
        except ConfigurationError as error:
            findings.errors.append(error)
            return vary
        shares = normalise_all(now)
        first = shares[:, :1] if first is None else first
        vary = vary or bool((shares != first).any())
    return vary


def _check(
    names: Sequence[str],
    weights: NDArray[np.float64],
    steps: range,
    rule: SourceRule | None,
    key: str,
) -> None:
    """Refuses weights that are all 0, or that the source rule cannot work with."""
    wrong = ~weights.any(axis=0)
    if rule is not None:  # it need not see the same weights twice
        wrong |= np.append(True, (weights[:, 1:] != weights[:, :-1]).any(axis=0))
    for place in np.flatnonzero(wrong).tolist():
        now = dict(zip(names, weights[:, place].tolist(), strict=True))
        refuse_all_zero(now, steps[place], key)
        if rule is not None:
            rule.check(now, key, f" at step {steps[place]}")


def _made(recipe: Recipe, names: Sequence[str], findings: Findings) -> SourceRule | None:
    """Returns the rule for sources of any size; None if their number does not fit it."""
    try:
        rule: SourceRule = recipe.make(dict.fromkeys(names, 1))
    except ConfigurationError as error:
        findings.errors.append(error)
        return None
    return rule


def _tried(
    schedules: dict[str, Schedule], steps: range, findings: Findings
) -> dict[str, NDArray[np.float64]]:
    """Returns what schedules give; takes out one that fails, so that it is told once."""
    results = {}
    for name, schedule in list(schedules.items()):
        try:
            results[name] = numbers_over(schedule, steps)
        except ScheduleError as error:  # noqa: PERF203 - one that fails hides no other
            findings.errors.append(error)
            del schedules[name]
    return results
