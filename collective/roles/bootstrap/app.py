"""Wires the standalone bootstrap: ``serve --role bootstrap`` without a coordinator beside it.

Needs ``ca/<member>-ca.crt`` and one ``bootstraps/<id>.crt`` and ``.key`` in the cert dir, which the
operator makes with ``collective pki issue --bootstrap ID``.
"""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
from dataclasses import replace

import structlog

from collective.client.join import renew_live
from collective.core.disk import Disk, OsDisk
from collective.core.errors import CollectiveError, SettingsError
from collective.core.ids import SpiffeId
from collective.pki import certificates, renewal
from collective.pki.files import Credentials, load_credentials, write_certificate
from collective.pki.layout import CertDir, ca_folder, members_in
from collective.pki.revocation import RevocationSet
from collective.roles.bootstrap.service import ForwardingService
from collective.roles.runtime.lifecycle import Runtime, Supervisor
from collective.rpc.channel import RpcChannel, open_channel
from collective.rpc.identity import PeerGate
from collective.rpc.server import Listener
from collective.rpc.tls import ALPN_GRPC, TlsContext, refresh, server_context

_SUFFIX = ".crt"


class BootstrapRole:
    """The role ``bootstrap`` in a process that holds no coordinator."""

    def __init__(self, runtime: Runtime, *, disk: Disk | None = None) -> None:
        """Load the credentials; SettingsError says which setting or file is missing."""
        settings = runtime.settings
        if settings.bootstrap_address is None:
            raise SettingsError("Set COLLECTIVE_BOOTSTRAP_ADDRESS to where bootstrap listens.")
        if settings.coordinator_address is None:
            raise SettingsError("Set COLLECTIVE_COORDINATOR_ADDRESS to where the coordinator is.")
        self._disk = disk or OsDisk()
        self._clock = runtime.clock
        self._address = settings.bootstrap_address
        self._coordinator = settings.coordinator_address
        self._grace_s = settings.drain_timeout_s
        self._credentials = find_credentials(settings.cert_dir, self._disk)
        self._listener: Listener | None = None
        self._channel: RpcChannel | None = None
        self._log = structlog.get_logger("bootstrap")

    @property
    def name(self) -> str:
        """``bootstrap``."""
        return "bootstrap"

    async def start(self, supervisor: Supervisor) -> None:
        """Listen, and keep the certificate fresh."""
        trust = self._credentials.trust()
        self._channel = open_channel(
            (self._coordinator,),
            credentials=self._credentials,
            gate=PeerGate(trust, RevocationSet(), self._clock),
            expect=SpiffeId.coordinator(self._credentials.domain),
        )
        tls = server_context(self._credentials, trust, client_certificates=False, alpn=(ALPN_GRPC,))
        service = ForwardingService(self._channel, self._leaf_digest)
        self._listener = Listener([service], None, tls)
        where = await self._listener.listen(self._address)
        self._log.info("bootstrap listens", address=str(where))

        supervisor.spawn(self._keep_fresh(self._channel, tls), "bootstrap-renewal")

    def ready(self) -> bool:
        """Whether the listener stands."""
        return self._listener is not None

    async def drain(self) -> None:
        """Let running joins end."""
        if self._listener is not None:
            await self._listener.shut(self._grace_s)

    async def stop(self) -> None:
        """Close listener and channel."""
        if self._listener is not None:
            await self._listener.shut(0.0)
        if self._channel is not None:
            await self._channel.aclose()

    def _leaf_digest(self) -> bytes:
        return hashlib.sha256(certificates.certificate_der(self._credentials.certificate)).digest()

    async def _keep_fresh(self, channel: RpcChannel, tls: TlsContext) -> None:
        failures = 0
        while True:
            certified = self._credentials.certified
            now_s = self._clock.wall_s()
            await asyncio.sleep(renewal.next_look_s(certified, now_s, failures))
            if not renewal.is_due(certified, self._clock.wall_s()):
                continue
            try:
                fresh = await renew_live(channel, self._credentials, clock=self._clock)
            except CollectiveError as error:
                failures += 1
                self._log.warning("certificate not renewed", reason=error.message)
                continue
            failures = 0
            path = self._credentials.certificate_path
            await asyncio.to_thread(write_certificate, path, fresh, disk=self._disk)
            self._credentials = replace(self._credentials, certificate=fresh)
            refresh(tls, self._credentials, None)
            self._log.info("certificate renewed")


def find_credentials(cert_dir: str, disk: Disk) -> Credentials:
    """Return the one bootstrap certificate in ``cert_dir``; SettingsError if there is not one."""
    members = members_in(_names(ca_folder(cert_dir), disk))
    folder = posixpath.join(cert_dir, "bootstraps")
    found = [name.removesuffix(_SUFFIX) for name in _names(folder, disk) if name.endswith(_SUFFIX)]
    if len(members) != 1 or len(found) != 1:
        raise SettingsError(
            f"{cert_dir} must hold one CA certificate and one bootstrap certificate;"
            " make them with `collective pki issue --bootstrap ID`."
        )
    place = CertDir(cert_dir, members[0])
    return load_credentials(
        place.bootstrap_certificate(found[0]),
        place.bootstrap_key(found[0]),
        place.ca_certificate,
        disk=disk,
    )


def _names(folder: str, disk: Disk) -> list[str]:
    return [entry.name for entry in disk.list_dir(folder)] if disk.exists(folder) else []
