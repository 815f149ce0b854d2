"""Which of many things hang together: the connected components of a graph given by its edges."""

from __future__ import annotations

from collections.abc import Iterable


def components(edges: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Each node that an edge names, and the smallest node of its component; the order of edges does not matter.

    Union-find with path halving, the smaller root on top: near linear in the number of edges, one number a node.
    """
    parent: dict[int, int] = {}

    def root(node: int) -> int:
        above = parent.setdefault(node, node)
        while above != node:
            parent[node] = node = parent[above]
            above = parent[node]
        return node

    for one, other in edges:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return {node: root(node) for node in parent}
