"""Nodes, as the catalogue keeps them and as they show themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from collective.core.ids import NodeId, SpiffeId, StoreUuid


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


@dataclass(frozen=True, slots=True)
class Position:
    """Where a catalogue stands: which one, how often it was restored, how many commits, in which life."""

    catalog_id: str
    epoch: int
    sequence: int
    life: str = ""
    """Random for each start of the process; empty where it was told before there were lives."""


@dataclass(frozen=True, slots=True)
class StatedPosition:
    """A position as nodes are told it."""

    position: Position
    mac: bytes
    """The coordinator's own mark: shown again, it says that the coordinator said this once."""


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
    obeys: str = ""
    """Id of the catalogue that it obeyed last."""

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


@dataclass(frozen=True, slots=True)
class Discarded:
    """What discarding quarantined copies did on one node."""

    node: NodeId
    copies: int
    size_bytes: int
    may_ms: int
    """When the first may be discarded, where none may be yet; 0: none is there."""
