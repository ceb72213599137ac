"""The node's certificate, renewed by itself and taken into use while everything runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from cryptography import x509

from collective.client.joining import renew_expired, renew_trusting
from collective.core.backoff import Backoff
from collective.core.errors import RejectedError
from collective.core.units import Address
from collective.core.work import IDLE, Outcome, Worker, pause
from collective.core.world import World
from collective.pki.credentials import Credentials, is_signed_by
from collective.pki.pem_files import write_authorities, write_certificate
from collective.pki.renewal_pace import next_look_s, retries
from collective.pki.renewal_times import has_expired, is_due
from collective.pki.succession import Told, follow
from collective.pki.trust import TrustStore
from collective.rpc.links import Channel, Links, Persona

RENEWAL_FIRST_S: Final = 1.0


class Identity:
    """The credentials in use and the personas made from them."""

    def __init__(self, credentials: Credentials, links: Links) -> None:
        """Use ``credentials`` until others are taken."""
        self._credentials = credentials
        self._server = links.server_persona(credentials, credentials.trust())
        self._chunk_client = links.client_persona(credentials, credentials.trust())

    @property
    def credentials(self) -> Credentials:
        """The certificate and key in use."""
        return self._credentials

    @property
    def server(self) -> Persona:
        """The listener's persona; the same object for good."""
        return self._server

    @property
    def chunk_client(self) -> Persona:
        """The persona of chunk streams to other hops; the same object for good."""
        return self._chunk_client

    def take(self, credentials: Credentials) -> None:
        """Use renewed credentials for every handshake from now on."""
        is_renewed = credentials.certificate != self._credentials.certificate
        for persona in (self._server, self._chunk_client):
            persona.refresh(credentials if is_renewed else None, credentials.trust())
        self._credentials = credentials


class Renewal(Worker):
    """Renews at two thirds of the certificate's life, and tries again until it works.

    The CAs that count come with each heartbeat: new ones are kept before they are used, and a
    certificate that is not of the CA that signs nodes now is exchanged at once.
    """

    name = "renewal"

    def __init__(
        self,
        identity: Identity,
        channel: Callable[[], Channel],
        renewed: Callable[[], Awaitable[None]],
        trusted: Callable[[TrustStore], None],
        bootstrap_addresses: tuple[Address, ...],
        world: World,
        links: Links,
    ) -> None:
        """Renew ``identity`` over ``channel``, or at the bootstrap once it ran out.

        ``renewed`` and ``trusted`` are called when a certificate or other CAs are in use.
        """
        self._identity = identity
        self._channel = channel
        self._renewed = renewed
        self._trusted = trusted
        self._bootstrap_addresses = bootstrap_addresses
        self._clock = world.clock
        self._disk = world.disk
        self._threads = world.threads
        self._links = links
        self._wake = asyncio.Event()
        self._has_begun = False
        self._told: tuple[x509.Certificate, ...] = ()
        self._refused = ""
        self._log = structlog.get_logger("collective.node.renewal")

    @property
    def backoff(self) -> Backoff:
        """How long to wait after a failure: by the certificate's life."""
        return retries(self._identity.credentials.certified)

    async def work(self) -> Outcome:
        """Do what is due; a node that just starts has a second for the first heartbeat."""
        if not self._has_begun:
            self._has_begun = True
            return Outcome.rest(RENEWAL_FIRST_S)
        await self.look()
        return IDLE

    async def wait(self) -> None:
        """Wait until the certificate is due or other CAs are told of."""
        certified = self._identity.credentials.certified
        await pause(self._wake, next_look_s(certified, self._clock.wall_s()))

    def hear(self, told: Told) -> None:
        """Take note of the CAs that a heartbeat's answer names, as far as ``pki.succession`` allows.

        What it does not allow changes nothing, and is logged once.
        """
        credentials = self._identity.credentials
        try:
            found = follow(credentials.trusted, told, credentials.domain, self._clock.wall_s())
        except RejectedError as error:
            if error.message != self._refused:
                self._log.error("authorities refused", reason=error.message)
            self._refused = error.message
            return
        self._refused = ""
        if found != self._told:
            self._told = found
            self._wake.set()

    async def look(self) -> None:
        """Do what is due; CollectiveError where it could not be done."""
        await self._learn()
        if self._is_due():
            await self._renew()
            await self._learn()

    def _is_due(self) -> bool:
        credentials = self._identity.credentials
        if self._told and not is_signed_by(credentials.certificate, self._told[0]):
            return True
        return is_due(credentials.certified, self._clock.wall_s())

    async def _learn(self) -> None:
        """Trust what was told, all of it at once, if our own certificate counts by it."""
        credentials, told = self._identity.credentials, self._told
        if not told or set(told) == set(credentials.trusted):
            return
        own = any(is_signed_by(credentials.certificate, one) for one in told)
        kept = told if own else (*told, credentials.authority)
        if set(kept) == set(credentials.trusted):
            return
        await self._take(credentials.renewed(credentials.certificate, kept))

    async def _renew(self) -> None:
        credentials = self._identity.credentials
        if has_expired(credentials.certified, self._clock.wall_s()) and self._bootstrap_addresses:
            joined = await renew_expired(
                credentials, self._bootstrap_addresses, links=self._links, clock=self._clock
            )
            fresh = credentials.renewed(joined.certificate)
        else:
            fresh = await renew_trusting(self._channel(), credentials, clock=self._clock)
        await self._take(fresh)
        await self._renewed()
        self._log.info("certificate renewed", serial=fresh.certified.serial)

    async def _take(self, fresh: Credentials) -> None:
        before = self._identity.credentials

        def keep() -> None:
            if fresh.trusted != before.trusted:
                write_authorities(fresh.ca_path, fresh.trusted, disk=self._disk)
            if fresh.certificate != before.certificate:
                write_certificate(fresh.certificate_path, fresh.certificate, disk=self._disk)

        await self._threads.run(keep)
        self._identity.take(fresh)
        if fresh.trusted != before.trusted:
            self._trusted(fresh.trust())
            self._log.info("authorities learnt", count=len(fresh.trusted))
