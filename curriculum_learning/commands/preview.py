"""``preview``: checks a configuration and shows what it will draw."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from curriculum_learning.commands.advice import advise
from curriculum_learning.commands.arguments import WARNED, WELL, WRONG, picture_path, read_sizes
from curriculum_learning.commands.outlook import (
    Outlook,
    SourceOutlook,
    batch_of,
    look_ahead,
    steps_of,
)
from curriculum_learning.commands.picture import draw_outlook
from curriculum_learning.commands.plan import read_plan
from curriculum_learning.commands.terminal import (
    show,
    show_errors,
    show_json,
    show_table,
    show_warnings,
)
from curriculum_learning.commands.untrusted import disarm
from curriculum_learning.config.files import read_run_config
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.prompts.assumed import assuming

_SHOWN_EPOCHS = 3
"""Ends of epochs that a table shows."""


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit code.

    Raises:
        CurriculumLearningError: The command, the configuration or the data is wrong.
    """
    sizes, configured = read_sizes(options.rows), read_run_config(options.config)
    ignored = disarm(configured, opens_files=not sizes) if options.untrusted else []
    with assuming(sizes):
        plan, errors, warnings = read_plan(configured, sizes, options.batch)
    if plan is None:
        show_errors(errors, options.json)
        return WRONG
    outlook = look_ahead(plan, steps_of(plan, options.steps), batch_of(plan))
    outlook.warnings += [*ignored, *warnings]
    advise(plan, outlook, options.max_epochs)
    picture = picture_path(options, "preview.png")
    if picture is None and not options.no_picture and find_spec("matplotlib") is None:
        outlook.notes.append(
            "no picture, as it needs matplotlib: pip install 'curriculum_learning[cli]'"
        )
    if picture is not None:
        try:
            draw_outlook(outlook, picture, _title(options.config))
        except ConfigurationError as error:
            if options.picture is not None:
                raise
            outlook.warnings.append(str(error))
            picture = None
    if options.json:
        show_json({"errors": [], **dataclasses.asdict(outlook)})
    else:
        _show(outlook, picture)
    return WARNED if options.strict and outlook.warnings else WELL


def _show(outlook: Outlook, picture: Path | None) -> None:
    show(
        f"{outlook.steps} steps of {outlook.batch} groups, each of them trained; "
        f"weight and share at the start > in the middle > at the end"
    )
    columns = ["source", "rows", "served", "weight", "share", "groups", "epochs", "ends at", "open"]
    rows = [
        [
            source.name,
            *_sizes(source),
            _three(source.weights),
            _three(source.shares),
            str(source.groups),
            _passes(source),
            _first(source.epoch_ends),
            f"{source.open_shares[0]:.0%} > {source.open_shares[-1]:.0%}",
        ]
        for source in outlook.sources
    ]
    if any(source.reward_caps for source in outlook.sources):
        columns.append("cap")
        for row, source in zip(rows, outlook.sources, strict=True):
            row.append(_three(source.reward_caps) if source.reward_caps else "-")
    show_table(columns, rows)
    for source in outlook.sources:
        if source.curriculum is not None:
            show(f"curriculum of source '{source.name}': {source.curriculum}")
    if outlook.rule is not None:
        show(f"source rule: {outlook.rule}")
    for assumption in outlook.assumptions:
        show(f"assumed: {assumption}")
    for note in outlook.notes:
        show(f"note: {note}")
    show_warnings(outlook.warnings)
    if picture is not None:
        show(f"picture: {picture}")


def _sizes(source: SourceOutlook) -> tuple[str, str]:
    """Shows the rows that there are, and those that may be served."""
    if source.rows is not None:
        return str(source.rows), str(source.served_rows)
    return "endless", f"{source.served_rows} levels" if source.served_rows > 1 else "endless"


def _passes(source: SourceOutlook) -> str:
    if source.rows is None:
        return "-"
    if source.curriculum:
        return str(source.epochs)
    return f"{source.groups / source.served_rows:.2f}"


def _title(config: Sequence[str]) -> str:
    """Returns the names of the files that were read."""
    return ", ".join(Path(word).name for word in config if "=" not in word)


def _three(values: list[float]) -> str:
    """Shows a value at the start, in the middle and at the end."""
    return " > ".join(f"{values[at]:.3g}" for at in (0, len(values) // 2, -1))


def _first(steps: list[int]) -> str:
    shown = ", ".join(map(str, steps[:_SHOWN_EPOCHS]))
    return f"{shown}, ..." if len(steps) > _SHOWN_EPOCHS else shown or "-"
