"""The nodes of the Ray cluster as this process sees them, and how something is put on one of them."""

from __future__ import annotations

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


def own_node() -> str:
    """The id of the node on which this process runs."""
    return str(ray.get_runtime_context().get_node_id())


def living_nodes(*, beside: str | None = None) -> dict[str, float]:
    """The ids of all nodes that Ray believes to live, and how many CPUs each offers.

    Of a node that is named, only those on its own machine.
    """
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    machines = {str(node["NodeID"]): node["NodeManagerHostname"] for node in nodes}
    return {
        str(node["NodeID"]): float(node["Resources"].get("CPU", 0.0))
        for node in nodes
        if node["Alive"] and (beside is None or node["NodeManagerHostname"] == machines.get(beside))
    }


def bound_to(node: str) -> Any:
    """The scheduling strategy for what runs on that node or not at all.

    Ray heeds soft affinity only of what asks for resources: it hands what asks for none to any raylet, which keeps it.
    """
    return NodeAffinitySchedulingStrategy(node, soft=False)
