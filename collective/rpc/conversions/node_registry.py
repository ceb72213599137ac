"""Copies and positions of the catalogue, as nodes say and hear them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from collective.core.disk_errors import DiskState
from collective.core.errors import UsageError
from collective.core.ids import ChunkId, Generation, StoreUuid, parse_chunk_id, parse_hex_id
from collective.model.copies import CopyKey, Finding
from collective.model.nodes import (
    CopyTrouble,
    Heartbeat,
    HeartbeatAnswer,
    InventoryPage,
    Position,
    RevokedStatement,
    StatedPosition,
    Whereabouts,
)
from collective.placement.challenges import Answer
from collective.rpc.conversions.addresses import addresses_from, usable_addresses
from collective.rpc.gen.collective.v1 import node as node_pb

PAGE_MAX_COPIES: Final = 50_000
PROBLEMS_MAX: Final = 1000
_KEY_IDS_MAX: Final = 64
_TRUSTED_MAX: Final = 8
"""CAs of one member that a node trusts: two while one takes the other's place."""
_TEXT_MAX: Final = 64
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
        mac=stated.mac,
    )


def position_from(message: node_pb.CatalogPosition | None) -> Position | None:
    """Return the position in ``message``; None where the node has seen none yet."""
    if message is None or not message.catalog_id:
        return None
    return Position(message.catalog_id, message.epoch, message.sequence, message.life)


def stated_from(message: node_pb.CatalogPosition | None) -> StatedPosition | None:
    """Return the position in ``message`` with the mark that was shown on it."""
    position = position_from(message)
    if message is None or position is None:
        return None
    return StatedPosition(position, bytes(message.mac))


def _is_plausible(message: node_pb.CatalogPosition | None) -> bool:
    """Tell whether a position is no longer than any that was ever told."""
    return message is None or max(len(message.catalog_id), len(message.life)) <= _TEXT_MAX


def heartbeat_from(message: node_pb.HeartbeatRequest) -> Heartbeat:
    """Return a checked heartbeat; whether it is to be believed is not for here."""
    if (
        len(message.key_ids) > _KEY_IDS_MAX
        or len(message.version) > _TEXT_MAX
        or len(message.trusted_digests) > _TRUSTED_MAX
        or not _is_plausible(message.highest_position)
    ):
        raise UsageError("The heartbeat is malformed.")
    return Heartbeat(
        instance_id=parse_hex_id(message.instance_id),
        store_uuid=StoreUuid(parse_hex_id(message.store_uuid)),
        addresses=addresses_from(message.addresses),
        capacity_bytes=message.total_capacity,
        used_bytes=message.used_capacity,
        chunk_count=message.chunk_count,
        version=message.version,
        is_stopping=message.draining,
        disk=_disk_state(message.disk),
        key_ids=frozenset(message.key_ids),
        seen=stated_from(message.highest_position),
        revoked=RevokedStatement(
            message.revocation_epoch,
            None if message.revoked_left_out else list(message.revoked),
            bytes(message.revocation_mac),
        ),
        trusted_digests=frozenset(map(bytes, message.trusted_digests)),
    )


def heartbeat_answer_message(answer: HeartbeatAnswer) -> node_pb.HeartbeatResponse:
    """Return the answer to a heartbeat for the wire."""
    adoption = answer.adoption
    return node_pb.HeartbeatResponse(
        coordinator_time_ms=answer.coordinator_now_ms,
        keys=[node_pb.TicketKey(key_id=key_id, key=secret) for key_id, secret in answer.keys],
        position=position_message(answer.position),
        adoption=None
        if adoption is None
        else node_pb.SignedAdoption(body=adoption.body, key_id=adoption.key_id, mac=adoption.mac),
        revocation_epoch=answer.revoked.epoch,
        revoked=list(answer.revoked.entries or ()),
        revocation_mac=answer.revoked.mac,
        mac_is_newest=answer.is_mac_newest,
        send_inventory=answer.send_inventory,
        interval_s=answer.interval_s,
        coordinator=str(answer.coordinator),
        trusted_ca_ders=list(answer.trusted_ders),
        ca_link_ders=list(answer.link_ders),
    )


def whereabouts_from(answer: node_pb.HeartbeatResponse) -> Whereabouts:
    """Return where the coordinator that answered says that it can be found, without what is no address."""
    return Whereabouts(
        usable_addresses(answer.coordinator_addresses), usable_addresses(answer.bootstrap_addresses)
    )


def inventory_page_from(message: node_pb.InventoryPage) -> InventoryPage:
    """Return a checked page of an inventory."""
    if len(message.copies) > PAGE_MAX_COPIES:
        raise UsageError(f"A page has at most {PAGE_MAX_COPIES} copies.")
    copies = [copy_from(record) for record in message.copies]
    return InventoryPage(message.instance_id, copies, message.last)


def problems_from(message: node_pb.ReportProblemsRequest) -> list[CopyTrouble]:
    """Return copies that a node found bad."""
    if len(message.copies) > PROBLEMS_MAX:
        raise UsageError(f"At most {PROBLEMS_MAX} copies can be reported at once.")
    return [
        CopyTrouble(parse_chunk_id(one.chunk_id), Generation(one.generation), one.corrupt)
        for one in message.copies
    ]


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


def _disk_state(word: str) -> DiskState:
    """Return what a node says of its disk; a word that is not known counts as trouble."""
    try:
        return DiskState(word or DiskState.OK.value)
    except ValueError:
        return DiskState.FAILING
