"""One member, as one identity reaches it: its coordinator, and the nodes that it names.

Owns the channel and what moves files over it; refuses which member a path is of, which
:mod:`~collective.client.owners` knows.  Paths here are as that member calls them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final

from collective.client.names import Names
from collective.core.clock import Clock
from collective.core.errors import ConflictError, NotJoinedError
from collective.core.ids import Domain, SpiffeId
from collective.core.tasks import all_of
from collective.core.units import Address
from collective.core.world import World
from collective.model.calls import Call
from collective.pki.credentials import Credentials
from collective.pki.revocation import RevocationSet
from collective.rpc.links import Channel, Links
from collective.rpc.remote.connection import Control, Explain
from collective.rpc.remote.names import RemoteNames
from collective.rpc.tls.gate import PeerGate

if TYPE_CHECKING:  # imported when the first of them is used: a short command uses few
    from collective.client.options import ClientOptions
    from collective.client.transfers import Transfers
    from collective.rpc.remote.copying import RemoteCopying
    from collective.rpc.remote.owner_paths import OwnerPaths
    from collective.rpc.remote.peering import RemotePeers
    from collective.rpc.remote.people import RemotePeople

CONNECT_TIMEOUT_S: Final = 3.0


OpenTransfers = Callable[[], "Transfers"]
"""Begins the transfers of a connection."""


class Connection:
    """One member; made by :meth:`open`, and closed by whoever opened it."""

    def __init__(
        self,
        channel: Channel,
        control: Control,
        who: SpiffeId,
        open_transfers: OpenTransfers,
        clock: Clock,
    ) -> None:
        """Use ``channel`` as ``who``, and ``control`` over it."""
        self.who: Final = who
        self.domain: Final = who.trust_domain
        self.channel: Final = channel
        self.control: Final = control
        self.names: Final = self.names_as(None)
        self.clock: Final = clock
        self._open_transfers = open_transfers
        self._transfers: Transfers | None = None

    @classmethod
    def open(
        cls,
        credentials: Credentials,
        addresses: Sequence[Address],
        *,
        options: ClientOptions | None,
        world: World,
        links: Links,
        state_dir: str | None,
        explain: Explain | None = None,
    ) -> Connection:
        """Return what talks to the member of ``credentials``; nothing is sent yet.

        Args:
            credentials: certificate, key and CA.
            addresses: where the coordinator may be, tried in turn; with none given, those that
                the certificate itself carries.
            options: bounds of transfers.
            world: where time, chance, files and threads come from.
            links: how others are reached.
            state_dir: where notes on interrupted uploads are kept; None keeps none.
            explain: what is said where the coordinator cannot be reached.

        Raises NotJoinedError where no address is known, ConflictError where the certificate ran out.
        """
        clock = world.clock
        if credentials.certified.has_expired(clock.wall_s()):  # servers end the handshake wordless
            end = dt.datetime.fromtimestamp(credentials.certified.expires_s, dt.UTC)
            now = dt.datetime.fromtimestamp(clock.wall_s(), dt.UTC)
            raise ConflictError(
                f"Your certificate ran out on {end:%Y-%m-%d %H:%MZ} by this machine's clock"
                f" ({now:%Y-%m-%d %H:%MZ}); compare it with another, and if it is right ask the operator for"
                " a new certificate or an invitation."
            )
        addresses = tuple(addresses) or credentials.certified.addresses
        if not addresses:
            raise NotJoinedError("No address to talk to is known; give --coordinator HOST:PORT.")
        gate = PeerGate(
            credentials.trust(),
            RevocationSet.of(0, ()),
            clock,
            home=credentials.domain,
            foreign_roles=frozenset(("node",)),
        )
        channel = links.channel(
            addresses,
            credentials=credentials,
            gate=gate,
            expect=SpiffeId.coordinator(credentials.domain),
            connect_timeout_s=CONNECT_TIMEOUT_S,
        )
        control = (
            Control(clock, explain=explain) if options is None else options.control(clock, explain)
        )

        def open_transfers() -> Transfers:
            from collective.client.peer_trust import PeerTrust  # noqa: PLC0415 - see above
            from collective.client.transfers import Transfers  # noqa: PLC0415 - see above

            config = links.client_config(credentials, gate.trust)
            dialer = links.dialer(config, gate, timeout_s=CONNECT_TIMEOUT_S)

            async def ask(domain: Domain) -> Sequence[bytes]:
                return await connection.peers.authorities(domain)

            return Transfers.open(
                credentials.certified.identity,
                control,
                channel,
                dialer,
                PeerTrust(ask, gate, config, clock),
                world,
                options,
                state_dir,
            )

        connection = cls(channel, control, credentials.certified.identity, open_transfers, clock)
        return connection

    @property
    def found_at(self) -> tuple[Address, ...]:
        """Where the coordinator answered, then where its certificate says it is; ``()`` before it did."""
        peer = self.channel.peer
        return () if peer is None else (self.channel.address, *peer.addresses)

    async def close(self) -> None:
        """Give back what is held, and close what was opened."""
        transfers = self._transfers
        if transfers is None:
            await self.channel.aclose()
            return
        try:
            await transfers.settle()
        finally:
            await all_of(transfers.close(), self.channel.aclose())

    @property
    def transfers(self) -> Transfers:
        """What moves files; begun with the first that does."""
        if self._transfers is None:
            self._transfers = self._open_transfers()
        return self._transfers

    def names_as(self, paths: OwnerPaths | None) -> Names:
        """Return the member's names, as ``paths`` call them here."""
        remote = RemoteNames.over(self.channel, self.control)
        return Names(remote, Call.of_client(self.who), paths)

    @cached_property
    def copying(self) -> RemoteCopying:
        """How the coordinator copies files."""
        from collective.rpc.remote.copying import RemoteCopying  # noqa: PLC0415 - see above

        return RemoteCopying.over(self.channel, self.clock)

    @cached_property
    def people(self) -> RemotePeople:
        """Grants, invites and identities."""
        from collective.rpc.remote.people import RemotePeople  # noqa: PLC0415 - see above

        return RemotePeople.over(self.channel, self.control)

    @cached_property
    def peers(self) -> RemotePeers:
        """Other members that this one exchanges trust with."""
        from collective.rpc.remote.peering import RemotePeers  # noqa: PLC0415 - see above

        return RemotePeers.over(self.channel, self.control)
