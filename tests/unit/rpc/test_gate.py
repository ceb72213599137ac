"""Whom a gate still accepts on an open connection."""

from __future__ import annotations

from collective.core.clock import ManualClock
from collective.core.ids import Domain, GlobalId, MemberId, SpiffeId
from collective.pki import certificates
from collective.pki.ca import CertificateAuthority
from collective.pki.certificates import Certified
from collective.pki.revocation import RevocationSet
from collective.pki.trust import TrustStore
from collective.rpc.identity import PeerGate
from tests.worlds import REAL, world_of

ALICE = Domain("home.alice")
ANNA = SpiffeId.user(ALICE, GlobalId.parse("anna@home.alice"))


def test_an_open_connection_ends_with_revocation_expiry_trust_and_the_ca_that_signed() -> None:
    clock = ManualClock()
    old, new = (
        CertificateAuthority.create(MemberId("alice"), ALICE, world_of(clock)) for _ in range(2)
    )
    leaf = certificates.describe(
        old.issue(ANNA, certificates.new_private_key(REAL.randomness).public_key())
    )
    peer: Certified = leaf._replace(authority_digest=old.digest)
    both = TrustStore({ALICE: (new.certificate, old.certificate)})
    gate = PeerGate(both, RevocationSet(), clock)
    assert gate.objection(peer) is None
    gate.replace(revocations=RevocationSet.of(1, [str(ANNA)]))
    assert gate.objection(peer) == "revoked"
    gate.replace(revocations=RevocationSet.of(2, [f"serial:{peer.serial}"]))
    assert gate.objection(peer) == "revoked"
    gate.replace(revocations=RevocationSet.of(3, [f"key:{peer.key_digest.hex().upper()}"]))
    assert gate.objection(peer) == "revoked"
    gate.replace(revocations=RevocationSet())
    gate.replace(trust=both.with_bundle(ALICE, (new.certificate,)))
    assert "its CA was replaced" in (gate.objection(peer) or "")
    assert gate.objection(peer._replace(authority_digest=new.digest)) is None
    gate.replace(trust=both.without_domain(ALICE))
    assert "domain" in (gate.objection(peer) or "")
    gate.replace(trust=both)
    assert gate.objection(peer._replace(expires_s=clock.wall_s())) == "expired"


class Listener:
    """Has connections, all of which end with the next sweep."""

    def __init__(self, gate: PeerGate, connections: int) -> None:
        self.connections = connections
        gate.attach(self)

    def sweep(self) -> int:
        ended, self.connections = self.connections, 0
        return ended


def test_what_counts_no_longer_ends_at_every_listener_at_once() -> None:
    gate = PeerGate(TrustStore({}), RevocationSet(), ManualClock())
    listeners = [Listener(gate, 1), Listener(gate, 2)]
    assert gate.replace(revocations=RevocationSet.of(1, [str(ANNA)])) == 3
    assert [one.connections for one in listeners] == [0, 0]
    listeners[1].connections = 1
    assert gate.replace(trust=TrustStore({})) == 1
