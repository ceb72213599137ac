"""What to do about one chunk: copy it, verify a copy, give one up, or leave it; pure decisions.

A copy *counts* where it is stored on a node whose word counts and which stays.  Rules kept here:

* too few count: a copy that is only in doubt is verified before another one is made, unless it was
  challenged often enough without a result, or fewer than a quorum count; what is copied comes from
  whichever copy is left, since the node that receives it checks the chunk's id;
* enough count: what is beyond is given up, the least useful first, one at a time of each node;
* a copy that was given up is deleted only where enough others were *confirmed since*, on approved nodes
  alone, and is taken back where it is needed after all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import IntEnum

from collective.core.ids import ChunkId, Generation, NodeId
from collective.model.copies import ChunkCopies, CopyName, CopyState, GivenUp, HeldCopy
from collective.model.nodes import Standing
from collective.placement.node_choice import Held
from collective.placement.quorum import counted, quorum_of

WaitFor = Callable[[ChunkId, CopyName], bool]
"""Tells whether a challenge may still settle the doubt about a copy soon."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What matters about a node here."""

    standing: Standing
    answers: bool
    """It can be asked and copied from now."""
    stays: bool
    """Neither lost, removed, refused nor being drained."""
    free_bytes: int = 0
    is_mute: bool = False
    """It did not answer its last challenges: nothing waits for it."""

    @property
    def counts(self) -> bool:
        """Whether copies there count at all."""
        return self.stays and self.standing is not Standing.DOUBTED


Facts = Mapping[NodeId, NodeFacts]
UNKNOWN = NodeFacts(Standing.DOUBTED, answers=False, stays=False)
"""A node that is not enrolled any more."""


@dataclass(frozen=True, slots=True)
class MakeCopy:
    """Copy the chunk to ``target`` from the first of ``sources`` that is good."""

    chunk: ChunkCopies
    target: NodeId
    sources: tuple[HeldCopy | GivenUp, ...]
    live: int
    """Copies that count now: the fewer, the more urgent."""
    generation: Generation | None = None
    """Of the intent of an open upload that is carried out in its stead."""


@dataclass(frozen=True, slots=True)
class Verify:
    """Challenge what is in doubt first."""

    chunk: ChunkCopies


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Take ``copy`` out of use, under a guard."""

    chunk: ChunkCopies
    copy: HeldCopy


class Leave(IntEnum):
    """Why nothing is done now."""

    WELL = 0
    NO_SOURCE = 1
    NO_PLACE = 2
    WAITS = 3
    """The node has another copy of it that was given up and is not settled yet."""
    NOT_DUE = 4


Act = MakeCopy | Verify | GiveUp | Leave
Place = Callable[[ChunkCopies, AbstractSet[NodeId]], NodeId | None]
"""Chooses a node for one more copy, outside of those given."""


def count_of(copies: Iterable[HeldCopy], facts: Facts) -> int:
    """Return how many of the copies count."""
    standings = [
        facts[copy.node].standing
        for copy in copies
        if copy.state is CopyState.STORED and facts.get(copy.node, UNKNOWN).counts
    ]
    return counted(standings.count(Standing.APPROVED), standings.count(Standing.PROBATION))


def held_by_standing(chunk: ChunkCopies, facts: Facts) -> Held:
    """Return what placement needs to know of the copies that count or are being made."""
    there = [
        facts[copy.node].standing
        for copy in chunk.copies
        if copy.state in {CopyState.INTENT, CopyState.STORED}
        and facts.get(copy.node, UNKNOWN).counts
    ]
    return Held(chunk.wanted, there.count(Standing.APPROVED), there.count(Standing.PROBATION))


def heal(
    chunk: ChunkCopies, facts: Facts, place: Place, wait_for: WaitFor = lambda _, __: True
) -> Act:
    """Return what to do about a chunk now.

    Args:
        chunk: what is known of it.
        facts: of every enrolled node.
        place: asked only where a copy can be made.
        wait_for: asked for copies that are in doubt.
    """
    live = count_of(chunk.copies, facts)
    if live >= chunk.wanted:
        return _before_it_goes(chunk, facts, place, live) or _surplus(chunk, facts)
    if not chunk.is_due:
        return Leave.NOT_DUE
    if live >= quorum_of(chunk.wanted) and any(
        _can_be_cleared(copy, facts) and wait_for(chunk.chunk, copy.name) for copy in chunk.copies
    ):
        return Verify(chunk)
    return _copy(chunk, facts, place, live)


def _before_it_goes(chunk: ChunkCopies, facts: Facts, place: Place, live: int) -> MakeCopy | None:
    """Return a copy to make so that one on a node that is emptied can be let go, if there is a place for it.

    Copies on probation are enough for the chunk, but let no other go (``may_delete``): without one more, what
    was given up there would wait for an approval for ever.
    """
    stored = [copy for copy in chunk.copies if copy.state is CopyState.STORED]
    leaving = [copy for copy in stored if copy.node in facts and not facts[copy.node].stays]
    sure = sum(
        facts[copy.node].standing is Standing.APPROVED
        for copy in stored
        if facts.get(copy.node, UNKNOWN).counts
    )
    if not leaving or sure >= chunk.wanted or not chunk.is_due:
        return None
    sources = _sources(chunk, facts)
    target = place(chunk, _taken(chunk)) if sources else None
    if target is None or facts.get(target, UNKNOWN).standing is not Standing.APPROVED:
        return None
    return MakeCopy(chunk, target, sources, live)


def _copy(chunk: ChunkCopies, facts: Facts, place: Place, live: int) -> Act:
    sources = _sources(chunk, facts)
    if not sources:
        return Leave.NO_SOURCE
    taken = _taken(chunk)
    target = place(chunk, taken)
    if target is not None:
        return MakeCopy(chunk, target, sources, live)
    # A node that an open upload was told to send to, and whose client may be gone for good: it is the
    # same copy, of the same generation, and who comes second finds it there.
    intents = {
        copy.node: copy.generation for copy in chunk.copies if copy.state is CopyState.INTENT
    }
    target = place(chunk, taken - intents.keys()) if intents else None
    if target is None or target not in intents:
        return Leave.NO_PLACE
    return MakeCopy(chunk, target, sources, live, intents[target])


def _taken(chunk: ChunkCopies) -> set[NodeId]:
    """Return the nodes that can have no other copy."""
    return {copy.node for copy in chunk.copies if copy.state is not CopyState.MISSING}


def _can_be_cleared(copy: HeldCopy, facts: Facts) -> bool:
    at = facts.get(copy.node, UNKNOWN)
    return copy.state is CopyState.DOUBTED and at.counts and at.answers and not at.is_mute


def _sources(chunk: ChunkCopies, facts: Facts) -> tuple[HeldCopy | GivenUp, ...]:
    """Return what the chunk can be copied from now, the best first."""
    ranked: list[tuple[int, HeldCopy | GivenUp]] = []
    for copy in chunk.copies:
        at = facts.get(copy.node, UNKNOWN)
        if not at.answers or copy.state in {CopyState.INTENT, CopyState.MISSING}:
            continue
        is_sure = copy.state is CopyState.STORED and at.standing is not Standing.DOUBTED
        ranked.append((0 if is_sure else 1, copy))
    ranked += [
        (2, given)
        for given in chunk.given_up
        if facts.get(given.node, UNKNOWN).answers and not given.is_corrupt
    ]
    ranked.sort(key=lambda one: one[0])
    return tuple(copy for _, copy in ranked)


def _surplus(chunk: ChunkCopies, facts: Facts) -> Act:
    # A node may invent copies that it was never asked to store, each of which is guarded like one that was
    # given up: they hold back its own copies alone.
    waits = False
    for copy in sorted(chunk.copies, key=lambda one: _usefulness(one, facts)):
        at = facts.get(copy.node, UNKNOWN)
        if copy.state is CopyState.INTENT or not at.answers:
            continue  # it is deleted when its node is here to do so, and may come to use before
        if at.standing is Standing.DOUBTED and at.stays:
            continue  # its node may clear itself; it is read where no other is left
        others = [one for one in chunk.copies if one is not copy]
        if count_of(others, facts) >= chunk.wanted:
            if all(given.node != copy.node for given in chunk.given_up):
                return GiveUp(chunk, copy)
            waits = True
    return Leave.WAITS if waits else Leave.WELL


def _usefulness(copy: HeldCopy, facts: Facts) -> tuple[int, int]:
    at = facts.get(copy.node, UNKNOWN)
    if copy.state is not CopyState.STORED:
        return 0 if copy.state is CopyState.MISSING else 1, 0
    if at.standing is Standing.DOUBTED:
        return 2, at.free_bytes
    if not at.stays:
        return 3, at.free_bytes
    return 5 if at.standing is Standing.APPROVED else 4, at.free_bytes


def may_delete(
    chunk: ChunkCopies,
    given: GivenUp,
    confirmed: AbstractSet[CopyName],
    facts: Facts,
    *,
    lacks_room: bool,
) -> bool:
    """Tell whether a copy that was given up may be deleted now.

    Args:
        chunk: as it is known at this moment.
        given: the copy.
        confirmed: copies that answered a challenge since, as the copy itself or the chunk's own bytes
            answer it.
        facts: of every node, at this moment.
        lacks_room: its node has no room for the chunk beside it.

    Copies on probation do not count here: no enrolment takes another node's copy away.  A corrupt
    one, whose bytes are of no use, may leave a node that has no room for a good one when a single
    other copy is confirmed; else both would wait for each other.  An older copy beside one that counts
    and is confirmed, on the same node, adds nothing: it goes though the chunk lacks other copies, which
    it may for ever where there are too few nodes.
    """
    if not chunk.is_in_use:
        return True
    good = [
        copy
        for copy in chunk.copies
        if copy.state is CopyState.STORED
        and copy.name in confirmed
        and copy.name != given.name
        and facts.get(copy.node, UNKNOWN).counts
    ]
    if any(copy.node == given.node for copy in good):
        return True
    sure = sum(1 for copy in good if facts[copy.node].standing is Standing.APPROVED)
    return sure >= chunk.wanted or (given.is_corrupt and lacks_room and sure > 0)


def worth_asking(
    chunk: ChunkCopies, given: GivenUp, facts: Facts, *, lacks_room: bool
) -> tuple[CopyName, ...]:
    """Return the copies to challenge so that a given-up one may be settled; none if that cannot be now.

    They are the copy itself, where it may be good, and all that may let it go.  Nodes on probation are
    not asked: they prove nothing about others.
    """

    def can_be_asked(node: NodeId) -> bool:
        at = facts.get(node, UNKNOWN)
        return at.answers and not at.is_mute

    itself = (given.name,) if can_be_asked(given.node) else ()
    others = tuple(
        copy.name
        for copy in chunk.copies
        if copy.state is CopyState.STORED
        and can_be_asked(copy.node)
        and facts[copy.node].counts
        and facts[copy.node].standing is Standing.APPROVED
    )
    if not chunk.is_in_use:
        return ()
    may_go = may_delete(chunk, given, set(others), facts, lacks_room=lacks_room)
    may_come_back = bool(itself) and may_take_back(chunk, given, facts)
    return itself + others if may_go or may_come_back else ()


def may_take_back(chunk: ChunkCopies, given: GivenUp, facts: Facts) -> bool:
    """Tell whether a copy that was given up, and just proved to be there, is put into use again."""
    is_free = all(copy.node != given.node for copy in chunk.copies)
    return (
        is_free
        and facts.get(given.node, UNKNOWN).counts
        and count_of(chunk.copies, facts) < chunk.wanted
    )


def other_copy(chunk: ChunkCopies, node: NodeId, facts: Facts) -> Iterable[CopyName]:
    """Return a copy to compare with, if another node that is approved answers now."""
    return [
        copy.name
        for copy in chunk.copies
        if copy.node != node
        and copy.state is CopyState.STORED
        and (about := facts.get(copy.node)) is not None
        and about.answers
        and about.standing is Standing.APPROVED
        and not about.is_mute
    ][:1]
