"""The live table of nodes: what heartbeats said, by monotonic time, and what follows from it.

The catalogue remembers which nodes exist; this table knows which of them are there now.  What others
change there, it takes over by :meth:`LiveNodes.reload`; what it refuses, it carries there by
:meth:`LiveNodes.write_refusals` before anything is decided on it.  One event loop owns it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Final

from collective.catalog.interface import Nodes
from collective.core import limits
from collective.core.clock import Clock
from collective.core.disk_errors import DiskState
from collective.core.errors import BusyError, ConflictError
from collective.core.ids import ChunkId, Domain, Generation, NodeId, SpiffeId
from collective.core.randomness import Randomness
from collective.core.units import Address
from collective.member.nodes.inventory_schedule import InventorySchedule
from collective.model.copies import VerifiedReceipt
from collective.model.nodes import NodeRecord, NodeState, Position, Standing
from collective.placement.healing import NodeFacts
from collective.placement.node_choice import Candidate, Drawing, has_room
from collective.placement.node_states import Observation, Outlook, Timers, look, state_of
from collective.placement.quorum import is_quorum

RIVAL_REMEMBERED_S: Final = 60.0
"""A process that was refused asks again more often than that."""
REFUSAL_KEPT_S: Final = 300.0
"""So long a node that came with another store stays refused: each refusal has open uploads checked again."""
_ABSENT: Final = frozenset((NodeState.DOWN, NodeState.LOST, NodeState.REFUSED))
_MAY_TAKE: Final = frozenset((NodeState.UP, NodeState.SUSPECT, NodeState.DOWN))
"""Given new copies now, or perhaps in a few minutes."""


@dataclass(slots=True)
class LiveNode:
    """One enrolled node that is not removed."""

    record: NodeRecord
    known_s: float
    """Monotonic seconds: when this coordinator came to know it."""
    last_heartbeat_s: float | None = None
    instance_id: str = ""
    superseded: str = ""
    """The instance before the present one; hearing it again means that two live."""
    addresses: tuple[Address, ...] = ()
    """Where its present process says that it is."""
    proven: frozenset[Address] = frozenset()
    """Those of them at which the coordinator found it."""
    earlier: tuple[Address, ...] = ()
    """Where it was found before; used while none of the present ones is proven."""
    version: str = ""
    stopping: bool = False
    disk: DiskState = DiskState.OK
    """What its disk can do; all but OK get nothing new."""
    inventory: InventorySchedule = field(default_factory=InventorySchedule)
    promised_bytes: int = 0
    """Placed since the last heartbeat told its free space."""
    refused: str = ""
    """Why it is refused; empty if it is not."""
    refused_until_s: float = 0.0
    """No heartbeat ends that before."""
    rival_at: str = ""
    """Where another process said that it runs as this node, and was refused."""
    rival_s: float = 0.0
    """When, by monotonic time."""
    authority_digest: bytes = b""
    """SHA-256 of the key of the CA that signed the certificate of its last heartbeat."""
    key_digest: bytes = b""
    """SHA-256 of its own key, as of its last heartbeat."""
    trusted_digests: frozenset[bytes] = frozenset()
    """SHA-256 of the key of each CA that it trusted at its last heartbeat."""
    obeys: Position | None = None
    """The highest position of a catalogue that it was told, as it says."""
    changed: bool = False
    """The record differs from what the catalogue has."""

    @property
    def reachable(self) -> tuple[Address, ...]:
        """Where others may be told that it is."""
        return tuple(one for one in self.addresses if one in self.proven) or self.earlier

    @property
    def unproven(self) -> tuple[Address, ...]:
        """Where it says that it is, and nobody has found it."""
        return tuple(one for one in self.addresses if one not in self.proven)

    @property
    def ready(self) -> bool:
        """Whether this start of the node has told what it holds; before that it gets nothing new."""
        return bool(self.instance_id) and self.inventory.instance_id == self.instance_id


@dataclass(frozen=True, slots=True)
class Heard:
    """What a heartbeat changed."""

    state_changed: bool
    has_room_again: bool
    """Its disk takes another chunk, and did not before."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one heartbeat says of its node."""

    instance_id: str
    addresses: tuple[Address, ...]
    capacity_bytes: int
    used_bytes: int
    chunk_count: int
    version: str
    stopping: bool
    certificate_serial: str
    certificate_expires_ms: int
    authority_digest: bytes = b""
    key_digest: bytes = b""
    trusted_digests: frozenset[bytes] = frozenset()
    disk: DiskState = DiskState.OK


class LiveNodes:
    """Nodes by id, their states, and placement over them."""

    def __init__(
        self,
        domain: Domain,
        records: Nodes,
        clock: Clock,
        randomness: Randomness,
        timers: Timers | None = None,
    ) -> None:
        """Begin empty, for the nodes that ``records`` have; silence counts from now."""
        self._domain = domain
        self._records = records
        self._clock = clock
        self._randomness = randomness
        self._timers = timers or Timers()
        self._started_s = clock.monotonic_s()
        self._nodes: dict[NodeId, LiveNode] = {}

    async def reload(self) -> None:
        """Take over the catalogue's nodes as they are now."""
        self.load(await self._records.list())

    async def write_refusals(self) -> None:
        """Write which nodes are refused, or not any more, since the last call; mostly nothing."""
        pending = {
            node: live.refused
            for node, live in self._nodes.items()
            if live.refused != live.record.refused
        }
        if not pending:
            return
        await self._records.set_refused(pending)
        for node, why in pending.items():
            live = self._nodes.get(node)
            if live is not None:
                live.record = replace(live.record, refused=why)

    def load(self, records: Iterable[NodeRecord]) -> None:
        """Take over ``records``; nodes that are known already keep what heartbeats said."""
        present = {record.node: record for record in records if not record.removed}
        for gone in self._nodes.keys() - present.keys():
            del self._nodes[gone]
        for node, record in present.items():
            live = self._nodes.get(node)
            if live is None:
                addresses = tuple(Address.parse_stored(text) for text in record.addresses)
                self._nodes[node] = LiveNode(
                    record,
                    self._clock.monotonic_s(),
                    earlier=addresses,
                    refused=record.refused,
                )
            else:
                live.record = replace(
                    live.record,
                    draining=record.draining,
                    store_uuid=record.store_uuid,
                    refused=record.refused,
                    standing=record.standing,
                    standing_reason=record.standing_reason,
                    is_new=record.is_new,
                    quarantined_bytes=record.quarantined_bytes,
                )

    def add(self, record: NodeRecord) -> None:
        """Take over a node that was just enrolled, without waiting for the next :meth:`load`."""
        live = self._nodes.get(record.node)
        if live is None:
            self._nodes[record.node] = LiveNode(record, self._clock.monotonic_s())
        elif record.removed:
            del self._nodes[record.node]

    def get(self, node: NodeId) -> LiveNode | None:
        """Return one node, or None if it is not enrolled or was removed."""
        return self._nodes.get(node)

    def all(self) -> Sequence[LiveNode]:
        """Return the nodes in order of id."""
        return [self._nodes[node] for node in sorted(self._nodes)]

    def identity(self, node: NodeId) -> SpiffeId:
        """Return the SPIFFE id of a node of this member."""
        return SpiffeId.node(self._domain, node)

    def check_instance(self, node: NodeId, instance_id: str, addresses: Sequence[Address]) -> None:
        """Refuse a second live instance of a node.

        A process that was restarted has a new instance id; it is told apart from a clone by its
        addresses (two processes cannot listen on one) or by the old one having fallen silent.

        Raises:
            BusyError: the old instance may still live; ask again.
            ConflictError: an instance that was replaced is still alive: two run at once.
        """
        live = self._nodes[node]
        if not live.instance_id or instance_id == live.instance_id:
            return
        if instance_id == live.superseded:
            self._note_rival(live, addresses)
            raise ConflictError(
                f"Another process already runs as node {node}; stop one of the two, and give each "
                "node its own data dir and certificate."
            )
        heard_s = live.last_heartbeat_s
        alive = (
            heard_s is not None
            and not live.stopping
            and self._clock.monotonic_s() - heard_s < self._timers.suspect_after_s
        )
        if alive and tuple(addresses) != live.addresses:
            self._note_rival(live, addresses)
            raise BusyError(
                f"Another process was just seen running as node {node}; if it is a copy of this "
                "one, stop it, else wait a few seconds."
            )

    def _note_rival(self, live: LiveNode, addresses: Sequence[Address]) -> None:
        live.rival_at = str(addresses[0]) if addresses else "an unknown address"
        live.rival_s = self._clock.monotonic_s()

    def rivals(self) -> dict[NodeId, str]:
        """Return the nodes that two processes were just seen running as, and where the second is.

        A node that moved to another address is not among them: its old process is silent.
        """
        now_s = self._clock.monotonic_s()
        return {
            node: live.rival_at
            for node, live in self._nodes.items()
            if live.rival_at
            and now_s - live.rival_s < RIVAL_REMEMBERED_S
            and live.last_heartbeat_s is not None
            and live.last_heartbeat_s > live.rival_s
        }

    def heard(self, node: NodeId, report: Report) -> Heard:
        """Take over a heartbeat that was checked; return what is new."""
        live = self._nodes[node]
        before = self._state(live, self._clock.monotonic_s())
        had_room = _has_room(live)
        if live.instance_id and live.instance_id != report.instance_id:
            live.superseded = live.instance_id
            live.inventory.begin_anew()
        if before is not NodeState.UP:
            live.inventory.was_away()
        live.instance_id = report.instance_id
        live.last_heartbeat_s = self._clock.monotonic_s()
        reachable = live.reachable
        live.addresses = report.addresses
        live.proven &= frozenset(report.addresses)
        live.earlier = () if live.proven else reachable
        live.version = report.version
        live.stopping = report.stopping
        live.disk = report.disk
        live.promised_bytes = 0
        live.authority_digest = report.authority_digest
        live.key_digest = report.key_digest
        live.trusted_digests = report.trusted_digests
        if live.last_heartbeat_s >= live.refused_until_s:
            live.refused = ""
        live.changed = True
        live.record = replace(
            live.record,
            capacity_bytes=report.capacity_bytes,
            used_bytes=report.used_bytes,
            chunk_count=report.chunk_count,
            addresses=tuple(str(address) for address in live.reachable),
            last_seen_ms=int(self._clock.wall_s() * 1000),
            certificate_serial=report.certificate_serial,
            certificate_expires_ms=report.certificate_expires_ms,
        )
        return Heard(
            state_changed=self._state(live, live.last_heartbeat_s) is not before,
            has_room_again=not had_room and _has_room(live),
        )

    def is_short_of_room(self, copies: int) -> bool:
        """Tell whether no file of ``copies`` finds a quorum, and would if approved nodes that are full had room.

        A node that is away counts by what it had, until it is lost.  What nodes say that are not approved may keep
        what others have sent, and never ends it.
        """
        states = self.states()
        takes: list[Standing] = [
            live.record.standing
            for node, live in self._nodes.items()
            if states[node] in _MAY_TAKE and not live.record.draining and _has_room(live)
        ]
        full: list[Standing] = [
            live.record.standing
            for node, live in self._nodes.items()
            if states[node] is NodeState.UP
            and live.record.standing is Standing.APPROVED
            and _is_full(live)
        ]
        return not is_quorum(takes, copies) and is_quorum(takes + full, copies)

    def asks_inventory(self, node: NodeId, instance_id: str) -> bool:
        """Return whether this start of a node is to tell what it holds: for the first time, or again."""
        inventory, now_s = self._nodes[node].inventory, self._clock.monotonic_s()
        if not inventory.is_due(instance_id, now_s):
            return False
        if inventory.instance_id == instance_id and not inventory.has_turn(now_s):
            if any(one.inventory.has_turn(now_s) for one in self._nodes.values()):
                return False  # each takes some of the coordinator's time
            inventory.ask(now_s)
        inventory.lacks(now_s)
        return True

    def late_inventories(self) -> Sequence[NodeId]:
        """Return the nodes that are up and do not tell what they hold, in order of id."""
        states, now_s = self.states(), self._clock.monotonic_s()
        return sorted(
            node
            for node, live in self._nodes.items()
            if states[node] is NodeState.UP and live.inventory.is_late(now_s)
        )

    def note_stored(self, receipts: Iterable[VerifiedReceipt]) -> None:
        """Note copies that were just stored, where an inventory made before may be compared after."""
        for receipt in receipts:
            live = self._nodes.get(receipt.node)
            if live is not None:
                live.inventory.stored(live.instance_id, receipt.chunk, receipt.generation)

    def inventory_page(self, node: NodeId) -> AbstractSet[tuple[ChunkId, Generation]]:
        """Return what a page of an inventory may lack and yet be there; see ``InventorySchedule``."""
        live = self._nodes.get(node)
        return frozenset() if live is None else live.inventory.take_page(live.instance_id)

    def inventory_done(self, node: NodeId, instance_id: str) -> None:
        """Give the node new copies from now on: what it holds is known."""
        live = self._nodes.get(node)
        if live is not None:
            live.inventory.done(instance_id, self._clock.monotonic_s(), self._randomness.uniform())

    def refuse(self, node: NodeId, reason: str, *, for_s: float = 0.0) -> None:
        """Mark a node refused until its next good heartbeat after ``for_s`` seconds."""
        live = self._nodes.get(node)
        if live is not None:
            live.refused = reason
            live.refused_until_s = self._clock.monotonic_s() + for_s

    def take_changed(self) -> list[NodeRecord]:
        """Return the records that the catalogue does not have yet, and forget that."""
        changed = [live for live in self.all() if live.changed]
        for live in changed:
            live.changed = False
        return [live.record for live in changed]

    def proved(self, node: NodeId, address: Address) -> None:
        """Note that ``node`` was found at ``address``, and so nobody else is there."""
        live = self._nodes.get(node)
        if live is None or address not in live.addresses:
            return
        for other in self._nodes.values():
            if other is not live and address in other.reachable:
                self._forget(other, address)
        live.proven |= {address}
        live.earlier = ()
        self._note_reachable(live)

    def disproved(self, node: NodeId, address: Address) -> None:
        """Note that ``node`` was not found at ``address`` although it is there somewhere."""
        live = self._nodes.get(node)
        if live is not None and address in live.reachable:
            self._forget(live, address)

    def _forget(self, live: LiveNode, address: Address) -> None:
        live.proven -= {address}
        live.earlier = tuple(one for one in live.earlier if one != address)
        self._note_reachable(live)

    def _note_reachable(self, live: LiveNode) -> None:
        told = tuple(str(address) for address in live.reachable)
        live.record = replace(live.record, addresses=told)
        live.changed = True

    def changed_again(self, records: Iterable[NodeRecord]) -> None:
        """Note that the catalogue does not have these after all."""
        for record in records:
            live = self._nodes.get(record.node)
            if live is not None:
                live.changed = True

    def outlook(self) -> Outlook:
        """Return the states of all nodes at this moment, and what follows from them."""
        return look(
            [_observed(live) for live in self.all()],
            now_s=self._clock.monotonic_s(),
            started_s=self._started_s,
            timers=self._timers,
        )

    def facts(self, mute: AbstractSet[NodeId] = frozenset()) -> dict[NodeId, NodeFacts]:
        """Return what healing needs to know of every node; ``mute`` ones answered no challenge."""
        outlook = self.outlook()
        return {
            node: NodeFacts(
                live.record.standing,
                answers=node in outlook.sources,
                stays=node not in outlook.gone or self._is_only_doubted(live, outlook),
                free_bytes=live.record.capacity_bytes - live.record.used_bytes,
                is_mute=node in mute,
            )
            for node, live in self._nodes.items()
        }

    def _is_only_doubted(self, live: LiveNode, outlook: Outlook) -> bool:
        """Tell whether a node whose copies are gone is there all the same: doubt may be cleared."""
        return (
            live.record.standing is Standing.DOUBTED
            and not live.record.draining
            and outlook.states[live.record.node] not in {NodeState.LOST, NodeState.REFUSED}
        )

    def states(self) -> dict[NodeId, NodeState]:
        """Return the state of every node."""
        now_s = self._clock.monotonic_s()
        return {live.record.node: self._state(live, now_s) for live in self.all()}

    def _state(self, live: LiveNode, now_s: float) -> NodeState:
        return state_of(
            _observed(live), now_s=now_s, started_s=self._started_s, timers=self._timers
        )

    def absent(self) -> frozenset[NodeId]:
        """Return the nodes whose copies a new file must not count on: down, lost or refused."""
        return frozenset(node for node, state in self.states().items() if state in _ABSENT)

    def candidates(self, exclude: frozenset[NodeId] = frozenset()) -> list[Candidate]:
        """Return the nodes for placement; those in ``exclude`` do not accept."""
        states = self.states()
        return [
            _candidate(
                live.record,
                accepts=_accepts(live, states[node]) and node not in exclude,
                promised_bytes=live.promised_bytes,
            )
            for node, live in self._nodes.items()
        ]

    def accepting(self) -> Sequence[LiveNode]:
        """Return the nodes that may be given new copies, whatever their standing."""
        states = self.states()
        return [live for live in self.all() if _accepts(live, states[live.record.node])]

    def drawing(self, exclude: frozenset[NodeId] = frozenset()) -> Drawing:
        """Draw nodes for new copies, outside of those in ``exclude``, from a snapshot of now."""
        return Drawing(self.candidates(exclude), self._randomness.uniform)

    def promise(self, node: NodeId, size_bytes: int) -> None:
        """Count ``size_bytes`` as used until the node's next heartbeat."""
        live = self._nodes.get(node)
        if live is not None:
            live.promised_bytes += size_bytes


def space_of(nodes: Iterable[LiveNode]) -> tuple[int, int]:
    """Return capacity and use of the approved nodes together, in bytes.

    What others claim is shown with each, and adds up to nothing.
    """
    records = [one.record for one in nodes if one.record.standing is Standing.APPROVED]
    return (
        sum(record.capacity_bytes for record in records),
        sum(record.used_bytes for record in records),
    )


def _observed(live: LiveNode) -> Observation:
    return Observation(
        live.record.node,
        live.last_heartbeat_s,
        draining=live.record.draining,
        refused=bool(live.refused),
        standing=live.record.standing,
        known_s=live.known_s,
    )


def _candidate(record: NodeRecord, *, accepts: bool, promised_bytes: int = 0) -> Candidate:
    return Candidate(
        node=record.node,
        free_bytes=record.capacity_bytes - record.used_bytes - promised_bytes,
        capacity_bytes=record.capacity_bytes,
        accepts=accepts,
        standing=record.standing,
    )


def _has_room(live: LiveNode) -> bool:
    """Tell whether its disk takes another chunk, by what its last heartbeat said."""
    candidate = _candidate(live.record, accepts=True)
    return live.disk is DiskState.OK and has_room(candidate, limits.CHUNK_SIZE_BYTES)


def _is_full(live: LiveNode) -> bool:
    return live.disk is DiskState.FULL or (live.disk is DiskState.OK and not _has_room(live))


def _accepts(live: LiveNode, state: NodeState) -> bool:
    """Tell whether the node may be given new copies, as far as it and its disk go."""
    return (
        state is NodeState.UP
        and not live.stopping
        and live.ready
        and bool(live.reachable)
        and live.disk is DiskState.OK
    )
