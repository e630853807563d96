"""Every shipped curriculum and rule is resumed exactly, in the data source and in a sampler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.curricula.faces import (
    CURRICULUM_CASES,
    RULE_CASES,
    again,
    data_source,
    rollout,
    rows_of_data,
    sampler,
    update,
)
from tests.harness import check_resume

PRIORS = {"prior_key": "prior", "fade": 0.5}


@pytest.mark.parametrize("name", CURRICULUM_CASES)
def test_a_curriculum_in_the_data_source(name: str, tmp_path: Path) -> None:
    """Cut at every rollout, once or twice: the same groups and figures follow."""
    curricula = {"math": CURRICULUM_CASES[name], "code": {**CURRICULUM_CASES[name], **PRIORS}}
    source = data_source(tmp_path, partial_rollout=True, data_source_curricula=curricula)
    check_resume(lambda: again(source), rollout, 7, tmp_path)


@pytest.mark.parametrize("name", RULE_CASES)
def test_a_rule_in_the_data_source(name: str, tmp_path: Path) -> None:
    """Cut at every rollout, once or twice: the same groups and figures follow."""
    source = data_source(tmp_path, partial_rollout=True, data_source_rule=RULE_CASES[name])
    check_resume(lambda: again(source), rollout, 7, tmp_path)


@pytest.mark.parametrize("name", CURRICULUM_CASES)
def test_a_curriculum_in_a_sampler(name: str, tmp_path: Path) -> None:
    """Cut at every update, once or twice: the same rows and figures follow."""
    dataset = rows_of_data()
    curricula = {"math": CURRICULUM_CASES[name], "code": {**CURRICULUM_CASES[name], **PRIORS}}

    def advance(part: Any, number: int) -> Any:
        return update(dataset, part, number)

    check_resume(lambda: sampler(dataset, source_curricula=curricula), advance, 10, tmp_path)


@pytest.mark.parametrize("name", RULE_CASES)
def test_a_rule_in_a_sampler(name: str, tmp_path: Path) -> None:
    """Cut at every update, once or twice: the same rows and figures follow."""
    dataset = rows_of_data()

    def advance(part: Any, number: int) -> Any:
        return update(dataset, part, number)

    check_resume(lambda: sampler(dataset, source_rule=RULE_CASES[name]), advance, 10, tmp_path)


@pytest.mark.parametrize("name", CURRICULUM_CASES)
def test_a_curriculum_moves_something(name: str, tmp_path: Path) -> None:
    """The runs above are no runs of a curriculum that does nothing."""
    plain = data_source(tmp_path)
    moved = again(plain, data_source_curricula=CURRICULUM_CASES[name])
    assert [rollout(plain, n)[0] for n in range(7)] != [rollout(moved, n)[0] for n in range(7)]


@pytest.mark.parametrize("name", RULE_CASES)
def test_a_rule_moves_something(name: str, tmp_path: Path) -> None:
    """The runs above are no runs of a rule that does nothing."""
    plain = data_source(tmp_path)
    moved = again(plain, data_source_rule=RULE_CASES[name])
    assert [rollout(plain, n)[0] for n in range(7)] != [rollout(moved, n)[0] for n in range(7)]
