"""What becomes of a copy, decided on values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collective.catalog.decisions.copies import (
    CHECK_LEAST_MS,
    CHECK_MOST_MS,
    Repaired,
    after_repair,
    change_by,
    facts_now,
    is_surplus,
    may_be_taken_out,
    may_repair,
    next_look_ms,
    settled,
)
from collective.catalog.decisions.doubt import doubt_by
from collective.catalog.interface.values import Settled
from collective.core.ids import ChunkId, Generation, NodeId
from collective.model.copies import ChunkCopies, CopyState, GivenUp, HeldCopy, Verdict
from collective.model.nodes import Standing
from collective.placement.healing import GiveUp, NodeFacts, heal

NODES = [NodeId(f"n{number}") for number in range(4)]
STORED = tuple(HeldCopy(node, Generation(1), CopyState.STORED) for node in NODES)
FACTS = dict.fromkeys(NODES, NodeFacts(Standing.APPROVED, answers=True, stays=True))
CHUNK = ChunkCopies(ChunkId(b"c" * 32), 100, 3, STORED[:3])
GIVEN = GivenUp(NODES[3], Generation(1))


@pytest.mark.parametrize(
    ("verdict", "was", "becomes"),
    [
        (Verdict.PROVEN, CopyState.DOUBTED, CopyState.STORED),
        (Verdict.LIED, CopyState.STORED, CopyState.DOUBTED),
    ],
)
def test_a_proof_ends_a_doubt_and_a_lie_begins_one(
    verdict: Verdict, was: CopyState, becomes: CopyState
) -> None:
    assert change_by(verdict) == (was, becomes)


@pytest.mark.parametrize("verdict", [Verdict.OPEN, Verdict.MISSING, Verdict.CORRUPT])
def test_no_other_verdict_changes_a_copy_that_stays(verdict: Verdict) -> None:
    assert change_by(verdict) is None


def test_only_a_lie_puts_the_node_in_doubt() -> None:
    assert doubt_by(Verdict.LIED, "it said no") == "it said no"
    assert doubt_by(Verdict.LIED, "")
    for verdict in set(Verdict) - {Verdict.LIED}:
        assert doubt_by(verdict, "it said no") is None


@pytest.mark.parametrize(
    ("state", "lost", "corrupt"),
    [
        (CopyState.INTENT, False, False),
        (CopyState.STORED, True, True),
        (CopyState.DOUBTED, True, True),
        (CopyState.MISSING, False, True),
    ],
)
def test_which_copies_are_taken_out_of_use(state: CopyState, lost: bool, corrupt: bool) -> None:
    assert may_be_taken_out(state, is_lost=True) is lost
    assert may_be_taken_out(state, is_lost=False) is corrupt


def test_a_repair_begins_where_nothing_has_changed_since_it_was_decided() -> None:
    assert may_repair(CHUNK, CHUNK)
    assert not may_repair(CHUNK, None)
    assert not may_repair(CHUNK, replace(CHUNK, copies=STORED[:2]))
    resting = replace(CHUNK, is_due=False)
    assert not may_repair(resting, resting)


@pytest.mark.parametrize(
    ("state", "is_made", "is_sent", "becomes"),
    [
        (CopyState.INTENT, True, True, Repaired.STORED),
        (CopyState.INTENT, False, False, Repaired.GIVEN_UP),
        (CopyState.INTENT, False, True, Repaired.AS_IT_IS),
        (CopyState.MISSING, True, False, Repaired.AS_IT_IS),
        (CopyState.STORED, False, False, Repaired.AS_IT_IS),
        (None, True, False, Repaired.AS_IT_IS),
    ],
    ids=(
        "it was made",
        "nobody makes it",
        "an upload makes it too",
        "it went missing since",
        "an upload made it",
        "it was taken away",
    ),
)
def test_what_becomes_of_the_copy_of_a_repair(
    state: CopyState | None, is_made: bool, is_sent: bool, becomes: Repaired
) -> None:
    assert after_repair(state, is_made=is_made, is_sent=lambda: is_sent) is becomes


def test_a_node_stays_where_it_did_and_is_not_going_now() -> None:
    before = FACTS[NODES[0]]
    assert facts_now(before, Standing.DOUBTED, is_going=False) == replace(
        before, standing=Standing.DOUBTED
    )
    assert not facts_now(before, Standing.APPROVED, is_going=True).stays
    assert not facts_now(replace(before, stays=False), Standing.APPROVED, is_going=False).stays


def test_a_copy_is_given_up_only_while_it_is_surplus() -> None:
    many = replace(CHUNK, copies=STORED)
    act = heal(many, FACTS, lambda _, __: None)
    assert isinstance(act, GiveUp)
    assert is_surplus(act, many, FACTS)
    assert not is_surplus(act, CHUNK, FACTS)
    assert not is_surplus(act, None, FACTS)
    assert not is_surplus(act, replace(many, is_in_use=False), FACTS)
    for other in set(STORED) - {act.copy}:
        assert not is_surplus(GiveUp(many, other), many, FACTS)


def settle(
    chunk: ChunkCopies | None = CHUNK,
    *,
    confirmed: int = 3,
    guarded: bool = True,
    restored: bool = False,
) -> Settled:
    answered = {copy.name for copy in STORED[:confirmed]} | {GIVEN.name}
    return settled(
        chunk,
        GIVEN,
        answered,
        FACTS,
        is_guarded=guarded,
        is_restored=restored,
        lacks_room=False,
    )


def test_a_copy_goes_once_the_others_are_confirmed_and_comes_back_where_it_is_needed() -> None:
    assert settle() is Settled.DELETED
    assert settle(confirmed=2) is Settled.KEPT
    assert settle(replace(CHUNK, copies=STORED[:2])) is Settled.TAKEN_BACK


def test_nothing_is_settled_for_a_restored_catalogue_or_without_guard_or_chunk() -> None:
    assert settle(restored=True) is Settled.KEPT
    assert settle(guarded=False) is Settled.KEPT
    assert settle(None) is Settled.KEPT


def test_a_copy_that_is_given_up_is_looked_at_later_and_later() -> None:
    now_ms = 10_000_000_000
    assert next_look_ms(now_ms, now_ms) == now_ms + CHECK_LEAST_MS
    assert next_look_ms(now_ms - 100_000, now_ms) == now_ms + 50_000
    assert next_look_ms(0, now_ms) == now_ms + CHECK_MOST_MS
    assert next_look_ms(now_ms + 100_000, now_ms) == now_ms + 50_000
