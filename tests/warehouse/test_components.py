"""Components are those of the graph, named by their smallest node, whatever the order of the edges."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from warehouse.components import components

NODES = st.integers(-(2**62), 2**62) | st.integers(0, 30)
EDGES = st.lists(st.tuples(NODES, NODES), max_size=60)


def _walked(edges: list[tuple[int, int]]) -> dict[int, int]:
    """The same by walking from every node as far as edges lead."""
    beside: dict[int, set[int]] = {}
    for one, other in edges:
        beside.setdefault(one, set()).add(other)
        beside.setdefault(other, set()).add(one)
    found: dict[int, int] = {}
    for start in sorted(beside):
        ahead = [] if start in found else [start]
        while ahead:
            node = ahead.pop()
            if node not in found:
                found[node] = start
                ahead += beside[node]
    return found


@given(edges=EDGES, seed=st.integers(0, 99))
def test_every_node_is_named_by_the_smallest_that_it_hangs_together_with(
    edges: list[tuple[int, int]], seed: int
) -> None:
    found = components(edges)
    assert found == _walked(edges)
    shuffled = [edge[::-1] if seed % 2 else edge for edge in edges]
    random.Random(seed).shuffle(shuffled)
    assert components(shuffled) == found


def test_a_long_chain_is_one_component_in_any_order() -> None:
    chain = [(n, n + 1) for n in range(200_000)]
    assert set(components(chain).values()) == {0}
    assert set(components(reversed(chain)).values()) == {0}
