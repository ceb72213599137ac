"""Nodes, as the catalogue keeps them and as they show themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from collective.core.disk_errors import DiskState
from collective.core.ids import ChunkId, Generation, NodeId, SpiffeId, StoreUuid
from collective.core.units import Address
from collective.model.copies import CopyKey


class Standing(Enum):
    """What a node's copies count for; the value is the word of the catalogue and of ``status``."""

    APPROVED = "approved"
    PROBATION = "probation"
    DOUBTED = "doubted"


class NodeState(Enum):
    """What a node can be used for; the value is the word of status and metrics."""

    UP = "up"
    SUSPECT = "suspect"
    DOWN = "down"
    LOST = "lost"
    DRAINING = "draining"
    REFUSED = "refused"


class ShownState(Enum):
    """What ``status`` and metrics say of a node in one word.

    Its :class:`NodeState`; of one that is up and not approved, its :class:`Standing`.
    """

    UP = "up"
    SUSPECT = "suspect"
    DOWN = "down"
    LOST = "lost"
    DRAINING = "draining"
    REFUSED = "refused"
    PROBATION = "probation"
    DOUBTED = "doubted"
    WAITING = "waiting"
    """The catalogue does not know it; it waits for its adoption."""
    AWAY = "away"
    """It is a peer's, which cannot be reached."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a catalogue stands: which one, how often it was restored, how many commits, in which life."""

    catalog_id: str
    epoch: int
    sequence: int
    life: str = ""
    """Random for each start of the process; empty where it was told before there were lives."""

    def is_ahead_of(self, other: Position) -> bool:
        """Tell whether it is higher than ``other``, which is of the same catalogue."""
        return self.catalog_id == other.catalog_id and (
            (self.epoch, self.sequence) > (other.epoch, other.sequence)
        )


@dataclass(frozen=True, slots=True)
class StatedPosition:
    """A position as nodes are told it."""

    position: Position
    mac: bytes
    """The coordinator's own mark: shown again, it says that the coordinator said this once."""


@dataclass(frozen=True, slots=True)
class RevokedStatement:
    """What is revoked, as nodes are told it."""

    epoch: int
    entries: Sequence[str] | None
    """In the order that the mark is on; None where they are left out, since the mark says it all."""
    mac: bytes
    """The coordinator's own mark on epoch and entries."""


@dataclass(frozen=True, slots=True)
class SignedAdoption:
    """The word to one node that a catalogue takes the place of what it obeys."""

    body: bytes
    key_id: int
    mac: bytes


@dataclass(frozen=True, slots=True)
class Replacement:
    """What an adoption says: a catalogue takes the place of what is obeyed."""

    replaced: Position
    """Exactly what the node keeps; else it takes no notice."""
    successor: StatedPosition


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a node says of itself; not yet judged."""

    instance_id: str
    """Fresh for each start of its process."""
    store_uuid: StoreUuid
    addresses: tuple[Address, ...]
    capacity_bytes: int
    used_bytes: int
    chunk_count: int
    version: str
    is_stopping: bool
    disk: DiskState
    key_ids: frozenset[int]
    """Ticket keys that it has."""
    seen: StatedPosition | None
    """The highest position that it was told; None before the first."""
    revoked: RevokedStatement
    """What it remembers."""
    trusted_digests: frozenset[bytes]
    """SHA-256 of the key of each CA of the member that it trusts."""

    @property
    def obeys(self) -> Position | None:
        """The highest position that it was told, as it says; None before the first."""
        return self.seen.position if self.seen is not None else None


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a member can be found."""

    coordinator: tuple[Address, ...] = ()
    bootstrap: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class HeartbeatAnswer:
    """What a node is told in return."""

    coordinator: SpiffeId
    coordinator_now_ms: int
    keys: Sequence[tuple[int, bytes]]
    """Ticket keys (id, secret) that the node lacks, newest last."""
    position: StatedPosition
    adoption: SignedAdoption | None
    revoked: RevokedStatement
    is_mac_newest: bool
    """The mark that the node has shown on what is revoked is this one."""
    send_inventory: bool
    interval_s: float
    trusted_ders: Sequence[bytes]
    """CAs that count, the one that signs nodes first."""
    link_ders: Sequence[bytes]
    """The old CA's word for the new one, while one takes the other's place."""


@dataclass(frozen=True, slots=True)
class InventoryPage:
    """Some of the copies that a node has, in order of chunk."""

    instance_id: str
    copies: Sequence[CopyKey]
    is_last: bool


@dataclass(frozen=True, slots=True)
class CopyTrouble:
    """A copy that its node found bad."""

    chunk: ChunkId
    generation: Generation
    is_corrupt: bool
    """Else it is missing."""


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node that was enrolled."""

    node: NodeId
    store_uuid: StoreUuid | None
    """None until the first heartbeat; fixed from then on."""
    capacity_bytes: int
    used_bytes: int
    chunk_count: int
    addresses: Sequence[str]
    last_seen_ms: int
    draining: bool = False
    removed: bool = False
    certificate_serial: str = ""
    certificate_expires_ms: int = 0
    standing: Standing = Standing.APPROVED
    standing_reason: str = ""
    """Why it is not approved; empty where it is."""
    refused: str = ""
    """Why its heartbeats are refused; empty where they are not."""
    is_new: bool = False
    """No operator has acknowledged its enrolment yet."""
    is_founder: bool = False
    """It enrolled while the member was being founded."""
    quarantined_bytes: int = 0
    """Bytes of copies there that this catalogue never gave out; kept by the catalogue alone."""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node as ``status`` and ``node list`` show it."""

    node: NodeId
    address: str
    """Where it can be reached, as far as that is known; else what it says, or nothing."""
    capacity_bytes: int
    used_bytes: int
    chunk_count: int
    is_healthy: bool
    state: ShownState
    last_seen_ms: int
    """Unix milliseconds; 0: never."""
    certificate_expires_ms: int
    version: str
    copies_left: int
    """Copies that keep it from being removed; 0 where that is not told."""
    standing: Standing
    standing_reason: str
    is_new: bool
    quarantined_bytes: int
    disk: DiskState | None
    """None where it is not known."""


@dataclass(frozen=True, slots=True)
class Approval:
    """What approving a node changed."""

    node: NodeId
    was: Standing
    was_new: bool


@dataclass(frozen=True, slots=True)
class NodeClaim:
    """A node that the catalogue does not know, as it came with a certificate that counts."""

    identity: SpiffeId
    key_digest: bytes
    """SHA-256 of the SubjectPublicKeyInfo."""
    serial: str
    expires_ms: int
    store_uuid: StoreUuid
    capacity_bytes: int
    used_bytes: int
    chunk_count: int
    addresses: Sequence[str]
    obeys: Position | None = None
    """The highest position that it was told, as it says."""

    @property
    def node(self) -> NodeId:
        """The id in its certificate."""
        return self.identity.node_id


@dataclass(frozen=True, slots=True)
class Adoption:
    """What adopting did."""

    enrolled: Sequence[NodeId]
    """Nodes that the catalogue did not know before."""
    replaced: int
    """Other catalogues whose place it took."""
    confirmed: bool
    """It was restored from a backup, and counts as the newest from now on."""
    epoch: int
    brought_back: Sequence[NodeId] = ()
    """Nodes that held a higher position of this very catalogue, and give it up."""


@dataclass(frozen=True, slots=True)
class Discarded:
    """What discarding quarantined copies did on one node."""

    node: NodeId
    copies: int
    size_bytes: int
    may_ms: int
    """When the first may be discarded, where none may be yet; 0: none is there."""
