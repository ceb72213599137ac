"""What becomes of a copy by what was proven of it, by a repair, and while it is given up: pure.

What to do about a chunk as a whole is ``placement.healing``'s; here it is asked again, on what the catalogue
holds in the transaction itself, since that may have changed since an act was decided.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from enum import Enum, auto
from typing import Final, NamedTuple

from collective.catalog.interface.values import Settled
from collective.core.ids import NodeId
from collective.model.copies import ChunkCopies, CopyName, CopyState, GivenUp, Verdict
from collective.model.nodes import Standing
from collective.placement.healing import GiveUp, NodeFacts, heal, may_delete, may_take_back

CHECK_LEAST_MS: Final = 10_000
CHECK_MOST_MS: Final = 3_600_000
"""Bounds of the time after which a copy that was given up is looked at again; it grows with its age."""


# --- what was proven ---------------------------------------------------------------------------------


class Change(NamedTuple):
    """The state that a copy must have, and the one that it gets then."""

    was: CopyState
    becomes: CopyState


_BY_VERDICT: Final = {
    Verdict.PROVEN: Change(CopyState.DOUBTED, CopyState.STORED),
    Verdict.LIED: Change(CopyState.STORED, CopyState.DOUBTED),
}


def change_by(verdict: Verdict) -> Change | None:
    """Return what a verdict changes about a copy that stays; None: nothing."""
    return _BY_VERDICT.get(verdict)


def may_be_taken_out(state: CopyState, *, is_lost: bool) -> bool:
    """Tell whether a copy is taken out of use that is lost, or (not ``is_lost``) corrupt.

    One that was never sent is neither; one that is missing already cannot be lost again, but it may be
    back, and corrupt.
    """
    if state is CopyState.MISSING:
        return not is_lost
    return state in {CopyState.STORED, CopyState.DOUBTED}


# --- repair ------------------------------------------------------------------------------------------


class Repaired(Enum):
    """What becomes of the copy that a repair was to make."""

    STORED = auto()
    GIVEN_UP = auto()
    """It was not made, and nobody else makes it."""
    AS_IT_IS = auto()


def may_repair(decided_on: ChunkCopies, present: ChunkCopies | None) -> bool:
    """Tell whether a repair may begin: its chunk is as it was when that was decided, and is due still.

    ``present`` is None where the chunk has gone, or is being repaired.
    """
    return present is not None and present == decided_on and present.is_due


def after_repair(
    state: CopyState | None, *, is_made: bool, is_sent: Callable[[], bool]
) -> Repaired:
    """Return what becomes of a copy when the repair that was to make it ends.

    What went missing since is no copy by what was said before.

    Args:
        state: of the copy; None where it is gone.
        is_made: the receipt was shown.
        is_sent: tells whether an upload sends the same copy; asked only where it matters.
    """
    if state is not CopyState.INTENT:
        return Repaired.AS_IT_IS
    if is_made:
        return Repaired.STORED
    return Repaired.AS_IT_IS if is_sent() else Repaired.GIVEN_UP


# --- given up ----------------------------------------------------------------------------------------


def facts_now(before: NodeFacts, standing: Standing, *, is_going: bool) -> NodeFacts:
    """Return what matters about a node by what the catalogue knows of it at this moment.

    One that is doubted stays all the same, as it does where facts are made: it may clear itself.

    Args:
        before: what mattered when the act was decided.
        standing: its present one.
        is_going: it is drained, removed or being removed, or refused.
    """
    return replace(before, standing=standing, stays=before.stays and not is_going)


def is_surplus(act: GiveUp, present: ChunkCopies | None, facts: Mapping[NodeId, NodeFacts]) -> bool:
    """Tell whether the copy that was to be given up is surplus still; ``present``: None for no chunk."""
    if present is None or not present.is_in_use:
        return False
    again = heal(present, facts, lambda _, __: None)
    return isinstance(again, GiveUp) and again.copy == act.copy


def settled(
    present: ChunkCopies | None,
    given: GivenUp,
    confirmed: AbstractSet[CopyName],
    facts: Mapping[NodeId, NodeFacts],
    *,
    is_guarded: bool,
    is_restored: bool,
    lacks_room: bool,
) -> Settled:
    """Return what becomes of a copy that was given up, by what was just confirmed.

    Args:
        present: its chunk; None where that has gone, or is being repaired.
        given: the copy.
        confirmed: copies that have just answered a challenge.
        facts: of the nodes, as they are now.
        is_guarded: it is given up still, and was not let go.
        is_restored: the catalogue is restored and not confirmed: nothing is deleted for it.
        lacks_room: its node has none for another copy.
    """
    if is_restored or not is_guarded or present is None:
        return Settled.KEPT
    if may_delete(present, given, confirmed, facts, lacks_room=lacks_room):
        return Settled.DELETED
    if given.name in confirmed and may_take_back(present, given, facts):
        return Settled.TAKEN_BACK
    return Settled.KEPT


def next_look_ms(since_ms: int, now_ms: int) -> int:
    """Return when a copy is looked at again that was given up at ``since_ms``: later and later."""
    age_ms = abs(now_ms - since_ms)  # the clock may have been set back since
    return now_ms + min(CHECK_MOST_MS, max(CHECK_LEAST_MS, age_ms // 2))
