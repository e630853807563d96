"""The JSON schema of a face's keys, for editors."""

from __future__ import annotations

from curriculum_learning import samplers
from curriculum_learning.config.schema import Schema, slime_schema, verl_schema

FACES = ("slime", "verl")


def schema_of(face: str) -> Schema:
    """The schema of the keys of slime's configuration, or of verl's ``data`` node."""
    if face == "slime":
        return slime_schema()
    kinds = {name: getattr(samplers, name).curriculum_type for name in samplers.__all__}
    return verl_schema(kinds)
