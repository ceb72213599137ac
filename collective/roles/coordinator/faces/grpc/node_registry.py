"""The NodeRegistry service: heartbeats, inventories and problems, from nodes only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final, NoReturn

import structlog

from collective.catalog.interface import Catalog
from collective.core import limits
from collective.core.clock import Clock
from collective.core.disk_errors import DiskState
from collective.core.errors import (
    CollectiveError,
    ConflictError,
    PermissionDeniedError,
    UsageError,
)
from collective.core.ids import (
    Generation,
    NodeId,
    SpiffeId,
    StoreUuid,
    parse_chunk_id,
    parse_hex_id,
)
from collective.member.metrics import MemberMetrics
from collective.member.nodes.live_nodes import REFUSAL_KEPT_S, LiveNodes, Report
from collective.member.nodes.reachability import plausible
from collective.member.nodes.statement_macs import StatementMacs
from collective.member.nodes.unknown_nodes import UnknownNodes
from collective.member.trust.certificates_seen import CertificatesSeen
from collective.member.trust.revocations import Revocations
from collective.member.wakes import Wakes
from collective.model.nodes import NodeClaim, Position, StatedPosition
from collective.pki.certificates import Certified
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.rpc.conversions.addresses import addresses_from
from collective.rpc.conversions.nodes import (
    copy_from,
    copy_message,
    position_from,
    position_message,
)
from collective.rpc.deadlines import each
from collective.rpc.gen.collective.v1 import node as pb
from collective.transfer.tickets.adoptions import sign_adoption
from collective.transfer.tickets.key_ring import KeyRing

PAGE_MAX_COPIES: Final = 50_000
_VERDICT_MAX: Final = 10_000
_PROBLEMS_MAX: Final = 1000
_KEY_IDS_MAX: Final = 64
_PAGE_IDLE_S: Final = 60.0
_TEXT_MAX: Final = 64


class RegistryService(pb.NodeRegistryBase):
    """Adapts what nodes say to the table and the catalogue."""

    def __init__(
        self,
        *,
        own: SpiffeId,
        catalog: Catalog,
        table: LiveNodes,
        keys: KeyRing,
        revocations: Revocations,
        macs: StatementMacs,
        calls: Admission,
        metrics: MemberMetrics,
        wakes: Wakes,
        waiting: UnknownNodes,
        clock: Clock,
        interval_s: float = limits.HEARTBEAT_INTERVAL_S,
        trusted: Callable[[], list[bytes]] = list,
        links: Callable[[], list[bytes]] = list,
        certificates_seen: CertificatesSeen | None = None,
        unproven: Callable[[], None] = lambda: None,
    ) -> None:
        """Answer as ``own``; ask nodes to call every ``interval_s`` seconds.

        ``trusted`` gives the CAs that count (DER), the one that signs nodes first, ``links`` the old
        CA's word for the new one; ``certificates_seen`` is told of nodes' certificates, and ``unproven`` is called
        when a node says an address at which it was not found yet.
        """
        self._unproven = unproven
        self._trusted = trusted
        self._links = links
        self._own = own
        self._catalog = catalog
        self._table = table
        self._keys = keys
        self._revocations = revocations
        self._macs = macs
        self._not_taken: dict[NodeId, Position] = {}
        """Positions that nodes said without this coordinator's seal, to log each once."""
        self._calls = calls
        self._metrics = metrics
        self._wakes = wakes
        self._waiting = waiting
        self._clock = clock
        self._interval_s = interval_s
        self._certificates_seen = certificates_seen
        self._log = structlog.get_logger("coordinator.registry")

    async def heartbeat(self, message: pb.HeartbeatRequest) -> pb.HeartbeatResponse:
        """Take over a heartbeat and answer with keys, position and revocations."""
        node, peer = self._calls.node()
        try:
            response = await self._take_heartbeat(node, peer, message)
        except CollectiveError as error:
            self._metrics.heartbeats.labels(error.code).inc()
            self._log.warning("heartbeat_refused", node=node, why=error.message)
            raise
        self._metrics.heartbeats.labels("ok").inc()
        return response

    async def _take_heartbeat(
        self, node: NodeId, peer: Certified, message: pb.HeartbeatRequest
    ) -> pb.HeartbeatResponse:
        if not await self._is_enrolled(node):
            await self._wait(node, peer, message)
        if self._certificates_seen is not None:
            await self._certificates_seen.note(peer)
        live = self._table.get(node)
        assert live is not None, "enrolled nodes are in the table"
        instance_id = parse_hex_id(message.instance_id)
        addresses = plausible(addresses_from(message.addresses))
        if not addresses:
            raise UsageError(
                "A heartbeat needs an address where the node can be reached; set "
                "COLLECTIVE_ADVERTISE_ADDRESS of the node to one."
            )
        if len(message.key_ids) > _KEY_IDS_MAX or len(message.version) > _TEXT_MAX:
            raise UsageError("The heartbeat is malformed.")
        self._table.check_instance(node, instance_id, addresses)
        store = StoreUuid(parse_hex_id(message.store_uuid))
        if live.record.store_uuid != store:
            try:
                await self._catalog.bind_store(node, store)
            except ConflictError as error:
                self._table.refuse(node, error.message, for_s=REFUSAL_KEPT_S)
                raise
            await self._table.reload()
        await self._observe_position(node, message.highest_position)
        if not message.revoked_left_out:
            await self._revocations.learn(
                node, message.revoked, message.revocation_epoch, message.revocation_seal
            )
        changed = self._table.heard(
            node,
            Report(
                instance_id=instance_id,
                addresses=addresses,
                capacity_bytes=message.total_capacity,
                used_bytes=message.used_capacity,
                chunk_count=message.chunk_count,
                version=message.version,
                stopping=message.draining,
                certificate_serial=peer.serial,
                certificate_expires_ms=int(peer.expires_s * 1000),
                authority_digest=peer.authority_digest,
                key_digest=peer.key_digest,
                disk=_disk_state(message.disk),
            ),
        )
        if live.unproven:
            self._unproven()
        if changed:
            state = self._table.states()[node]
            self._log.info("node_state", node=node, state=state.value)
            self._wakes.repair.set()
        live.obeys = message.highest_position.catalog_id if message.highest_position else ""
        position = await self._catalog.position()
        epoch, revoked, revocation_seal = self._revocations.statement()
        seal_is_newest = message.revocation_seal == revocation_seal
        keys = self._keys.hand_out(self._table.identity(node), frozenset(message.key_ids))
        return pb.HeartbeatResponse(
            coordinator_time_ms=self._keys.coordinator_now_ms(),
            keys=[pb.TicketKey(key_id=key.key_id, key=key.secret) for key in keys],
            position=position_message(self._stated(position)),
            adoption=await self._adoption(node, message.highest_position, position),
            revocation_epoch=epoch,
            revoked=[] if message.revoked_left_out and seal_is_newest else list(revoked),
            revocation_seal=revocation_seal,
            seal_is_newest=seal_is_newest,
            send_inventory=live.inventoried != instance_id,
            interval_s=self._interval_s,
            coordinator=str(self._own),
            trusted_ca_ders=self._trusted(),
            ca_link_ders=self._links(),
        )

    async def report_inventory(
        self, messages: AsyncIterator[pb.InventoryPage]
    ) -> pb.InventoryVerdict:
        """Compare a node's whole inventory, page by page, with the catalogue."""
        node, _ = self._calls.node()
        await self._require_enrolled(node)
        live = self._table.get(node)
        assert live is not None, "enrolled nodes are in the table"
        unknown: list[pb.CopyRecord] = []
        after = b""
        async for page in each(aiter(messages), _PAGE_IDLE_S):
            if page.instance_id != live.instance_id:
                raise UsageError("The inventory is of another instance; send a heartbeat first.")
            if len(page.copies) > PAGE_MAX_COPIES:
                raise UsageError(f"A page has at most {PAGE_MAX_COPIES} copies.")
            copies = [copy_from(record) for record in page.copies]
            ids = [bytes(copy.chunk) for copy in copies]
            if ids != sorted(ids) or (ids and after and ids[0] <= after):
                raise UsageError("An inventory must be in ascending order of chunk ids.")
            spare = self._table.inventory_page(node)
            found = await self._catalog.compare_inventory(
                node, copies, after=after, last=page.last, spare=spare
            )
            after = ids[-1] if ids else after
            unknown.extend(copy_message(copy) for copy in found[: _VERDICT_MAX - len(unknown)])
            if page.last:
                self._table.inventory_done(node, page.instance_id)
                self._log.info("inventory_compared", node=node, unknown=len(unknown))
                self._wakes.repair.set()
                self._wakes.verify.set()  # what is back is doubted
                break
        return pb.InventoryVerdict(unknown=unknown)

    async def report_problems(self, message: pb.ReportProblemsRequest) -> pb.ReportProblemsResponse:
        """Take copies out of use that the node itself found bad."""
        node, _ = self._calls.node()
        await self._require_enrolled(node)
        if len(message.copies) > _PROBLEMS_MAX:
            raise UsageError(f"At most {_PROBLEMS_MAX} copies can be reported at once.")
        for corrupt in (True, False):
            bad = [
                (parse_chunk_id(copy.chunk_id), Generation(copy.generation))
                for copy in message.copies
                if copy.corrupt is corrupt
            ]
            if not bad:
                continue
            self._log.warning("bad_copies_reported", node=node, count=len(bad), corrupt=corrupt)
            self._metrics.bad_copies.labels("node").inc(len(bad))
            await self._catalog.mark_copies(node, bad, lost=not corrupt)
            self._wakes.repair.set()
        return pb.ReportProblemsResponse()

    async def _adoption(
        self, node: NodeId, told: pb.CatalogPosition | None, position: Position
    ) -> pb.SignedAdoption | None:
        """Return the word that our catalogue replaces the one the node obeys, where that was ordered."""
        if told is None or not told.catalog_id or told.catalog_id == position.catalog_id:
            return None
        if not await self._catalog.is_replaced(told.catalog_id):
            return None
        identity = self._table.identity(node)
        key = self._keys.signing_key(identity)
        assert key is not None, "keys were just handed out"
        return sign_adoption(
            key,
            pb.Adoption(
                node=str(identity),
                replaced=told,
                successor=position_message(self._stated(position)),
            ),
        )

    def _stated(self, position: Position) -> StatedPosition:
        return StatedPosition(position, self._macs.of_position(position))

    async def _is_enrolled(self, node: NodeId) -> bool:
        if self._table.get(node) is None:
            await self._table.reload()
        return self._table.get(node) is not None

    async def _require_enrolled(self, node: NodeId) -> None:
        if not await self._is_enrolled(node):
            raise PermissionDeniedError(
                f"Node {node} is not enrolled here (any more); enrol it again with a join code."
            )

    async def _wait(self, node: NodeId, peer: Certified, message: pb.HeartbeatRequest) -> NoReturn:
        """Refuse a node that the catalogue does not know, and have it wait for its adoption."""
        known = {record.node for record in await self._catalog.nodes()}
        if node in known:
            await self._require_enrolled(node)
        if not message.revoked_left_out:
            await self._revocations.learn(
                node, message.revoked, message.revocation_epoch, message.revocation_seal
            )
        told = message.highest_position
        claim = NodeClaim(
            identity=peer.identity,
            key_digest=peer.key_digest,
            serial=peer.serial,
            expires_ms=int(peer.expires_s * 1000),
            store_uuid=StoreUuid(parse_hex_id(message.store_uuid)),
            capacity_bytes=message.total_capacity,
            used_bytes=message.used_capacity,
            chunk_count=message.chunk_count,
            addresses=tuple(str(one) for one in plausible(addresses_from(message.addresses))),
            obeys=told.catalog_id if told else "",
        )
        if self._waiting.note(claim):
            self._log.warning("node_waits_for_adoption", node=node, obeys=claim.obeys)
        raise PermissionDeniedError(
            f"Node {node} is not known to this catalogue. If it is a new one over old nodes, the operator"
            f" takes it over with: collective node adopt {node}; else enrol it again with a join code."
        )

    async def _observe_position(self, node: NodeId, told: pb.CatalogPosition | None) -> None:
        """Become *restored* where ``told`` is a position that this coordinator gave out itself."""
        seen = position_from(told)
        if seen is None or told is None or await self._catalog.has_been_at(seen):
            return
        if not self._macs.is_position(seen, told.seal):
            if self._not_taken.get(node) != seen:
                self._not_taken[node] = seen
                self._log.warning(
                    "catalog_position_not_taken",
                    node=node,
                    catalog_id=seen.catalog_id,
                    advice="it is not this coordinator's word, or from before its key was replaced; "
                    "the node itself deletes nothing for a catalogue older than it says",
                )
            return
        if await self._catalog.observe_position(seen):
            self._log.error(
                "catalog_restored",
                advice="nodes have seen a future of this catalogue that it lost; nothing is deleted until the "
                "operator adopts it: collective node adopt --all",
            )
            self._metrics.restored.set(1)


def _disk_state(word: str) -> DiskState:
    """Return what a node says of its disk; a word that is not known counts as trouble."""
    try:
        return DiskState(word or DiskState.OK.value)
    except ValueError:
        return DiskState.FAILING
