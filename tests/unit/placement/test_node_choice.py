from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from collective.core.ids import NodeId
from collective.core.randomness import SeededRandomness
from collective.model.nodes import Standing
from collective.placement.node_choice import Candidate, Held, choose, has_room, waiting_for_approval
from collective.placement.quorum import counted, probation_most

candidates = st.lists(
    st.builds(
        Candidate,
        node=st.integers(0, 12).map(lambda n: NodeId(f"n-{n:02}")),
        free_bytes=st.integers(-(1 << 20), 1 << 44),
        capacity_bytes=st.integers(0, 1 << 44),
        accepts=st.booleans(),
        standing=st.sampled_from(Standing),
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
        held=Held(count),
        uniform=SeededRandomness(seed).uniform,
    )
    fit = {
        c.node: c.standing
        for c in found
        if c.accepts and c.node not in exclude and has_room(c, length)
    }
    approved = list(fit.values()).count(Standing.APPROVED)
    probation = list(fit.values()).count(Standing.PROBATION)
    assert set(chosen) <= fit.keys()
    standings = [fit[node] for node in chosen]
    assert Standing.DOUBTED not in standings
    assert len(set(chosen)) == len(chosen) <= count
    most = min(counted(min(approved, count), min(probation, probation_most(count))), count)
    assert len(chosen) == most


@given(candidates, st.integers(1, 7), st.integers(0, 4), st.integers(0, 4), st.integers(0, 1 << 32))
def test_on_probation_stay_a_minority_with_the_copies_that_are_there(
    found: list[Candidate], copies: int, approved: int, on_probation: int, seed: int
) -> None:
    standings = {candidate.node: candidate.standing for candidate in found}
    chosen = choose(
        found,
        length_bytes=1,
        count=copies,
        exclude=frozenset(),
        held=Held(copies, approved, on_probation),
        uniform=SeededRandomness(seed).uniform,
    )
    new = [standings[node] for node in chosen]
    after = on_probation + new.count(Standing.PROBATION)
    if Standing.PROBATION in new:
        assert after < approved + new.count(Standing.APPROVED)
        assert after <= probation_most(copies)


def test_a_claim_of_a_hundred_terabytes_weighs_no_more_than_the_largest_approved_node() -> None:
    nodes = [
        Candidate(NodeId("claim"), 100 << 40, 100 << 40, accepts=True, standing=Standing.PROBATION),
        *(Candidate(NodeId(name), 1 << 30, 1 << 30, accepts=True) for name in "abc"),
    ]
    uniform = SeededRandomness(7).uniform
    taken = sum(
        "claim"
        in choose(
            nodes, length_bytes=1, count=3, exclude=frozenset(), held=Held(3), uniform=uniform
        )
        for _ in range(4000)
    )
    assert 0.72 < taken / 4000 < 0.78  # three of four alike


def test_who_could_take_it_if_approved_is_named() -> None:
    nodes = [
        Candidate(NodeId("b"), 100, 100, accepts=True, standing=Standing.PROBATION),
        Candidate(NodeId("a"), 100, 100, accepts=True, standing=Standing.PROBATION),
        Candidate(NodeId("full"), 5, 100, accepts=True, standing=Standing.PROBATION),
        Candidate(NodeId("down"), 100, 100, accepts=False, standing=Standing.PROBATION),
        Candidate(NodeId("liar"), 100, 100, accepts=True, standing=Standing.DOUBTED),
        Candidate(NodeId("own"), 100, 100, accepts=True),
    ]
    assert waiting_for_approval(nodes, length_bytes=10, exclude={NodeId("x")}) == ("a", "b")


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
            held=Held(3),
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
        choose(nodes, length_bytes=1, count=1, exclude=frozenset(), held=Held(1), uniform=uniform)[
            0
        ]
        for _ in range(4000)
    )
    assert 0.87 < firsts[NodeId("large")] / 4000 < 0.93


def test_a_node_keeps_its_reserve() -> None:
    node = Candidate(NodeId("n"), free_bytes=15, capacity_bytes=1000, accepts=True)
    assert has_room(node, 5)
    assert not has_room(node, 6)
