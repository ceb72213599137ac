"""A member that certifies, over a catalogue in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from collective.access.model import Caller
from collective.catalog.model import CodeKind
from collective.core.clock import ManualClock
from collective.core.errors import CollectiveError
from collective.core.ids import Domain, MemberId, NodeId, SpiffeId
from collective.core.randomness import SeededRandomness
from collective.core.units import Address
from collective.pki import certificates, proof
from collective.pki.ca import CertificateAuthority
from collective.pki.join_code import JoinCode
from collective.pki.layout import CertDir
from collective.pki.revocation import RevocationSet
from collective.pki.rotation import Authorities
from collective.roles.coordinator.codes import JoinCodes
from collective.roles.coordinator.enrolment import Admission, Enrolment, JoinAttempt
from collective.roles.coordinator.guesses import GuessLimiter
from collective.roles.coordinator.renewal import RenewalDesk
from tests.unit.roles.coordinator.fake_trust import FakeTrust
from tests.worlds import REAL, world_of

ALICE = Domain("home.alice")
LEAF = b"l" * 32
OPERATOR = Caller(SpiffeId.coordinator(ALICE), is_operator=True)


@dataclass
class World:
    path: str
    clock: ManualClock = field(default_factory=ManualClock)
    revoked: RevocationSet = field(default_factory=RevocationSet)

    async def sleep(self, duration_s: float) -> None:
        self.slept.append(duration_s)
        await asyncio.sleep(0)

    def __post_init__(self) -> None:
        self.slept: list[float] = []
        randomness = SeededRandomness(3)
        self.trust = FakeTrust(self.clock)
        catalog: Any = self.trust
        self.ca = CertificateAuthority.create(MemberId("alice"), ALICE, world_of(self.clock))

        self.rotating: Authorities | None = None
        """The CAs in a rotation; None for the lone one."""
        self.followed: list[SpiffeId] = []

        def authorities() -> Authorities:
            return self.rotating or Authorities.lone(self.ca)

        async def followed(identity: SpiffeId) -> None:
            self.followed.append(identity)

        self.enrolment = Enrolment(
            authorities,
            catalog,
            self.clock,
            randomness,
            followed=followed,
            guesses=GuessLimiter(self.clock, self.sleep),
        )
        self.renewal = RenewalDesk(
            authorities, catalog, self.clock, randomness, revocations=lambda: self.revoked
        )
        self.addresses = [Address("127.0.0.1", 9001)]
        self.codes = JoinCodes(
            catalog,
            world_of(self.clock, randomness),
            authority_digest=self.ca.digest,
            addresses=lambda: self.addresses,
            place=CertDir(self.path, MemberId("alice")),
        )

    async def code(self, uses: int = 5, kind: CodeKind = CodeKind.NODE) -> JoinCode:
        made = await self.codes.create(OPERATOR, kind, uses=uses, validity_s=3600)
        return made[1]

    async def join(
        self, code: JoinCode, key: ec.EllipticCurvePrivateKey | None = None, wish: str = ""
    ) -> Admission:
        return await self.enrolment.join(self.attempt(code, key, wish))

    def attempt(
        self,
        code: JoinCode,
        key: ec.EllipticCurvePrivateKey | None = None,
        wish: str = "",
        csr: bytes | None = None,
        display_name: str = "",
    ) -> JoinAttempt:
        csr = csr or certificates.make_request(key or certificates.new_private_key(REAL.randomness))
        nonce = self.enrolment.begin_join(code.code_id)
        transcript = proof.Transcript(code.code_id, nonce, LEAF, csr, wish, display_name)
        signed = proof.sign_join(code.secret, transcript)
        return JoinAttempt(
            code.code_id, nonce, csr, signed, wish, (b"o" * 32, LEAF), display_name=display_name
        )


def node(name: str) -> SpiffeId:
    return SpiffeId.node(ALICE, NodeId(name))


async def failure(world: World, code: JoinCode, **how: Any) -> CollectiveError:
    with pytest.raises(CollectiveError) as found:
        await world.join(code, **how)
    return found.value
