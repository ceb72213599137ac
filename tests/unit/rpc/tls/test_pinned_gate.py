"""The gate of a join, known by a code alone."""

from __future__ import annotations

import pytest

from collective.core.clock import ManualClock
from collective.core.errors import RejectedError, WrongTimeError
from collective.core.ids import SpiffeId, SpiffeRole
from collective.pki import certificates
from collective.pki.ca import CertificateAuthority
from collective.rpc.tls.pinned_gate import PinnedGate
from tests.unit.pki.forge import ALICE, authority
from tests.worlds import REAL

DAY_S = 86_400.0
ROLES: frozenset[SpiffeRole] = frozenset({"bootstrap"})


def leaf(signer: CertificateAuthority) -> bytes:
    key = certificates.new_private_key(REAL.randomness).public_key()
    bootstrap = SpiffeId.bootstrap(ALICE, "b1")
    return certificates.certificate_der(signer.issue(bootstrap, key, lifetime_s=30 * DAY_S))


@pytest.mark.parametrize(("days", "why"), [(40, "ran out on"), (-40, "is not valid yet")])
def test_with_a_wrong_clock_the_clock_is_blamed_and_never_the_code(days: int, why: str) -> None:
    clock = ManualClock()
    ca = authority(clock)
    shown, gate = leaf(ca), PinnedGate(ca.digest, clock)
    assert gate.verify(shown, ROLES, "server").identity.role == "bootstrap"
    clock.jump_wall(days * DAY_S)
    with pytest.raises(WrongTimeError, match="compare the clocks of both machines") as raised:
        gate.verify(shown, ROLES, "server")
    assert why in raised.value.message
    assert "ask for a new code" not in raised.value.message


def test_another_ca_is_told_from_a_wrong_clock() -> None:
    clock = ManualClock()
    ca = authority(clock)
    gate = PinnedGate(ca.digest, clock)
    shown = leaf(authority(clock))
    clock.jump_wall(40 * DAY_S)
    with pytest.raises(RejectedError, match="ask for a new code") as raised:
        gate.verify(shown, ROLES, "server")
    assert not isinstance(raised.value, WrongTimeError)
