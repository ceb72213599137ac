"""The bootstrap's certificate, kept fresh, and the channel to the coordinator that shows it."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

import structlog

from collective.client.joining import current_trust, renew_trusting
from collective.core.backoff import Backoff
from collective.core.ids import SpiffeId
from collective.core.units import Address
from collective.core.work import IDLE, Outcome, Worker
from collective.core.world import World
from collective.pki import certificates, renewal_times
from collective.pki.credentials import Credentials
from collective.pki.pem_files import write_authorities, write_certificate
from collective.pki.revocation import RevocationSet
from collective.rpc.links import Channel, HandshakeConfig, Links
from collective.rpc.tls.gate import PeerGate

RETRY_MOST_S: Final = 30.0


class OwnCertificate:
    """Certificate and CAs of one bootstrap, on disk and in use."""

    def __init__(
        self, credentials: Credentials, coordinator: Address, links: Links, world: World
    ) -> None:
        """Use ``credentials``; the coordinator is at ``coordinator``."""
        trust = credentials.trust()
        self._credentials = credentials
        self._coordinator = coordinator
        self._links = links
        self._clock = world.clock
        self._disk = world.disk
        self._threads = world.threads
        self._gate = PeerGate(trust, RevocationSet(), world.clock)
        self.config: HandshakeConfig = links.server_config(
            credentials, trust, client_certificates=False, chunk_stream=False
        )
        """What the listener shows."""
        self._channel = self._open_channel()
        self._retired: list[Channel] = []
        self._log = structlog.get_logger("bootstrap")

    @property
    def channel(self) -> Channel:
        """The channel to the coordinator that shows the present certificate."""
        return self._channel

    @property
    def leaf_digest(self) -> bytes:
        """SHA-256 of the certificate that the listener shows."""
        return hashlib.sha256(certificates.certificate_der(self._credentials.certificate)).digest()

    def next_look_s(self) -> float:
        """Return seconds until the certificate may be due."""
        return renewal_times.next_look_s(self._credentials.certified, self._clock.wall_s())

    async def follow(self) -> None:
        """Ask which CAs count; renew when that is due or another CA signs."""
        present = self._credentials
        told = await current_trust(self._channel, present, clock=self._clock)
        is_of_signing = certificates.is_signed_by(present.certificate, told[0])
        if is_of_signing and not renewal_times.is_due(present.certified, self._clock.wall_s()):
            if set(told) != set(present.trusted):
                await self._take(present.renewed(present.certificate, told))
            return
        await self._take(await renew_trusting(self._channel, present, clock=self._clock))
        # Calls that were forwarded over the old connection go on; it is closed one turn later.
        while self._retired:
            await self._retired.pop().aclose()
        self._retired.append(self._channel)
        self._channel = self._open_channel()
        self._log.info("certificate renewed")

    async def close(self) -> None:
        """Close the channels to the coordinator."""
        for channel in (*self._retired, self._channel):
            await channel.aclose()

    async def _take(self, fresh: Credentials) -> None:
        before = self._credentials

        def keep() -> None:
            if fresh.trusted != before.trusted:
                write_authorities(fresh.ca_path, fresh.trusted, disk=self._disk)
            if fresh.certificate != before.certificate:
                write_certificate(fresh.certificate_path, fresh.certificate, disk=self._disk)

        await self._threads.run(keep)
        self._credentials = fresh
        self._gate.replace(trust=fresh.trust())
        self.config.refresh(fresh, None)

    def _open_channel(self) -> Channel:
        return self._links.channel(
            (self._coordinator,),
            credentials=self._credentials,
            gate=self._gate,
            expect=SpiffeId.coordinator(self._credentials.domain),
        )


class Freshness(Worker):
    """Keeps the certificate and the CAs that count up to date."""

    name = "renewal"

    def __init__(self, own: OwnCertificate, least_s: float) -> None:
        """Look at ``own`` every ``least_s`` seconds, or earlier where it is due."""
        self._own = own
        self._least_s = least_s
        self._backoff = Backoff(least_s, max(least_s, RETRY_MOST_S))

    @property
    def backoff(self) -> Backoff:
        """How long to wait after looks that failed."""
        return self._backoff

    async def work(self) -> Outcome:
        """Look once."""
        await self._own.follow()
        return IDLE

    async def wait(self) -> None:
        """Wait until the next look."""
        await asyncio.sleep(min(self._own.next_look_s(), self._least_s))
