from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from collective.core.ids import NodeId
from collective.core.randomness import SeededRandomness
from collective.placement.choose import Candidate, choose, has_room

candidates = st.lists(
    st.builds(
        Candidate,
        node=st.integers(0, 12).map(lambda n: NodeId(f"n-{n:02}")),
        free_bytes=st.integers(-(1 << 20), 1 << 44),
        capacity_bytes=st.integers(0, 1 << 44),
        accepts=st.booleans(),
    ),
    unique_by=lambda candidate: candidate.node,
)


@given(
    candidates,
    st.integers(0, 1 << 24),
    st.integers(0, 8),
    st.sets(st.integers(0, 12).map(lambda n: NodeId(f"n-{n:02}"))),
    st.integers(0, 1 << 32),
)
def test_only_fit_nodes_each_once_and_as_many_as_there_are(
    found: list[Candidate], length: int, count: int, exclude: set[NodeId], seed: int
) -> None:
    chosen = choose(
        found,
        length_bytes=length,
        count=count,
        exclude=exclude,
        uniform=SeededRandomness(seed).uniform,
    )
    fit = {c.node for c in found if c.accepts and c.node not in exclude and has_room(c, length)}
    assert len(set(chosen)) == len(chosen) == min(count, len(fit))
    assert set(chosen) <= fit


@given(candidates, st.integers(0, 1 << 32), st.randoms(use_true_random=False))
def test_the_same_snapshot_and_randomness_give_the_same_nodes(
    found: list[Candidate], seed: int, shuffler: random.Random
) -> None:
    shuffled = list(found)
    shuffler.shuffle(shuffled)
    first, second = (
        choose(
            snapshot,
            length_bytes=1,
            count=3,
            exclude=frozenset(),
            uniform=SeededRandomness(seed).uniform,
        )
        for snapshot in (found, shuffled)
    )
    assert first == second


def test_a_node_with_nine_times_the_space_is_first_about_nine_times_as_often() -> None:
    nodes = [
        Candidate(NodeId("large"), 9 << 40, 9 << 40, accepts=True),
        Candidate(NodeId("small"), 1 << 40, 1 << 40, accepts=True),
    ]
    uniform = SeededRandomness(7).uniform
    firsts = Counter(
        choose(nodes, length_bytes=1, count=1, exclude=frozenset(), uniform=uniform)[0]
        for _ in range(4000)
    )
    assert 0.87 < firsts[NodeId("large")] / 4000 < 0.93


def test_a_node_keeps_its_reserve() -> None:
    node = Candidate(NodeId("n"), free_bytes=15, capacity_bytes=1000, accepts=True)
    assert has_room(node, 5)
    assert not has_room(node, 6)
