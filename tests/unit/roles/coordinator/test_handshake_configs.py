"""Whose certificates count at a coordinator, as its own CAs and those of its peers change."""

from __future__ import annotations

from typing import Any, Final, cast

from collective.pki.credentials import Credentials
from collective.pki.trust import TrustStore
from collective.roles.coordinator.handshake_configs import HandshakeConfigs
from collective.rpc.links import Links
from tests.unit.pki.bundles import ALICES, BOBS, CAROL, CAROLS, CLOCK, ca_of
from tests.unit.pki.forge import ALICE, BOB

OWN: Final = TrustStore({ALICE: (ALICES.certificate,)})


class HandshakeConfig:
    """Remembers the pool of its handshakes."""

    def __init__(self) -> None:
        self.trust = OWN

    def refresh(self, credentials: Credentials | None, trust: TrustStore | None) -> None:
        self.trust = trust or self.trust


class Handshakes:
    def server_config(self, *_: Any, **__: Any) -> HandshakeConfig:
        return HandshakeConfig()

    client_config = server_config


class Shown:
    domain = ALICE


def configs() -> HandshakeConfigs:
    return HandshakeConfigs(cast("Credentials", Shown()), OWN, cast("Links", Handshakes()), CLOCK)


def test_cas_of_peers_count_beside_the_own_and_no_longer_than_they_are_named() -> None:
    own = configs()
    own.trust_peers({BOB: (BOBS.certificate,), CAROL: (CAROLS.certificate,)}, frozenset())
    assert own.gate.trust.domains() == {ALICE, BOB, CAROL}
    for config in (own.server, own.bootstrap, own.chunk_client):
        assert cast("HandshakeConfig", config).trust.domains() == {ALICE, BOB, CAROL}
    own.trust_peers({BOB: (BOBS.certificate,)}, frozenset((BOB,)))
    assert own.gate.trust.domains() == {ALICE, BOB}
    assert own.own_trust is OWN, "what peers are told apart from"


def test_the_own_cas_change_and_peers_stay_as_they_are_those_that_are_shut_out_too() -> None:
    own = configs()
    own.trust_peers({BOB: (BOBS.certificate,)}, frozenset((BOB,)))
    both = TrustStore({ALICE: (ALICES.certificate, ca_of(ALICE, after=ALICES).certificate)})
    own.trust(both)
    assert own.gate.trust.authorities[ALICE] == both.authorities[ALICE]
    assert own.gate.trust.authorities[BOB] == (BOBS.certificate,)
    assert own.gate._shut_out == {BOB}
    own.trust_peers({}, frozenset())
    assert own.gate.trust.authorities == both.authorities
    assert own.gate._shut_out == frozenset()
