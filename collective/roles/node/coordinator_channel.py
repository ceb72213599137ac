"""The way from a node to its coordinator, and to the bootstrap where the coordinator says nothing.

One channel is kept.  It gives way to another when it broke, or when the node's certificate was renewed
since it was opened; each connection resolves the coordinator's addresses anew.
"""

from __future__ import annotations

from collective.client.joining import Joined, renew_expired, why_refused
from collective.core.clock import Clock
from collective.core.ids import SpiffeId
from collective.core.settings import ServeSettings
from collective.model.nodes import Whereabouts
from collective.pki.credentials import Credentials
from collective.roles.node.identity import Identity
from collective.roles.node.member_addresses import MemberAddresses
from collective.rpc.links import Channel, Links
from collective.rpc.tls.gate import Gate


class Bootstrap:
    """What a node asks of the bootstrap it joined by."""

    def __init__(
        self, identity: Identity, where: MemberAddresses, links: Links, clock: Clock
    ) -> None:
        """Ask as ``identity`` at the addresses ``where`` knows; without any nothing can be asked."""
        self._identity = identity
        self._where = where
        self._links = links
        self._clock = clock

    @property
    def is_known(self) -> bool:
        """Whether there is anybody to ask."""
        return bool(self._where.bootstrap)

    async def why_refused(self) -> str:
        """Return why the member refuses us, as a sentence; empty where it does not or nobody says."""
        if not self.is_known:
            return ""
        return await why_refused(
            self._identity.credentials, self._where.bootstrap, links=self._links, clock=self._clock
        )

    async def renew_expired(self) -> Joined:
        """Renew a certificate that ran out; CollectiveError where the member will not."""
        return await renew_expired(
            self._identity.credentials, self._where.bootstrap, links=self._links, clock=self._clock
        )


class CoordinatorChannel:
    """The kept channel to the coordinator."""

    def __init__(
        self,
        identity: Identity,
        gate: Gate,
        where: MemberAddresses,
        bootstrap: Bootstrap,
        links: Links,
    ) -> None:
        """Call as ``identity`` at the addresses ``where`` knows; nothing is opened before the first call."""
        self._identity = identity
        self._gate = gate
        self._where = where
        self._bootstrap = bootstrap
        self._links = links
        self._kept: tuple[Channel, Credentials] | None = None
        self._has_moved = False

    @property
    def present(self) -> Channel:
        """The channel as it is, opened if there is none."""
        if self._kept is None:
            credentials = self._identity.credentials
            coordinator = SpiffeId.coordinator(credentials.domain)
            channel = self._links.channel(
                self._where.coordinator,
                credentials=credentials,
                gate=self._gate,
                expect=coordinator,
            )
            self._kept = channel, credentials
            self._has_moved = False
        return self._kept[0]

    async def renewed(self) -> Channel:
        """Return a channel that shows the present certificate; for a caller with no call under way.

        One that shows a former certificate, or was made for former addresses, is closed.
        """
        if self._kept is not None:
            shown = self._kept[1].certificate
            if self._has_moved or shown != self._identity.credentials.certificate:
                await self.drop()
        return self.present

    def move(self, settings: ServeSettings) -> None:
        """Look where ``settings`` say, from the next call on that asks for a renewed channel."""
        self._where.move(settings)
        self._has_moved = True

    async def hear(self, told: Whereabouts) -> None:
        """Look where the coordinator says that it is, once the present channel is gone."""
        await self._where.hear(told)

    async def drop(self) -> None:
        """Close the channel; the next call opens another."""
        kept, self._kept = self._kept, None
        if kept is not None:
            await kept[0].aclose()

    async def why_refused(self) -> str:
        """Ask the bootstrap why a coordinator that says nothing refuses us; empty where nobody says."""
        return await self._bootstrap.why_refused()
