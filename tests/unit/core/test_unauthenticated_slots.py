from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collective.core.unauthenticated_slots import UnauthenticatedSlots


def test_a_flood_of_one_source_pushes_out_itself() -> None:
    slots: UnauthenticatedSlots[int] = UnauthenticatedSlots(in_all=10, per_source=4)
    assert slots.enter("victim", -1) is None
    out = [slots.enter("flood", number) for number in range(100)]
    assert out[:4] == [None] * 4
    assert out[4:] == list(range(96))
    assert len(slots) == 5


def test_when_all_places_are_taken_whoever_holds_most_gives_way() -> None:
    slots: UnauthenticatedSlots[str] = UnauthenticatedSlots(in_all=5, per_source=4)
    for number in range(4):
        slots.enter("flood", f"f{number}")
    assert slots.enter("a", "a1") is None
    assert slots.enter("b", "b1") == "f0"
    assert slots.enter("c", "c1") == "f1"


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 30)), max_size=200))
def test_bounds_hold_whoever_comes_and_goes(steps: list[tuple[bool, int, int]]) -> None:
    slots: UnauthenticatedSlots[tuple[int, int]] = UnauthenticatedSlots(in_all=7, per_source=3)
    held: set[tuple[int, int]] = set()
    for comes, source, number in steps:
        who = (source, number)
        if not comes:
            slots.leave(str(source), who)
            held.discard(who)
        elif who not in held:
            out = slots.enter(str(source), who)
            held.add(who)
            if out is not None:
                held.remove(out)
        assert len(slots) == len(held) <= 7
        assert max((sum(one[0] == s for one in held) for s in range(6)), default=0) <= 3
