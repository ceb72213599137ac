"""The constant common name of coordinators, which lets grpcio connect and names nobody."""

from __future__ import annotations

import pytest

from collective.core.clock import ManualClock
from collective.core.errors import RejectedError
from collective.core.ids import Domain, MemberId, NodeId, SpiffeId
from collective.pki import certificates
from collective.pki.ca import CertificateAuthority
from tests.unit.pki.forge import forge
from tests.worlds import REAL, world_of

CLOCK = ManualClock()
CA = CertificateAuthority.create(MemberId("alice"), Domain("home.alice"), world_of(CLOCK))


def test_coordinator_has_the_label_and_a_node_has_no_subject() -> None:
    key = certificates.new_private_key(REAL.randomness).public_key()
    coordinator = CA.issue(SpiffeId.coordinator(CA.domain), key)
    node = CA.issue(SpiffeId.node(CA.domain, NodeId("n1")), key)
    assert coordinator.subject == certificates.COORDINATOR_SUBJECT
    assert len(node.subject) == 0
    assert certificates.spiffe_id_of(coordinator) == SpiffeId.coordinator(CA.domain)


def test_node_with_the_coordinators_label_is_refused() -> None:
    key = certificates.new_private_key(REAL.randomness).public_key()
    honest = CA.issue(SpiffeId.node(CA.domain, NodeId("n1")), key)
    assert certificates.spiffe_id_of(honest).role == "node"
    forged = forge(CLOCK, CA, subject=certificates.COORDINATOR_SUBJECT)  # a node's name
    with pytest.raises(RejectedError, match="label"):
        certificates.spiffe_id_of(certificates.load_certificate(forged))
