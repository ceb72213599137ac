"""A member that certifies, over a catalogue in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from collective.core.clock import ManualClock
from collective.core.errors import CollectiveError
from collective.core.ids import Domain, MemberId, NodeId, SpiffeId
from collective.core.randomness import SeededRandomness
from collective.core.units import Address
from collective.member.people.guess_limiter import GuessLimiter
from collective.member.people.invites import InviteIssuer
from collective.member.people.joining import Admitted
from collective.model.calls import Call
from collective.model.people import InviteKind, JoinAttempt
from collective.pki import certificates, proof
from collective.pki.ca import CertificateAuthority
from collective.pki.cert_dir import CertDir
from collective.pki.invite_code import InviteCode
from tests.unit.member.fake_catalog import FakeCatalog
from tests.unit.member.own import Following, Revoked, joining_over, lone, renewals_over
from tests.worlds import REAL, world_of

ALICE = Domain("home.alice")
LEAF = b"l" * 32
OPERATOR = Call(SpiffeId.coordinator(ALICE), is_operator=True)


@dataclass
class World:
    path: str
    clock: ManualClock = field(default_factory=ManualClock)
    revoked: Revoked = field(default_factory=Revoked)

    async def sleep(self, duration_s: float) -> None:
        self.slept.append(duration_s)
        await asyncio.sleep(0)

    def __post_init__(self) -> None:
        self.slept: list[float] = []
        self.catalog = FakeCatalog(self.clock)
        catalog: Any = self.catalog
        self.ca = CertificateAuthority.create(MemberId("alice"), ALICE, world_of(self.clock))

        self.own = lone(self.ca)
        world = self.world = world_of(self.clock, SeededRandomness(3))
        self.followers = Following(self.own, world)
        self.joining = joining_over(
            self.own,
            catalog,
            world,
            followers=self.followers,
            guess_limiter=GuessLimiter(self.clock, self.sleep),
        )
        self.renewal = renewals_over(
            self.own, catalog, world, followers=self.followers, revoked=self.revoked
        )
        self.addresses = [Address("127.0.0.1", 9001)]

    @property
    def codes(self) -> InviteIssuer:
        catalog: Any = self.catalog
        place = CertDir(self.path, MemberId("alice"))
        return InviteIssuer(self.own, catalog.codes, self.addresses, place, self.world)

    async def code(self, uses: int = 5, kind: InviteKind = InviteKind.NODE) -> InviteCode:
        made = await self.codes.create(OPERATOR, kind, uses=uses, validity_s=3600)
        return made[1]

    async def join(
        self, code: InviteCode, key: ec.EllipticCurvePrivateKey | None = None, wish: str = ""
    ) -> Admitted:
        return await self.joining.join(self.attempt(code, key, wish))

    def attempt(
        self,
        code: InviteCode,
        key: ec.EllipticCurvePrivateKey | None = None,
        wish: str = "",
        csr: bytes | None = None,
        display_name: str = "",
    ) -> JoinAttempt:
        csr = csr or certificates.make_request(key or certificates.new_private_key(REAL.randomness))
        nonce = self.joining.begin_join(code.code_id)
        transcript = proof.Transcript(code.code_id, nonce, LEAF, csr, wish, display_name)
        signed = proof.sign_join(code.secret, transcript)
        return JoinAttempt(
            code.code_id, nonce, csr, signed, wish, (b"o" * 32, LEAF), display_name=display_name
        )


def node(name: str) -> SpiffeId:
    return SpiffeId.node(ALICE, NodeId(name))


async def failure(world: World, code: InviteCode, **how: Any) -> CollectiveError:
    with pytest.raises(CollectiveError) as found:
        await world.join(code, **how)
    return found.value
