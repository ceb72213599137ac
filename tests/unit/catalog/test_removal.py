"""Whether a node may be taken away, decided on values."""

from __future__ import annotations

import pytest

from collective.catalog.decisions.removal import HeldChunk, Needed, still_guarded
from collective.core.ids import NodeId
from collective.model.nodes import Standing

NODE = NodeId("n1")
APPROVED, PROBATION = Standing.APPROVED, Standing.PROBATION


@pytest.mark.parametrize(
    ("held", "is_doubted", "copies", "short"),
    [
        (HeldChunk(3, True, [APPROVED] * 3), False, 1, 0),
        (HeldChunk(3, True, [APPROVED] * 2), True, 0, 0),
        (HeldChunk(3, True, [APPROVED]), True, 1, 1),
        (HeldChunk(3, False, [APPROVED] * 2), False, 0, 0),
        (HeldChunk(3, False, []), False, 1, 1),
        (HeldChunk(3, False, [APPROVED, PROBATION]), False, 1, 1),
        (HeldChunk(3, False, [APPROVED, APPROVED, PROBATION]), False, 0, 0),
    ],
    ids=(
        "a good copy keeps it, whatever is elsewhere",
        "that of a doubted node does not, with a quorum elsewhere",
        "without one it may be the last",
        "a missing copy does not",
        "but it may come back, and be the last",
        "one on probation beside one approved is no majority",
        "two approved are",
    ),
)
def test_what_keeps_a_node(held: HeldChunk, is_doubted: bool, copies: int, short: int) -> None:
    needed = Needed(is_doubted)
    needed.count([held])
    assert (needed.copies, needed.short) == (copies, short)


def test_the_refusal_says_how_many_and_how_bad() -> None:
    needed = Needed(is_doubted=False, copies=12, short=0)
    assert "still holds 12 copies that are in use (a quorum of each is elsewhere)" in str(
        needed.refusal(NODE, is_all=True)
    )
    needed.short = 2
    text = str(needed.refusal(NODE, is_all=False))
    assert "at least 12 copies" in text
    assert "for at least 2 of them there is less than a quorum elsewhere" in text


def test_copies_that_wait_name_the_nodes_that_approval_would_help() -> None:
    assert "probation" not in str(still_guarded(NODE, 3, []))
    text = str(still_guarded(NODE, 3, [NodeId("n7")]))
    assert "still holds 3 copies that wait" in text
    assert "as on n7." in text
