"""Why a write finds too few nodes, or too few copies, in words: pure, from standings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from collective.core.ids import NodeId
from collective.model.nodes import Standing
from collective.placement.quorum import count, counted, quorum_of

NAMED_MAX: Final = 5
"""Nodes that one sentence names."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Copies of each chunk, and how many of them an acknowledged write needs."""

    copies: int

    @property
    def quorum(self) -> int:
        """More than half of the copies of the setting, whatever nodes there are."""
        return quorum_of(self.copies)


def nodes_shortage(
    policy: Policy, enrolled: int, usable: Iterable[tuple[NodeId, Standing]]
) -> str | None:
    """Return why too few nodes are there for a write, or None if their number is not why.

    Args:
        policy: how many copies are wanted.
        enrolled: nodes, whatever their state.
        usable: the nodes that can take a copy now, doubted ones among them or not.
    """
    found = list(usable)
    approved = sum(standing is Standing.APPROVED for _, standing in found)
    on_probation = [node for node, standing in found if standing is Standing.PROBATION]
    needed = policy.quorum
    if counted(approved, len(on_probation)) >= needed:
        return None
    if approved + len(on_probation) >= needed:
        return approve_sentence(on_probation)
    if enrolled < needed:
        return (
            f"COLLECTIVE_COPIES={policy.copies} needs {needed} nodes for a write, and {enrolled} "
            f"{'is' if enrolled == 1 else 'are'} enrolled; enrol more (collective join CODE --as node, on "
            "their machines) or lower COLLECTIVE_COPIES (copies in its settings)."
        )
    return (
        f"A write needs {needed} healthy nodes, and {approved} of {enrolled} can be used now; "
        "start the others (collective node list shows them) and try again."
    )


def copies_shortage(copies: int, standings: Iterable[Standing]) -> str:
    """Return what to say where a chunk has, or could have, too few copies for a write.

    Args:
        copies: wanted.
        standings: of the nodes that have, or could take, a copy.
    """
    found = list(standings)
    probation = found.count(Standing.PROBATION)
    ignored = probation - (count(found) - found.count(Standing.APPROVED))
    aside = f" ({ignored} more on probation: collective node approve)" if ignored else ""
    return (
        f"{count(found)} of the {quorum_of(copies)} copies that a write needs count{aside}"
        f" (COLLECTIVE_COPIES={copies}, or the datastore's own copies)"
    )


def approve_sentence(nodes: Sequence[NodeId]) -> str:
    """Return what to do where a write fails since only nodes on probation could take it."""
    return (
        f"Too few approved nodes can take this; {listed(nodes)} could, on probation."
        f" {approve_if_known(nodes)}"
    )


def approve_if_known(nodes: Sequence[NodeId]) -> str:
    """Return what to do about nodes that only the operator can vouch for, without a full stop."""
    named = " ".join(nodes[:NAMED_MAX])
    them = "it" if len(nodes) == 1 else "them"
    return f"If you know {them}: collective node approve {named}"


def listed(nodes: Sequence[NodeId]) -> str:
    """Return the names of the first few nodes, and how many more there are."""
    more = len(nodes) - NAMED_MAX
    return ", ".join(nodes[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
