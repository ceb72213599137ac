"""The coordinator's own certificate: in which order a CA's replacement comes into use."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from collective.core.clock import ManualClock
from collective.core.ids import Domain, MemberId
from collective.core.randomness import SeededRandomness
from collective.core.units import Address
from collective.member.trust.own_certificates import (
    CertificatePlan,
    OwnCertificates,
    load_authorities,
    prepare,
)
from collective.model.trust import Phase
from collective.pki import rotation
from collective.pki.cert_dir import CertDir
from collective.pki.credentials import Credentials
from collective.pki.trust import TrustStore
from collective.roles.coordinator.handshake_configs import HandshakeConfigs
from tests.worlds import LINKS, REAL, world_of

DOMAIN = Domain("home.alice")


@dataclass
class Shown:
    """Notes what it is told, and what others are told of the CAs at that moment."""

    own: OwnCertificates = field(init=False)
    steps: list[str] = field(default_factory=list)

    def trust(self, trust: TrustStore) -> None:
        count = len(trust.authorities[DOMAIN])
        self.steps.append(f"{count} count, others are told of {len(self.own.trusted_ders())}")

    def show(self, credentials: Credentials) -> None:
        assert credentials is self.own.credentials
        self.steps.append(f"shown, others are told of {len(self.own.trusted_ders())}")


async def made(folder: Path, clock: ManualClock) -> tuple[OwnCertificates, Shown]:
    world = world_of(clock, SeededRandomness(7))
    plan = CertificatePlan(
        CertDir(str(folder), MemberId("alice")), DOMAIN, (Address("127.0.0.1", 8001),)
    )
    shown = Shown()
    shown.own = OwnCertificates(
        plan, await prepare(plan, await load_authorities(plan, world), world), shown, world
    )
    return shown.own, shown


async def test_cas_count_then_the_certificate_is_shown_and_only_then_others_hear_of_it(
    tmp_path: Path,
) -> None:
    own, shown = await made(tmp_path, ManualClock())
    root, leaf = own.ticket_root, own.leaf_digests()
    await own.rotate(rotation.begin)
    assert shown.steps == ["2 count, others are told of 1"]
    assert own.changed.is_set()
    assert (own.ticket_root, own.rotations_ended) == (root, 0)
    shown.steps.clear()
    await own.rotate(rotation.switch)
    assert shown.steps == ["2 count, others are told of 2", "shown, others are told of 2"]
    assert own.ticket_root != root
    assert own.leaf_digests()[1:] == leaf
    assert own.rotations_ended == 0, "tickets under the former root check on"
    shown.steps.clear()
    await own.rotate(rotation.close)
    assert shown.steps == ["1 count, others are told of 2"]
    assert own.authorities.phase is Phase.NONE
    assert own.rotations_ended == 1


async def test_a_renewal_keeps_key_and_root_and_says_nothing_of_cas(tmp_path: Path) -> None:
    clock = ManualClock()
    own, shown = await made(tmp_path, clock)
    root, serial = own.ticket_root, own.certified.serial
    await own.renew_if_due()
    assert shown.steps == []
    clock.advance(own.lifetime_s * 0.7)
    await own.renew_if_due()
    assert shown.steps == ["shown, others are told of 1"]
    assert own.certified.serial != serial
    assert own.ticket_root == root
    assert not own.changed.is_set()


@dataclass(eq=False)
class Keeper:
    """Keeps connections, and notes which certificate was shown when it had to retire them."""

    configs: HandshakeConfigs
    retired: list[Credentials] = field(default_factory=list)

    def retire(self) -> None:
        self.retired.append(self.configs.credentials)


async def test_who_keeps_connections_retires_them_when_another_certificate_is_shown(
    tmp_path: Path,
) -> None:
    clock = ManualClock(REAL.clock.wall_s())
    world = world_of(clock, SeededRandomness(7))
    plan = CertificatePlan(
        CertDir(str(tmp_path), MemberId("alice")), DOMAIN, (Address("127.0.0.1", 8001),)
    )
    found = await prepare(plan, await load_authorities(plan, world), world)
    configs = HandshakeConfigs(found.credentials, found.trust, LINKS, clock)
    own = OwnCertificates(plan, found, configs, world)
    keepers = [Keeper(configs), Keeper(configs)]
    configs.attach(keepers[0])
    LINKS.dialer(configs.chunk_client, configs.gate).attach(keepers[1])
    await own.rotate(rotation.begin)
    assert [keeper.retired for keeper in keepers] == [[], []], (
        "other CAs alone change no connection"
    )
    await own.rotate(rotation.switch)
    assert [keeper.retired for keeper in keepers] == [[own.credentials], [own.credentials]]
