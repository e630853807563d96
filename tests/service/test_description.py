from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning.config.data_source import read_config
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.service.description import description, refuse_other
from tests.harness import Group, arguments
from tests.service.clients import SIZES


def _filter(_: Any, __: Any, buffer: list[Group], count: int, most: int) -> list[Group]:
    return [buffer.pop(0) for _ in range(min(count, most, len(buffer)))]


one, two = functools.partial(_filter, most=1), functools.partial(_filter, most=2)


def described(folder: Path, **changes: Any) -> dict[str, str]:
    args = arguments(folder, SIZES, **changes)
    return description(args, read_config(args))


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("buffer_filter_path", [f"{__name__}.one", f"{__name__}.two"]),
        ("data_source_weights", [[1, "lambda s: 1"], [1, "lambda s: 2"]]),
        ("data_source_curricula", [{"math": {"type": "pass_rate_gaussian", "steps": 5}}, None]),
        ("num_rollout", [1, 2]),
        ("ray_service", [{"lease_timeout": 5}, {"lease_timeout": 6}]),
    ],
)
def test_what_serves_other_groups_is_refused(tmp_path: Path, key: str, values: list[Any]) -> None:
    """Code is told apart by the text that names it."""
    mine, theirs = (described(tmp_path, **{key: value}) for value in values)
    refuse_other(mine, described(tmp_path, **{key: values[0]}), "name")
    with pytest.raises(ConfigurationError, match=f"another configuration .*{key[:4]}"):
        refuse_other(mine, theirs, "name")


@pytest.mark.parametrize(
    "changes",
    [
        {"data_source_cache": False, "data_source_metrics_callback": f"{__name__}.one"},
        {"ray_service": {"prefetch": 3, "name": "curriculum_learning", "resume": True}},
        {"rollout_seed": 42, "autosave": True},
        {"renamed_from": {}},
    ],
)
def test_what_changes_no_group_is_a_clients_own(tmp_path: Path, changes: dict[str, Any]) -> None:
    """And so is a default that is written down."""
    refuse_other(described(tmp_path), described(tmp_path, **changes), "name")
