"""Wires the standalone bootstrap: ``serve --role bootstrap`` without a coordinator beside it.

Needs ``ca/<member>-ca.crt`` and one ``bootstraps/<id>.crt`` and ``.key`` in the cert dir, which the
operator makes with ``collective pki issue --bootstrap ID``.
"""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from collective.client.joining import current_trust, renew_trusting
from collective.core.backoff import Backoff
from collective.core.disk import Disk
from collective.core.errors import SettingsError
from collective.core.ids import SpiffeId
from collective.core.work import IDLE, Outcome, Worker
from collective.pki import certificates, renewal_pace, renewal_times
from collective.pki.cert_dir import CertDir, ca_folder, members_in
from collective.pki.credentials import Credentials, is_signed_by, load_credentials
from collective.pki.pem_files import write_authorities, write_certificate
from collective.pki.revocation import RevocationSet
from collective.roles.bootstrap.service import ForwardingService
from collective.roles.runtime.lifecycle import Runtime, Supervisor
from collective.roles.runtime.workers import Workers
from collective.rpc.identity import PeerGate
from collective.rpc.links import Channel, Listener, Persona

_SUFFIX = ".crt"
RETRY_MOST_S: Final = 30.0


class Freshness(Worker):
    """Keeps the certificate and the CAs that count up to date."""

    name = "renewal"

    def __init__(
        self, follow: Callable[[], Awaitable[None]], look_s: Callable[[], float], least_s: float
    ) -> None:
        """Call ``follow`` every ``look_s()`` seconds; after a failure in ``least_s`` or longer."""
        self._backoff = Backoff(least_s, max(least_s, RETRY_MOST_S))
        self._follow = follow
        self._look_s = look_s

    @property
    def backoff(self) -> Backoff:
        """How long to wait after looks that failed."""
        return self._backoff

    async def work(self) -> Outcome:
        """Look once."""
        await self._follow()
        return IDLE

    async def wait(self) -> None:
        """Wait until the next look."""
        await asyncio.sleep(self._look_s())


class BootstrapRole:
    """The role ``bootstrap`` in a process that holds no coordinator."""

    def __init__(self, runtime: Runtime) -> None:
        """Load the credentials; SettingsError says which setting or file is missing."""
        settings = runtime.settings
        if settings.bootstrap_address is None:
            raise SettingsError("Set COLLECTIVE_BOOTSTRAP_ADDRESS to where bootstrap listens.")
        if settings.coordinator_address is None:
            raise SettingsError("Set COLLECTIVE_COORDINATOR_ADDRESS to where the coordinator is.")
        self._disk = runtime.world.disk
        self._clock = runtime.world.clock
        self._threads = runtime.world.threads
        self._links = runtime.links
        self._address = settings.bootstrap_address
        self._coordinator = settings.coordinator_address
        self._grace_s = settings.drain_timeout_s
        self._credentials = find_credentials(settings.cert_dir, self._disk)
        self._trust_check_s = settings.heartbeat_interval_s
        self._gate = PeerGate(self._credentials.trust(), RevocationSet(), self._clock)
        self._listener: Listener | None = None
        self._channel: Channel | None = None
        self._retired: list[Channel] = []
        self._workers = Workers(
            "bootstrap", runtime.metrics, runtime.world.clock, runtime.world.randomness
        )
        self._log = structlog.get_logger("bootstrap")

    @property
    def name(self) -> str:
        """``bootstrap``."""
        return "bootstrap"

    async def start(self, supervisor: Supervisor) -> None:
        """Listen, and keep the certificate fresh."""
        trust = self._credentials.trust()
        self._gate.replace(trust=trust)
        self._channel = self._open_channel()
        persona = self._links.server_persona(
            self._credentials, trust, client_certificates=False, chunk_stream=False
        )
        service = ForwardingService(lambda: self._present_channel, self._leaf_digest)
        self._listener = self._links.listener([service], None, persona)
        where = await self._listener.listen(self._address)
        self._log.info("bootstrap listens", address=str(where))

        def look_s() -> float:
            certified = self._credentials.certified
            return min(
                renewal_pace.next_look_s(certified, self._clock.wall_s()), self._trust_check_s
            )

        self._workers.start(
            supervisor.spawn,
            [Freshness(lambda: self._follow(persona), look_s, self._trust_check_s)],
        )

    def ready(self) -> bool:
        """Whether the listener stands."""
        return self._listener is not None

    async def drain(self) -> None:
        """Let running joins end."""
        if self._listener is not None:
            await self._listener.shut(self._grace_s)

    async def stop(self) -> None:
        """Close listener and channel."""
        await self._workers.stop()
        if self._listener is not None:
            await self._listener.shut(0.0)
        for channel in (*self._retired, self._channel):
            if channel is not None:
                await channel.aclose()

    def _leaf_digest(self) -> bytes:
        return hashlib.sha256(certificates.certificate_der(self._credentials.certificate)).digest()

    @property
    def _present_channel(self) -> Channel:
        assert self._channel is not None
        return self._channel

    def _open_channel(self) -> Channel:
        return self._links.channel(
            (self._coordinator,),
            credentials=self._credentials,
            gate=self._gate,
            expect=SpiffeId.coordinator(self._credentials.domain),
        )

    async def _follow(self, persona: Persona) -> None:
        """Ask which CAs count; renew when that is due or another CA signs."""
        present = self._credentials
        told = await current_trust(self._present_channel, present, clock=self._clock)
        is_of_signing = is_signed_by(present.certificate, told[0])
        if is_of_signing and not renewal_times.is_due(present.certified, self._clock.wall_s()):
            if set(told) != set(present.trusted):
                await self._take(present.renewed(present.certificate, told), persona)
            return
        await self._take(
            await renew_trusting(self._present_channel, present, clock=self._clock), persona
        )
        # Calls that were forwarded over the old connection go on; it is closed one turn later.
        while self._retired:
            await self._retired.pop().aclose()
        self._retired.append(self._present_channel)
        self._channel = self._open_channel()
        self._log.info("certificate renewed")

    async def _take(self, fresh: Credentials, persona: Persona) -> None:
        before = self._credentials

        def keep() -> None:
            if fresh.trusted != before.trusted:
                write_authorities(fresh.ca_path, fresh.trusted, disk=self._disk)
            if fresh.certificate != before.certificate:
                write_certificate(fresh.certificate_path, fresh.certificate, disk=self._disk)

        await self._threads.run(keep)
        self._credentials = fresh
        self._gate.replace(trust=fresh.trust())
        persona.refresh(fresh, None)


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
