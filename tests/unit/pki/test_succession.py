"""Which CAs a receiver trusts after it was told: nothing on the word of a coordinator alone."""

from __future__ import annotations

import pytest
from cryptography import x509

from collective.core.clock import ManualClock
from collective.core.errors import RejectedError
from collective.core.ids import Domain, GlobalId, MemberId, SpiffeId
from collective.pki import certificates
from collective.pki.ca import CertificateAuthority
from collective.pki.pem_files import AUTHORITIES_MAX
from collective.pki.succession import Told, follow
from tests.worlds import REAL, world_of

ALICE = Domain("home.alice")
CLOCK = ManualClock()
NOW_S = CLOCK.wall_s()


def successor(
    of: CertificateAuthority, label: str, clock: ManualClock = CLOCK
) -> CertificateAuthority:
    return CertificateAuthority.create(
        MemberId("alice"), ALICE, world_of(clock), label=label, after=of.certificate
    )


OLD = CertificateAuthority.create(MemberId("alice"), ALICE, world_of(CLOCK))
NEW = successor(OLD, "new")
LINK = OLD.link(NEW.certificate)
THIEF = successor(OLD, "thief")


def der(certificate: x509.Certificate) -> bytes:
    return certificates.certificate_der(certificate)


def told(
    *authorities: CertificateAuthority,
    links: tuple[x509.Certificate, ...] = (),
    teller: CertificateAuthority = OLD,
) -> Told:
    return Told(
        [der(one.certificate) for one in authorities], [der(one) for one in links], teller.digest
    )


def after(
    known: tuple[CertificateAuthority, ...], what: Told, now_s: float = NOW_S
) -> tuple[x509.Certificate, ...]:
    return follow([one.certificate for one in known], what, ALICE, now_s)


def test_a_new_ca_that_the_old_one_signed_is_taken_and_the_old_one_dropped_at_the_end() -> None:
    both = (OLD.certificate, NEW.certificate)
    assert after((OLD,), told(OLD, NEW, links=(LINK,))) == both
    assert after((OLD, NEW), told(OLD, NEW)) == both, "known already: no link is needed"
    assert after((OLD, NEW), told(NEW, OLD, teller=NEW)) == both[::-1]
    assert after((OLD, NEW), told(NEW, teller=NEW)) == (NEW.certificate,)


def test_a_ca_of_a_thief_of_the_coordinators_key_is_not_taken() -> None:
    for links in (
        (),
        (LINK,),  # of another CA
        (THIEF.link(THIEF.certificate),),  # by itself
        (NEW.link(THIEF.certificate),),  # by one that is not trusted here
        (THIEF.certificate,),
    ):
        with pytest.raises(RejectedError, match="no CA which is trusted has signed"):
            after((OLD,), told(OLD, THIEF, links=links))


def test_a_link_that_says_less_than_a_ca_is_none() -> None:
    leaf = OLD.issue(
        SpiffeId.user(ALICE, GlobalId.parse("anna@home.alice")),
        certificates.certificate_key(NEW.certificate),
    )
    bob = CertificateAuthority.create(MemberId("bob"), Domain("garage.bob"), world_of(CLOCK))
    twin = CertificateAuthority.create(
        MemberId("alice"), ALICE, world_of(CLOCK), label="new"
    )  # other key
    for bad in (leaf, bob.link(NEW.certificate), OLD.link(twin.certificate)):
        with pytest.raises(RejectedError):
            after((OLD,), told(OLD, NEW, links=(bad,)))


def test_a_link_counts_only_in_its_time() -> None:
    what = told(OLD, NEW, links=(LINK,))
    end_s = LINK.not_valid_after_utc.timestamp()
    assert after((OLD,), what, end_s - 1)
    with pytest.raises(RejectedError):
        after((OLD,), what, end_s + 1)
    with pytest.raises(RejectedError):
        after((OLD,), what, LINK.not_valid_before_utc.timestamp() - 1)


def test_a_thief_under_the_old_ca_cannot_have_the_new_one_forgotten() -> None:
    assert after((OLD, NEW), told(OLD, teller=OLD)) == (OLD.certificate, NEW.certificate)


def test_a_thief_of_the_old_cas_key_names_no_second_successor_to_who_has_followed() -> None:
    with pytest.raises(RejectedError):
        after((OLD, NEW), told(OLD, NEW, THIEF, links=(OLD.link(THIEF.certificate),)))


def test_nothing_is_dropped_on_the_word_of_one_whose_ca_is_not_known() -> None:
    what = Told([der(NEW.certificate)], [], b"")
    assert set(after((OLD, NEW), what)) == {OLD.certificate, NEW.certificate}


def test_a_chain_of_rotations_is_followed_one_by_one() -> None:
    third = successor(NEW, "third")
    link = NEW.link(third.certificate)
    assert after((NEW,), told(NEW, third, links=(link,), teller=NEW)) == (
        NEW.certificate,
        third.certificate,
    )
    with pytest.raises(RejectedError):
        after((OLD,), told(NEW, third, links=(link,)))


def test_junk_is_refused() -> None:
    mallory = CertificateAuthority.create(
        MemberId("mallory"), Domain("lab.mallory"), world_of(CLOCK)
    )
    leaf = OLD.issue(
        SpiffeId.user(ALICE, GlobalId.parse("anna@home.alice")),
        certificates.new_private_key(REAL.randomness).public_key(),
    )
    own = der(OLD.certificate)
    many = [der(successor(OLD, str(number)).certificate) for number in range(AUTHORITIES_MAX)]
    for bad in (
        [],
        [own, own],
        [own, der(mallory.certificate)],
        [own, *many],
        [b"junk"],
        [der(leaf)],
    ):
        with pytest.raises(RejectedError):
            after((OLD,), Told(bad, [], OLD.digest))
    with pytest.raises(RejectedError):
        after((OLD,), Told([own], [b"junk"], OLD.digest))


def test_another_wrapping_of_a_known_ca_changes_nothing_that_is_kept() -> None:
    again = CertificateAuthority(
        CertificateAuthority.create(
            MemberId("alice"),
            ALICE,
            world_of(CLOCK),
            key=OLD._key,
        ).certificate,
        OLD._key,
        world_of(CLOCK),
    )
    assert again.certificate != OLD.certificate
    assert after((OLD,), told(again)) == (OLD.certificate,)
