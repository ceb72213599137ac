"""How much a node's copies count for: pure decisions about standing and quorum.

A node that is *approved* counts fully.  One on *probation* may hold copies, but among the copies of a
chunk those on probation stay a minority, so that no enrolment wins a majority by itself.  One that is
*doubted* said what no honest node can say: its copies still serve checked reads, and count for nothing
until it is verified or approved.
"""

from __future__ import annotations

from enum import Enum


class Standing(Enum):
    """What a node's copies count for; the value is the word of the catalogue and of ``status``."""

    APPROVED = "approved"
    PROBATION = "probation"
    DOUBTED = "doubted"


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


def probation_most(copies: int) -> int:
    """Return how many of ``copies`` wanted may be placed on nodes on probation: a minority."""
    return max(0, (copies - 1) // 2)
