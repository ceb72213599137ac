"""A member that admits people without a network: what the other side of a redemption does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from collective.client.joining import Joined
from collective.core.clock import ManualClock
from collective.core.ids import Domain, GlobalId, MemberId, SpiffeId
from collective.core.paths import FilePath
from collective.core.randomness import SystemRandomness
from collective.core.units import Address
from collective.model.rights import GrantTerms, Right
from collective.pki import certificates
from collective.pki.ca import CertificateAuthority
from collective.pki.invite_code import InviteCode
from tests.worlds import world_of

COORDINATOR = (Address("127.0.0.1", 8001),)
BOOTSTRAP = (Address("127.0.0.1", 9001), Address("192.168.1.5", 9001))


class Member:
    """One member's CA and bootstrap; counts uses as the real one does."""

    def __init__(self, member: str, domain: str, clock: ManualClock, *, name: str = "") -> None:
        self.member = MemberId(member)
        self.domain = Domain(domain)
        self.clock = clock
        self.name = name or f"{member}-homelab"
        self.authority = CertificateAuthority.create(self.member, self.domain, world_of(clock))
        self.answers: dict[tuple[str, bytes], Joined] = {}
        self.uses = 0
        self.wishes: list[str] = []
        self.role = "user"
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None
        self.grants = (
            GrantTerms(FilePath.parse("/shared"), Right.READ | Right.WRITE),
            GrantTerms(FilePath.parse("/media"), Right.READ),
        )

    def code(self) -> str:
        return InviteCode.fresh(BOOTSTRAP, self.authority.digest, SystemRandomness()).encode()

    async def redeem(
        self,
        code: InviteCode,
        key: Any,
        *,
        links: Any,
        clock: Any,
        wish: str = "",
        display_name: str = "",
    ) -> Joined:
        del links, clock, display_name
        self.before()
        self.wishes.append(wish)
        slot = (code.code_id, certificates.public_key_der(key.public_key()))
        if slot not in self.answers:
            self.answers[slot] = self.joined(key, wish)
            self.uses += 1
        self.after()
        return self.answers[slot]

    def joined(self, key: Any, wish: str, *, lifetime_s: float = 30 * 86400.0) -> Joined:
        who = GlobalId("guest-1", self.domain) if wish == "@" else GlobalId.parse(wish)
        identity = SpiffeId.user(self.domain, who)
        if self.role == "node":
            identity = SpiffeId.parse(f"spiffe://{self.domain}/node/n1")
        certificate = self.authority.issue(identity, key.public_key(), lifetime_s=lifetime_s)
        return Joined(
            identity=identity,
            certified=certificates.describe(certificate),
            certificate=certificate,
            authority=self.authority.certificate,
            trusted=(self.authority.certificate,),
            member=self.member,
            domain=self.domain,
            collective_name=self.name,
            coordinator_addresses=COORDINATOR,
            granted_by=f"spiffe://{self.domain}/coordinator",
            grants=self.grants,
            grants_expire_ms=0,
        )
