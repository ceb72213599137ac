"""Which copies count for an upload, and where the rest goes, decided on values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collective.catalog.decisions.allocation import KnownCopy, Takers, allocate, usable
from collective.core.errors import NotEnoughCopiesError
from collective.core.ids import ChunkId, Generation, NodeId
from collective.model.copies import CopyState
from collective.model.nodes import Standing
from collective.placement import quorum
from collective.placement.node_choice import Offers

NAMES = [NodeId(name) for name in "abcdef"]
OFFERED = [(name, Standing.APPROVED) for name in NAMES]
NOBODY: frozenset[NodeId] = frozenset()


def copy_on(name: str, state: CopyState = CopyState.STORED, **facts: Any) -> KnownCopy:
    known = KnownCopy(
        NAMES.index(NodeId(name)), NodeId(name), Generation(7), state,
        is_leaving=False, is_trusted=True, standing=Standing.APPROVED, is_sent=False,
        is_received=False,
    )  # fmt: skip
    return replace(known, **facts)


def test_a_new_chunk_goes_to_the_first_nodes_that_were_drawn() -> None:
    done = allocate([], 3, OFFERED, is_authorised=False, absent=NOBODY)
    assert (done.held, done.is_stored, done.joined, done.again) == ((), False, (), ())
    assert done.new == ("a", "b", "c")


def test_naming_a_chunk_is_no_proof_of_having_it() -> None:
    stored = [copy_on(name) for name in "abc"]
    done = allocate(stored, 3, OFFERED, is_authorised=False, absent=NOBODY)
    assert not done.held
    assert [one.name for one in done.joined] == ["a", "b", "c"]
    assert allocate(stored, 3, OFFERED, is_authorised=True, absent=NOBODY).is_stored


def test_what_is_read_already_counts_only_on_nodes_that_are_there() -> None:
    stored = [copy_on(name) for name in "abc"]
    done = allocate(stored, 3, OFFERED[3:], is_authorised=True, absent=frozenset(NAMES[:2]))
    assert [one.name for one in done.held] == ["c"]
    assert done.new == ("d", "e")


def test_a_copy_whose_receipt_was_shown_counts_also_where_its_node_fell_silent() -> None:
    stored = [copy_on(name, is_sent=True, is_received=True) for name in "ab"]
    absent = frozenset(NAMES[:2])
    assert len(usable(stored, is_authorised=False, absent=absent)) == 2
    done = allocate(stored, 3, OFFERED, is_authorised=False, absent=absent)
    assert (len(done.held), done.new) == (2, ("c",))


def test_a_bad_copy_is_made_anew_also_on_its_own_node() -> None:
    found = [copy_on("a", CopyState.MISSING), copy_on("b", CopyState.DOUBTED)]
    done = allocate(found, 3, OFFERED[:3], is_authorised=True, absent=NOBODY)
    assert (done.held, done.new) == ((), ("a", "b", "c"))


def test_a_node_that_empties_itself_is_not_sent_to() -> None:
    found = [copy_on("a", CopyState.INTENT, is_leaving=True)]
    done = allocate(found, 3, OFFERED, is_authorised=False, absent=NOBODY)
    assert (done.joined, done.new) == ((), ("b", "c", "d"))


def test_nodes_it_was_sent_to_before_are_tried_again_where_no_other_is_left() -> None:
    found = [copy_on(name, CopyState.INTENT, is_sent=True) for name in "abc"]
    done = allocate(found, 3, OFFERED[:3], is_authorised=False, absent=NOBODY)
    assert (done.new, [one.name for one in done.again]) == ((), ["a", "b", "c"])
    with pytest.raises(NotEnoughCopiesError, match="0 of the 2 copies"):
        allocate(found, 3, OFFERED[:3], is_authorised=False, absent=frozenset(NAMES))


def test_probation_counts_as_the_catalogue_knows_it_not_as_it_was_when_drawn() -> None:
    offered = [(name, Standing.PROBATION) for name in NAMES]
    with pytest.raises(NotEnoughCopiesError, match="6 more on probation: collective node approve"):
        allocate([], 3, offered, is_authorised=False, absent=NOBODY)
    offered[4] = offered[4][0], Standing.APPROVED
    offered[5] = offered[5][0], Standing.APPROVED
    done = allocate([], 3, offered, is_authorised=False, absent=NOBODY)
    assert done.new == ("a", "e", "f")


def test_copies_of_others_on_probation_leave_places_to_approved_nodes() -> None:
    found = [copy_on(name, CopyState.INTENT, standing=Standing.PROBATION) for name in "ab"]
    done = allocate(found, 3, OFFERED[2:], is_authorised=False, absent=NOBODY)
    assert ([one.name for one in done.joined], done.new) == (["a"], ("c", "d"))
    with pytest.raises(NotEnoughCopiesError, match=r"Only 1 of the 2 copies .*1 more on probation"):
        allocate(found[:1], 3, OFFERED[2:3], is_authorised=False, absent=NOBODY)


def test_none_is_sent_to_a_node_that_is_absent() -> None:
    done = allocate([], 3, OFFERED, is_authorised=False, absent=frozenset(NAMES[:1]))
    assert done.new == ("b", "c", "d")


def test_a_batch_gives_each_node_what_fits_and_counts_only_what_it_gave() -> None:
    first, second = (ChunkId(bytes([number]) * 32) for number in (1, 2))
    drawn = {(first, 60): NAMES[:3], (second, 60): NAMES[:3]}
    approved = dict.fromkeys(NAMES[:2], Standing.APPROVED)
    takers = Takers(Offers(drawn, {NAMES[0]: 100, NAMES[1]: 200}), approved)
    assert takers.able(first, 60) == [(NAMES[0], Standing.APPROVED), (NAMES[1], Standing.APPROVED)]
    assert takers.able(second, 60) == takers.able(first, 60), "nothing was given yet"
    takers.give(NAMES[:2], 60)
    assert takers.able(second, 60) == [(NAMES[1], Standing.APPROVED)]


copies = st.builds(
    KnownCopy,
    node=st.just(0),
    name=st.sampled_from(NAMES),
    generation=st.just(Generation(1)),
    state=st.sampled_from(CopyState),
    is_leaving=st.booleans(),
    is_trusted=st.booleans(),
    standing=st.sampled_from([Standing.APPROVED, Standing.PROBATION]),
    is_sent=st.booleans(),
    is_received=st.booleans(),
)


@given(
    st.lists(copies, unique_by=lambda one: one.name),
    st.integers(1, 5),
    st.permutations(NAMES).flatmap(lambda all_of: st.sampled_from([all_of[:n] for n in range(7)])),
    st.booleans(),
    st.frozensets(st.sampled_from(NAMES)),
)
def test_what_is_decided_can_be_a_quorum_on_nodes_of_which_each_has_one_copy(
    found: list[KnownCopy],
    wanted: int,
    offered: list[NodeId],
    is_authorised: bool,
    absent: frozenset[NodeId],
) -> None:
    standings = {one.name: one.standing for one in found}
    known = [(name, standings.get(name, Standing.APPROVED)) for name in offered]
    try:
        done = allocate(found, wanted, known, is_authorised=is_authorised, absent=absent)
    except NotEnoughCopiesError:
        return
    used = [one.name for one in (*done.held, *done.joined, *done.again)] + list(done.new)
    assert len(used) == len(set(used))
    assert all(one.is_trusted for one in (*done.held, *done.joined, *done.again))
    all_standings = [standings.get(name, Standing.APPROVED) for name in used]
    assert quorum.is_quorum(all_standings, wanted)
    if done.is_stored:
        assert not (done.joined)
        assert not (done.new)
        assert not (done.again)
    there = {one.name for one in found if one.state in {CopyState.STORED, CopyState.INTENT}}
    assert there.isdisjoint(done.new)
