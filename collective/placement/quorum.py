"""How much a node's copies count for: pure decisions about standing and quorum.

A node that is *approved* counts fully.  One on *probation* may hold copies, but among the copies of a
chunk those on probation stay a minority, so that no enrolment wins a majority by itself.  One that is
*doubted* said what no honest node can say, or proved none of its copies for a day: its copies still serve checked reads, and count for nothing
until it is verified or approved.
"""

from __future__ import annotations

from collections.abc import Iterable

from collective.model.nodes import Standing


def quorum_of(copies: int) -> int:
    """Return how many copies a write needs before it is acknowledged, of ``copies`` wanted."""
    return copies // 2 + 1


def counted(approved: int, on_probation: int) -> int:
    """Return how many copies count towards a quorum or a removal.

    Args:
        approved: copies on approved nodes.
        on_probation: copies on nodes on probation; they count while they are a minority.
    """
    return approved + min(on_probation, max(0, approved - 1))


def count(standings: Iterable[Standing]) -> int:
    """Return how many copies count, given the standing of the node of each; doubted ones do not."""
    found = list(standings)
    return counted(found.count(Standing.APPROVED), found.count(Standing.PROBATION))


def is_quorum(standings: Iterable[Standing], copies: int) -> bool:
    """Tell whether copies on nodes of these standings are a quorum of ``copies`` wanted."""
    return count(standings) >= quorum_of(copies)


def probation_most(copies: int) -> int:
    """Return how many of ``copies`` wanted may be placed on nodes on probation: a minority."""
    return max(0, (copies - 1) // 2)


def probation_room(copies: int, *, approved: int, on_probation: int) -> int:
    """Return how many copies more may go to nodes on probation, so that they stay a minority.

    Args:
        copies: wanted of the chunk in all.
        approved: copies on approved nodes, those being placed included.
        on_probation: copies on nodes on probation, those being placed included.
    """
    return max(0, min(probation_most(copies), approved - 1) - on_probation)
