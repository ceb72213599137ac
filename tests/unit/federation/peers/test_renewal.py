"""Which bundle takes the place of the one that is known."""

from __future__ import annotations

from typing import Final

import pytest
from cryptography import x509

from collective.core.errors import RejectedError
from collective.core.units import Address
from collective.federation.peers.newer_bundle import OlderBundleError, newer_bundle
from collective.federation.peers.peer_book import Known, peer_of
from collective.model.peers import PeerState
from collective.pki.bundle import SEQUENCE_MAX, SignedBundle, open_bundle
from collective.pki.ca import CertificateAuthority
from tests.unit.pki.bundles import BOBS, CAROLS, NOW_S, ca_of, forged, signed_of
from tests.unit.pki.forge import BOB

NEXT: Final = ca_of(BOB, label="next", after=BOBS)
ELSEWHERE: Final = Address("10.0.0.9", 8001)
LINK: Final = BOBS.link(NEXT.certificate)
THIEF: Final = ca_of(BOB, label="thief", after=NEXT)
BOTH: Final = (BOBS.certificate, NEXT.certificate)


def known_by(signed: SignedBundle) -> Known:
    bundle = open_bundle(signed)
    return Known(peer_of(signed, bundle, PeerState.ACTIVE), bundle)


KNOWN: Final = known_by(signed_of(BOBS, 5))
ROTATING: Final = known_by(signed_of(BOBS, 6, authorities=BOTH, links=(LINK,)))


def told(
    authority: CertificateAuthority,
    sequence: int,
    *others: CertificateAuthority,
    links: tuple[x509.Certificate, ...] = (),
) -> SignedBundle:
    cas = (authority.certificate, *(one.certificate for one in others))
    return signed_of(authority, sequence, authorities=cas, links=links)


def test_a_newer_bundle_of_the_same_ca_counts() -> None:
    for sequence in (6, SEQUENCE_MAX):
        found = newer_bundle(KNOWN, signed_of(BOBS, sequence, addresses=(ELSEWHERE,)), NOW_S)
        assert found is not None
        assert (found.sequence, found.addresses) == (sequence, (ELSEWHERE,))


def test_a_bundle_without_an_address_takes_nobody_out_of_reach() -> None:
    with pytest.raises(RejectedError, match="no address"):
        newer_bundle(KNOWN, signed_of(BOBS, 6, addresses=()), NOW_S)


def test_the_bundle_that_is_known_is_nothing_new_however_it_was_signed() -> None:
    assert newer_bundle(KNOWN, signed_of(BOBS, 5), NOW_S) is None
    assert newer_bundle(KNOWN, SignedBundle(KNOWN.peer.body, b""), NOW_S) is None


def test_an_older_bundle_is_refused_as_one() -> None:
    with pytest.raises(OlderBundleError):
        newer_bundle(KNOWN, signed_of(BOBS, 4), NOW_S)


def test_one_with_the_same_number_and_other_content_is_left_to_the_catalogue() -> None:
    """It says that there are two coordinators."""
    found = newer_bundle(KNOWN, signed_of(BOBS, 5, version="2"), NOW_S)
    assert found is not None
    assert found.sequence == 5


def test_a_bundle_of_a_third_member_is_refused() -> None:
    with pytest.raises(RejectedError, match=r"of home\.carol, not of garage\.bob"):
        newer_bundle(KNOWN, signed_of(CAROLS, 9), NOW_S)
    with pytest.raises(RejectedError):
        newer_bundle(KNOWN, forged(CAROLS, domain=BOB, sequence=9), NOW_S)


def test_a_ca_that_the_known_one_signed_follows_it() -> None:
    assert newer_bundle(KNOWN, told(BOBS, 6, NEXT, links=(LINK,)), NOW_S)
    assert newer_bundle(KNOWN, told(NEXT, 6, BOBS, links=(LINK,)), NOW_S)
    assert newer_bundle(ROTATING, told(NEXT, 7, BOBS, links=(LINK,)), NOW_S)
    assert newer_bundle(ROTATING, told(NEXT, 8), NOW_S), "the rotation has ended"
    assert newer_bundle(KNOWN, told(NEXT, 8, links=(LINK,)), NOW_S), "it ended while we were away"


@pytest.mark.parametrize(
    "links",
    [
        (),
        (LINK,),
        (THIEF.link(THIEF.certificate),),
        (NEXT.link(THIEF.certificate),),
        (CAROLS.link(THIEF.certificate),),
    ],
)
def test_a_ca_that_nobody_who_is_trusted_speaks_for_is_refused(
    links: tuple[x509.Certificate, ...],
) -> None:
    for signed in (told(THIEF, 9, links=links), told(THIEF, 9, BOBS, links=links)):
        with pytest.raises(RejectedError):
            newer_bundle(KNOWN, signed, NOW_S)
    with pytest.raises(RejectedError):
        newer_bundle(KNOWN, told(BOBS, 9, THIEF, links=links), NOW_S)


def test_a_link_counts_only_in_its_time() -> None:
    signed = told(NEXT, 6, BOBS, links=(LINK,))
    with pytest.raises(RejectedError):
        newer_bundle(KNOWN, signed, LINK.not_valid_after_utc.timestamp() + 1)


def test_a_thief_of_the_old_cas_key_cannot_have_the_new_one_forgotten() -> None:
    """Else every peer would shut the member out, and take the thief for it."""
    with pytest.raises(RejectedError, match="leaves out"):
        newer_bundle(ROTATING, told(BOBS, 99), NOW_S)
    forward = (BOBS.link(THIEF.certificate),)
    for signed in (told(BOBS, 99, THIEF, links=forward), told(THIEF, 99, links=forward)):
        with pytest.raises(RejectedError):
            newer_bundle(ROTATING, signed, NOW_S)
    assert newer_bundle(ROTATING, told(BOBS, 99, NEXT), NOW_S), "nothing was left out"
