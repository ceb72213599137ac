"""The node's certificate, renewed by itself and taken into use while everything runs."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from collective.client.join import renew_expired, renew_live
from collective.core.clock import Clock
from collective.core.disk import Disk
from collective.core.errors import CollectiveError
from collective.core.units import Address
from collective.pki.files import Credentials, write_certificate
from collective.pki.renewal import has_expired, is_due, next_look_s
from collective.rpc.channel import RpcChannel
from collective.rpc.tls import ALPN_CHUNK, client_context, refresh, server_context

RENEWAL_FIRST_S: Final = 1.0


class Identity:
    """The credentials in use and the TLS contexts made from them."""

    def __init__(self, credentials: Credentials) -> None:
        """Use ``credentials`` until others are taken."""
        self._credentials = credentials
        self._server = server_context(credentials, credentials.trust())
        self._chunk_client = self._make_client()

    @property
    def credentials(self) -> Credentials:
        """The certificate and key in use."""
        return self._credentials

    @property
    def server_tls(self) -> ssl.SSLContext:
        """The listener's context; the same object for good."""
        return self._server

    def chunk_tls(self) -> ssl.SSLContext:
        """Return the context for chunk streams to other hops."""
        return self._chunk_client

    def take(self, credentials: Credentials) -> None:
        """Use renewed credentials for every handshake from now on."""
        refresh(self._server, credentials, None)
        self._credentials = credentials
        self._chunk_client = self._make_client()

    def _make_client(self) -> ssl.SSLContext:
        return client_context(self._credentials, self._credentials.trust(), (ALPN_CHUNK,))


class Renewal:
    """Renews at two thirds of the certificate's life, and tries again until it works."""

    def __init__(
        self,
        identity: Identity,
        channel: Callable[[], RpcChannel],
        reconnect: Callable[[], Awaitable[None]],
        bootstrap_addresses: tuple[Address, ...],
        clock: Clock,
        disk: Disk,
    ) -> None:
        """Renew ``identity`` over ``channel``, or at the bootstrap once it ran out."""
        self._identity = identity
        self._channel = channel
        self._reconnect = reconnect
        self._bootstrap_addresses = bootstrap_addresses
        self._clock = clock
        self._disk = disk
        self._log = structlog.get_logger("collective.node.renewal")

    async def run(self) -> None:
        """Look now and then until cancelled."""
        failures = 0
        await asyncio.sleep(RENEWAL_FIRST_S)
        while True:
            failures = await self.look(failures)
            certified = self._identity.credentials.certified
            await asyncio.sleep(next_look_s(certified, self._clock.wall_s(), failures))

    async def look(self, failures: int = 0) -> int:
        """Renew if it is due; return how many tries in a row have failed."""
        credentials = self._identity.credentials
        now_s = self._clock.wall_s()
        if not is_due(credentials.certified, now_s):
            return 0
        try:
            if has_expired(credentials.certified, now_s) and self._bootstrap_addresses:
                joined = await renew_expired(
                    credentials, self._bootstrap_addresses, clock=self._clock
                )
                certificate = joined.certificate
            else:
                certificate = await renew_live(self._channel(), credentials, clock=self._clock)
            await asyncio.to_thread(
                write_certificate, credentials.certificate_path, certificate, disk=self._disk
            )
        except (CollectiveError, OSError) as error:
            self._log.warning("certificate not renewed yet", reason=str(error))
            return failures + 1
        self._identity.take(
            Credentials(
                credentials.certificate_path,
                credentials.key_path,
                credentials.ca_path,
                certificate,
                credentials.private_key,
                credentials.authority,
            )
        )
        await self._reconnect()
        self._log.info("certificate renewed", serial=self._identity.credentials.certified.serial)
        return 0
