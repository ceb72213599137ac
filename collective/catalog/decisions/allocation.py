"""Deciding, for one chunk of one upload, which copies count already and where the rest goes.

What counts for an upload: copies whose receipt it has shown, and, where the caller may already read a
path that holds the chunk, every stored copy.  Naming a chunk is no proof of having it: without such a
path the caller sends the bytes to the nodes that have them already (same generation), and their
receipts count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from collective.core.errors import NotEnoughCopiesError
from collective.core.ids import ChunkId, Generation, NodeId
from collective.model.copies import Copy, CopyState
from collective.model.nodes import Standing
from collective.placement import quorum
from collective.placement.node_choice import Held, Offers, pick
from collective.placement.shortage import copies_shortage

BAD: Final = (CopyState.MISSING, CopyState.DOUBTED)
"""Copies that no receipt puts back into use: a new one is made in their place, also on their node."""
APPROVED: Final = Standing.APPROVED
PROBATION: Final = Standing.PROBATION


@dataclass(frozen=True, slots=True)
class KnownCopy:
    """One copy of a chunk, on a node that is not removed, as an upload of the chunk finds it."""

    node: int
    """The node's row."""
    name: NodeId
    generation: Generation
    state: CopyState
    is_leaving: bool
    """The node drains."""
    is_trusted: bool
    """The node answers for what it has: it is neither doubted nor refused."""
    standing: Standing
    is_sent: bool
    """The upload was told to send the chunk there."""
    is_received: bool
    """It has shown the receipt."""

    @property
    def copy(self) -> Copy:
        """As the interface names it."""
        return Copy(self.name, self.generation)


@dataclass(frozen=True, slots=True)
class Allocated:
    """What is to be done for one chunk."""

    held: tuple[KnownCopy, ...]
    """What counts already."""
    is_stored: bool = False
    """It is enough: nothing is sent."""
    joined: tuple[KnownCopy, ...] = ()
    """Copies of others that this upload sends to as well,"""
    new: tuple[NodeId, ...] = ()
    """copies to be made,"""
    again: tuple[KnownCopy, ...] = ()
    """and copies that it was sent to before."""


def usable(
    found: Iterable[KnownCopy], *, is_authorised: bool, absent: AbstractSet[NodeId]
) -> list[KnownCopy]:
    """Return the copies that may count for an upload, all of them on trusted nodes.

    Those whose receipt it has shown, also where the node fell silent since; and copies that others
    made, where it may use them and their node is not in ``absent``.
    """
    return [
        one
        for one in found
        if one.state is CopyState.STORED
        and one.is_trusted
        and (one.is_received or (is_authorised and one.name not in absent))
    ]


def allocate(
    found: Sequence[KnownCopy],
    copies: int,
    offered: Sequence[tuple[NodeId, Standing]],
    *,
    is_authorised: bool,
    absent: AbstractSet[NodeId],
) -> Allocated:
    """Decide where the copies of a chunk go that are missing.

    Args:
        found: its copies.
        copies: wanted.
        offered: nodes that can take one, in order of preference.
        is_authorised: the caller may use what is stored.
        absent: nodes whose copies count only by the upload's own receipts; none is sent there.

    Raises:
        NotEnoughCopiesError: a quorum cannot be reached.
    """
    held = usable(found, is_authorised=is_authorised, absent=absent)
    standings = [one.standing for one in held]
    if quorum.is_quorum(standings, copies) and (is_authorised or len(held) >= copies):
        return Allocated(tuple(held), is_stored=True)
    missing = max(copies - len(held), quorum.quorum_of(copies) - quorum.count(standings))
    others = [
        one
        for one in found
        if one not in held and one.state not in BAD and one.is_trusted and one.name not in absent
    ]
    open_to_all = {one.name: one for one in others if not one.is_sent and not one.is_leaving}
    taken = {one.name for one in found if one.state not in BAD} | absent
    able = {name: one.standing for name, one in open_to_all.items()}
    able |= {name: standing for name, standing in offered if name not in taken}
    held_now = Held(copies, standings.count(APPROVED), standings.count(PROBATION))
    chosen = pick(able.items(), count=missing, exclude=frozenset(), held=held_now)
    standings += [able.pop(name) for name in chosen]
    again: list[KnownCopy] = []
    if not quorum.is_quorum(standings, copies):
        room = missing - len(chosen)
        again = [one for one in others if one.is_sent and not one.is_leaving][:room]
        standings += [one.standing for one in again]
    if not quorum.is_quorum(standings, copies):
        could = [*standings, *(one for one in able.values() if one is PROBATION)]
        raise NotEnoughCopiesError(
            f"Only {copies_shortage(copies, could)}; start or add nodes, or free space."
        )
    return Allocated(
        tuple(held),
        joined=tuple(open_to_all[name] for name in chosen if name in open_to_all),
        new=tuple(name for name in chosen if name not in open_to_all),
        again=tuple(again),
    )


def node_went(node: NodeId) -> NotEnoughCopiesError:
    """Return the error where the node that a copy was to go to is no more."""
    return NotEnoughCopiesError(f"Node {node} is not enrolled any more; try again.")


class Takers:
    """Nodes for the new copies of a batch: each has room as when it was drawn, less what it was given."""

    def __init__(self, offers: Offers, standings: Mapping[NodeId, Standing]) -> None:
        """Take from ``offers`` the nodes that have a standing, as the catalogue knows it now."""
        self._drawn = offers.drawn
        self._room_bytes = dict(offers.room_bytes)
        self._standings = standings

    def able(self, chunk: ChunkId, length_bytes: int) -> Sequence[tuple[NodeId, Standing]]:
        """Return those that can take the chunk still, in order of preference."""
        return [
            (node, self._standings[node])
            for node in self._drawn[chunk, length_bytes]
            if node in self._standings and self._room_bytes.get(node, length_bytes) >= length_bytes
        ]

    def give(self, nodes: Iterable[NodeId], length_bytes: int) -> None:
        """Count a chunk as given to ``nodes``."""
        for node in nodes:
            if node in self._room_bytes:
                self._room_bytes[node] -= length_bytes
