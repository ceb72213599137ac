"""Copies and positions of the catalogue, as nodes say and hear them."""

from __future__ import annotations

from collections.abc import Iterable

from collective.core.errors import UsageError
from collective.core.ids import ChunkId, Generation, parse_chunk_id
from collective.model.copies import CopyKey, Finding
from collective.model.nodes import Position, StatedPosition
from collective.placement.challenges import Answer
from collective.rpc.gen.collective.v1 import node as node_pb

_GENERATION_MAX = (1 << 63) - 1
_FINDINGS = {
    node_pb.CopyFinding.SOUND: Finding.SOUND,
    node_pb.CopyFinding.MISSING: Finding.MISSING,
    node_pb.CopyFinding.CORRUPT: Finding.CORRUPT,
}


def position_message(stated: StatedPosition) -> node_pb.CatalogPosition:
    """Return ``stated`` for the wire."""
    return node_pb.CatalogPosition(
        catalog_id=stated.position.catalog_id,
        epoch=stated.position.epoch,
        sequence=stated.position.sequence,
        life=stated.position.life,
        seal=stated.mac,
    )


def position_from(message: node_pb.CatalogPosition | None) -> Position | None:
    """Return the position in ``message``; None where the node has seen none yet."""
    if message is None or not message.catalog_id:
        return None
    return Position(message.catalog_id, message.epoch, message.sequence, message.life)


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


def names_from(messages: Iterable[node_pb.CopyRecord]) -> frozenset[tuple[ChunkId, Generation]]:
    """Return which copies a node names in an answer; what was never asked about means nothing."""
    return frozenset((ChunkId(bytes(one.chunk_id)), Generation(one.generation)) for one in messages)


def answers_from(
    messages: Iterable[node_pb.ChallengeAnswer],
) -> dict[tuple[ChunkId, Generation], Answer]:
    """Return a node's answers to a challenge; a finding that is not known is none."""
    return {
        (ChunkId(bytes(one.chunk_id)), Generation(one.generation)): Answer(
            _FINDINGS.get(one.finding, Finding.UNREAD), bytes(one.digest)
        )
        for one in messages
    }
