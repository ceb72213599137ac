"""A client takes a peer's nodes for what they are once its own coordinator has named the peer's CA."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from collective.client.peer_trust import PeerTrust
from collective.core.errors import (
    BusyError,
    ConflictError,
    NotFoundError,
    RejectedError,
    UnreachableError,
)
from collective.core.ids import Domain
from collective.core.paths import FilePath
from collective.pki.certificates import certificate_der
from collective.pki.revocation import RevocationSet
from collective.pki.trust import TrustStore
from collective.rpc.gen.collective.v1.peering import GetAuthoritiesResponse
from collective.rpc.links import HandshakeConfig
from collective.rpc.remote.connection import Control
from collective.rpc.remote.peering import RemotePeers
from collective.rpc.tls.gate import PeerGate
from tests.unit.pki.bundles import ALICES, BOBS, CAROLS, CLOCK, ca_of
from tests.unit.pki.forge import ALICE, BOB
from tests.virtual_time import LoopClock

PATH = FilePath.parse("/@garage.bob/a")


class World:
    def __init__(self) -> None:
        self.gate = PeerGate(TrustStore({ALICE: (ALICES.certificate,)}), RevocationSet(), CLOCK)
        self.asked: list[Domain] = []
        self.answer: Any = [certificate_der(BOBS.certificate)]
        self.pool: TrustStore | None = None
        self.trust = PeerTrust(self._ask, self.gate, cast("HandshakeConfig", self), CLOCK)

    async def _ask(self, domain: Domain) -> Sequence[bytes]:
        self.asked.append(domain)
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return cast("Sequence[bytes]", self.answer)

    def refresh(self, _: object, trust: TrustStore) -> None:
        self.pool = trust


async def test_the_first_path_of_a_peer_asks_for_its_ca_and_no_later_one() -> None:
    world = World()
    await world.trust.prepare(FilePath.parse("/a"))
    assert world.asked == []
    for _ in range(2):
        await world.trust.prepare(PATH)
    assert world.asked == [BOB]
    assert world.pool is world.gate.trust
    assert world.gate.trust.domains() == {ALICE, BOB}


class Restarting:
    """A coordinator that is restarting, and names the CAs of a peer when it is back."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.asked = 0

    async def get_authorities(self, _: Any, **__: Any) -> GetAuthoritiesResponse:
        self.asked += 1
        if self.asked < 3:
            raise self.error
        return GetAuthoritiesResponse(ca_ders=[b"ca"])


@pytest.mark.virtual_time
async def test_cas_are_asked_for_again_while_the_own_coordinator_restarts() -> None:
    for error in (UnreachableError("gone"), BusyError("later")):
        stub = Restarting(error)
        peers = RemotePeers(Control(LoopClock()), cast("Any", stub))
        assert await peers.authorities(BOB) == [b"ca"]
    stub = Restarting(NotFoundError("No peer."))
    with pytest.raises(NotFoundError):
        await RemotePeers(Control(LoopClock()), cast("Any", stub)).authorities(BOB)
    assert stub.asked == 1


async def test_transfers_that_begin_at_once_all_begin() -> None:
    world = World()
    await asyncio.gather(*(world.trust.prepare(PATH) for _ in range(8)))
    assert world.gate.trust.domains() == {ALICE, BOB}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (NotFoundError("No peer."), NotFoundError),
        ([b"junk"], RejectedError),
        ([certificate_der(CAROLS.certificate)], RejectedError),
        ([certificate_der(ca_of(BOB, key_of=ALICES).certificate)], ConflictError),
    ],
)
async def test_what_is_no_ca_of_the_peer_changes_nothing(answer: Any, error: type) -> None:
    world = World()
    world.answer = answer
    with pytest.raises(error):
        await world.trust.prepare(PATH)
    assert world.gate.trust.domains() == {ALICE}
