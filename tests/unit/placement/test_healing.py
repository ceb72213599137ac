from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collective.core.ids import ChunkId, Generation, NodeId
from collective.model.copies import ChunkCopies, CopyName, CopyState, GivenUp, HeldCopy
from collective.model.nodes import Standing
from collective.placement.healing import (
    Facts,
    GiveUp,
    Leave,
    MakeCopy,
    NodeFacts,
    Verify,
    count_of,
    heal,
    may_delete,
    may_take_back,
    worth_asking,
)

ID = ChunkId(b"c" * 32)
A, B, C, D, E = (NodeId(name) for name in "abcde")
WELL = NodeFacts(Standing.APPROVED, answers=True, stays=True)
FACTS: Facts = dict.fromkeys((A, B, C, D, E), WELL)


def copy(node: NodeId, state: CopyState = CopyState.STORED, generation: int = 1) -> HeldCopy:
    return HeldCopy(node, Generation(generation), state)


def chunk(*copies: HeldCopy, wanted: int = 3, given_up: tuple[GivenUp, ...] = ()) -> ChunkCopies:
    return ChunkCopies(ID, 100, wanted, copies, given_up)


def on(*nodes: NodeId) -> object:
    return lambda _, taken: next((node for node in nodes if node not in taken), None)


def act(one: ChunkCopies, facts: Facts = FACTS, *free: NodeId) -> object:
    return heal(one, facts, on(*free))  # type: ignore[arg-type]


def where(node: NodeId, **changes: object) -> Facts:
    return {**FACTS, node: replace(WELL, **changes)}  # type: ignore[arg-type]


def test_a_chunk_that_has_its_copies_is_left_alone() -> None:
    assert act(chunk(copy(A), copy(B), copy(C)), FACTS, D) is Leave.WELL


def test_a_chunk_that_is_short_is_copied_from_those_that_are_sure_first() -> None:
    facts = {
        **where(A, standing=Standing.DOUBTED),
        B: replace(WELL, answers=False),
    }
    given = GivenUp(E, Generation(9))
    rotten = GivenUp(D, Generation(8), is_corrupt=True)
    found = act(chunk(copy(A), copy(B), copy(C), given_up=(rotten, given)), facts, D)
    assert isinstance(found, MakeCopy)
    assert (found.target, found.live) == (D, 2)
    assert [source.node for source in found.sources] == [C, A, E]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (where(A, answers=False), 3),  # down, not lost
        (where(A, stays=False), 2),
        (where(A, standing=Standing.DOUBTED), 2),
        (where(A, standing=Standing.PROBATION), 3),
        ({**where(A, standing=Standing.PROBATION), B: WELL, C: replace(WELL, stays=False)}, 1),
    ],
)
def test_what_counts(facts: Facts, expected: int) -> None:
    assert count_of([copy(A), copy(B), copy(C)], facts) == expected


def test_before_a_node_is_emptied_a_copy_is_made_that_can_stand_for_its_own() -> None:
    """Copies on probation let none go: without another one it would wait for an approval for ever."""
    facts = {**where(A, stays=False), D: replace(WELL, standing=Standing.PROBATION)}
    enough = chunk(copy(A), copy(B), copy(C), copy(D))
    made = act(enough, facts, E)
    assert isinstance(made, MakeCopy)
    assert (made.target, made.live) == (E, 3)
    assert act(enough, facts) == GiveUp(enough, copy(A)), "there is no place for one"
    doubtful = {**facts, E: replace(WELL, standing=Standing.PROBATION)}
    assert act(enough, doubtful, E) == GiveUp(enough, copy(A))
    more = chunk(copy(A), copy(B), copy(C), copy(D), copy(E))
    assert act(more, facts, E) == GiveUp(more, copy(A))
    stay = {**FACTS, D: replace(WELL, standing=Standing.PROBATION)}
    three = chunk(copy(B), copy(C), copy(D))
    assert act(three, stay, E) is Leave.WELL, "nothing is to go"


def test_what_is_only_in_doubt_is_verified_before_it_is_made_anew() -> None:
    one = chunk(copy(A, CopyState.DOUBTED), copy(B), copy(C))
    assert act(one, FACTS, D) == Verify(one)
    for facts in (
        where(A, is_mute=True),
        where(A, answers=False),
        where(A, standing=Standing.DOUBTED),
        where(A, stays=False),
    ):
        assert isinstance(act(one, facts, D), MakeCopy)


def test_what_stays_in_doubt_is_not_waited_for() -> None:
    one = chunk(copy(A, CopyState.DOUBTED), copy(B), copy(C))
    waits = heal(one, FACTS, on(D), lambda _, name: name[0] == A)  # type: ignore[arg-type]
    assert waits == Verify(one)
    goes = heal(one, FACTS, on(D), lambda _, name: name[0] != A)  # type: ignore[arg-type]
    assert isinstance(goes, MakeCopy)


def test_nothing_is_waited_for_where_fewer_than_a_quorum_count() -> None:
    one = chunk(copy(A, CopyState.DOUBTED), copy(B))
    assert isinstance(act(one, FACTS, D), MakeCopy)


def test_a_missing_copy_may_be_made_anew_on_its_own_node() -> None:
    found = act(chunk(copy(A, CopyState.MISSING), copy(B), copy(C)), FACTS, A)
    assert isinstance(found, MakeCopy)
    assert (found.target, found.generation) == (A, None)


def test_the_intent_of_an_upload_is_carried_out_where_there_is_no_other_place() -> None:
    one = chunk(copy(A, CopyState.INTENT, 7), copy(B), copy(C))
    found = act(one, FACTS, A)
    assert isinstance(found, MakeCopy)
    assert (found.target, found.generation) == (A, 7)
    elsewhere = act(one, FACTS, A, D)
    assert isinstance(elsewhere, MakeCopy)
    assert (elsewhere.target, elsewhere.generation) == (D, None)


def test_nothing_can_be_done_without_a_source_or_a_place() -> None:
    assert act(chunk(copy(A, CopyState.MISSING)), FACTS, D) is Leave.NO_SOURCE
    assert act(chunk(copy(A)), where(A, answers=False), D) is Leave.NO_SOURCE
    assert act(chunk(copy(A))) is Leave.NO_PLACE
    assert act(replace(chunk(copy(A)), is_due=False), FACTS, D) is Leave.NOT_DUE


def test_surplus_goes_one_at_a_time_the_least_useful_first() -> None:
    held = [
        copy(A),
        copy(B),
        copy(C),
        copy(D, CopyState.MISSING),
        copy(E, CopyState.DOUBTED),
    ]
    facts = {**FACTS, A: replace(WELL, free_bytes=5), B: replace(WELL, free_bytes=9)}
    order = []
    while isinstance(found := act(chunk(*held, wanted=1), facts), GiveUp):
        order.append(found.copy.node)
        held.remove(found.copy)
    assert order == [D, E, C, A]


def test_a_copy_that_is_given_up_holds_back_those_of_its_own_node_alone() -> None:
    """A node can invent as many of them as it likes."""
    invented = (GivenUp(A, Generation(9)),)
    waiting = chunk(copy(A), copy(B), wanted=1, given_up=invented)
    assert act(waiting, {A: WELL, B: replace(WELL, answers=False)}) is Leave.WAITS
    assert act(waiting, where(B, free_bytes=9)) == GiveUp(waiting, copy(B))
    assert act(waiting, where(A, free_bytes=9)) == GiveUp(waiting, copy(B))


def test_a_node_that_is_emptied_or_on_probation_gives_up_before_the_others() -> None:
    four = chunk(copy(A), copy(B), copy(C), copy(D))
    for facts in (where(B, stays=False), where(B, standing=Standing.PROBATION)):
        found = act(four, facts)
        assert isinstance(found, GiveUp)
        assert found.copy.node == B


def test_copies_of_nodes_that_are_away_or_doubted_are_not_given_up() -> None:
    four = chunk(copy(A), copy(B), copy(C), copy(D))
    for facts in (where(D, stays=False, answers=False), where(D, standing=Standing.DOUBTED)):
        assert act(four, facts) is Leave.WELL


GIVEN = GivenUp(A, Generation(1))
CONFIRMED = {copy(node).name for node in (A, B, C, D)}


def may(
    one: ChunkCopies,
    confirmed: AbstractSet[CopyName] = CONFIRMED,
    facts: Facts = FACTS,
    given: GivenUp = GIVEN,
    *,
    lacks_room: bool = False,
) -> bool:
    return may_delete(one, given, confirmed, facts, lacks_room=lacks_room)


def test_a_copy_goes_when_as_many_others_as_are_wanted_are_confirmed() -> None:
    one = chunk(copy(B), copy(C), copy(D))
    assert may(one)
    assert not may(one, CONFIRMED - {copy(B).name})
    assert not may(chunk(copy(B, generation=2), copy(C), copy(D)))  # another copy was confirmed
    assert not may(chunk(copy(B, CopyState.DOUBTED), copy(C), copy(D)))


@pytest.mark.parametrize(
    "changes",
    [{"stays": False}, {"standing": Standing.DOUBTED}, {"standing": Standing.PROBATION}],
)
def test_no_copy_goes_on_the_word_of_a_node_that_leaves_is_doubted_or_on_probation(
    changes: dict[str, object],
) -> None:
    assert not may(chunk(copy(B), copy(C), copy(D)), facts=where(B, **changes))


def test_a_corrupt_copy_leaves_a_full_node_for_one_that_is_confirmed() -> None:
    corrupt = replace(GIVEN, is_corrupt=True)
    one = chunk(copy(B), copy(C))
    assert may(one, given=corrupt, lacks_room=True)
    assert not may(one, given=corrupt)
    assert not may(one, lacks_room=True)
    assert not may(one, set(), given=corrupt, lacks_room=True)
    assert not may(chunk(), given=corrupt, lacks_room=True)


def test_an_older_copy_beside_a_confirmed_one_of_its_node_goes_though_others_lack() -> None:
    newer = copy(A, generation=2)
    one = chunk(newer, copy(B), wanted=5)
    assert may(one, {newer.name})
    assert not may(one, {copy(B).name})
    assert not may(chunk(copy(A, CopyState.DOUBTED, 2), copy(B), wanted=5), {newer.name})
    assert not may(one, {newer.name}, where(A, standing=Standing.DOUBTED))


def test_what_nothing_refers_to_needs_no_confirmation() -> None:
    assert may(replace(chunk(), is_in_use=False), set())


def worth(one: ChunkCopies, facts: Facts = FACTS, *, lacks_room: bool = False) -> set[NodeId]:
    return {node for node, _ in worth_asking(one, GIVEN, facts, lacks_room=lacks_room)}


def test_nobody_is_asked_where_no_answer_could_settle_anything() -> None:
    one = chunk(copy(B), copy(C), copy(D))
    assert worth(one) == {A, B, C, D}
    for changes in ({"is_mute": True}, {"answers": False}):
        assert worth(one, where(A, **changes)) == {B, C, D}
        assert worth(one, where(B, **changes)) == set()
    assert worth(replace(one, is_in_use=False)) == set()
    short = chunk(copy(B), copy(C))
    assert worth(short) == {A, B, C}  # it may be taken back
    assert worth(short, where(A, is_mute=True)) == set()
    corrupt = replace(GIVEN, is_corrupt=True)
    assert worth_asking(short, corrupt, where(A, is_mute=True), lacks_room=True)


def test_a_node_on_probation_is_not_asked_about_others() -> None:
    four = chunk(copy(B), copy(C), copy(D), copy(E))
    assert worth(four, where(E, standing=Standing.PROBATION)) == {A, B, C, D}


def test_a_copy_is_taken_back_where_it_is_needed() -> None:
    assert may_take_back(chunk(copy(B), copy(C)), GIVEN, FACTS)
    assert not may_take_back(chunk(copy(B), copy(C), copy(D)), GIVEN, FACTS)
    assert not may_take_back(chunk(copy(A, generation=2), copy(B)), GIVEN, FACTS)
    assert not may_take_back(chunk(copy(B)), GIVEN, where(A, stays=False))
    assert not may_take_back(chunk(copy(B)), GIVEN, {B: WELL})


def facts_strategy() -> st.SearchStrategy[Facts]:
    about = st.builds(
        NodeFacts,
        st.sampled_from(Standing),
        answers=st.booleans(),
        stays=st.booleans(),
        free_bytes=st.integers(0, 3),
        is_mute=st.booleans(),
    )
    return st.fixed_dictionaries(dict.fromkeys((A, B, C, D, E), about))


def copies_strategy() -> st.SearchStrategy[tuple[HeldCopy, ...]]:
    states = st.fixed_dictionaries(
        {}, optional=dict.fromkeys((A, B, C, D, E), st.sampled_from(CopyState))
    )
    return states.map(lambda found: tuple(copy(node, state) for node, state in found.items()))


@given(copies_strategy(), facts_strategy(), st.integers(1, 4), st.sampled_from([None, D, E]))
def test_no_decision_leaves_a_chunk_with_fewer_copies_that_count_than_it_wants(
    copies: tuple[HeldCopy, ...], facts: Facts, wanted: int, free: NodeId | None
) -> None:
    """And none that is short loses any: what is decided for it adds, or does nothing."""
    one = chunk(*copies, wanted=wanted)
    before = count_of(copies, facts)
    found = heal(one, facts, on(*([free] if free else [])))  # type: ignore[arg-type]
    if isinstance(found, GiveUp):
        left = [other for other in copies if other is not found.copy]
        assert before >= wanted
        assert count_of(left, facts) >= wanted
    if isinstance(found, MakeCopy):
        assert before < wanted
        assert found.sources
        held = [other.node for other in copies if other.state is not CopyState.MISSING]
        assert found.target not in held or found.generation is not None


@given(
    copies_strategy(),
    facts_strategy(),
    st.integers(1, 4),
    st.sets(st.sampled_from((A, B, C, D, E))),
    st.booleans(),
    st.booleans(),
)
def test_nothing_is_deleted_of_which_not_enough_is_proven_elsewhere(
    copies: tuple[HeldCopy, ...],
    facts: Facts,
    wanted: int,
    proven: Iterable[NodeId],
    is_corrupt: bool,
    lacks_room: bool,
) -> None:
    given = replace(GIVEN, generation=Generation(5), is_corrupt=is_corrupt)
    confirmed = {(node, Generation(1)) for node in proven}
    if may(chunk(*copies, wanted=wanted), confirmed, facts, given, lacks_room=lacks_room):
        good = [
            one
            for one in copies
            if one.name in confirmed
            and one.state is CopyState.STORED
            and facts[one.node].standing is Standing.APPROVED
            and facts[one.node].stays
        ]
        is_beside = any(
            one.node == given.node and one.name in confirmed and facts[one.node].counts
            for one in copies
            if one.state is CopyState.STORED
        )
        assert is_beside or len(good) >= (1 if is_corrupt and lacks_room else wanted)
