"""Nodes as people see and change them."""

from __future__ import annotations

from collective.core.disk_errors import DiskState
from collective.core.ids import NodeId, parse_node_id
from collective.model.nodes import Adoption, Approval, Discarded, NodeStatus, ShownState, Standing
from collective.rpc.conversions.enum_text import word_of
from collective.rpc.gen.collective.v1 import nodes as pb


def node_message(node: NodeStatus) -> pb.NodeStatus:
    """Return one node for the wire."""
    return pb.NodeStatus(
        id=node.node,
        address=node.address,
        total_capacity=node.capacity_bytes,
        used_capacity=node.used_bytes,
        chunk_count=node.chunk_count,
        is_healthy=node.is_healthy,
        state=node.state.value,
        last_seen_ms=node.last_seen_ms,
        certificate_expires_ms=node.certificate_expires_ms,
        version=node.version,
        copies_left=node.copies_left,
        standing=node.standing.value,
        standing_reason=node.standing_reason,
        is_new=node.is_new,
        quarantined_bytes=node.quarantined_bytes,
        disk="" if node.disk is None else node.disk.value,
    )


def node_from(message: pb.NodeStatus) -> NodeStatus:
    """Return one node."""
    return NodeStatus(
        node=parse_node_id(message.id),
        address=message.address,
        capacity_bytes=message.total_capacity,
        used_bytes=message.used_capacity,
        chunk_count=message.chunk_count,
        is_healthy=message.is_healthy,
        state=word_of(ShownState, message.state, "state of a node"),
        last_seen_ms=message.last_seen_ms,
        certificate_expires_ms=message.certificate_expires_ms,
        version=message.version,
        copies_left=message.copies_left,
        standing=word_of(Standing, message.standing, "standing"),
        standing_reason=message.standing_reason,
        is_new=message.is_new,
        quarantined_bytes=message.quarantined_bytes,
        disk=word_of(DiskState, message.disk, "state of a disk") if message.disk else None,
    )


def approval_message(done: Approval) -> pb.NodeApproval:
    """Return what approving a node changed for the wire."""
    return pb.NodeApproval(node_id=done.node, was=done.was.value, was_new=done.was_new)


def approval_from(message: pb.NodeApproval) -> Approval:
    """Return what approving a node changed."""
    was = word_of(Standing, message.was, "standing")
    return Approval(parse_node_id(message.node_id), was, message.was_new)


def adoption_message(done: Adoption) -> pb.AdoptNodesResponse:
    """Return what adopting did for the wire."""
    return pb.AdoptNodesResponse(
        enrolled=list(done.enrolled),
        replaced=done.replaced,
        confirmed=done.confirmed,
        epoch=done.epoch,
        brought_back=list(done.brought_back),
    )


def adoption_from(message: pb.AdoptNodesResponse) -> Adoption:
    """Return what adopting did."""
    enrolled: list[NodeId] = [parse_node_id(one) for one in message.enrolled]
    brought_back: list[NodeId] = [parse_node_id(one) for one in message.brought_back]
    return Adoption(enrolled, message.replaced, message.confirmed, message.epoch, brought_back)


def discarded_message(done: Discarded) -> pb.DiscardedCopies:
    """Return what discarding did on one node for the wire."""
    return pb.DiscardedCopies(
        node_id=done.node, copies=done.copies, bytes=done.size_bytes, may_ms=done.may_ms
    )


def discarded_from(message: pb.DiscardedCopies) -> Discarded:
    """Return what discarding did on one node."""
    return Discarded(parse_node_id(message.node_id), message.copies, message.bytes, message.may_ms)
