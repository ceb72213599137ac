"""The node's certificate, renewed by itself and taken into use while everything runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import structlog
from cryptography import x509

from collective.client.joining import renew_trusting
from collective.core.backoff import Backoff
from collective.core.errors import RejectedError
from collective.core.work import IDLE, Outcome, Worker, pause
from collective.core.world import World
from collective.pki.certificates import certificate_key_digest, is_signed_by
from collective.pki.credentials import Credentials
from collective.pki.pem_files import write_authorities, write_certificate
from collective.pki.renewal_times import is_due, next_look_s, retries
from collective.pki.succession import Told, follow
from collective.pki.trust import TrustStore
from collective.roles.node.coordinator_channel import Bootstrap, CoordinatorChannel
from collective.roles.node.identity import Identity

RENEWAL_FIRST_S: Final = 1.0


class TrustGate(Protocol):
    """Where other CAs begin to count."""

    def replace(self, *, trust: TrustStore) -> int:
        """Let ``trust`` count from now on; return how many connections ended by that."""
        ...


class Renewal(Worker):
    """Renews at two thirds of the certificate's life, and tries again until it works.

    The CAs that count come with each heartbeat: new ones are kept before they are used, and a
    certificate that is not of the CA that signs nodes now is exchanged at once.
    """

    name = "renewal"

    def __init__(
        self,
        identity: Identity,
        channel: CoordinatorChannel,
        bootstrap: Bootstrap,
        gate: TrustGate,
        world: World,
    ) -> None:
        """Renew ``identity`` over ``channel``, or at the bootstrap once it ran out.

        CAs that are learnt count by ``gate``.
        """
        self._identity = identity
        self._channel = channel
        self._bootstrap = bootstrap
        self._gate = gate
        self._clock = world.clock
        self._disk = world.disk
        self._threads = world.threads
        self._wake = asyncio.Event()
        self._has_begun = False
        self._told: tuple[x509.Certificate, ...] = ()
        self._refused = ""
        self._log = structlog.get_logger("collective.node.renewal")

    @property
    def backoff(self) -> Backoff:
        """How long to wait after a failure: by the certificate's life."""
        return retries(self._identity.credentials.certified)

    @property
    def trusted_digests(self) -> Sequence[bytes]:
        """SHA-256 of the key of each CA that is trusted now, here and after a restart."""
        trusted = self._identity.credentials.trusted
        return [certificate_key_digest(one) for one in trusted]

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
        has_run_out = credentials.certified.has_expired(self._clock.wall_s())
        if has_run_out and self._bootstrap.is_known:
            joined = await self._bootstrap.renew_expired()
            fresh = credentials.renewed(joined.certificate)
        else:
            fresh = await renew_trusting(self._channel.present, credentials, clock=self._clock)
        await self._take(fresh)
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
            self._gate.replace(trust=fresh.trust())
            self._log.info("authorities learnt", count=len(fresh.trusted))
