"""A user's curriculum and rule behind the shared service."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.curricula.faces import data_source, rollout
from tests.curricula.own import OWN_RULE
from tests.curricula.test_own import CURRICULA, INSTALLED, odd_share
from tests.harness import name_of, row_of

ray = pytest.importorskip("ray")

from curriculum_learning.ray_service import RemoteDataSource  # noqa: E402
from tests.with_ray.kills import start_cluster, stop_cluster  # noqa: E402


@pytest.fixture
def _cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cluster in whose processes the package in tests/curricula/installed is installed."""
    monkeypatch.syspath_prepend(INSTALLED)
    path = os.pathsep.join(filter(None, [str(INSTALLED), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)
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


@pytest.mark.usefixtures("_cluster")
def test_the_service_mixes_and_replaces_as_a_data_source_does(tmp_path: Path) -> None:
    """Weights by schedule, fates, replacements and figures are those of one data source."""
    weights = {"math": "lambda step: 0.2 + 0.1 * step", "code": 0.5}
    keys = {
        "drop": 0.5, "data_source_weights": weights, "ray_service": {"name": tmp_path.name},
        "mixture_target": "trained", "save": str(tmp_path / "save"),
    }  # fmt: skip
    local = data_source(tmp_path, **keys)
    elsewhere = {**vars(local.args), "save": str(tmp_path / "shared")}
    client = RemoteDataSource(argparse.Namespace(**elsewhere))
    try:
        for number in range(6):
            trained, status, counts = rollout(client, number)  # type: ignore[arg-type]
            expected = rollout(local, number)
            counts.pop("ray_service")
            assert (trained, status, counts) == expected
            assert status["math"]["configured_weight"] == pytest.approx(0.3 + 0.1 * number)
        assert counts["math"]["dropped"] > 0
        assert counts["math"]["replaced"] > 0
        client.save(5)
        ahead = [row_of(group) for group in client.get_samples(12)]
        client.load(5)
        assert [row_of(group) for group in client.get_samples(12)] == ahead
    finally:
        client.shut_down()
