from __future__ import annotations

from collective.core.clock import ManualClock
from collective.core.ids import ChunkId, Generation, NodeId
from collective.member.care.unsettled_challenges import EACH_MAX, FORGET_S, TRIES, Unsettled
from collective.model.copies import Verdict

A = (NodeId("a"), Generation(1))
B = (NodeId("b"), Generation(2))


def chunk(number: int) -> ChunkId:
    return ChunkId(number.to_bytes(32, "big"))


def test_a_copy_is_waited_for_so_often_and_again_once_something_was_settled() -> None:
    unsettled = Unsettled(ManualClock())
    for _ in range(TRIES):
        assert unsettled.may_settle(chunk(0), A)
        unsettled.note(chunk(0), A, Verdict.OPEN)
    assert not unsettled.may_settle(chunk(0), A)
    assert unsettled.may_settle(chunk(1), A)
    unsettled.note(chunk(0), A, Verdict.PROVEN)
    assert unsettled.may_settle(chunk(0), A)


def test_a_node_with_too_many_is_not_waited_for_at_all_until_they_are_forgotten() -> None:
    clock = ManualClock()
    unsettled = Unsettled(clock)
    for number in range(3 * EACH_MAX):
        unsettled.note(chunk(number), A, Verdict.OPEN)
    assert not unsettled.may_settle(chunk(10 * EACH_MAX), A)
    assert unsettled.may_settle(chunk(0), B)
    clock.advance(FORGET_S + 1)
    unsettled.note(chunk(0), A, Verdict.OPEN)
    assert unsettled.may_settle(chunk(10 * EACH_MAX), A)
