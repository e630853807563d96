"""A cluster of this machine, and clients of a service of its own for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness import arguments
from tests.service.clients import RAY_SIZES

if TYPE_CHECKING:
    from curriculum_learning.ray_service import RemoteDataSource


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of two nodes on this machine."""
    pytest.importorskip("ray")
    from tests.with_ray.kills import start_cluster, stop_cluster

    cluster = start_cluster(nodes=2)
    yield cluster
    stop_cluster(cluster)


@pytest.fixture
def connect(cluster: Any, tmp_path: Path) -> Iterator[Callable[..., RemoteDataSource]]:
    """Makes clients of one service; it is ended after the test."""
    from curriculum_learning.ray_service import RemoteDataSource

    clients = []

    def make(service: dict[str, Any] | None = None, **changes: Any) -> RemoteDataSource:
        options = {
            "name": tmp_path.name,
            "lease_timeout": 30.0,
            "draw_timeout": 60.0,
            **(service or {}),
        }
        client = RemoteDataSource(arguments(tmp_path, RAY_SIZES, ray_service=options, **changes))
        clients.append(client)
        return client

    yield make
    for client in clients:
        client._channel._closed.set()
    if clients:
        clients[0]._channel._closed.clear()
        clients[0].shut_down()
