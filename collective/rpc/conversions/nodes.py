"""Copies and positions of the catalogue, as nodes say and hear them."""

from __future__ import annotations

from collective.core.errors import UsageError
from collective.core.ids import Generation, parse_chunk_id
from collective.model.copies import CopyKey
from collective.model.nodes import Position
from collective.rpc.gen.collective.v1 import node as node_pb

_GENERATION_MAX = (1 << 63) - 1


def position_message(position: Position, mac: bytes) -> node_pb.CatalogPosition:
    """Return ``position`` for the wire, with the coordinator's ``mac`` of it."""
    return node_pb.CatalogPosition(
        catalog_id=position.catalog_id,
        epoch=position.epoch,
        sequence=position.sequence,
        seal=mac,
    )


def position_from(message: node_pb.CatalogPosition | None) -> Position | None:
    """Return the position in ``message``; None where the node has seen none yet."""
    if message is None or not message.catalog_id:
        return None
    return Position(message.catalog_id, message.epoch, message.sequence)


def copy_message(copy: CopyKey) -> node_pb.CopyRecord:
    """Return a copy's key for the wire."""
    return node_pb.CopyRecord(
        chunk_id=copy.chunk, generation=copy.generation, length=copy.stored_length
    )


def copy_from(message: node_pb.CopyRecord) -> CopyKey:
    """Return a checked copy's key."""
    if message.generation > _GENERATION_MAX:
        raise UsageError(f"No copy has generation {message.generation}.")
    return CopyKey(parse_chunk_id(message.chunk_id), Generation(message.generation), message.length)
