"""The standalone bootstrap: ``serve --role bootstrap`` without a coordinator beside it.

Needs ``ca/<member>-ca.crt`` and one ``bootstraps/<id>.crt`` and ``.key`` in the cert dir, which the
operator makes with ``collective pki issue --bootstrap ID``.
"""

from __future__ import annotations

import posixpath

import structlog

from collective.core.disk import Disk
from collective.core.errors import SettingsError
from collective.core.settings import ServeSettings
from collective.pki.cert_dir import CertDir, ca_folder, members_in
from collective.pki.credentials import Credentials, load_credentials
from collective.roles.bootstrap.certificate import Freshness, OwnCertificate
from collective.roles.bootstrap.service import ForwardingService
from collective.roles.runtime.lifecycle import Runtime, Supervisor
from collective.roles.runtime.workers import Workers
from collective.rpc.links import Listener

_SUFFIX = ".crt"


class BootstrapRole:
    """The role ``bootstrap`` in a process that holds no coordinator."""

    def __init__(self, runtime: Runtime) -> None:
        """Load the credentials; SettingsError says which setting or file is missing."""
        settings = runtime.settings
        if settings.bootstrap_address is None:
            raise SettingsError("Set COLLECTIVE_BOOTSTRAP_ADDRESS to where bootstrap listens.")
        if settings.coordinator_address is None:
            raise SettingsError("Set COLLECTIVE_COORDINATOR_ADDRESS to where the coordinator is.")
        self._links = runtime.links
        self._address = settings.bootstrap_address
        self._grace_s = settings.drain_timeout_s
        self._own = OwnCertificate(
            find_credentials(settings.cert_dir, runtime.world.disk),
            settings.coordinator_address,
            runtime.links,
            runtime.world,
        )
        self._freshness = Freshness(self._own, settings.heartbeat_interval_s)
        self._listener: Listener | None = None
        self._workers = Workers(
            "bootstrap", runtime.metrics, runtime.world.clock, runtime.world.randomness
        )
        self._log = structlog.get_logger("bootstrap")

    @property
    def name(self) -> str:
        """``bootstrap``."""
        return "bootstrap"

    @property
    def reloadable(self) -> frozenset[str]:
        """What needs no restart."""
        return frozenset(("drain_timeout_s",))

    async def reload(self, settings: ServeSettings) -> None:
        """Take another drain time into use."""
        self._grace_s = settings.drain_timeout_s

    async def start(self, supervisor: Supervisor) -> None:
        """Listen, and keep the certificate fresh."""
        service = ForwardingService(self._own)
        self._listener = self._links.listener([service], None, self._own.config)
        where = await self._listener.listen(self._address)
        self._log.info("bootstrap listens", address=str(where))
        self._workers.start(supervisor.spawn, [self._freshness])

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
        await self._own.close()


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
