"""What kind of error a certificate that does not count is: a peer is told one word by it."""

from __future__ import annotations

import ssl

import pytest

from collective.core.errors import OtherAuthorityError, RejectedError, WrongTimeError
from collective.core.ids import SpiffeId, SpiffeRole
from collective.core.units import Address
from collective.pki.trust import RevokedCertificateError, UntrustedError
from collective.rpc.client.connect import _said_plainly, _why_unverified
from tests.unit.pki.forge import BOB

ADDRESS = Address("10.0.0.2", 8001)
COORDINATORS: frozenset[SpiffeRole] = frozenset({"coordinator"})


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (10, WrongTimeError),
        (9, WrongTimeError),
        (18, OtherAuthorityError),
        (20, OtherAuthorityError),
        (26, RejectedError),
    ],
)
def test_what_openssl_refuses_is_of_another_ca_or_of_another_time_or_neither(
    code: int, kind: type[RejectedError]
) -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "as it says"
    assert type(_why_unverified(error, ADDRESS)) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UntrustedError(4, "it is not signed by the CA of the domain"), OtherAuthorityError),
        (UntrustedError(6, "the certificate ran out"), WrongTimeError),
        (UntrustedError(7, "a node is not accepted here", role="node"), RejectedError),
        (RevokedCertificateError(SpiffeId.coordinator(BOB)), RejectedError),
    ],
)
def test_so_does_what_the_trust_rule_refuses(
    error: UntrustedError, kind: type[RejectedError]
) -> None:
    assert type(_said_plainly(error, ADDRESS, COORDINATORS)) is kind
