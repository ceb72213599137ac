"""Whose certificates count at a node after its coordinator named the CAs of peers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final, cast

import pytest

from collective.core.errors import RejectedError
from collective.core.ids import SpiffeId
from collective.pki import certificates
from collective.pki.ca import CertificateAuthority
from collective.pki.certificates import certificate_der
from collective.pki.revocation import RevocationSet
from collective.pki.trust import TrustStore
from collective.roles.node.identity import Identity
from collective.roles.node.trust import NodeTrust
from collective.rpc.tls.gate import ALL_ROLES, PeerGate
from tests.unit.pki.bundles import ALICES, BOBS, CAROL, CAROLS, CLOCK, ca_of
from tests.unit.pki.forge import ALICE, BOB
from tests.worlds import REAL

EVE: Final = SpiffeId.parse("spiffe://garage.bob/user/garage.bob/eve")
ANNA: Final = SpiffeId.parse("spiffe://home.alice/user/home.alice/anna")


class Node:
    """A node of alice's."""

    def __init__(self) -> None:
        self.pool: TrustStore | None = None
        own = TrustStore({ALICE: (ALICES.certificate,)})
        self.gate = PeerGate(
            own, RevocationSet(), CLOCK, home=ALICE, foreign_roles=frozenset(("user",))
        )
        identity: Any = SimpleNamespace(
            credentials=SimpleNamespace(domain=ALICE), trust=self._shown
        )
        self.trust = NodeTrust(cast("Identity", identity), self.gate)

    def _shown(self, trust: TrustStore) -> None:
        self.pool = trust

    def lets_in(self, authority: CertificateAuthority, identity: SpiffeId) -> bool:
        key = certificates.new_private_key(REAL.randomness).public_key()
        leaf = certificate_der(authority.issue(identity, key))
        try:
            self.gate.verify(leaf, ALL_ROLES, "client")
        except RejectedError:
            return False
        return True


def der(*authorities: CertificateAuthority) -> list[bytes]:
    return [certificate_der(one.certificate) for one in authorities]


def test_people_of_a_peer_are_let_in_while_the_coordinator_names_it_and_nobody_else_of_it() -> None:
    node = Node()
    assert not node.lets_in(BOBS, EVE)
    node.trust.take_peers(b"1", [(BOB, der(BOBS), ())])
    assert node.trust.peers_digest == b"1"
    assert node.pool is not None
    assert node.pool.domains() == node.gate.trust.domains() == {ALICE, BOB}
    assert node.lets_in(BOBS, EVE)
    assert not node.lets_in(BOBS, SpiffeId.coordinator(BOB))
    assert not node.lets_in(BOBS, SpiffeId.parse("spiffe://garage.bob/node/n1"))
    node.trust.take_peers(b"2", [(CAROL, der(CAROLS), ())])
    assert (node.lets_in(BOBS, EVE), node.lets_in(ALICES, ANNA)) == (False, True)
    node.trust.take_peers(b"", [])
    assert node.gate.trust.domains() == {ALICE}


@pytest.mark.parametrize(
    "named", [(ALICE, der(BOBS)), (ALICE, der(ca_of(ALICE))), (CAROL, der(BOBS)), (CAROL, []),
              (CAROL, [b"junk"]), (CAROL, der(CAROLS, BOBS))]
)  # fmt: skip
def test_what_is_no_ca_of_a_peer_is_left_out_and_the_others_count(named: Any) -> None:
    """The own domain too: a peer's CA never speaks for this member's people."""
    node = Node()
    node.trust.take_peers(b"1", [(*named, ()), (BOB, der(BOBS), ())])
    assert node.gate.trust.domains() == {ALICE, BOB}
    assert node.gate.trust.authorities[ALICE] == (ALICES.certificate,)
    assert node.lets_in(BOBS, EVE)


def test_peers_stay_when_the_own_cas_change_and_the_own_cas_when_peers_do() -> None:
    node = Node()
    node.trust.take_peers(b"1", [(BOB, der(BOBS), ())])
    newest = ca_of(ALICE, label="next", after=ALICES)
    both = TrustStore({ALICE: (ALICES.certificate, newest.certificate)})
    node.trust.replace(trust=both)
    assert (node.lets_in(newest, ANNA), node.lets_in(BOBS, EVE)) == (True, True)
    node.trust.take_peers(b"2", [(CAROL, der(CAROLS), ())])
    assert node.lets_in(newest, ANNA)
    node.trust.replace(revocations=RevocationSet.of(1, [str(ANNA)]))
    assert not node.lets_in(newest, ANNA)
    assert node.gate.trust.domains() == {ALICE, CAROL}


def test_what_peers_vouch_for_stays_in_handshakes_when_the_own_cas_change() -> None:
    node = Node()
    node.trust.take_peers(b"1", [(BOB, der(BOBS), ())])
    both = TrustStore({ALICE: (ALICES.certificate, ca_of(ALICE, after=ALICES).certificate)})
    node.trust.replace(trust=both)
    assert node.pool is not None
    assert node.pool.authorities == node.gate.trust.authorities
    assert node.pool.domains() == {ALICE, BOB}
    assert len(node.pool.authorities[ALICE]) == 2
