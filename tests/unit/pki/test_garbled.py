"""Whatever byte of a certificate or request is another one, it is read or refused in a sentence."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from collective.core.errors import RejectedError
from collective.pki import certificates, trust
from tests.unit.pki.bundles import BOBS, ca_of
from tests.unit.pki.forge import BOB

NEXT: Final = ca_of(BOB, label="next", after=BOBS)
ROOT: Final = certificates.certificate_der(BOBS.certificate)
LINK: Final = certificates.certificate_der(BOBS.link(NEXT.certificate))
REQUEST: Final = certificates.make_request(ec.generate_private_key(ec.SECP256R1()))
TAGS: Final = frozenset((1, 2, 3, 4, 5, 6, 12, 19, 22, 23, 24, 30, 48, 49))
"""Of the types of ASN.1 that X.509 uses."""


def read_certificate(der: bytes) -> None:
    certificate = certificates.load_certificate(der)
    uses: tuple[Callable[[Any], object], ...] = (
        certificates.describe,
        certificates.addresses_of,
        certificates.certificate_key,
        lambda found: trust.check_authority(found, BOB),
    )
    for use in uses:
        with suppress(RejectedError):
            use(certificate)


def read_request(der: bytes) -> None:
    certificates.check_request(der)


def garbled(whole: bytes) -> Iterator[bytes]:
    """Yield ``whole`` with each byte as each tag, and with each of its bits flipped."""
    for at, byte in enumerate(whole):
        for other in {*TAGS, *(byte ^ 1 << bit for bit in range(8))} - {byte}:
            yield whole[:at] + bytes((other,)) + whole[at + 1 :]


@pytest.mark.parametrize(
    ("whole", "read"),
    [(ROOT, read_certificate), (LINK, read_certificate), (REQUEST, read_request)],
    ids=["root", "link", "request"],
)
def test_any_other_byte_is_read_or_refused(whole: bytes, read: Callable[[bytes], None]) -> None:
    read(whole)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for one in garbled(whole):
            with suppress(RejectedError):
                read(one)


def test_a_serial_number_that_is_not_positive_is_refused() -> None:
    at = ROOT.index(b"\x02\x14") + 2  # INTEGER of 20 bytes
    negative = ROOT[:at] + bytes((ROOT[at] | 0x80,)) + ROOT[at + 1 :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RejectedError, match="cannot be read"):
            certificates.load_certificate(negative)
