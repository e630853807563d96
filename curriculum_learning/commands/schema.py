"""``schema``: prints the JSON schema of a face's keys, for editors."""

from __future__ import annotations

import argparse

from curriculum_learning import samplers
from curriculum_learning.commands.arguments import WELL
from curriculum_learning.commands.terminal import show_json
from curriculum_learning.config.schema import Schema, slime_schema, verl_schema


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    show_json(schema_of(options.face))
    return WELL


def schema_of(face: str) -> Schema:
    """Returns the schema of the keys of slime's configuration, or of verl's ``data`` node."""
    if face == "slime":
        return slime_schema()
    kinds = {name: getattr(samplers, name).curriculum_type for name in samplers.__all__}
    return verl_schema(kinds)
