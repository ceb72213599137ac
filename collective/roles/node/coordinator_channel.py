"""The way from a node to its coordinator, and to the bootstrap where the coordinator says nothing.

One channel is kept.  It gives way to another when it broke, or when the node's certificate was renewed
since it was opened; each connection resolves the coordinator's addresses anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from collective.client.joining import Joined, renew_expired, why_refused
from collective.core.clock import Clock
from collective.core.ids import SpiffeId
from collective.core.units import Address
from collective.pki.credentials import Credentials
from collective.roles.node.identity import Identity
from collective.rpc.identity import Gate
from collective.rpc.links import Channel, Links


class Bootstrap:
    """What a node asks of the bootstrap it joined by."""

    def __init__(
        self, identity: Identity, addresses: Sequence[Address], links: Links, clock: Clock
    ) -> None:
        """Ask as ``identity`` at ``addresses``; without any nothing can be asked."""
        self._identity = identity
        self._addresses = tuple(addresses)
        self._links = links
        self._clock = clock

    def move(self, addresses: Sequence[Address]) -> None:
        """Ask at ``addresses`` from now on."""
        self._addresses = tuple(addresses)

    @property
    def is_known(self) -> bool:
        """Whether there is anybody to ask."""
        return bool(self._addresses)

    async def why_refused(self) -> str:
        """Return why the member refuses us, as a sentence; empty where it does not or nobody says."""
        if not self._addresses:
            return ""
        return await why_refused(
            self._identity.credentials, self._addresses, links=self._links, clock=self._clock
        )

    async def renew_expired(self) -> Joined:
        """Renew a certificate that ran out; CollectiveError where the member will not."""
        return await renew_expired(
            self._identity.credentials, self._addresses, links=self._links, clock=self._clock
        )


class CoordinatorChannel:
    """The kept channel to the coordinator."""

    def __init__(
        self,
        identity: Identity,
        gate: Gate,
        addresses: Sequence[Address],
        bootstrap: Bootstrap,
        links: Links,
    ) -> None:
        """Call as ``identity`` at ``addresses``; nothing is opened before the first call."""
        self._identity = identity
        self._gate = gate
        self._addresses = tuple(addresses)
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
                self._addresses, credentials=credentials, gate=self._gate, expect=coordinator
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

    def move(self, addresses: Sequence[Address]) -> None:
        """Look for the coordinator at ``addresses`` from the next call on that asks for a renewed channel."""
        self._addresses = tuple(addresses)
        self._has_moved = True

    def learn(self, addresses: Sequence[Address]) -> None:
        """Look for the coordinator at ``addresses`` once the present channel is gone."""
        self._addresses = tuple(addresses)

    async def drop(self) -> None:
        """Close the channel; the next call opens another."""
        kept, self._kept = self._kept, None
        if kept is not None:
            await kept[0].aclose()

    async def why_refused(self) -> str:
        """Ask the bootstrap why a coordinator that says nothing refuses us; empty where nobody says."""
        return await self._bootstrap.why_refused()
