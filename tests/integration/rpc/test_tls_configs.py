"""The TLS context of a config as authorities come and go: it forgets, and the former ones go."""

from __future__ import annotations

import gc
import ssl
import weakref
from functools import partial
from pathlib import Path

import pytest

from collective.core.clock import SystemClock
from collective.core.errors import CollectiveError
from collective.core.ids import Domain, GlobalId, SpiffeId
from collective.core.units import Address
from collective.pki.credentials import Credentials
from collective.pki.revocation import RevocationSet
from collective.pki.trust import TrustStore
from collective.rpc.gen.grpc.health.v1 import HealthCheckRequest, HealthStub
from collective.rpc.server.standard_services import with_standard_services
from collective.rpc.tls.contexts import TlsConfig, server_context
from collective.rpc.tls.gate import PeerGate
from collective.rpc.tls_links import TlsLinks
from tests.integration.rpc.conftest import ALICE, COORDINATOR, USER, Pki
from tests.worlds import REAL

BOB = Domain("garage.bob")


@pytest.fixture
def bob(tmp_path: Path) -> Pki:
    return Pki(tmp_path, BOB)


def both(pki: Pki, bob: Pki) -> TrustStore:
    return TrustStore({ALICE: (pki.ca.certificate,), BOB: (bob.ca.certificate,)})


def config_of(pki: Pki) -> TlsConfig:
    return TlsConfig(partial(server_context), pki.credentials(COORDINATOR), pki.trust)


def authorities(config: TlsConfig) -> int:
    return config.context().cert_store_stats()["x509_ca"]


async def test_a_context_forgets_what_counts_no_longer_and_goes_with_its_last_connection(
    pki: Pki, bob: Pki
) -> None:
    config = config_of(pki)
    made: list[weakref.ref[ssl.SSLContext]] = []
    for _ in range(5):
        config.refresh(None, both(pki, bob))
        assert authorities(config) == 2
        made.append(weakref.ref(config.context()))
        config.refresh(None, pki.trust)
        assert authorities(config) == 1
    in_use = made[-1]()
    assert in_use is None or in_use is not config.context()
    del in_use
    config.refresh(None, both(pki, bob))
    connection = config.context().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    of_connection = weakref.ref(config.context())
    config.refresh(None, pki.trust)
    gc.collect()
    assert [one() for one in made] == [None] * 5
    assert of_connection() is not None, "a connection needs it"
    del connection
    gc.collect()
    assert of_connection() is None


async def test_what_only_grows_stays_one_context_and_a_renewed_certificate_is_shown_by_it(
    pki: Pki, bob: Pki
) -> None:
    config = config_of(pki)
    first = config.context()
    renewed = pki.credentials(COORDINATOR)
    config.refresh(renewed, both(pki, bob))
    assert config.context() is first
    assert (config.credentials, config.generation) == (renewed, 1)
    config.refresh(None, pki.trust)
    assert config.context() is not first
    assert config.credentials is renewed


async def test_files_that_do_not_fit_for_a_moment_leave_the_context_until_the_next_change(
    pki: Pki, bob: Pki
) -> None:
    """A renewal writes key and certificate one after the other, and peers change at any time."""
    config = config_of(pki)
    config.refresh(None, both(pki, bob))
    first = config.context()
    key = Path(config._credentials.key_path)
    written = key.read_bytes()
    key.write_bytes(b"half")
    config.refresh(None, pki.trust)
    assert config.context() is first
    key.write_bytes(written)
    config.refresh(None, pki.trust)
    assert authorities(config) == 1


async def test_a_listener_takes_handshakes_by_the_context_of_now(pki: Pki, bob: Pki) -> None:
    links, gate = TlsLinks(REAL), pki.gate()
    config = links.server_config(pki.credentials(COORDINATOR), pki.trust)
    listener = links.listener(with_standard_services([], lambda: True), gate, config)
    address = await listener.listen(Address("127.0.0.1", 0))
    try:
        for trust, counts in ((pki.trust, False), (both(pki, bob), True), (pki.trust, False)):
            gate.replace(trust=trust)
            config.refresh(None, trust)
            assert await is_let_in(address, pki.credentials(USER), pki.trust)
            theirs = bob.credentials(SpiffeId.user(BOB, GlobalId("ben", BOB)))
            assert await is_let_in(address, theirs, pki.trust) is counts
    finally:
        await listener.shut(0.2)


async def is_let_in(address: Address, shown: Credentials, trust: TrustStore) -> bool:
    """Tell whether a listener answers who shows ``shown``."""
    gate = PeerGate(trust, RevocationSet(), SystemClock())
    channel = TlsLinks(REAL).channel((address,), credentials=shown, gate=gate, expect=COORDINATOR)
    async with channel:
        try:
            await channel.stub(HealthStub).check(HealthCheckRequest(), timeout=10.0)
        except CollectiveError:
            return False
        return True


async def test_who_keeps_connections_is_forgotten_with_them(pki: Pki) -> None:
    class Keeper:
        retired = 0

        def retire(self) -> None:
            Keeper.retired += 1

    config, kept = config_of(pki), Keeper()
    config.attach(kept)
    config.attach(Keeper())
    gc.collect()
    config.refresh(pki.credentials(COORDINATOR), None)
    assert Keeper.retired == 1
    assert kept is not None
