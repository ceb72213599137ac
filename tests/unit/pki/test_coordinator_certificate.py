"""A coordinator's start: modes, crashes at each point, half-made first starts, renewal."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from collective.core.clock import ManualClock
from collective.core.errors import SettingsError
from collective.core.ids import Domain, MemberId, SpiffeId
from collective.core.units import Address
from collective.pki.cert_dir import CertDir, members_in
from collective.pki.coordinator_certificate import prepare_coordinator
from collective.pki.credentials import load_credentials
from tests.faults.crashing_disk import CrashingDisk, StoppedError
from tests.unit.pki.forge import ALICE
from tests.worlds import REAL, world_of

ADDRESSES = (Address("127.0.0.1", 8001),)


def place(tmp_path: Path) -> CertDir:
    return CertDir(str(tmp_path / "certs"), MemberId("alice"))


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_first_start_makes_ca_and_certificate_with_tight_modes(tmp_path: Path) -> None:
    where = place(tmp_path)
    ca, credentials = prepare_coordinator(where, ALICE, ADDRESSES, world_of(ManualClock()))
    assert credentials.identity == SpiffeId.coordinator(ALICE)
    assert credentials.certified.addresses == ADDRESSES
    assert credentials.domain == ca.domain == ALICE
    assert mode(where.ca_key) == mode(where.coordinator_key) == 0o600
    assert mode(os.path.dirname(where.ca_key)) == 0o700
    assert members_in(os.listdir(tmp_path / "certs" / "ca")) == ["alice"]


def test_second_start_keeps_both_and_reissues_only_when_due_or_moved(tmp_path: Path) -> None:
    where, clock = place(tmp_path), ManualClock()
    ca, first = prepare_coordinator(where, ALICE, ADDRESSES, world_of(clock))
    clock.advance(19 * 86400)
    again, second = prepare_coordinator(where, ALICE, ADDRESSES, world_of(clock))
    assert (again.digest, second.certificate) == (ca.digest, first.certificate)
    moved = prepare_coordinator(where, ALICE, (Address("10.0.0.1", 8001),), world_of(clock))[1]
    assert moved.certificate != first.certificate
    clock.advance(21 * 86400)
    assert prepare_coordinator(where, ALICE, ADDRESSES, world_of(clock))[1].certified.expires_s > (
        moved.certified.expires_s
    )


def test_first_start_killed_at_any_moment_starts_again(tmp_path: Path) -> None:
    clock, finished = ManualClock(), False
    for at in range(40):
        where = place(tmp_path / str(at))
        try:
            prepare_coordinator(where, ALICE, ADDRESSES, world_of(clock, disk=CrashingDisk(at)))
            finished = True
        except StoppedError:
            pass
        prepare_coordinator(where, ALICE, ADDRESSES, world_of(clock))
        load_credentials(
            where.coordinator_certificate,
            where.coordinator_key,
            where.ca_certificate,
            disk=REAL.disk,
        )
    assert finished


def test_lost_ca_certificate_is_made_again_under_the_same_pin(tmp_path: Path) -> None:
    where, clock = place(tmp_path), ManualClock()
    ca, old = prepare_coordinator(where, ALICE, ADDRESSES, world_of(clock))
    os.unlink(where.ca_certificate)
    again, same = prepare_coordinator(where, ALICE, ADDRESSES, world_of(clock))
    assert again.digest == ca.digest
    assert same.certificate == old.certificate


def test_lost_ca_key_other_member_or_domain_refuse_to_start(tmp_path: Path) -> None:
    where, clock = place(tmp_path), ManualClock()
    prepare_coordinator(where, ALICE, ADDRESSES, world_of(clock))
    with pytest.raises(SettingsError, match="COLLECTIVE_DOMAIN"):
        prepare_coordinator(where, Domain("other.alice"), ADDRESSES, world_of(clock))
    os.unlink(where.ca_key)
    with pytest.raises(SettingsError, match="missing; restore"):
        prepare_coordinator(where, ALICE, ADDRESSES, world_of(clock))
