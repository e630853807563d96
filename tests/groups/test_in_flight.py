from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from curriculum_learning import ConfigurationError, GroupError
from curriculum_learning.groups.served import listed
from curriculum_learning.samples.sample import Sample
from tests.harness import (
    Group,
    data_source,
    row_of,
    totals,
)

THREE = {"math": 40, "code": 70, "chat": 25}


def test_observe_takes_flat_and_grouped_samples(tmp_path: Path) -> None:
    """Fates settle groups once, however samples are nested; an unknown fate is an error."""
    source = data_source(tmp_path, THREE)
    out = source.get_samples(6)
    source.observe(out[0], fate="trained")
    source.observe([out[0], out[1]], fate="trained")
    source.observe([[[out[2][0]], out[2][1]]], fate="dropped")
    source.observe(out[3], fate="finished")
    source.observe([Sample()], fate="trained")
    state = source.state_dict()["groups"]
    assert {key: totals(state)[key] for key in ("served", "trained", "dropped")} == {
        "served": 6, "trained": 2, "dropped": 1,
    }  # fmt: skip
    assert [entry[0] for entry in listed(state["in_flight"])] == [3, 4, 5]
    with pytest.raises(ConfigurationError, match="'lost'"):
        source.observe(out[4], fate="lost")  # type: ignore[arg-type]  # that is the test


def test_unheard_of_groups_do_not_pile_up(tmp_path: Path) -> None:
    """After 8 rollouts without a report a group is presumed dropped; it may still come back."""
    source = data_source(tmp_path, THREE)
    out: list[list[Group]] = []
    for rollout_id in range(30):
        out.append(source.get_samples(5))
        source.observe(out[-1][:4], rollout_id=rollout_id, fate="trained")
    assert len(listed(source.state_dict()["groups"]["in_flight"])) <= 10
    source.add_samples([out[2][4]])
    assert source.get_samples(1) == [out[2][4]]
    source.observe(out[1][4], fate="trained")
    with pytest.raises(GroupError, match="trained, dropped or given back"):
        source.add_samples([out[1][4]])
    late = out[4][4]
    row = row_of(late)
    for sample in late:  # the ledger still knows the row, though the group does not say it
        sample.metadata = {"data_source": row[0], "source_name": row[0]}
    source.add_samples([late])
    state = source.state_dict()
    resumed = data_source(tmp_path, THREE)
    resumed.load_state_dict(state)
    served = {group[0].group_index: group for group in resumed.get_samples(20)}
    assert served[late[0].group_index][0].prompt == late[0].prompt


def test_groups_given_up_are_remembered_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The latest groups presumed dropped may still be trained or come back."""
    monkeypatch.setattr("curriculum_learning.groups.in_flight._PRESUMED_KEPT", 3)
    source = data_source(tmp_path, {"math": 90}, max_in_flight_rollouts=1)
    groups = source.get_samples(6)
    source.observe([], rollout_id=4, fate="trained")
    source.get_samples(1)
    state = source.state_dict()["groups"]
    assert [entry[0] for entry in listed(state["presumed"])] == [3, 4, 5]
    assert totals(state)["presumed"] == 6
    source.observe(groups[4], fate="trained")
    source.add_samples([groups[5]])
    with pytest.raises(GroupError, match="not in flight"):
        source.add_samples([groups[0]])
    counts = totals(source.state_dict()["groups"])
    assert (counts["presumed"], counts["trained"], counts["returned"]) == (4, 1, 1)


def test_a_group_of_a_later_step_does_not_keep_others_young(tmp_path: Path) -> None:
    """Groups age by their own steps, though one that went out before them was of a later step."""
    source = data_source(tmp_path, THREE, max_in_flight_rollouts=2)
    source.observe([], fate="trained")
    source.set_rollout_step(50)
    source.get_samples(1)
    source.set_rollout_step(0)
    source.get_samples(5)
    source.set_rollout_step(3)
    source.get_samples(1)
    state = source.state_dict()["groups"]
    assert [entry[0] for entry in listed(state["in_flight"])] == [0, 6]
    assert totals(state)["presumed"] == 5


def test_any_iterable_of_samples_is_taken(tmp_path: Path) -> None:
    """Generators, views and arrays count like lists, in rewards and in fates alike."""
    source = data_source(
        tmp_path, THREE, data_source_adaptive={"alpha": 1.0, "update_frequency": 1}
    )
    out = source.get_samples(8)
    for group in out:
        for sample in group:
            sample.reward = 1.0
    source.rollout_finished(iter([iter(group) for group in out]))
    source.observe((sample for group in out[:2] for sample in group), fate="trained")
    source.observe((group for group in out[2:4]), fate="trained")
    source.observe((dict(enumerate(group)).values() for group in out[4:6]), fate="dropped")
    array = np.empty(2, dtype=object)
    array[:] = out[6]
    source.observe([array], rollout_id=0, fate="trained")
    counts = totals(source.state_dict()["groups"])
    assert (counts["trained"], counts["dropped"], counts["surplus"]) == (5, 2, 1)
    assert any("reward_ema" in status for status in source.source_status().values())


@pytest.mark.parametrize("kind", [np.int64, torch.tensor], ids=["numpy", "torch"])
def test_ids_may_be_numpy_or_torch_integers(tmp_path: Path, kind: Any) -> None:
    """An engine that keeps ids in arrays may hand them back as they come out of those."""
    source = data_source(tmp_path, THREE, rollout_batch_size=1)
    out = source.get_samples(6)
    for group in out:
        for sample in group:
            sample.group_index, sample.index = kind(sample.group_index), kind(sample.index)
            for key in ("data_source_row", "data_source_epoch", "data_source_rollout_step"):
                sample.metadata[key] = kind(sample.metadata[key])
    source.add_samples(out[:2])
    source.rollout_finished(out[2:5])
    source.observe(out[2:4], rollout_id=0, fate="trained")
    counts = totals(source.state_dict()["groups"])
    assert (counts["trained"], counts["returned"]) == (2, 4)
    assert counts["surplus"] == 1
    again = source.get_samples(4)
    assert [int(group[0].group_index) for group in again] == [0, 1, 4, 5]
    resumed = data_source(tmp_path, THREE, rollout_batch_size=1)
    resumed.load_state_dict(source.state_dict())
