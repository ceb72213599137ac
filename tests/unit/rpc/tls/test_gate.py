"""Whom a gate still accepts on an open connection."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509

from collective.core.clock import ManualClock
from collective.core.ids import Domain, GlobalId, MemberId, SpiffeId, SpiffeRole
from collective.core.units import Address
from collective.pki import certificates
from collective.pki.ca import CertificateAuthority
from collective.pki.certificates import Certified
from collective.pki.revocation import RevocationSet
from collective.pki.trust import RevokedCertificateError, TrustStore, UntrustedError
from collective.rpc.tls.gate import ALL_ROLES, PeerGate
from tests.unit.pki.bundles import ALICES, BOBS, CLOCK
from tests.unit.pki.forge import forge
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


HOME, GARAGE = ALICES, BOBS
EVE = SpiffeId.user(Domain("garage.bob"), GlobalId.parse("eve@garage.bob"))
THEIRS = SpiffeId.coordinator(Domain("garage.bob"))


def leaf(authority: CertificateAuthority, identity: SpiffeId) -> bytes:
    key = certificates.new_private_key(REAL.randomness).public_key()
    addresses = (Address("10.0.0.1", 1),) if identity.role == "coordinator" else ()
    return certificates.certificate_der(authority.issue(identity, key, addresses=addresses))


def a_gate(**how: Any) -> PeerGate:
    trust = TrustStore({one.domain: (one.certificate,) for one in (HOME, GARAGE)})
    return PeerGate(trust, RevocationSet(), CLOCK, **how)


COORDINATORS: frozenset[SpiffeRole] = frozenset(("coordinator",))


def test_of_a_peer_only_those_of_certain_roles_may_come_and_everybody_of_home() -> None:
    gate = a_gate(home=ALICE, foreign_roles=COORDINATORS)
    assert gate.verify(leaf(HOME, ANNA), ALL_ROLES, "client").identity == ANNA
    assert gate.verify(leaf(GARAGE, THEIRS), ALL_ROLES, "client").identity == THEIRS
    with pytest.raises(UntrustedError, match="user of another member is not accepted"):
        gate.verify(leaf(GARAGE, EVE), ALL_ROLES, "client")
    with pytest.raises(UntrustedError, match="step 7"):
        gate.verify(leaf(GARAGE, THEIRS), frozenset(("user",)), "client")


def test_no_foreign_role_may_come_unless_it_is_named_and_without_a_home_all_are_alike() -> None:
    with pytest.raises(UntrustedError):
        a_gate(home=ALICE).verify(leaf(GARAGE, THEIRS), ALL_ROLES, "client")
    assert a_gate().verify(leaf(GARAGE, EVE), ALL_ROLES, "client").identity == EVE


def test_a_peers_ca_speaks_for_its_own_domain_alone() -> None:
    gate = a_gate(home=ALICE, foreign_roles=COORDINATORS)
    for forged in (SpiffeId.coordinator(ALICE), ANNA):
        with pytest.raises(UntrustedError, match="step 4"):
            gate.verify(
                forge(
                    CLOCK,
                    GARAGE,
                    names=(x509.UniformResourceIdentifier(str(forged)),),
                ),
                ALL_ROLES,
                "client",
            )


def test_a_removed_peer_is_recognised_and_told_at_its_handshake_and_on_open_connections() -> None:
    gate = a_gate(home=ALICE, foreign_roles=COORDINATORS)
    shown = leaf(GARAGE, THEIRS)
    peer = gate.verify(shown, ALL_ROLES, "client")
    gate.replace(shut_out=frozenset((GARAGE.domain,)))
    with pytest.raises(RevokedCertificateError):
        gate.verify(shown, ALL_ROLES, "client")
    assert gate.objection(peer) == "revoked"
    assert gate.objection(gate.verify(leaf(HOME, ANNA), ALL_ROLES, "client")) is None
    gate.replace(trust=gate.trust)
    assert gate.objection(peer) == "revoked", "what was not said anew stays"
    gate.replace(shut_out=frozenset())
    assert gate.objection(peer) is None
