"""Credentials are saved and loaded whole, or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from collective.core.clock import ManualClock
from collective.core.errors import NotJoinedError, SettingsError
from collective.core.ids import NodeId, SpiffeId
from collective.pki import certificates
from collective.pki.credentials import load_credentials, save_credentials
from collective.pki.pem_files import load_or_create_key
from tests.unit.pki.forge import ALICE, authority
from tests.worlds import REAL


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_credentials_round_trip_and_foreign_key_is_refused(tmp_path: Path) -> None:
    ca, key = authority(ManualClock()), certificates.new_private_key(REAL.randomness)
    leaf = ca.issue(SpiffeId.node(ALICE, NodeId("n1")), key.public_key())
    paths = [str(tmp_path / name) for name in ("n.crt", "n.key", "ca.crt")]
    saved = save_credentials(
        *paths, certificate=leaf, private_key=key, authority=ca.certificate, disk=REAL.disk
    )
    loaded = load_credentials(*paths, disk=REAL.disk)
    assert loaded.certificate == saved.certificate
    assert mode(paths[1]) == 0o600
    os.unlink(paths[1])
    with pytest.raises(NotJoinedError, match="does not exist"):
        load_credentials(*paths, disk=REAL.disk)
    load_or_create_key(paths[1], REAL)
    with pytest.raises(SettingsError, match="does not belong"):
        load_credentials(*paths, disk=REAL.disk)
    Path(paths[0]).write_text("no pem")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_credentials(*paths, disk=REAL.disk)
