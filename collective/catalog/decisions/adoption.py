"""Which catalogues a member's own takes the place of, and how the nodes of those come in: pure.

Nodes obey the catalogue that they obeyed before.  Adoption has them obey this one, by an admin's word: for
nodes that are named, or for all.  The word for all also confirms a catalogue that was restored from a backup.

A node may hold a position of this very catalogue that is higher than its own.  Where the coordinator's mark on it
counts, the catalogue becomes *restored* and goes above it.  Where it does not, the key was replaced since, or the
node lies, and nobody here can tell which.  So no number of the catalogue's follows it: this one node is
*brought back*, from exactly what it held, by the same word of the operator.  A lie changes what the liar itself
remembers, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from collective.core.errors import ConflictError
from collective.core.ids import NodeId
from collective.model.nodes import Position, Standing


class Enrolled(NamedTuple):
    """What a node counts for that comes in."""

    standing: Standing
    reason: str
    """Why it is not approved; empty where it is."""


def confirms(named: AbstractSet[NodeId] | None, *, is_restored: bool) -> bool:
    """Tell whether adopting ``named`` (None: all) confirms this catalogue as the newest: only all can."""
    return is_restored and named is None


def require_guarded(epoch: int, guarded: int | None) -> None:
    """Raise ConflictError where the catalogue became restored anew since its deletes came under guard.

    Args:
        epoch: the present one.
        guarded: the one whose deletes are under guard; None: none are.
    """
    if epoch != guarded:
        raise ConflictError(
            "A node has just shown that this catalogue is older than it; look at collective"
            " status, and adopt again."
        )


def to_replace(own: str, obeyed: Mapping[NodeId, Position], known: Iterable[str]) -> Sequence[str]:
    """Return the catalogues whose place is taken: those ``obeyed`` by the nodes, then others ``known``."""
    others = {position.catalog_id for position in obeyed.values()} - {own}
    return [*sorted(others), *(one for one in known if one not in others)]


def to_bring_back(own: Position, obeyed: Mapping[NodeId, Position]) -> Mapping[NodeId, Position]:
    """Return what nodes are to give up: each holds a higher position of this catalogue than its own.

    Args:
        own: where the catalogue stands.
        obeyed: the highest position that each node was told, as it says.
    """
    return {node: held for node, held in sorted(obeyed.items()) if held.is_ahead_of(own)}


def require_some(*, is_any: bool, is_restored: bool) -> None:
    """Raise ConflictError where an adoption changes nothing: no confirmation, no catalogue, no node."""
    if is_any:
        return
    if is_restored:
        raise ConflictError(
            "These nodes obey this catalogue already; it is restored from a backup, and confirmed by:"
            " collective node adopt --all"
        )
    raise ConflictError("There is nothing to adopt: every node that is here obeys this catalogue.")


def standing_of(*, is_named: bool) -> Enrolled:
    """Return what a node counts for that is let in by adoption: being named is what approves it."""
    if is_named:
        return Enrolled(Standing.APPROVED, "")
    return Enrolled(Standing.PROBATION, "it was adopted with all others, and not by its name")


def enrolled_meanwhile(node: NodeId) -> ConflictError:
    """Return the error for a node that came by a code while it waited for its adoption."""
    return ConflictError(f"Node {node} has enrolled meanwhile; look with: collective node list")
