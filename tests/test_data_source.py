from __future__ import annotations

import argparse
import gc
import weakref
from pathlib import Path

import pytest

from curriculum_learning import ConfigurationError, DataError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.samples.sample import Sample
from tests.engine import SynchronousEngine
from tests.harness import (
    Group,
    arguments,
    as_data,
    data_source,
    indices,
    interrupt,
    name_of,
    row_of,
    write_rows,
)

THREE = {"math": 40, "code": 70, "chat": 25}
SHARES = {"math": 0.3, "code": 0.5, "chat": 0.2}


def test_300_rollouts_keep_every_promise(tmp_path: Path) -> None:
    """Ids are unique and stable, no row comes twice in an epoch, returned groups come first."""
    args = arguments(tmp_path, THREE, data_source_weights=SHARES)
    source = DataSource(args)
    ids: dict[tuple[str, int, int], tuple[int, list[int]]] = {}
    rows: dict[int, tuple[str, int, int]] = {}
    served_again = 0

    def check(group: Group) -> None:
        nonlocal served_again
        row = row_of(group)
        served_again += row in ids
        assert ids.setdefault(row, indices(group)) == indices(group)
        assert rows.setdefault(group[0].group_index, row) == row
        if group[0].status is Sample.Status.PENDING:
            assert source.get_buffer_length() == 0, "a fresh row was served while groups wait"

    engine = SynchronousEngine(source, args, batch=8, request=11, seed=5, drop=0.2, on_served=check)
    for rollout_id in range(300):
        engine.rollout(rollout_id)
    samples = [index for _, group in ids.values() for index in group]
    assert sorted(samples) == list(range(len(samples)))
    assert sorted(rows) == list(range(len(rows)))
    assert served_again > 300
    assert len(rows) > 300 * 8


def test_the_tags_of_a_sample(tmp_path: Path) -> None:
    """Every sample names its source twice, with the share and the step in force."""
    source = data_source(tmp_path, {"a": 3, "b": 3}, data_source_weights=["lambda s: s + 1", 1])
    source.set_rollout_step(2)
    group = next(group for group in source.get_samples(4) if name_of(group) == "a")
    assert [sample.metadata for sample in group] == [
        {
            "id": group[0].metadata["data_source_row"], "data_source": "a", "source_name": "a",
            "data_source_weight": 0.75, "data_source_rollout_step": 2,
            "data_source_row": group[0].metadata["data_source_row"], "data_source_epoch": 0,
        }
    ] * 2  # fmt: skip
    assert group[0].rollout_id is None
    interrupt(group)
    source.add_samples([group])
    source.set_rollout_step(4)
    (again,) = source.get_samples(1)
    assert again[0].metadata["data_source_weight"] == pytest.approx(5 / 6)
    assert again[0].metadata["data_source_rollout_step"] == 4
    assert again[0].tokens == [0, 1, 2]


def test_samples_share_nothing_that_can_change(tmp_path: Path) -> None:
    """Changing a sample's metadata at any depth changes no other sample, now or an epoch later."""
    path = write_rows(tmp_path / "a.jsonl", [{"input": "a", "metadata": {"deep": {"list": [1]}}}])
    source = DataSource({"prompt_data": path, "n_samples_per_prompt": 3})
    (group,) = source.get_samples(1)
    group[0].metadata["deep"]["list"].append(2)
    group[0].metadata["new"] = 1
    (later,) = source.get_samples(1)
    for sample in (*group[1:], *later):
        assert sample.metadata["deep"] == {"list": [1]}
        assert "new" not in sample.metadata


def test_the_contract_of_a_bare_object() -> None:
    """The contract test of slime builds args with three attributes and expects empty samples."""

    class Args:
        rollout_global_dataset = False
        buffer_filter_path = None
        n_samples_per_prompt = 2

    source = DataSource(Args())
    groups = source.get_samples(2)
    assert as_data(groups) == as_data(
        [[Sample(group_index=g, index=2 * g + i) for i in range(2)] for g in range(2)]
    )
    source.add_samples([groups[1]])
    assert source.get_buffer_length() == 1
    assert [indices(group)[0] for group in source.get_samples(2)] == [1, 2]
    assert len(source) == 0
    assert source.dataset is None
    source.save(0)
    source.load(0)


def test_the_rest_of_the_protocol(tmp_path: Path) -> None:
    """len, dataset, metadata and close work as slime and its forks expect."""
    source = data_source(tmp_path, THREE)
    assert len(source) == len(source.dataset or ()) == 135
    assert source.get_metadata() == {}
    source.update_metadata({"a": [1, (2, 3)]})
    assert source.get_metadata() == {"a": [1, (2, 3)]}
    with pytest.raises(ConfigurationError, match=r"'b' is a builtins\.object"):
        source.update_metadata({"b": object()})
    assert source.get_samples(0) == []
    for bad in (-1, 1.5, True, None):
        with pytest.raises(ConfigurationError, match="whole number"):
            source.get_samples(bad)  # type: ignore[arg-type]  # that is the test
    source.close()
    source.close()
    for act in (lambda: source.get_samples(1), lambda: source.load(0)):
        with pytest.raises(ConfigurationError, match="closed"):
            act()


def test_a_data_source_can_be_let_go(tmp_path: Path) -> None:
    """Nothing keeps a data source alive but its owner."""
    source = data_source(tmp_path, THREE)
    source.get_samples(3)
    reference = weakref.ref(source)
    del source
    gc.collect()
    assert reference() is None


def test_an_unreadable_row_costs_nothing(tmp_path: Path) -> None:
    """A request that fails on a bad row takes nothing; after a repair the run continues."""
    args = arguments(tmp_path, THREE, data_source_weights=SHARES)
    expected = as_data(DataSource(args).get_samples(60))
    source = DataSource(args)
    waiting = source.get_samples(2)
    source.add_samples(waiting)
    path = Path(args.prompt_data[1])
    content = path.read_bytes()
    path.write_bytes(b"#" * len(content))
    for _ in range(3):
        with pytest.raises(DataError, match="'code'"):
            source.get_samples(30)
        assert source.get_buffer_length() == 2
    path.write_bytes(content)
    assert as_data(source.get_samples(60)) == expected


def test_arguments_are_left_alone(tmp_path: Path) -> None:
    """Nothing is attached to args, which engines pickle and send around."""
    args = arguments(tmp_path, THREE)
    before = argparse.Namespace(**vars(args))
    DataSource(args).get_samples(5)
    assert args == before
