"""Everything by which the coordinator and its nodes reach each other, and clients their nodes through it."""

from __future__ import annotations

import asyncio
from typing import Final

from collective.core import limits
from collective.core.errors import RejectedError
from collective.core.ids import SpiffeRole
from collective.member.files.receipts import ReceiptChecker
from collective.member.files.routes import RouteMaker
from collective.member.nodes.live_nodes import LiveNodes
from collective.member.trust.own_certificates import OwnCertificates
from collective.pki.certificates import Certified
from collective.roles.coordinator.handshake_configs import HandshakeConfigs
from collective.roles.coordinator.node_calls import NodeCaller
from collective.roles.coordinator.refusal_log import RefusalLog
from collective.roles.runtime.lifecycle import Runtime
from collective.transfer.buffers import BufferPool
from collective.transfer.engine.engine import Engine
from collective.transfer.engine.options import TransferOptions
from collective.transfer.stream.chunk_client import ChunkClient
from collective.transfer.stream.server import ChunkServer
from collective.transfer.stream.serving import ForeignPools
from collective.transfer.tickets.key_ring import KeyRing

RELAY_POOL_BYTES: Final = 40 * limits.MIB
PEER_POOL_BYTES: Final = 20 * limits.MIB
"""For what passes from each peer, or to it, relayed or carried: four chunks, and a little."""
STREAM_POOL_BYTES: Final = 40 * limits.MIB
CARRYING: Final = TransferOptions(patience_s=0.0, may_relay=False)
"""Of whole files that pass through the coordinator, which reaches nodes itself."""
_RELAYED: Final[frozenset[SpiffeRole]] = frozenset(("user", "coordinator"))


class NodeNetwork:
    """Commands, chunk streams and the relay of one coordinator."""

    def __init__(
        self,
        own: OwnCertificates,
        configs: HandshakeConfigs,
        nodes: LiveNodes,
        keys: KeyRing,
        refusals: RefusalLog,
        runtime: Runtime,
    ) -> None:
        """Reach ``nodes`` as ``configs``; nothing is opened before it is needed."""
        links, world = runtime.links, runtime.world
        self.dialer = dialer = links.dialer(configs.chunk_client, configs.gate)
        self.commands = NodeCaller(nodes, configs, links)
        """What nodes are told."""
        buffers = BufferPool(STREAM_POOL_BYTES)
        self.home = own.identity.trust_domain
        self.chunks = ChunkClient(dialer, buffers, world.threads, home=self.home)
        """The coordinator's own reads and writes."""
        self.engine = Engine.of(self.chunks, buffers, world.threads, world, CARRYING)
        """Moves whole files of the own member that pass through the coordinator."""
        self.pools = ForeignPools(PEER_POOL_BYTES, limits.PEERS_MAX)
        """The memory of each peer, for what is relayed and for what its engine carries."""
        self.routes = RouteMaker(own.identity, own.addresses, nodes, keys, world.randomness)
        self.receipts = ReceiptChecker(keys)
        self._relay = ChunkServer(
            identity=own.identity,
            store=None,
            keys=keys,
            dialer=dialer,
            pool=BufferPool(RELAY_POOL_BYTES),
            threads=world.threads,
            refusals=refusals,
            foreign_pools=self.pools,
            moved=refusals.tallies.moved,
        )

    def relay(self, peer: Certified) -> asyncio.BaseProtocol:
        """Return the protocol of a client's chunk stream through the coordinator."""
        if peer.identity.role not in _RELAYED:
            raise RejectedError(f"A {peer.identity.role} needs no relay; it dials nodes.")
        return self._relay.accept(peer)

    async def drain(self, grace_s: float) -> None:
        """Let what is relayed end for ``grace_s``, and take no more."""
        await self._relay.close(grace_s)

    async def close(self) -> None:
        """Close every connection to nodes."""
        await self.chunks.close()
        await self.commands.close()
