"""A user's curriculum and rule behind the shared service."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from curriculum_learning import ConfigurationError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from tests.curricula.faces import data_source, rollout
from tests.curricula.own import OWN_RULE
from tests.curricula.test_own import CURRICULA, INSTALLED, odd_share
from tests.engine import SynchronousEngine
from tests.harness import interrupt, name_of, row_of, write_rows
from tests.prompts.pictures import pixels, rows_with_pictures

ray = pytest.importorskip("ray")

from curriculum_learning.ray_service import RemoteDataSource  # noqa: E402
from tests.with_ray.kills import start_cluster, stop_cluster  # noqa: E402


@pytest.fixture(scope="module")
def _cluster() -> Iterator[None]:
    """A cluster in whose processes the package in tests/curricula/installed is installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(INSTALLED)
        path = os.pathsep.join(filter(None, [str(INSTALLED), os.environ.get("PYTHONPATH")]))
        patch.setenv("PYTHONPATH", path)
        cluster = start_cluster(nodes=1)
        yield
        stop_cluster(cluster)


@pytest.mark.usefixtures("_cluster")
def test_the_service_learns_as_a_data_source_does(tmp_path: Path) -> None:
    """One by dotted path, one from an entry point: figures, states and what is served follow."""
    keys = {
        "drop": 0.0, "data_source_curricula": CURRICULA, "data_source_rule": {"type": OWN_RULE},
        "ray_service": {"name": tmp_path.name}, "save": str(tmp_path / "save"),
    }  # fmt: skip
    local = data_source(tmp_path, **keys)
    elsewhere = {**vars(local.args), "save": str(tmp_path / "shared")}
    client = RemoteDataSource(argparse.Namespace(**elsewhere))
    try:
        for number in range(4):
            assert rollout(client, number)[1] == rollout(local, number)[1]  # type: ignore[arg-type]
        client.save(3)
        ahead = [row_of(group) for group in client.get_samples(12)]
        client.load(3)
        assert [row_of(group) for group in client.get_samples(12)] == ahead
        assert client.source_status()["math"]["own_updates"] == 4
        groups = client.get_samples(200)
        odd = [row_of(group)[2] for group in groups if name_of(group) == "code"]
        assert odd_share(odd) == pytest.approx(4 * 2 / (4 * 2 + 5), abs=0.05)
    finally:
        client.shut_down()


@pytest.mark.parametrize("surplus", ["keep", "again", "drop"])
@pytest.mark.parametrize("partial", [True, False])
@pytest.mark.usefixtures("_cluster")
def test_the_service_ends_rollouts_as_a_data_source_does(
    tmp_path: Path, surplus: str, partial: bool
) -> None:
    """Surplus, dropped and discarded groups count the same, and the same is served next."""
    keys = {"ray_service": {"name": tmp_path.name}, "surplus": surplus, "partial_rollout": partial}
    local = data_source(tmp_path, **keys)
    client = RemoteDataSource(argparse.Namespace(**vars(local.args)))
    try:
        for number in range(8):
            here, there = (
                SynchronousEngine(source, source.args, batch=4, request=12, seed=number, drop=0.2)
                for source in (local, cast(DataSource, client))
            )
            assert [*map(row_of, there.rollout(number))] == [*map(row_of, here.rollout(number))]
            counts, counts_there = local.source_counts(), client.source_counts()
            assert counts_there.pop("ray_service")["leased"] == 0
            assert counts_there == counts
            assert client.source_status() == local.source_status()
        assert sum(count["dropped"] for count in counts.values()) > 0
        assert (sum(count["surplus"] for count in counts.values()) > 0) == (surplus != "drop")
        for group, same in zip(local.get_samples(30), client.get_samples(30), strict=True):
            assert [(s.index, s.response) for s in group] == [(s.index, s.response) for s in same]
    finally:
        client.shut_down()


@pytest.mark.usefixtures("_cluster")
def test_the_service_serves_rows_without_end_and_pictures(tmp_path: Path) -> None:
    """A client gets what a data source of its own would; pictures come whole and go back."""
    config = {
        "prompt_data": [
            write_rows(tmp_path / "seen.jsonl", rows_with_pictures(tmp_path)),
            "tests.prompts.generators.squares",
        ],
        "multimodal_keys": {"seen": {"image": "images"}},
        "data_source_weights": [1, 1],
        "ray_service": {"name": tmp_path.name},
    }
    local = DataSource({**config, "ray_service": {}})
    client = RemoteDataSource(config)
    try:
        for _ in range(2):
            theirs, ours = client.get_samples(6), local.get_samples(6)
            assert [row_of(group) for group in theirs] == [row_of(group) for group in ours]
            assert [pixels(group[0]) for group in theirs] == [pixels(group[0]) for group in ours]
        client.add_samples([interrupt(theirs[0])])
        assert pixels(client.get_samples(1)[0][0]) == pixels(ours[0][0])
        assert client
        with pytest.raises(ConfigurationError, match="no end"):
            len(client)
    finally:
        client.shut_down()


@pytest.mark.usefixtures("_cluster")
def test_the_service_mixes_by_schedule_and_replaces_what_is_lost(tmp_path: Path) -> None:
    """What is trained has the shares of each rollout, though three of five groups of math drop."""
    weights = {
        "math": "lambda step: 0.25 if step < 20 else 0.75",
        "code": "lambda step: 0.75 if step < 20 else 0.25",
    }
    keys = {
        "data_source_weights": weights,
        "mixture_target": "trained", "ray_service": {"name": tmp_path.name},
        "save": None,
    }  # fmt: skip
    client = RemoteDataSource(data_source(tmp_path, **keys).args)
    trained: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
    try:
        for rollout_id in range(40):
            done = 0
            while done < 16:
                for group in client.get_samples(16 - done):
                    dropped = name_of(group) == "math" and group[0].group_index % 5 < 3
                    if dropped:
                        client.observe([group], fate="dropped")
                        continue
                    done += 1
                    client.observe([group], rollout_id=rollout_id, fate="trained")
                    # the losses of the first rollouts are not foreseen
                    trained[rollout_id >= 20][name_of(group)] += rollout_id % 20 >= 4
            assert client.rollout_step == rollout_id + 1
        counts = client.source_counts()
    finally:
        client.shut_down()
    shares = [count["math"] / count.total() for count in trained.values()]
    assert shares == pytest.approx([0.25, 0.75], abs=0.03)
    assert counts["math"]["dropped"] > 0 == counts["code"]["dropped"]
    assert counts["math"]["replaced"] > 0
    assert counts["math"]["trained"] + counts["code"]["trained"] == 40 * 16
