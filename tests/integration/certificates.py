"""Certificates as an operator makes them, without a process."""

from __future__ import annotations

from pathlib import Path

from collective.cli.pki import issue_files
from collective.core.ids import Domain, MemberId
from collective.pki.cert_dir import CertDir
from collective.pki.coordinator_certificate import prepare_coordinator
from tests.worlds import REAL


def issued_bootstrap(folder: Path) -> str:
    """Return the directory of what a bootstrap ``b1`` of a new member ``home.alice`` needs."""
    place = CertDir(str(folder / "alice"), MemberId("alice"))
    prepare_coordinator(place, Domain("home.alice"), (), REAL)
    out = str(folder / "edge")
    issue_files(
        ca_key=place.ca_key,
        ca=place.ca_certificate,
        user=None,
        bootstrap="b1",
        lifetime_s=3600,
        out=out,
        force=False,
        world=REAL,
    )
    return out
