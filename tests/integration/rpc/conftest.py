"""A throw-away CA per session, and listeners on loopback."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvloop

from collective.core.clock import SystemClock
from collective.core.ids import Domain, GlobalId, MemberId, NodeId, SpiffeId
from collective.core.units import Address
from collective.pki.ca import CertificateAuthority
from collective.pki.certificates import new_private_key
from collective.pki.credentials import Credentials, save_credentials
from collective.pki.revocation import RevocationSet
from collective.pki.trust import TrustStore
from collective.rpc.gen.collective.v1.status import GetStatusRequest, MemberStatusBase, Status
from collective.rpc.server.listener import TlsListener
from collective.rpc.server.standard_services import with_standard_services
from collective.rpc.tls.contexts import server_context
from collective.rpc.tls.gate import PeerGate
from tests.worlds import REAL, world_of

ALICE = Domain("home.alice")
COORDINATOR = SpiffeId.coordinator(ALICE)
NODE = SpiffeId.node(ALICE, NodeId("alice-node-01"))
USER = SpiffeId.user(ALICE, GlobalId("ann", ALICE))


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every test here on asyncio's loop and on uvloop."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Pki:
    """Certificates of one CA, made as tests want them."""

    def __init__(self, folder: Path, domain: Domain = ALICE) -> None:
        self.folder = folder
        self.clock = SystemClock()
        self.ca = CertificateAuthority.create(MemberId("alice"), domain, world_of(self.clock))
        self.trust = TrustStore({domain: [self.ca.certificate]})

    def credentials(self, identity: SpiffeId, lifetime_s: float = 3600.0) -> Credentials:
        name = str(identity).replace("/", "_").replace(":", "")
        key = new_private_key(REAL.randomness)
        certificate = self.ca.issue(identity, key.public_key(), lifetime_s=lifetime_s)
        base = str(self.folder / f"{name}-{os.urandom(4).hex()}")
        paths = (base + ".crt", base + ".key", base + "-ca.crt")
        return save_credentials(
            *paths,
            certificate=certificate,
            private_key=key,
            authority=self.ca.certificate,
            disk=REAL.disk,
        )

    def gate(self, revocations: RevocationSet | None = None) -> PeerGate:
        return PeerGate(self.trust, revocations or RevocationSet(), self.clock)


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("alice"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Another CA that claims the same domain."""
    return Pki(tmp_path_factory.mktemp("stranger"))


class Overview(MemberStatusBase):
    """Answers GetStatus as the test says."""

    def __init__(self) -> None:
        self.answer: Callable[[], Coroutine[Any, Any, Status]] = self._default

    async def _default(self) -> Status:
        return Status(member_id="alice")

    async def get_status(self, message: GetStatusRequest) -> Status:
        return await self.answer()


@dataclass
class Served:
    listener: TlsListener
    address: Address
    overview: Overview
    gate: PeerGate


Serve = Callable[..., Any]


@pytest.fixture
def serve(pki: Pki) -> Serve:
    """Return an async context manager that serves Overview over mTLS on a free port."""

    @asynccontextmanager
    async def served(**options: Any) -> AsyncIterator[Served]:
        overview = Overview()
        gate = options.pop("gate", None) or pki.gate()
        credentials = options.pop("credentials", None) or pki.credentials(COORDINATOR)
        services = with_standard_services([overview], lambda: True)
        context = server_context(credentials, pki.trust)
        listener = TlsListener(services, gate, lambda: context, REAL, **options)
        address = await listener.listen(Address("127.0.0.1", 0))
        try:
            yield Served(listener, address, overview, gate)
        finally:
            await listener.shut(0.2)
            await asyncio.sleep(0)

    return served
