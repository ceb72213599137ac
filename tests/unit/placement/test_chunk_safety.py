"""Groups of chunks are judged as each chunk alone would be."""

from __future__ import annotations

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from collective.core.ids import ChunkId, Generation, NodeId
from collective.model.copies import ChunkCopies, CopyState, HeldCopy
from collective.model.nodes import Standing
from collective.placement import chunk_safety
from collective.placement.chunk_safety import Group, Use
from collective.placement.healing import NodeFacts, count_of
from collective.placement.quorum import quorum_of

NODES: Final = tuple(NodeId(f"n{number}") for number in range(5))
STATES: Final = st.sampled_from([CopyState.STORED, CopyState.MISSING, CopyState.DOUBTED])
GROUPS: Final = st.builds(
    Group,
    st.sampled_from(Use),
    st.integers(1, 4),
    st.dictionaries(st.sampled_from(NODES), STATES).map(lambda found: tuple(sorted(found.items()))),
    st.integers(1, 100),
)
STANDINGS: Final = st.fixed_dictionaries({node: st.sampled_from(Standing) for node in NODES})
SOME: Final = st.frozensets(st.sampled_from(NODES))


def one_of(group: Group) -> ChunkCopies:
    """Return one chunk of the group, as repair sees it."""
    return ChunkCopies(
        ChunkId(bytes(32)),
        5,
        group.wanted,
        tuple(HeldCopy(node, Generation(1), state) for node, state in group.copies),
    )


@given(GROUPS, STANDINGS, SOME)
def test_what_counts_is_what_repair_counts(
    group: Group, standings: dict[NodeId, Standing], ignored: frozenset[NodeId]
) -> None:
    facts = {
        node: NodeFacts(standing, answers=True, stays=node not in ignored)
        for node, standing in standings.items()
    }
    expected = count_of(one_of(group).copies, facts)
    assert chunk_safety.live(group, standings, ignored) == expected
    assert chunk_safety.is_short(group, standings, ignored) is (expected < group.wanted)


@given(GROUPS, SOME)
def test_what_can_be_read_has_a_stored_copy_where_one_can_read(
    group: Group, usable: frozenset[NodeId]
) -> None:
    stored = {node for node, state in group.copies if state is CopyState.STORED}
    assert chunk_safety.is_readable(group, usable) is bool(stored & usable)


@given(st.lists(GROUPS, max_size=4), STANDINGS, SOME)
def test_what_is_left_is_what_removal_asks_of_each_chunk(
    groups: list[Group], standings: dict[NodeId, Standing], untrusted: frozenset[NodeId]
) -> None:
    """As the rule stood in SQL: stored ones, and others where no quorum is on trusted nodes elsewhere."""
    trusted = {node: one for node, one in standings.items() if node not in untrusted}
    expected: dict[NodeId, int] = {}
    for group in groups:
        for node, state in group.copies:
            elsewhere = [
                trusted[other]
                for other, held in group.copies
                if held is CopyState.STORED and other != node and other in trusted
            ]
            approved = elsewhere.count(Standing.APPROVED)
            waiting = elsewhere.count(Standing.PROBATION)
            sure = approved + min(waiting, max(0, approved - 1))
            if state is CopyState.STORED or sure < quorum_of(group.wanted):
                expected[node] = expected.get(node, 0) + group.chunks
    assert chunk_safety.copies_left(groups, trusted) == expected


def test_doubted_copies_are_counted_once_for_each_chunk() -> None:
    doubted = (NODES[0], CopyState.DOUBTED)
    groups = [
        Group(Use.FILED, 3, (doubted, (NODES[1], CopyState.DOUBTED)), 10),
        Group(Use.SHARED, 3, (doubted, (NODES[2], CopyState.STORED)), 1),
    ]
    assert chunk_safety.in_doubt(groups) == 21


def test_a_node_that_nobody_knows_of_counts_for_nothing() -> None:
    group = Group(Use.FILED, 1, ((NodeId("gone"), CopyState.STORED),), 1)
    assert chunk_safety.live(group, {}, frozenset()) == 0
