"""Rollouts on a Ray cluster: programs and metrics run there; decisions, store, ledger, and LM calls stay here.

Actors make rollouts, many at a time each. What a program asks an LM waits in its worker until the driver fetches it,
which asks every worker for that all the time; the driver's gateway answers as it answers a rollout of its own: from the
store, joined, limited, charged. No port is opened, and workers get LMs without their keys. Where a worker is lost, its
rollouts are made again on others, with the answers that were already there.
"""

from __future__ import annotations

from luthier.integrations.ray.executor import RayExecutor, cluster

__all__ = ["RayExecutor", "cluster"]
