"""Files: modes, crashes at each point, half-made first starts, renewal of the coordinator."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from collective.core.clock import ManualClock
from collective.core.disk import OsDisk
from collective.core.errors import NotJoinedError, SettingsError
from collective.core.ids import Domain, MemberId, NodeId, SpiffeId
from collective.core.units import Address
from collective.pki import certificates, renewal
from collective.pki.files import (
    load_credentials,
    load_or_create_key,
    prepare_coordinator,
    save_credentials,
    write_atomically,
)
from collective.pki.layout import CertDir, members_in, nodes_in
from tests.unit.pki.forge import ALICE, authority

ADDRESSES = (Address("127.0.0.1", 8001),)


class PowerLostError(Exception):
    pass


class CrashingDisk(OsDisk):
    """Stops at the n-th change of names, before or after doing it."""

    def __init__(self, at: int) -> None:
        self._left = at

    def _step(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise PowerLostError

    def rename(self, source: str, target: str) -> None:
        self._step()
        super().rename(source, target)
        self._step()

    def sync_dir(self, path: str) -> None:
        self._step()
        super().sync_dir(path)


def place(tmp_path: Path) -> CertDir:
    return CertDir(str(tmp_path / "certs"), MemberId("alice"))


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_first_start_makes_ca_and_certificate_with_tight_modes(tmp_path: Path) -> None:
    where = place(tmp_path)
    ca, credentials = prepare_coordinator(where, ALICE, ADDRESSES, ManualClock())
    assert credentials.identity == SpiffeId.coordinator(ALICE)
    assert credentials.certified.addresses == ADDRESSES
    assert credentials.domain == ca.domain == ALICE
    assert mode(where.ca_key) == mode(where.coordinator_key) == 0o600
    assert mode(os.path.dirname(where.ca_key)) == 0o700
    assert members_in(os.listdir(tmp_path / "certs" / "ca")) == ["alice"]


def test_second_start_keeps_both_and_reissues_only_when_due_or_moved(tmp_path: Path) -> None:
    where, clock = place(tmp_path), ManualClock()
    ca, first = prepare_coordinator(where, ALICE, ADDRESSES, clock)
    clock.advance(19 * 86400)
    again, second = prepare_coordinator(where, ALICE, ADDRESSES, clock)
    assert (again.digest, second.certificate) == (ca.digest, first.certificate)
    moved = prepare_coordinator(where, ALICE, (Address("10.0.0.1", 8001),), clock)[1]
    assert moved.certificate != first.certificate
    clock.advance(21 * 86400)
    assert prepare_coordinator(where, ALICE, ADDRESSES, clock)[1].certified.expires_s > (
        moved.certified.expires_s
    )


def test_first_start_killed_at_any_moment_starts_again(tmp_path: Path) -> None:
    clock, finished = ManualClock(), False
    for at in range(40):
        where = place(tmp_path / str(at))
        try:
            prepare_coordinator(where, ALICE, ADDRESSES, clock, disk=CrashingDisk(at))
            finished = True
        except PowerLostError:
            pass
        prepare_coordinator(where, ALICE, ADDRESSES, clock)
        load_credentials(where.coordinator_certificate, where.coordinator_key, where.ca_certificate)
    assert finished


def test_lost_ca_certificate_is_made_again_under_the_same_pin(tmp_path: Path) -> None:
    where, clock = place(tmp_path), ManualClock()
    ca, old = prepare_coordinator(where, ALICE, ADDRESSES, clock)
    os.unlink(where.ca_certificate)
    again, same = prepare_coordinator(where, ALICE, ADDRESSES, clock)
    assert again.digest == ca.digest
    assert same.certificate == old.certificate


def test_lost_ca_key_other_member_or_domain_refuse_to_start(tmp_path: Path) -> None:
    where, clock = place(tmp_path), ManualClock()
    prepare_coordinator(where, ALICE, ADDRESSES, clock)
    with pytest.raises(SettingsError, match="COLLECTIVE_DOMAIN"):
        prepare_coordinator(where, Domain("other.alice"), ADDRESSES, clock)
    os.unlink(where.ca_key)
    with pytest.raises(SettingsError, match="missing; restore"):
        prepare_coordinator(where, ALICE, ADDRESSES, clock)


def test_credentials_round_trip_and_foreign_key_is_refused(tmp_path: Path) -> None:
    ca, key = authority(ManualClock()), certificates.new_private_key()
    leaf = ca.issue(SpiffeId.node(ALICE, NodeId("n1")), key.public_key())
    paths = [str(tmp_path / name) for name in ("n.crt", "n.key", "ca.crt")]
    saved = save_credentials(*paths, certificate=leaf, private_key=key, authority=ca.certificate)
    loaded = load_credentials(*paths)
    assert loaded.certificate == saved.certificate
    assert mode(paths[1]) == 0o600
    os.unlink(paths[1])
    with pytest.raises(NotJoinedError, match="does not exist"):
        load_credentials(*paths)
    load_or_create_key(paths[1], disk=OsDisk())
    with pytest.raises(SettingsError, match="does not belong"):
        load_credentials(*paths)
    Path(paths[0]).write_text("no pem")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_credentials(*paths)


def test_replacing_a_file_shows_the_old_or_the_new_content(tmp_path: Path) -> None:
    path = str(tmp_path / "f")
    write_atomically(path, b"old", permissions=0o600, disk=OsDisk())
    for at in range(5):
        try:
            write_atomically(path, b"new", permissions=0o600, disk=CrashingDisk(at))
        except PowerLostError:
            assert Path(path).read_bytes() == (b"old" if at == 0 else b"new")
    assert mode(path) == 0o600


def test_node_ids_are_read_back_from_names() -> None:
    names = ["b.crt", "a.crt", "a.key", ".joining.key", "..crt", "A.crt", "a.crt.new"]
    assert nodes_in(names) == ["a", "b"]


def test_renewal_is_due_at_two_thirds_of_life_and_retries_back_off() -> None:
    clock = ManualClock()
    key = certificates.new_private_key().public_key()
    leaf = certificates.describe(
        authority(clock).issue(SpiffeId.node(ALICE, NodeId("n1")), key, lifetime_s=3_000_000 - 300)
    )
    due = renewal.renewal_due_s(leaf)
    assert due == leaf.not_before_s + 2_000_000
    assert not renewal.is_due(leaf, due - 1)
    assert renewal.is_due(leaf, due)
    assert renewal.has_expired(leaf, leaf.expires_s + 1)
    assert not renewal.has_expired(leaf, leaf.expires_s)
    waits = [renewal.next_look_s(leaf, due, failures) for failures in range(1, 12)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (30.0, 3600.0)
    assert renewal.next_look_s(leaf, due - 500, 0) == 500


def test_a_life_of_seconds_is_renewed_in_time_and_not_begun_in_its_last_third() -> None:
    clock = ManualClock()
    key = certificates.new_private_key().public_key()
    leaf = certificates.describe(
        authority(clock).issue(SpiffeId.node(ALICE, NodeId("n1")), key, lifetime_s=12)
    )
    now_s = clock.wall_s()
    assert not renewal.is_due(leaf, now_s + 5)
    assert now_s + 5 + renewal.next_look_s(leaf, now_s + 5, 0) < leaf.expires_s - 3
    waits = [renewal.next_look_s(leaf, now_s + 8, failures) for failures in range(1, 12)]
    assert max(waits) < 1
