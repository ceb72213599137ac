"""What the operator should know, one sentence each: pure, from a snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from collective.core.disk_errors import disk_sentence
from collective.core.ids import NodeId
from collective.member.nodes.live_nodes import LiveNode
from collective.model.nodes import NodeState, Position, Standing
from collective.model.status import ChunkHealth
from collective.placement.node_states import Outlook
from collective.placement.shortage import (
    NAMED_MAX,
    Policy,
    approve_if_known,
    listed,
    nodes_shortage,
)

_FULL_PART: Final = 0.95
_EXPIRY_WARNING_MS: Final = 3 * 86400 * 1000


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that warnings are made from."""

    policy: Policy
    nodes: Sequence[LiveNode]
    outlook: Outlook
    health: ChunkHealth | None
    is_restored: bool
    now_ms: int
    expiry_warning_ms: int | None = None
    """How long before its end a certificate is warned of; None: three days."""
    told: Sequence[str] = ()
    """Further sentences: of the coordinator's own certificates."""
    rivals: Mapping[NodeId, str] = field(default_factory=dict)
    """Nodes that a second process was seen running as, and where that is."""
    waiting: Sequence[NodeId] = ()
    """Nodes with a certificate that counts, which the catalogue does not know."""
    copies_left: Mapping[NodeId, int] = field(default_factory=dict)
    """Copies that still keep each node, 0 where it is not named."""
    late_inventories: Sequence[NodeId] = ()
    """Nodes that were asked long ago what they hold, and did not tell."""
    position: Position | None = None
    """Where this catalogue stands; None where it does not matter."""


def warnings(situation: Situation) -> list[str]:
    """Return the warnings, most severe first."""
    return [
        *_catalog_warnings(situation),
        *_number_warnings(situation),
        *_adoption_warnings(situation),
        *_standing_warnings(situation),
        *_inventory_warnings(situation),
        *_node_warnings(situation),
        *situation.told,
    ]


def warnings_for_all(situation: Situation) -> list[str]:
    """Return those that say nothing of people, nor of single nodes: for whoever is no admin."""
    return [*_restored_warnings(situation), *_number_warnings(situation)]


def _catalog_warnings(situation: Situation) -> list[str]:
    found = _restored_warnings(situation)
    if situation.outlook.vanished_together:
        names = ", ".join(sorted(situation.outlook.vanished_together))
        found.append(
            f"Over a third of the nodes fell silent together ({names}): repair waits; start them, "
            "or remove those that are gone for good."
        )
    if situation.health is not None and situation.health.unavailable:
        found.append(
            f"{situation.health.unavailable} chunks cannot be read now; start the nodes in question."
        )
    return found


def _restored_warnings(situation: Situation) -> list[str]:
    if not situation.is_restored:
        return []
    sentence = (
        "This catalogue is older than what its nodes have seen (a restored backup?): nothing "
        "is deleted, and invites from before are void, until the operator has the nodes adopt it: "
        "collective node adopt --all"
    )
    return [sentence]


def _number_warnings(situation: Situation) -> list[str]:
    states = situation.outlook.states
    usable = [
        (live.record.node, live.record.standing)
        for live in situation.nodes
        if states.get(live.record.node) is NodeState.UP
    ]
    copies = situation.policy.copies
    sentence = nodes_shortage(situation.policy, len(states), usable)
    if sentence is None and len(states) < copies:
        sentence = (
            f"COLLECTIVE_COPIES={copies}, but only {len(states)} nodes are enrolled: files have "
            "fewer copies than that until more nodes join."
        )
    return [sentence] if sentence else []


def _adoption_warnings(situation: Situation) -> list[str]:
    """Return what there is to say of nodes that obey another catalogue than this, or none that is here."""
    found = []
    if situation.waiting:
        found.append(
            f"This catalogue does not know {listed(situation.waiting)}, with certificates of this member. "
            f"If the former catalogue was lost: collective node adopt {_named(situation.waiting)}, "
            "which approves those named (or --all, which does not)"
        )
    ours = situation.position
    if ours is None:
        return found
    obeyed = [(one.record.node, one.obeys) for one in situation.nodes if one.obeys is not None]
    others = [node for node, position in obeyed if position.catalog_id != ours.catalog_id]
    ahead = [node for node, position in obeyed if position.is_ahead_of(ours)]
    if ahead:
        found.append(
            f"A newer state of this catalogue than it has itself was obeyed last by {listed(ahead)}, without"
            " proof of it (the coordinator's key was replaced since), so nothing is deleted there. If no newer"
            f" catalogue exists: collective node adopt {_named(ahead)} (or --all)"
        )
    if others:
        found.append(
            f"Another catalogue was obeyed last by {listed(others)}, so nothing is deleted there. If this "
            f"one takes its place: collective node adopt {_named(others)} (or --all)"
        )
    return found


def _standing_warnings(situation: Situation) -> list[str]:
    """Return what there is to say of nodes in doubt, on probation, or not seen yet."""
    records = [live.record for live in situation.nodes]
    found = [
        f"Node {one.node} is doubted ({one.standing_reason}): its copies count for nothing, and are "
        f"made again elsewhere. If you trust it: collective node approve {one.node}; else: "
        f"collective node remove {one.node}"
        for one in records
        if one.standing is Standing.DOUBTED
    ]
    waiting = [one.node for one in records if one.standing is Standing.PROBATION]
    if waiting:
        found.append(
            f"On probation, with a minority of the copies at most: {listed(waiting)}."
            f" {approve_if_known(waiting)}; else: collective node remove {waiting[0]} --force, and make"
            " another join code (collective invite generate --for node)."
        )
    seen = [
        one.node
        for one in records
        if one.standing is Standing.APPROVED and one.is_new and not one.is_founder
    ]
    if seen:
        found.append(
            f"Enrolled since you last looked, by a code for one node: {listed(seen)}."
            f" {approve_if_known(seen)}"
        )
    return found


def _inventory_warnings(situation: Situation) -> list[str]:
    return [
        f"Node {node} does not tell what it holds, though it is asked; see its log. Until it does,"
        " copies that it lost count as if they were there."
        for node in situation.late_inventories
    ]


def _named(nodes: Sequence[NodeId]) -> str:
    return " ".join(nodes[:NAMED_MAX])


def _node_warnings(situation: Situation) -> list[str]:
    found = []
    least_ms = situation.expiry_warning_ms
    if least_ms is None:
        least_ms = _EXPIRY_WARNING_MS
    for live in situation.nodes:
        record = live.record
        if live.refused:
            found.append(f"Node {record.node} is refused: {live.refused}")
        if record.node in situation.rivals:
            found.append(
                f"Another process, at {situation.rivals[record.node]}, runs as node {record.node} and"
                " is refused; stop it, and give each node its own data dir and certificate."
            )
        found += _usability_warnings(live)
        if record.capacity_bytes and record.used_bytes > record.capacity_bytes * _FULL_PART:
            found.append(f"Node {record.node} is nearly full; add space or another node.")
        expires_ms = record.certificate_expires_ms
        if expires_ms and expires_ms <= situation.now_ms:
            found.append(
                f"The certificate of node {record.node} ran out; start the node, and it renews at "
                "the bootstrap."
            )
        elif expires_ms and expires_ms - situation.now_ms < least_ms:
            found.append(
                f"The certificate of node {record.node} runs out soon; let the node reach the "
                "coordinator so that it can renew."
            )
        left = situation.copies_left.get(record.node, 0)
        if record.draining and left and not _places(situation, record.node):
            found.append(
                f"Node {record.node} cannot be emptied: its {left} copies have no other node to go to;"
                " add one."
            )
    return found


def _usability_warnings(live: LiveNode) -> list[str]:
    """Return why a node that is there can be used in part only, or not at all."""
    found = []
    if live.addresses and not live.reachable:
        where = ", ".join(map(str, live.addresses))
        found.append(
            f"Node {live.record.node} is not found at any address that it says ({where}), so it gets "
            "no copies and serves none; set its COLLECTIVE_ADVERTISE_ADDRESS, or open its firewall."
        )
    trouble = disk_sentence(live.disk, f"Node {live.record.node}: its")
    if trouble:
        found.append(f"{trouble} It serves reads and gets no new copies.")
    return found


def _places(situation: Situation, node: NodeId) -> int:
    """Return on how many other nodes a chunk with all its copies could have one more."""
    up = sum(
        1
        for other, state in situation.outlook.states.items()
        if other != node and state is NodeState.UP
    )
    return max(0, up - situation.policy.copies + 1)
