"""Replacing a CA: phases on disk, crashes between them, and what counts in each."""

from __future__ import annotations

import pytest
from cryptography import x509

from collective.core.clock import ManualClock
from collective.core.disk import OsDisk
from collective.core.errors import ConflictError, RejectedError
from collective.core.ids import Domain, GlobalId, MemberId, SpiffeId
from collective.pki import certificates, files, rotation
from collective.pki.ca import CertificateAuthority
from collective.pki.layout import CertDir
from collective.pki.revocation import RevocationSet
from collective.pki.rotation import Phase
from collective.pki.trust import TrustStore, verify_leaf

ALICE = Domain("home.alice")
MEMBER = MemberId("alice")
ANNA = SpiffeId.user(ALICE, GlobalId.parse("anna@home.alice"))
DISK = OsDisk()


@pytest.fixture
def place(tmp_path: object) -> CertDir:
    return CertDir(str(tmp_path), MEMBER)


def leaf(authority: CertificateAuthority) -> x509.Certificate:
    return authority.issue(ANNA, certificates.new_private_key().public_key())


def counts(certificate: x509.Certificate, trusted: tuple[x509.Certificate, ...]) -> bool:
    try:
        verify_leaf(
            certificates.certificate_der(certificate),
            TrustStore({ALICE: trusted}),
            roles=frozenset(("user",)),
            usage="client",
            now_s=ManualClock().wall_s(),
            revoked=RevocationSet(),
        )
    except RejectedError:
        return False
    return True


def test_both_count_in_the_overlap_and_the_old_one_no_more_after_the_end(place: CertDir) -> None:
    clock = ManualClock()
    first = rotation.load(place, ALICE, clock, disk=DISK)
    assert first.phase is Phase.NONE
    old = leaf(first.signing)
    overlap = rotation.begin(place, ALICE, clock, disk=DISK)
    assert overlap.phase is Phase.OVERLAP
    new = leaf(overlap.newest)
    assert overlap.signing.digest == first.signing.digest != overlap.newest.digest
    assert counts(old, overlap.trusted)
    assert counts(new, overlap.trusted)
    assert not counts(new, first.trusted)
    closing = rotation.switch(place, ALICE, clock, disk=DISK)
    assert closing.signing.digest == overlap.newest.digest
    assert counts(old, closing.trusted)
    done = rotation.close(place, ALICE, clock, disk=DISK)
    assert rotation.load(place, ALICE, clock, disk=DISK).phase is Phase.NONE
    assert not counts(old, done.trusted)
    assert counts(new, done.trusted)
    assert not DISK.exists(place.ca_next_key)


def test_the_phase_is_read_back_from_the_files(place: CertDir) -> None:
    clock = ManualClock()
    steps = [rotation.load, rotation.begin, rotation.switch, rotation.close]
    for step in steps:
        made = step(place, ALICE, clock, disk=DISK)
        found = rotation.load(place, ALICE, clock, disk=DISK)
        assert (found.phase, found.trusted) == (made.phase, made.trusted)
        assert found.signing.digest == made.signing.digest
        assert found.newest.digest == made.newest.digest


def test_a_crash_after_the_new_key_was_written_leaves_no_rotation_and_the_key_is_used(
    place: CertDir,
) -> None:
    clock = ManualClock()
    rotation.load(place, ALICE, clock, disk=DISK)
    key = files.load_or_create_key(place.ca_next_key, disk=DISK)
    assert rotation.load(place, ALICE, clock, disk=DISK).phase is Phase.NONE
    begun = rotation.begin(place, ALICE, clock, disk=DISK)
    assert begun.newest.digest == certificates.key_digest(key.public_key())


def test_a_crash_after_the_key_was_renamed_is_the_closing_phase(place: CertDir) -> None:
    clock = ManualClock()
    rotation.load(place, ALICE, clock, disk=DISK)
    overlap = rotation.begin(place, ALICE, clock, disk=DISK)
    DISK.rename(place.ca_next_key, place.ca_key)
    found = rotation.load(place, ALICE, clock, disk=DISK)
    assert found.phase is Phase.CLOSING
    assert found.signing.digest == overlap.newest.digest
    assert found.trusted[0] == overlap.newest.certificate
    assert len(found.trusted) == 2


def test_steps_out_of_order_are_refused(place: CertDir) -> None:
    clock = ManualClock()
    rotation.load(place, ALICE, clock, disk=DISK)
    with pytest.raises(ConflictError):
        rotation.switch(place, ALICE, clock, disk=DISK)
    rotation.begin(place, ALICE, clock, disk=DISK)
    with pytest.raises(ConflictError):
        rotation.begin(place, ALICE, clock, disk=DISK)
    with pytest.raises(ConflictError):
        rotation.close(place, ALICE, clock, disk=DISK)


def test_a_ca_of_another_domain_is_not_learnt(place: CertDir) -> None:
    clock = ManualClock()
    own = rotation.load(place, ALICE, clock, disk=DISK).signing
    mallory = CertificateAuthority.create(MemberId("mallory"), Domain("lab.mallory"), clock)
    ders = [certificates.certificate_der(one.certificate) for one in (own, mallory)]
    assert rotation.read_trusted(ders[:1], ALICE) == (own.certificate,)
    for bad in ([], ders, ders[:1] * 5, [b"junk"], [certificates.certificate_der(leaf(own))]):
        with pytest.raises(RejectedError):
            rotation.read_trusted(bad, ALICE)


def test_credentials_name_the_ca_that_signed_and_trust_all_in_the_file(place: CertDir) -> None:
    clock = ManualClock()
    rotation.load(place, ALICE, clock, disk=DISK)
    overlap = rotation.begin(place, ALICE, clock, disk=DISK)
    key = certificates.new_private_key()
    files.write_key(place.user_key(GlobalId.parse("anna@home.alice")), key, disk=DISK)
    certificate = overlap.newest.issue(ANNA, key.public_key())
    path = place.user_certificate(GlobalId.parse("anna@home.alice"))
    files.write_certificate(path, certificate, disk=DISK)
    found = files.load_credentials(
        path, place.user_key(GlobalId.parse("anna@home.alice")), place.ca_certificate, disk=DISK
    )
    assert found.authority == overlap.newest.certificate
    assert found.trust().authorities[ALICE] == overlap.trusted
