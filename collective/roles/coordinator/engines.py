"""What moves the bytes of files that pass through the coordinator: an engine of its own for each peer."""

from __future__ import annotations

from typing import Final

from collective.core.ids import Domain
from collective.core.paths import FilePath
from collective.core.tasks import TaskScope
from collective.core.world import World
from collective.federation.links.tallies import PeerTallies
from collective.federation.peers.peer_book import PeerBook
from collective.roles.coordinator.node_network import CARRYING, NodeNetwork
from collective.transfer.engine.engine import Engine
from collective.transfer.stream.chunk_client import ChunkClient

_CLOSE_GRACE_S: Final = 2.0


class Engines:
    """The own member's engine and those of its peers.

    Each peer has one, with connections of its own and the memory of that peer, so that a slow one is in
    nobody's way.  It goes when that is no peer any more.
    """

    def __init__(
        self, network: NodeNetwork, peers: PeerBook, tallies: PeerTallies, world: World
    ) -> None:
        """Move bytes over ``network``, and count in ``tallies`` what passes to and from ``peers``."""
        self._network = network
        self._peers = peers
        self._tallies = tallies
        self._world = world
        self._closing = TaskScope()
        self._of_peers: dict[Domain, tuple[ChunkClient, Engine]] = {}
        peers.watch(self._follow)

    def engine_for(self, path: FilePath) -> Engine:
        """Return what moves the bytes of ``path``: the own member's engine, or that of its peer."""
        domain = path.peer_domain
        if domain is None:
            return self._network.engine
        if domain not in self._of_peers:
            buffers, threads = self._network.pools.of(domain), self._world.threads
            chunks = ChunkClient(
                self._network.dialer,
                buffers,
                threads,
                home=self._network.home,
                moved=self._tallies.moved,
            )
            engine = Engine.of(chunks, buffers, threads, self._world, CARRYING)
            self._of_peers[domain] = (chunks, engine)
        return self._of_peers[domain][1]

    def _follow(self) -> None:
        """Let go of what served members that are no peers any more; what is under way there fails."""
        for domain in [one for one in self._of_peers if not self._peers.is_peer(one)]:
            chunks, _ = self._of_peers.pop(domain)
            self._closing.spawn(chunks.close())

    async def close(self) -> None:
        """Close every connection to nodes of peers."""
        for chunks, _ in self._of_peers.values():
            await chunks.close()
        await self._closing.close(_CLOSE_GRACE_S)
