"""The member as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from collective.core.ids import Domain, MemberId, NodeId, SpiffeId
from collective.core.paths import FilePath
from collective.core.work import Report
from collective.model.grants import Grant
from collective.model.nodes import NodeStatus
from collective.model.peers import PeerFigures


@dataclass(frozen=True, slots=True)
class ChunkHealth:
    """How many chunks there are, and how many lack copies, in what a caller may read whole."""

    chunks: int
    under_replicated: int
    unavailable: int
    covers: tuple[FilePath, ...]
    """The datastores that were counted, or ``/``; a chunk of two datastores counts in each."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts over the files that a caller may read."""

    files: int
    file_bytes: int
    health: ChunkHealth | None
    """None: there is no datastore that the caller may read whole."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What there is to know of the whole, at one moment."""

    totals: Totals
    backlog: int
    """Chunks of files that are short of copies."""
    copies_left: Mapping[NodeId, int]
    """By node, the copies that keep it from being removed."""
    doubted: int
    """Copies."""
    guarded: int
    """Copies that are given up, and kept until others are confirmed."""


@dataclass(frozen=True, slots=True)
class Space:
    """Room on the approved nodes together."""

    total_bytes: int
    used_bytes: int

    @property
    def available_bytes(self) -> int:
        """What is left; none where more is used than there is."""
        return max(0, self.total_bytes - self.used_bytes)


@dataclass(frozen=True, slots=True)
class NodeCodeStatus:
    """The newest code by which nodes join."""

    uses_left: int
    enrolled: int
    """Nodes that joined by it."""
    expires_ms: int


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """Another member that this one is peered with."""

    member: str
    domain: str
    address: str
    is_healthy: bool
    last_seen_ms: int
    latency_ms: float
    version: str
    """Of its program, as its bundle says."""
    taken_ms: int
    """When its bundle was taken."""
    figures: PeerFigures | None = None
    """For admins."""


@dataclass(frozen=True, slots=True)
class Status:
    """What one caller may know of the member as a whole."""

    member: MemberId
    domain: Domain
    address: str
    """Where the coordinator can be reached."""
    version: str
    uptime_s: float
    nodes: Sequence[NodeStatus]
    space: Space
    totals: Totals
    """Over what the caller may read."""
    caller: SpiffeId
    grants: Sequence[Grant]
    """The caller's own, as far as they were told."""
    node_code: NodeCodeStatus | None
    """For the operator."""
    warnings: Sequence[str]
    workers: Sequence[Report]
    """Of the coordinator, for admins."""
    peers: Sequence[PeerStatus] = ()
    remote_nodes: Sequence[NodeStatus] = ()
    """Nodes of peers."""
