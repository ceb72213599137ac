"""Replacing a CA: phases on disk, crashes between them, and what counts in each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from collective.core.clock import ManualClock
from collective.core.disk import OsDisk
from collective.core.errors import ConflictError, RejectedError
from collective.core.ids import Domain, GlobalId, MemberId, SpiffeId
from collective.model.trust import Phase
from collective.pki import certificates, pem_files, rotation
from collective.pki.ca import CertificateAuthority
from collective.pki.cert_dir import CertDir
from collective.pki.certificates import is_signed_by
from collective.pki.coordinator_certificate import prepare_coordinator
from collective.pki.credentials import Credentials, load_credentials
from collective.pki.revocation import RevocationSet
from collective.pki.trust import TrustStore, check_link, verify_leaf
from tests.faults.crashing_disk import CrashingDisk, StoppedError
from tests.unit.pki.test_coordinator_certificate import ADDRESSES
from tests.worlds import REAL, world_of

ALICE = Domain("home.alice")
MEMBER = MemberId("alice")
ANNA = SpiffeId.user(ALICE, GlobalId.parse("anna@home.alice"))
DISK = OsDisk()
Step = Callable[..., rotation.Authorities]


@pytest.fixture
def place(tmp_path: object) -> CertDir:
    return CertDir(str(tmp_path), MEMBER)


def leaf(authority: CertificateAuthority) -> x509.Certificate:
    return authority.issue(ANNA, certificates.new_private_key(REAL.randomness).public_key())


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
    first = rotation.load(place, ALICE, world_of(clock))
    assert first.phase is Phase.NONE
    old = leaf(first.signing)
    overlap = rotation.begin(place, ALICE, world_of(clock))
    assert overlap.phase is Phase.OVERLAP
    new = leaf(overlap.newest)
    assert overlap.signing.digest == first.signing.digest != overlap.newest.digest
    assert counts(old, overlap.trusted)
    assert counts(new, overlap.trusted)
    assert not counts(new, first.trusted)
    closing = rotation.switch(place, ALICE, world_of(clock))
    assert closing.signing.digest == overlap.newest.digest
    assert counts(old, closing.trusted)
    done = rotation.close(place, ALICE, world_of(clock))
    assert rotation.load(place, ALICE, world_of(clock)).phase is Phase.NONE
    assert not counts(old, done.trusted)
    assert counts(new, done.trusted)
    assert not DISK.exists(place.ca_next_key)


def test_the_phase_is_read_back_from_the_files(place: CertDir) -> None:
    clock = ManualClock()
    steps = [rotation.load, rotation.begin, rotation.switch, rotation.close]
    for step in steps:
        made = step(place, ALICE, world_of(clock))
        found = rotation.load(place, ALICE, world_of(clock))
        assert (found.phase, found.trusted) == (made.phase, made.trusted)
        assert found.signing.digest == made.signing.digest
        assert found.newest.digest == made.newest.digest


def test_a_crash_after_the_new_key_was_written_leaves_no_rotation_and_the_key_is_used(
    place: CertDir,
) -> None:
    clock = ManualClock()
    rotation.load(place, ALICE, world_of(clock))
    key = pem_files.load_or_create_key(place.ca_next_key, world_of(disk=DISK))
    assert rotation.load(place, ALICE, world_of(clock)).phase is Phase.NONE
    begun = rotation.begin(place, ALICE, world_of(clock))
    assert begun.newest.digest == certificates.key_digest(key.public_key())


def test_a_crash_after_the_key_was_renamed_is_the_closing_phase(place: CertDir) -> None:
    clock = ManualClock()
    rotation.load(place, ALICE, world_of(clock))
    overlap = rotation.begin(place, ALICE, world_of(clock))
    DISK.rename(place.ca_next_key, place.ca_key)
    found = rotation.load(place, ALICE, world_of(clock))
    assert found.phase is Phase.CLOSING
    assert found.signing.digest == overlap.newest.digest
    assert found.trusted[0] == overlap.newest.certificate
    assert len(found.trusted) == 2


def test_steps_out_of_order_are_refused(place: CertDir) -> None:
    clock = ManualClock()
    rotation.load(place, ALICE, world_of(clock))
    with pytest.raises(ConflictError):
        rotation.switch(place, ALICE, world_of(clock))
    rotation.begin(place, ALICE, world_of(clock))
    with pytest.raises(ConflictError):
        rotation.begin(place, ALICE, world_of(clock))
    with pytest.raises(ConflictError):
        rotation.close(place, ALICE, world_of(clock))


def test_credentials_name_the_ca_that_signed_and_trust_all_in_the_file(place: CertDir) -> None:
    clock = ManualClock()
    rotation.load(place, ALICE, world_of(clock))
    overlap = rotation.begin(place, ALICE, world_of(clock))
    key = certificates.new_private_key(REAL.randomness)
    pem_files.write_key(place.user_key(GlobalId.parse("anna@home.alice")), key, disk=DISK)
    certificate = overlap.newest.issue(ANNA, key.public_key())
    path = place.user_certificate(GlobalId.parse("anna@home.alice"))
    pem_files.write_certificate(path, certificate, disk=DISK)
    found = load_credentials(
        path, place.user_key(GlobalId.parse("anna@home.alice")), place.ca_certificate, disk=DISK
    )
    assert found.authority == overlap.newest.certificate
    assert found.trust().authorities[ALICE] == overlap.trusted


STEPS = (rotation.begin, rotation.switch, rotation.close)


def coordinator(place: CertDir, clock: ManualClock) -> Credentials:
    return prepare_coordinator(place, ALICE, ADDRESSES, world_of(clock))[1]


def key_of(credentials: Credentials) -> bytes:
    return certificates.public_key_der(credentials.private_key.public_key())


def test_the_new_ca_never_certifies_the_coordinator_key_of_before(place: CertDir) -> None:
    clock = ManualClock()
    rotation.load(place, ALICE, world_of(clock))
    old = coordinator(place, clock)
    rotation.begin(place, ALICE, world_of(clock))
    assert key_of(coordinator(place, clock)) == key_of(old)
    switched = rotation.switch(place, ALICE, world_of(clock))
    fresh = coordinator(place, clock)
    assert key_of(fresh) != key_of(old)
    assert is_signed_by(fresh.certificate, switched.signing.certificate)
    rotation.close(place, ALICE, world_of(clock))
    assert key_of(coordinator(place, clock)) == key_of(fresh)
    clock.advance(25 * 86400)
    renewed = coordinator(place, clock)
    assert renewed.certificate != fresh.certificate
    assert key_of(renewed) == key_of(fresh), "a renewal by the same CA keeps the key"


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_disk_operation_of_a_step_is_mended_by_the_next_start(
    tmp_path: Path, step: Step
) -> None:
    finished = False
    for at in range(40):
        clock, where = ManualClock(), CertDir(str(tmp_path / str(at)), MEMBER)
        rotation.load(where, ALICE, world_of(clock))
        first = coordinator(where, clock)
        for before in STEPS[: STEPS.index(step)]:
            before(where, ALICE, world_of(clock))
        coordinator(where, clock)
        disk = CrashingDisk(at)
        try:
            step(where, ALICE, world_of(clock, disk=disk))
            prepare_coordinator(where, ALICE, ADDRESSES, world_of(clock, disk=disk))
            finished = True
        except StoppedError:
            pass
        found = rotation.load(where, ALICE, world_of(clock))  # the next start
        own = coordinator(where, clock)
        load_credentials(
            where.coordinator_certificate,
            where.coordinator_key,
            where.ca_certificate,
            disk=REAL.disk,
        )
        assert is_signed_by(own.certificate, found.signing.certificate)
        is_old = is_signed_by(first.certificate, found.signing.certificate)
        assert is_old == (key_of(own) == key_of(first)), "a key lives as long as its CA"
        if found.phase is Phase.OVERLAP:
            (link,) = found.links
            check_link(
                link, found.newest.certificate, found.signing.certificate, ALICE, clock.wall_s()
            )
        for rest in {Phase.NONE: (), Phase.OVERLAP: STEPS[1:], Phase.CLOSING: STEPS[2:]}[
            found.phase
        ]:
            rest(where, ALICE, world_of(clock))
        assert rotation.load(where, ALICE, world_of(clock)).phase is Phase.NONE
        coordinator(where, clock)
    assert finished


@pytest.mark.parametrize("gone", ["key", "certificate", "another key"])
def test_a_key_without_its_certificate_is_replaced_with_it(place: CertDir, gone: str) -> None:
    clock = ManualClock()
    rotation.load(place, ALICE, world_of(clock))
    old = coordinator(place, clock)
    if gone == "another key":
        pem_files.write_key(
            place.coordinator_key, certificates.new_private_key(REAL.randomness), disk=DISK
        )
        kept = pem_files.load_key_file(place.coordinator_key, disk=DISK).public_key()
    else:
        DISK.unlink(place.coordinator_key if gone == "key" else place.coordinator_certificate)
        kept = old.private_key.public_key()
    fresh = coordinator(place, clock)
    assert key_of(fresh) not in {key_of(old), certificates.public_key_der(kept)}
    assert (
        load_credentials(
            place.coordinator_certificate,
            place.coordinator_key,
            place.ca_certificate,
            disk=REAL.disk,
        ).certificate
        == fresh.certificate
    )


def test_a_rotation_that_was_begun_without_a_link_gets_one(place: CertDir) -> None:
    clock = ManualClock()
    rotation.load(place, ALICE, world_of(clock))
    rotation.begin(place, ALICE, world_of(clock))
    DISK.unlink(place.ca_link)
    found = rotation.load(place, ALICE, world_of(clock))
    check_link(
        found.links[0], found.newest.certificate, found.signing.certificate, ALICE, clock.wall_s()
    )
    assert DISK.exists(place.ca_link)


def test_a_successor_is_newer_whatever_the_clock_did(place: CertDir) -> None:
    clock = ManualClock()
    first = rotation.load(place, ALICE, world_of(clock))
    begun = rotation.begin(place, ALICE, world_of(clock))
    assert (
        begun.newest.certificate.not_valid_before_utc
        > first.signing.certificate.not_valid_before_utc
    )
