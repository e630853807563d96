"""The metadata keys that belong to the data source."""

from __future__ import annotations

from typing import Any

SOURCE_KEY = "data_source"
SOURCE_NAME_KEY = "source_name"
WEIGHT_KEY = "data_source_weight"
STEP_KEY = "data_source_rollout_step"
ROW_KEY = "data_source_row"
EPOCH_KEY = "data_source_epoch"
ORIGINAL_KEY = "data_source_original"
TAGS = (SOURCE_KEY, SOURCE_NAME_KEY, WEIGHT_KEY, STEP_KEY, ROW_KEY, EPOCH_KEY, ORIGINAL_KEY)

_TAGS = frozenset(TAGS)
_NAMES = {SOURCE_KEY, SOURCE_NAME_KEY}


def move_tags_aside(metadata: dict[str, Any]) -> dict[str, Any]:
    """Returns a row's metadata with its own values under our keys moved to ORIGINAL_KEY.

    A row that names its source keeps that name there. If it has several different values under
    our keys, they are kept as a mapping.
    """
    if _TAGS.isdisjoint(metadata):
        return metadata
    own = {key: metadata[key] for key in TAGS if key in metadata}
    rest = {key: value for key, value in metadata.items() if key not in own}
    first = next(iter(own.values()))
    is_name = own.keys() <= _NAMES and all(value == first for value in own.values())
    return {**rest, ORIGINAL_KEY: first if is_name else own}
