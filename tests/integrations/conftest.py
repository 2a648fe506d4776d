"""A Ray cluster of two nodes on loopback, for all tests that want one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

STORE_BYTES = 80 << 20


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """Two nodes of one processor each; `add_node` and `remove_node` as Ray's own tests use them."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # The name is history: it says whether nodes may be on other machines. Without, Ray listens on 127.0.0.1 only.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, connect=True, head_node_args={**node(), "include_dashboard": False})
    made.add_node(**node())
    made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()


def node(processors: int = 1) -> dict[str, Any]:
    """Return what a small node on loopback is made with."""
    return {"num_cpus": processors, "object_store_memory": STORE_BYTES, "node_ip_address": "127.0.0.1"}
